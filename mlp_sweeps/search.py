"""A search: Optuna proposes hyperparameters, trial by trial, and run folders tell what they gave.

A trial is one point of the space. It has a run for each seed, and its value is the mean of their
objectives. As soon as a worker is free, the next trial is asked. The journal beside the run folders
remembers the trials, so that the same command goes on; what a run gave is read from its folder.
"""

import contextlib
import csv
import itertools
import json
import math
import os
import shlex
import statistics
import sys
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from mlp.config import difference
from mlp.errors import UserError
from mlp.files import fcntl, whole_file
from mlp.run_folder import DONE, read_result
from mlp_sweeps import how_to_start
from mlp_sweeps.launcher import plan
from mlp_sweeps.report import say
from mlp_sweeps.space import read_space

JOURNAL = "optuna.log"
# Not those of the test set, which can't judge what it has chosen
OBJECTIVES = ("val_loss", "val_accuracy", "train_loss", "train_accuracy")
WORDS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "to go on",
    TrialState.FAIL: "failed",
}


@dataclass(eq=False)
class Trial:
    """A trial whose value is not known yet, and its runs."""

    asked: optuna.Trial
    point: list  # its overrides
    jobs: list = field(default_factory=list)  # one a seed
    pending: set = field(default_factory=set)  # folders of those that run, or wait to
    values: list = field(default_factory=list)  # of those that are done
    failed: bool = False
    left: bool = False  # a run was interrupted, or another process has it
    pruned: str = ""  # when
    seen: int = 0  # epochs that Optuna knows of


class Search:
    """A source of jobs for a Sweep, see Sweep.drive."""

    def __init__(self, sweep, overrides, *, n_trials, objective, pruning, seed):
        """overrides: parsed ones, fixed values and the space. Raises UserError."""
        self._sweep, self._n_trials, self._objective = sweep, n_trials, objective
        self._pruning, self._seed = pruning, seed
        check_options(n_trials, objective, pruning, seed)
        self._space = read_space(overrides)
        corners = sweep.jobs.check(self._space.corners(), 0)
        self.threads = max(job.config.get("threads", 1) for job in corners)
        places = {os.path.dirname(job.folder) for job in corners}
        if len(places) > 1:
            both = " and ".join(sorted(map(os.path.relpath, places))[:2])
            raise UserError(f"a search needs one folder, not {both}: give it a name=")
        (self._folder,) = places
        self._some_failed = False  # trials that had no runs
        self._runs = {}  # folder of a run that runs or waits to -> the Trials that need it
        self._again = []  # jobs that were stopped for one trial, and that another one needs

    def run(self):
        """Ask, run and tell until there are n_trials; says the best. Exits as Sweep.drive does."""
        dry_run, fail_fast, overwrite = map(
            self._sweep.switch, ("dry_run", "fail_fast", "overwrite")
        )
        if overwrite:
            raise UserError("a search can't be overwritten: choose another name=")
        path = Path(self._folder, JOURNAL)
        try:
            if dry_run and not path.exists():
                return self._go_on(None, dry_run, fail_fast)
            path.parent.mkdir(parents=True, exist_ok=True)
            with owned(path) as storage:
                return self._go_on(storage, dry_run, fail_fast)
        except OSError as error:
            raise UserError(f"the search can't go on: {error}") from None

    def _go_on(self, storage, dry_run, fail_fast):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = study_in(storage, self._objective)
        asked = self._space.tell() | {"objective": self._objective}
        known = self._study.user_attrs.get("search")
        if known and (differs := difference(known, asked)):
            place = os.path.relpath(self._folder)
            raise UserError(f"{place} holds another search: {differs}; choose another name=")
        told = self._study.trials
        self._refuse_other_runs(told)
        states = Counter(trial.state for trial in told)
        # Failed ones are tried again, as in any sweep. Then they no longer count.
        kept = [trial for trial in told if trial.state in WORDS and trial.state != TrialState.FAIL]
        self._to_ask = max(0, self._n_trials - len(kept))
        self._to_go_on = [trial for trial in kept if trial.state == TrialState.RUNNING]
        self.n_jobs = (self._to_ask + len(self._to_go_on)) * len(self._space.seeds)
        counts = [f"{states[state]} {word}" for state, word in WORDS.items() if states[state]]
        say(f"search of {self._n_trials} trials: " + ", ".join([*counts, f"{self._to_ask} new"]))
        if dry_run:
            for key, words in self._space.tell()["space"].items():
                say(f"{key}: {words}")
            return
        if not known:
            self._study.set_user_attr("search", asked)
        points = [trial.system_attrs.get("fixed_params", trial.params) for trial in told]
        for trial in told:
            if trial.state == TrialState.FAIL and trial.params not in points[trial.number + 1 :]:
                self._study.enqueue_trial(trial.params)
        try:
            self._sweep.drive(self, fail_fast)
        finally:
            self._say_best()
        if self._some_failed:
            sys.exit(1)

    def _refuse_other_runs(self, trials):
        """Raise where a folder of an earlier trial holds another configuration by now."""
        told = [one for one in trials if one.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        overrides = [job for one in told for job in self._space.jobs(self._space.point(one))]
        for job in self._sweep.jobs.check(overrides, 0):
            if (found := plan(job, overwrite=False)).word == "refuse":
                raise UserError(f"{found}; choose another name=")

    def _jobs_of(self, trial, point):
        overrides = self._space.jobs(point)
        return self._sweep.jobs.check(overrides, trial.number * len(overrides))

    # What Sweep.drive asks for

    def ready(self, engine):
        self._engine = engine
        for trial in dict.fromkeys(itertools.chain.from_iterable(self._runs.values())):
            self._look(trial)
        for job in self._again:
            self.n_jobs += 1
            yield [job]
        self._again.clear()
        # One trial too early is one that knows less: none is asked before a worker is free
        while engine.waiting + engine.running < engine.workers:
            if self._to_go_on:
                known = self._to_go_on.pop(0)
                self._study.sampler = sampler(self._seed, known.number)  # for what it lacks yet
                asked = optuna.Trial(self._study, known._trial_id)
                trial = Trial(asked, self._space.point(asked), seen=known.last_step or 0)
            elif self._to_ask:
                self._to_ask -= 1
                # A generator for each trial: a search that was killed asks what it would have asked
                number = len(self._study.get_trials(deepcopy=False))
                self._study.sampler = sampler(self._seed, number)
                asked = self._study.ask()
                trial = Trial(asked, self._space.point(asked))
            else:
                return
            yield from ([job] for job in self._start(trial))

    def ended(self, job, word, found):
        trials = self._runs.pop(job.folder)
        for trial in trials:
            self._look(trial)
        needed_by = [trial for trial in trials if not trial.pruned]
        if word not in DONE and (stopped_for := [one for one in trials if one.pruned]):
            mark_pruned(job.folder, stopped_for[0])
            if needed_by:
                self._again.append(job)
                self._runs[job.folder] = needed_by
            return "pruned"
        for trial in needed_by:
            self._count(trial, word, found)
            trial.pending.remove(job.folder)
            self._close_if_done(trial)
        return word

    # A trial's life

    def _start(self, trial):
        """Yield the jobs of a trial that have to run."""
        self.n_jobs -= len(self._space.seeds)
        try:
            trial.jobs = self._jobs_of(trial.asked, trial.point)
            plans = [plan(job, overwrite=False) for job in trial.jobs]
            if refused := [str(one) for one in plans if one.word == "refuse"]:
                raise UserError(refused[0])
        except UserError as error:
            self._some_failed = True
            self._tell(trial, f"failed: {error}", state=TrialState.FAIL)
            return
        todo = []
        for one in plans:
            is_ours = one.job.folder in self._runs  # for another trial: `ended` will tell
            if one.word in ("skip", "leave") and not is_ours:
                self._count(trial, one.found.word, one.found)
            else:
                todo.append(one.job)
        trial.pending = {job.folder for job in todo}
        self._look(trial)
        if trial.pruned:
            return
        self._close_if_done(trial)
        for job in todo:
            needed_by = self._runs.setdefault(job.folder, [])
            needed_by.append(trial)
            if len(needed_by) == 1:
                self.n_jobs += 1
                yield job

    def _count(self, trial, word, found):
        """Take note of what a run of the trial came to."""
        if word in DONE:
            trial.values.append(self._value(word, found))
        elif word == "failed":
            trial.failed = True
        else:
            trial.left = True

    def _value(self, word, found):
        worst = -math.inf if self._objective.endswith("accuracy") else math.inf
        if word == "diverged":
            return worst
        if self._objective not in found.metrics:
            given = ", ".join(key for key in OBJECTIVES if key in found.metrics) or "none of them"
            raise UserError(f"the objective {self._objective} is not what the runs give: {given}")
        value = found.metrics[self._objective]
        return worst if value is None else value

    def _close_if_done(self, trial):
        if trial.pending or trial.left:
            return
        if trial.failed:
            self._tell(trial, "failed", state=TrialState.FAIL)
            return
        trial.asked.set_user_attr("values", trial.values)
        mean = statistics.fmean(trial.values)
        self._tell(trial, f"{self._objective} {mean:.4g}", mean)

    def _look(self, trial):
        """Tell Optuna of new epochs of the trial's first run; prune the trial where it says so.

        All trials have the same first seed, and are compared on it. An epoch is judged the same
        whenever we look: early, or after its run has ended.
        """
        if trial.pruned or not self._pruning:
            return
        first = trial.jobs[0]
        for epoch, value in epochs(first.folder, self._objective):
            if epoch <= trial.seen:
                continue
            trial.seen = epoch
            trial.asked.report(value, epoch)
            nothing_left = len(trial.jobs) == 1 and epoch == first.config.get("epochs")
            if not nothing_left and trial.asked.should_prune():
                trial.pruned = f"epoch {epoch}"
                self._tell(trial, f"pruned at {trial.pruned}", state=TrialState.PRUNED)
                self._stop_runs(trial)
                return

    def _stop_runs(self, trial):
        """Stop the runs of a pruned trial, but for those that another one needs."""
        needless = {
            folder
            for folder, trials in self._runs.items()
            if trial in trials and all(one.pruned for one in trials)
        }
        for job in self._engine.stop(needless):
            del self._runs[job.folder]
            self.n_jobs -= 1

    def _tell(self, trial, words, value=None, state=None):
        self._study.tell(trial.asked, value, state)
        say(f"trial {trial.asked.number}: {words}; {' '.join(trial.point)}")

    def _say_best(self):
        told = self._study.trials
        states = Counter(trial.state for trial in told)
        counts = [f"{states[state]} {word}" for state, word in WORDS.items() if states[state]]
        say(f"search: {', '.join(counts) or 'no trials'}")
        if not states[TrialState.COMPLETE]:
            return
        best = self._study.best_trial
        values, point = best.user_attrs["values"], self._space.point(best)
        shown = f"{self._objective} {best.value:.4g}"
        if len(values) > 1 and math.isfinite(best.value):
            shown += f" ± {statistics.stdev(values):.2g} over {len(values)} seeds"
        say(f"best: trial {best.number}: {shown}; {' '.join(point)}")
        name = f"name={os.path.basename(self._folder)}-best"
        again = [*self._space.own, *point, *self._space.seed_override, "sweeper=grid", name]
        say(f"to repeat it: {how_to_start('run')} {shlex.join(['-m', *again])}")


def study_in(storage, objective):
    """The search's study in an Optuna storage, or in memory."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    known = storage and "search" in optuna.get_all_study_names(storage)
    if known:
        return optuna.load_study(study_name="search", storage=storage, pruner=pruner)
    direction = "maximize" if objective.endswith("accuracy") else "minimize"
    return optuna.create_study(
        study_name="search", storage=storage, pruner=pruner, direction=direction
    )


def check_options(n_trials, objective, pruning, seed):
    for key, value, legal, words in (
        ("n_trials", n_trials, type(n_trials) is int and n_trials >= 1, "an integer >= 1"),
        ("objective", objective, objective in OBJECTIVES, f"one of {', '.join(OBJECTIVES)}"),
        ("pruning", pruning, isinstance(pruning, bool), "true or false"),
        ("seed", seed, type(seed) is int and seed >= 0, "an integer >= 0"),
    ):
        if not legal:
            raise UserError(f"hydra.sweeper.{key} must be {words}, got {value!r}")


def sampler(seed, number):
    """The sampler that proposes a trial's point."""
    (seed,) = np.random.SeedSequence([seed, number]).generate_state(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant_liar is experimental
        return optuna.samplers.TPESampler(seed=int(seed), constant_liar=True)


def epochs(folder, metric):
    """(epoch, value) of each line of a run's epochs.csv that is whole by now, but for epoch 0."""
    try:
        text = Path(folder, "epochs.csv").read_text()
    except (FileNotFoundError, NotADirectoryError):
        return
    for row in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
        value = float(row.get(metric, "nan"))
        if int(row["epoch"]) > 0 and math.isfinite(value):
            yield int(row["epoch"]), value


def mark_pruned(folder, trial):
    """Say in the result.json of a run that was stopped why it was."""
    try:
        result = read_result(folder)
    except FileNotFoundError:
        return
    if result["status"] == "interrupted":
        result["error"] = f"pruned: trial {trial.asked.number} at {trial.pruned}"
        with whole_file(Path(folder, "result.json")) as file:
            file.write(json.dumps(result, indent=2).encode() + b"\n")


class _Owned:
    """Optuna's own lock outlives a kill. This file is locked as a whole, see `owned`."""

    def acquire(self):
        return True

    def release(self):
        pass


@contextlib.contextmanager
def owned(path):
    """The journal as an Optuna storage, for one process at a time."""
    with open(path, "ab") as file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{os.path.relpath(path)}: another search writes it") from None
        file.truncate(path.read_bytes().rfind(b"\n") + 1)  # a kill may have torn the last line
        try:
            storage = JournalStorage(JournalFileBackend(str(path), _Owned() if fcntl else None))
        except (ValueError, KeyError):
            raise UserError(f"{os.path.relpath(path)} is damaged") from None
        yield storage
