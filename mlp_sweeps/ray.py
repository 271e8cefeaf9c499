"""Where jobs run on a Ray cluster: tasks, given out as there is room for them."""

import collections
import contextlib
import os
import signal
import socket
import tempfile
import time
from pathlib import Path

from mlp.errors import UserError
from mlp_sweeps import worker
from mlp_sweeps.engines import ONE_THREAD, POLL, count, drop

try:
    import ray
except ImportError:  # `find` says so
    ray = None

# A worker has the environment of its `ray start`; these it needs from the sweep's
PASSED_ON = ("MLP_", "NPY_", "OPENBLAS_", "OMP_", "MKL_")
HERE = "127.0.0.1:6379"  # where `ray start --head` listens


def find(address):
    """host:port of a running cluster. Raises UserError where nobody listens.

    Ray itself would look into a file that a dead cluster may have left, and wait for minutes.
    """
    if ray is None:
        raise UserError("launcher=ray needs Ray: pip install 'mlp-numpy[ray]'")
    address = address or os.environ.get("RAY_ADDRESS") or HERE
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError):
        raise UserError(
            f"launcher=ray: no Ray cluster at {address}; run ray start --head, "
            "or set hydra.launcher.address=host:port"
        ) from None
    return address


class Ray:
    """Ray never holds more jobs than run, so that its object store doesn't grow."""

    in_process = False

    def __init__(self, task_of, threads, address, workers):
        self._task_of, self._threads, self._workers = task_of, threads, workers
        self._address = address
        self._jobs, self._busy = collections.deque(), {}  # not given out; reference -> jobs
        self._stopped = False

    def __enter__(self):
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
        env = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        env |= {**ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        ray.init(
            find(self._address),
            runtime_env={"env_vars": env},
            log_to_driver=False,
            logging_level="ERROR",
        )
        with contextlib.suppress(AttributeError):  # a page for each worker that dies, in our lines
            ray._private.worker.print_to_stdstream = lambda *_, **__: None
        # Ray would run a dead worker's job again, in the same folder and without a word
        self._run = ray.remote(num_cpus=self._threads, max_retries=0)(run_here)
        return self

    def __exit__(self, *_):
        ray.shutdown()  # ends what still runs

    @property
    def workers(self):
        # One at least: a cluster that grows has to see a job that waits
        cores = ray.cluster_resources().get("CPU", 0)
        return self._workers or max(1, int(cores // self._threads))

    @property
    def stacks(self):
        return self.workers

    @property
    def waiting(self):
        return count(self._jobs)

    @property
    def running(self):
        return count(self._busy.values())

    def submit(self, jobs):
        self._jobs.append(jobs)

    def ended(self):
        self._hand_out()
        if not self._busy:
            time.sleep(POLL)
            return []
        ready, _ = ray.wait([*self._busy], timeout=POLL)
        if ready:  # and all others that are
            ready, _ = ray.wait([*self._busy], num_returns=len(self._busy), timeout=0)
        ended = []
        for one in ready:
            jobs = self._busy.pop(one)
            outcomes = _outcomes(one, len(jobs))
            if outcomes[0].died and jobs[1:] and not self._stopped:
                self._jobs.extend([job] for job in jobs)  # whichever it was dies alone
            else:
                ended += zip(jobs, outcomes, strict=True)
        self._hand_out()  # workers need not wait until this is reported
        return ended

    def _hand_out(self):
        room = self.workers if self._jobs else 0
        while self._jobs and len(self._busy) < room:
            jobs = self._jobs.popleft()
            self._busy[self._run.remote(self._task_of(jobs))] = jobs

    def stop(self, folders=None):
        self._stopped = self._stopped or folders is None
        for one, jobs in self._busy.items():
            if folders is None or jobs[0].folder in folders:
                ray.cancel(one)  # a KeyboardInterrupt there
        return drop(self._jobs, folders)


def _outcomes(reference, n_jobs):
    try:
        return ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        how = {"signal": signal.SIGINT}
    except ray.exceptions.RayTaskError as error:  # it could not even begin
        text = str(error).strip()
        how = {"error": text.splitlines()[-1], "traceback": text}
    except ray.exceptions.RayError as error:
        line = f"worker died ({type(error).__name__})"
        how = {"error": line, "traceback": str(error), "died": True}
    return [worker.Outcome(**how) for _ in range(n_jobs)]


def run_here(task):
    """Jobs where Ray runs them. Returns their Outcomes; the first has what they wrote to stderr."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            outcomes = worker.run(task)
        except KeyboardInterrupt:  # just before they began, or just after they ended
            outcomes = worker.interrupted(task)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        said.seek(0)
        outcomes[0].stderr = said.read().decode(errors="replace")
    return outcomes
