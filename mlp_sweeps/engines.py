"""Where jobs run on this machine. Clusters have rooms of their own with the same few methods.

An engine is a context manager. `submit(jobs)` takes jobs that run together, at any time, and
returns at once. `ended()` waits, a moment at most, and gives (job, Outcome) of each that ended
since. `stop()` drops what waits and asks what runs to save its state; `stop(folders)` does so with
these jobs alone. It returns the jobs that it has dropped.
`waiting` and `running` count jobs, `workers` says how many can run at once. `stacks` says into how
many parts jobs that can run together are cut at least, 0 that they run alone. Leaving the block
ends what still runs, at once.
"""

import collections
import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait

from tqdm import tqdm

from mlp_sweeps import worker

LIBRARIES = ("OPENBLAS_NUM", "MKL_NUM", "OMP_NUM", "BLIS_NUM", "NUMEXPR_NUM", "VECLIB_MAXIMUM")
ONE_THREAD = {f"{library}_THREADS": "1" for library in LIBRARIES}
HELD_BACK = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
POLL = 0.2  # seconds until signals are looked at and the bar is drawn again


class Serial:
    """One job after the other, in this process."""

    in_process, workers, stacks = True, 1, 0

    def __init__(self, task_of):
        self._task_of = task_of
        self._jobs = collections.deque()
        self.running = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._jobs.clear()

    @property
    def waiting(self):
        return count(self._jobs)

    def submit(self, jobs):
        self._jobs.append(jobs)

    def ended(self):
        jobs = self._jobs.popleft()
        return zip(jobs, worker.run(self._task_of(jobs)), strict=True)

    def stop(self, folders=None):
        return drop(self._jobs, folders)


class Local:
    """Processes of this machine, each for many jobs. One that dies takes its own job alone."""

    in_process = False

    def __init__(self, task_of, workers):
        self._task_of, self.workers = task_of, workers
        self._jobs = collections.deque()
        self._idle, self._busy = [], {}  # pipe of a busy one -> (process, jobs)
        self._stopped = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process, _ in self._busy.values():
            process.kill()
        for process in [*self._idle, *(process for process, _ in self._busy.values())]:
            process.close()

    @property
    def stacks(self):
        return self.workers

    @property
    def waiting(self):
        return count(self._jobs)

    @property
    def running(self):
        return count(jobs for _, jobs in self._busy.values())

    def submit(self, jobs):
        self._jobs.append(jobs)

    def ended(self):
        self._hand_out()
        ended = []
        for pipe in wait(list(self._busy), POLL):
            process, jobs = self._busy.pop(pipe)
            outcomes = process.take(len(jobs))
            if not outcomes[0].died:
                self._idle.append(process)
            elif jobs[1:] and not self._stopped:
                self._jobs.extend([job] for job in jobs)  # whichever it was dies alone
                continue
            ended += zip(jobs, outcomes, strict=True)
        self._hand_out()  # workers need not wait until this is reported
        return ended

    def _hand_out(self):
        while self._jobs and len(self._busy) < self.workers:
            process = self._idle.pop() if self._idle else _Process()
            jobs = self._jobs.popleft()
            self._busy[process.pipe] = process, jobs
            process.give(self._task_of(jobs))

    def stop(self, folders=None):
        self._stopped = self._stopped or folders is None
        for process, jobs in self._busy.values():
            if folders is None or jobs[0].folder in folders:
                process.interrupt()
        return drop(self._jobs, folders)


def count(stacks):
    return sum(map(len, stacks))


def drop(stacks, folders):
    """Take the jobs with these folders, or all, out of a queue, and return them."""
    dropped = [jobs for jobs in stacks if folders is None or jobs[0].folder in folders]
    kept = [] if folders is None else [jobs for jobs in stacks if jobs[0].folder not in folders]
    stacks.clear()
    stacks.extend(kept)
    return [job for jobs in dropped for job in jobs]


def start_method():
    """Where there is one, a process that has loaded everything forks the workers."""
    known = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in known else "spawn")


def warm_up():
    """Begin to load what workers need, while the sweep still looks at its jobs."""
    os.environ.update(ONE_THREAD)  # processes inherit it before they load NumPy
    if start_method().get_start_method() == "forkserver":
        start_method().set_forkserver_preload(["mlp_sweeps.worker", "mlp.together"])
        with signals_held_back():
            forkserver.ensure_running()


class _Process:
    """A worker as its parent sees it."""

    def __init__(self):
        self._said = tempfile.NamedTemporaryFile(prefix="sweep-worker-")  # noqa: SIM115
        self.pipe, other = multiprocessing.Pipe()
        self._process = start_method().Process(
            target=serve, args=(other, self._said.name), daemon=True
        )
        with signals_held_back():
            self._process.start()
        other.close()

    def give(self, task):
        with contextlib.suppress(OSError):  # it died; take tells
            self.pipe.send(task)

    def take(self, n_jobs):
        """The Outcomes of its jobs; the first has what they wrote to stderr."""
        try:
            outcomes = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            died = {"error": f"worker died ({how})", "died": True}
            outcomes = [worker.Outcome(**died) for _ in range(n_jobs)]
        outcomes[0].stderr = self._said.read().decode(errors="replace")
        return outcomes

    def interrupt(self):
        if not self.pipe.poll():
            os.kill(self._process.pid, signal.SIGINT)

    def kill(self):
        self._process.kill()

    def close(self):
        self.pipe.close()  # an idle one leaves by itself
        self._process.join()
        self._said.close()


@contextlib.contextmanager
def signals_held_back():
    """A process that starts here gets these signals once it can handle them, in `serve`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would let signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(pipe, stderr):
    """A worker's life: tasks come in, Outcomes go out, until the parent is gone."""
    busy = asked = False

    def interrupt(*_):
        nonlocal asked
        if busy:
            raise KeyboardInterrupt
        asked = True  # before its job began

    signal.signal(signal.SIGINT, interrupt)
    if hasattr(os, "setsid"):
        os.setsid()  # the terminal's Ctrl-C reaches the parent alone, which passes it on
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore that outlives a kill
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_APPEND), 2)
    threading.Thread(target=_outlive_no_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = pipe.recv()
            try:
                busy = True
                outcomes = worker.interrupted(task) if asked else worker.run(task)
            except KeyboardInterrupt:  # just before its jobs began, or just after they ended
                outcomes = worker.interrupted(task)
            busy = False
            pipe.send(outcomes)
            asked = False


def _outlive_no_parent():
    """Ask the running job to save its state when the parent is gone, even by kill -9."""
    wait([multiprocessing.parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
