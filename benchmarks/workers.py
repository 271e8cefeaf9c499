"""Timing peers side by side: each in a process of its own, with a bounded number of threads.

The processes stay alive and are asked in turn, so that whatever slows the machine down meets all of
them alike. Two BLAS or OpenMP libraries never share a process, where they would fight for cores.
"""

import dataclasses
import gc
import itertools
import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.peers import PEERS, Task

REST = 0.05  # seconds before each timing, in which the threads of the one before go to sleep


class Timing(NamedTuple):
    """One peer's time for one task in one round."""

    peer: str
    threads: int
    task: Task
    round: int
    microseconds: float  # a step
    cpus: float  # processor time over the clock's
    loss: float | None  # after the steps; None for what does not train


def measure(peers, threads, tasks, rounds):
    """Every peer with every number of threads at every task, `rounds` times.

    One more round goes before, to compile and to warm up, and is not counted. Each has its own
    order of examples, the same for all peers. Returns Timings, and a line for each worker that
    can't take part, with the reason.
    """
    workers = [Worker(peer, n) for n in threads for peer in peers]
    timings, absent = [], {}
    with threadpool_limits(1), tqdm(total=(rounds + 1) * len(tasks) * len(workers)) as bar:
        for round_, task in itertools.product(range(rounds + 1), tasks):
            random.Random(round_).shuffle(workers)
            for worker in workers:
                bar.update()
                if worker in absent:
                    continue
                try:
                    timing = worker.time(task, round_)
                except Absent as reason:
                    line = f"{worker.peer}, threads {worker.threads}: left out ({reason})"
                    absent[worker] = line
                    bar.write(line, file=sys.stderr)
                else:
                    timings += [timing] if round_ else []
    return timings, list(absent.values())


class Absent(Exception):
    """Why a peer can't take part."""


class Worker:
    """A process in which one peer runs with a number of threads."""

    def __init__(self, peer, threads):
        self.peer, self.threads = peer, threads
        names = ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]
        names += ["VECLIB_MAXIMUM_THREADS"]
        variables = dict.fromkeys(names, str(threads))
        variables["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"
        variables |= {"KERAS_BACKEND": "jax", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.workers", peer, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | variables,
        )

    def time(self, task, round_):
        """Have the task done, the examples in this round's order."""
        pickle.dump(dataclasses.replace(task, seed=round_), self._process.stdin)
        self._process.stdin.flush()
        try:
            seconds, cpu_seconds, params = pickle.load(self._process.stdout)
        except EOFError:
            raise Absent("its process died") from None
        if seconds is None:
            raise Absent(params)
        loss = None if params is None else task.loss(params)
        step, cpus = 1e6 * seconds / task.n_steps, cpu_seconds / seconds
        return Timing(self.peer, self.threads, task, round_, step, cpus, loss)


def serve(peer, threads):
    """The worker's side: tasks come in; seconds, processor seconds and parameters go out."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for what libraries print
    if hasattr(os, "sched_setaffinity"):  # some start threads beyond those that they are told of
        os.sched_setaffinity(0, cores(threads))
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)
        except EOFError:  # nobody asks any more
            return
        try:
            run, params = PEERS[peer](task)
            gc.collect()
            time.sleep(REST)
            began, cpu_began = time.perf_counter(), time.process_time()
            run()
            cpu_seconds, seconds = time.process_time() - cpu_began, time.perf_counter() - began
            answer = seconds, cpu_seconds, params()
        except Exception as error:
            answer = None, None, f"{type(error).__name__}: {error}".partition("\n")[0]
        pickle.dump(answer, answers)
        answers.flush()


def cores(n):
    """n processors on different cores, or fewer where there are fewer."""
    by_core = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        by_core.setdefault(siblings.read_text() if siblings.exists() else cpu, cpu)
    return list(by_core.values())[:n]


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
