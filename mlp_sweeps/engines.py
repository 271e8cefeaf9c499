"""Where jobs run on this machine. Clusters have rooms of their own with the same few methods.

An engine is a context manager. `submit(job)` takes a job at any time and returns at once.
`ended()` waits, a moment at most, and gives (job, Outcome) of each that ended since. `stop()` drops
what waits and asks what runs to save its state; `stop(folders)` does so with these jobs alone. It
returns the jobs that it has dropped.
`waiting` and `running` count jobs, `workers` says how many can run at once. Leaving the block ends
what still runs, at once.
"""

import collections
import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
from multiprocessing import resource_tracker
from multiprocessing.connection import wait

from tqdm import tqdm

from mlp_sweeps import worker

LIBRARIES = ("OPENBLAS_NUM", "MKL_NUM", "OMP_NUM", "BLIS_NUM", "NUMEXPR_NUM", "VECLIB_MAXIMUM")
ONE_THREAD = {f"{library}_THREADS": "1" for library in LIBRARIES}
HELD_BACK = (signal.SIGINT, signal.SIGTERM)
POLL = 0.2  # seconds until signals are looked at and the bar is drawn again


class Serial:
    """One job after the other, in this process."""

    in_process, workers = True, 1

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
        return len(self._jobs)

    def submit(self, job):
        self._jobs.append(job)

    def ended(self):
        job = self._jobs.popleft()
        return [(job, worker.run(self._task_of(job)))]

    def stop(self, folders=None):
        return drop(self._jobs, folders)


class Local:
    """Processes of this machine, each for many jobs. One that dies takes its own job alone."""

    in_process = False

    def __init__(self, task_of, workers):
        self._task_of, self.workers = task_of, workers
        self._jobs = collections.deque()
        self._idle, self._busy = [], {}  # pipe of a busy one -> (process, job)
        os.environ.update(ONE_THREAD)  # processes inherit it before they load NumPy

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process, _ in self._busy.values():
            process.kill()
        for process in [*self._idle, *(process for process, _ in self._busy.values())]:
            process.close()

    @property
    def waiting(self):
        return len(self._jobs)

    @property
    def running(self):
        return len(self._busy)

    def submit(self, job):
        self._jobs.append(job)

    def ended(self):
        self._hand_out()
        ended = []
        for pipe in wait(list(self._busy), POLL):
            process, job = self._busy.pop(pipe)
            outcome = process.take()
            if not outcome.died:
                self._idle.append(process)
            ended.append((job, outcome))
        self._hand_out()  # workers need not wait until this is reported
        return ended

    def _hand_out(self):
        while self._jobs and len(self._busy) < self.workers:
            process = self._idle.pop() if self._idle else _Process()
            job = self._jobs.popleft()
            self._busy[process.pipe] = process, job
            process.give(self._task_of(job))

    def stop(self, folders=None):
        for process, job in self._busy.values():
            if folders is None or job.folder in folders:
                process.interrupt()
        return drop(self._jobs, folders)


def drop(jobs, folders):
    """Take the jobs with these folders, or all, out of a queue, and return them."""
    dropped = [job for job in jobs if folders is None or job.folder in folders]
    kept = [job for job in jobs if job not in dropped]
    jobs.clear()
    jobs.extend(kept)
    return dropped


class _Process:
    """A worker as its parent sees it."""

    def __init__(self):
        self._said = tempfile.NamedTemporaryFile(prefix="sweep-worker-")  # noqa: SIM115
        self.pipe, other = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(other, self._said.name), daemon=True
        )
        with signals_held_back():
            self._process.start()
        other.close()

    def give(self, task):
        with contextlib.suppress(OSError):  # it died; take tells
            self.pipe.send(task)

    def take(self):
        """The Outcome of its job, with what it wrote to stderr."""
        try:
            outcome = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            outcome = worker.Outcome(error=f"worker died ({how})", died=True)
        outcome.stderr = self._said.read().decode(errors="replace")
        return outcome

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
    """A process that starts here gets SIGINT and SIGTERM once it can handle them, in `serve`."""
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
                outcome = worker.Outcome(signal=signal.SIGINT) if asked else worker.run(task)
            except KeyboardInterrupt:  # just before its job began, or just after it ended
                outcome = worker.Outcome(signal=signal.SIGINT)
            busy = False
            pipe.send(outcome)
            asked = False


def _outlive_no_parent():
    """Ask the running job to save its state when the parent is gone, even by kill -9."""
    wait([multiprocessing.parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
