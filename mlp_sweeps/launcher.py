"""A sweep: see what its folders hold, then refuse, skip or run, and tell how it went."""

import contextlib
import json
import os
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from mlp.config import SWITCHES, difference
from mlp.errors import UserError
from mlp.files import whole_file
from mlp.run_folder import COMING, DONE, ENDED, clear
from mlp_sweeps import how_to_see, worker
from mlp_sweeps.jobs import Job, Jobs
from mlp_sweeps.report import Report, say
from mlp_sweeps.state import State, read_state

PLANS = {  # what a folder says -> what the sweep does
    "absent": "run",
    "killed": "go on",
    "interrupted": "go on",
    "failed": "run again",
    "running": "leave",  # to the process that owns it
    "queued": "watch",
    "finished": "skip",
    "diverged": "skip",
}
WORDS = {
    "run": "new",
    "go on": "to go on",
    "run again": "to run again after they failed",
    "run afresh": "to run afresh",
    "leave": "running elsewhere",
    "watch": "in the cluster's queue already",
    "skip": "finished already, skipped",
    "refuse": "refused",
}


@dataclass
class Plan:
    """What the sweep does with a job, and why, where that needs words."""

    job: Job
    word: str
    found: State
    why: str = ""

    def __str__(self):
        return f"{os.path.relpath(self.job.folder)} {self.why}".rstrip()


class Sweep:
    """The sweep of a task function, whose attribute `check` says what its configurations are.

    engine(task_of, n_jobs, threads) makes the place where jobs run. queued() gives {folder: config}
    of what that place has from earlier sweeps; the engine watches such a job instead of running it.
    """

    def __init__(self, hydra_context, task_function, config, engine, queued=dict):
        self._context, self._config, self._engine = hydra_context, config, engine
        self._queued, self._task_function = queued, task_function
        self._program = worker.program_of(task_function)
        self.jobs = Jobs(hydra_context.config_loader, config, task_function.check)
        self._cwd = os.getcwd()

    def launch(self, job_overrides, first=0):
        """Run what is not done. Returns {folder: Outcome}; exits with a code if not all went well.

        Raises before anything is written where a value is wrong, or what a folder holds.
        """
        if not job_overrides:
            raise UserError("a sweep of no runs: a list or a range is empty")
        overwrite, fail_fast, dry_run, stack = map(self.switch, SWITCHES)
        given = {override for overrides in job_overrides for override in overrides}
        for key in ("launcher", "sweeper", *SWITCHES):
            if sum(override.startswith(f"{key}=") for override in given) > 1:
                raise UserError(f"{key} holds for a whole sweep: give it one value")
        jobs = self.jobs.check(job_overrides, first)
        queued = self._queued()
        plans = [plan(job, overwrite, queued.get(job.folder)) for job in jobs]
        refused = [str(one) for one in plans if one.word == "refuse"]
        if refused and not dry_run:
            more = f" (and {len(refused) - 1} more)" if refused[1:] else ""
            raise UserError(f"{refused[0]}{more}; choose another name=, or add overwrite=true")
        counts = Counter(one.word for one in plans)
        say(f"sweep of {len(plans)}: " + ", ".join(f"{n} {WORDS[w]}" for w, n in counts.items()))
        if dry_run:
            for one in plans:
                say(f"{one.word}: {one}")
            if refused:
                sys.exit(1)
            return {}
        old = [one for one in plans if one.word == "run afresh"]
        if old:
            held = Counter(one.found.word for one in old)
            listed = ", ".join(f"{n} {word}" for word, n in held.items())
            say(f"overwrite=true deletes the results of {len(old)} runs: {listed}")
        for one in old:
            clear(one.job.folder)
        todo = [one for one in plans if one.word not in ("skip", "leave")]
        skipped = [one.job.folder for one in plans if one.word == "skip"]
        for parent in {os.path.dirname(one.job.folder) for one in todo}:
            try:
                os.makedirs(parent, exist_ok=True)
            except OSError as error:
                place = os.path.relpath(parent)
                raise UserError(f"can't make {place}: {error.strerror}: {error.filename}") from None
        with coming([one.job.folder for one in plans] if todo else []):
            can = {True: [], False: []}
            for one in todo:
                can[stack and one.word != "watch"].append(one.job)
            return self.drive(Listed(can[False], can[True], self._stacks), fail_fast, skipped)

    def switch(self, name):
        value = self._config.get(name, False)
        if not isinstance(value, bool):
            raise UserError(f"{name} must be true or false, got {value!r}")
        return value

    def drive(self, source, fail_fast, skipped=()):
        """Run what a source gives, until it gives no more. Returns as `launch` does.

        A source has `n_jobs`, how many runs it comes to as far as it knows, and `threads` a run.
        `ready(engine)` yields what to submit now, lists of jobs that run together.
        `ended(job, word, found)` is told how a job ended, and says the word under which it counts.
        skipped: folders of runs done before.
        """
        engine = self._engine(self._task, source.n_jobs, source.threads)
        outcomes, stopped = {}, False
        progress = self._config.get("progress", True)
        with engine, signals(engine) as caught, Report(source.n_jobs, progress) as report:
            while True:
                if not stopped:
                    for jobs in source.ready(engine):
                        engine.submit(jobs)
                if not (engine.waiting or engine.running):
                    break
                for job, outcome in engine.ended():
                    outcomes[job.folder] = outcome
                    word, found = settle(job, outcome, stopped or caught)
                    word = source.ended(job, word, found)
                    report.ended(word, job.folder, found, outcome)
                    if word == "interrupted" and engine.in_process:
                        caught.append(outcome.signal)
                report.running(engine.running, source.n_jobs)
                if not stopped and (caught or (fail_fast and report.counts["failed"])):
                    stopped = True
                    if engine.running:
                        say(f"stopping: {engine.running} running save their state first")
                    engine.stop()
            report.close(len(skipped), left=source.n_jobs - len(outcomes))
        if skipped or report.counts["finished"]:
            say(how_to_see(*sorted({os.path.dirname(one) for one in [*skipped, *outcomes]})))
        if caught:
            sys.exit(128 + caught[0])
        if report.counts["failed"] or report.counts["interrupted"]:
            sys.exit(1)
        return outcomes

    def _task(self, jobs):
        where = *self._program, self._cwd
        if not jobs[1:]:
            return worker.Task(*where, self.jobs.compose(jobs[0]), self._context)
        notes = [self.jobs.notes(job) for job in jobs]
        named = [(job.config, job.folder, job.overrides) for job in jobs]
        return worker.Stack(*where, [(*one, own) for one, own in zip(named, notes, strict=True)])

    def _stacks(self, jobs, n_parts):
        """Lists of jobs that run together, n_parts at least where there are as many jobs."""
        stacks = getattr(self._task_function, "stacks", None)
        keys = "callbacks", "job.env_set", "output_subdir", "job_logging.root"
        of_hydra = [OmegaConf.select(self._config.hydra, key) for key in keys]  # for each run alone
        if not (n_parts and stacks) or any(of_hydra):
            return [[job] for job in jobs]
        configs = [job.config for job in jobs]
        return [[jobs[i] for i in stack] for stack in stacks(configs, n_parts)]


class Listed:
    """The jobs of a grid, all known from the start. stacks: as Sweep._stacks."""

    def __init__(self, alone, together, stacks):
        self._alone, self._together, self._stacks = alone, together, stacks
        self.n_jobs = len(alone) + len(together)
        threads = [job.config.get("threads", 1) for job in (*alone, *together)]
        self.threads = max(threads, default=1)

    def ready(self, engine):
        alone, together, self._alone, self._together = self._alone, self._together, [], []
        return [*([job] for job in alone), *self._stacks(together, engine.stacks)]

    def ended(self, job, word, found):
        return word


@contextlib.contextmanager
def coming(folders):
    """Lists the runs of a sweep beside them, until all have begun: for those who look on."""
    lists = {}
    for folder in map(Path, folders):
        lists.setdefault(folder.parent / COMING, []).append(folder.name)
    for path, names in lists.items():
        with contextlib.suppress(OSError, ValueError):  # of an earlier sweep that was stopped
            names += json.loads(path.read_text())
        with whole_file(path, durable=False) as file:
            file.write(json.dumps(sorted(set(names))).encode())
    try:
        yield
    finally:
        for path, names in lists.items():
            if all((path.parent / name).is_dir() for name in names):
                path.unlink(missing_ok=True)


def plan(job, overwrite, queued=None):
    """The Plan for a job, by what its folder says. queued: its config in a cluster's queue."""
    try:
        found = State("queued", queued) if queued else read_state(job.folder)
    except UserError as error:
        found = State("unreadable")
        if not overwrite:
            return Plan(job, "refuse", found, f"can't be read: {error}")
    if overwrite and found.word in ("running", "queued"):
        where = {"running": "running in another process", "queued": "in the cluster's queue"}
        return Plan(job, "refuse", found, f"is {where[found.word]}")
    if overwrite and found.word != "absent":
        return Plan(job, "run afresh", found)
    if found.config is not None and (differs := difference(found.config, job.config)):
        return Plan(job, "refuse", found, f"holds another configuration: {differs}")
    return Plan(job, PLANS[found.word], found)


def settle(job, outcome, stopping):
    """How the sweep counts a job that has ended, and the State to report. The folder decides."""
    try:
        found = read_state(job.folder)
    except UserError as error:
        return "failed", State("unreadable", error=str(error))
    if found.word in DONE or (found.word in ENDED and not outcome.died):
        found.error = (found.error or outcome.error or "").removeprefix("UserError: ")
        return found.word, found
    if found.word == "running":
        return "running elsewhere", found
    if outcome.signal or stopping:
        return "interrupted", found
    # The folder tells nothing, so that its worker has to
    found.error = outcome.error or "it ended without a result.json"
    outcome.stderr += outcome.traceback
    return "failed", found


@contextlib.contextmanager
def signals(engine):
    """The signals that asked the sweep to stop, as they come; a second one stops it at once."""
    caught = []

    def note(number, _):
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = {}
    if not engine.in_process and threading.current_thread() is threading.main_thread():
        outlives = getattr(engine, "outlives", False)  # then a terminal may close
        for name in ("SIGINT", "SIGTERM", *([] if outlives else ["SIGHUP"])):
            number = getattr(signal, name, None)
            if number and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
