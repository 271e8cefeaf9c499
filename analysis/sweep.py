"""Many runs: which ones form a group, which ones count, and what is odd about them.

A group holds the runs that differ in nothing but the seed. A run counts if it finished and its
files are sound. A Finding names each run that does not count. Other Findings name what is odd
about the groups and about the runs that count.
"""

import difflib
import json
import math
import operator
import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from mlp.errors import UserError
from mlp.run_folder import COMING, Damaged

from .runs import EPOCH_METRICS, label, read_run, several

# These keys do not change what a run computes. `name` is the sweep's folder: because it stands
# here, equal runs of several sweeps are one group.
NOT_GROUPING = ("name", "threads", "checkpoint_every", "progress")

CONDITION = r"([^=<>!,]+)(!=|<=|>=|=|<|>)(.*)"
ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class WrongArgument(UserError):
    """An argument that can't be used. The message is its name and the text."""

    def __init__(self, argument, text):
        super().__init__(argument + text)
        self.argument, self.text = argument, text


class Finding(NamedTuple):
    run: str  # or a group
    what: str


@dataclass
class Group:
    """Runs with the same values of the sweep's keys."""

    values: dict  # such as {"lr": 0.01}
    runs: list

    @property
    def counted(self):
        """The runs that count."""
        return [run for run in self.runs if run.counts]

    def shown(self, statuses):
        """The runs that count, and those that do not but have one of the statuses."""
        return [run for run in self.runs if run.counts or run.status in statuses]

    @property
    def name(self):
        """The group as on the command line: lr=0.01,batch_size=16."""
        pairs = (f"{key}={label(value)}" for key, value in self.values.items())
        return ",".join(pairs) or "all runs"

    def finals(self, metric):
        """The last epoch's metric of the runs that count: (n,) float64."""
        return np.array([run.final(metric) for run in self.counted], float)

    def by_seed(self, metric):
        """The same as a pandas Series by seed. Raises WrongArgument where two runs share one."""
        seeds = pd.Index([run.config.get("seed") for run in self.counted])
        if seeds.has_duplicates:
            text = f": {self.name} has several runs of one seed; group by more keys"
            raise WrongArgument("by", text)
        return pd.Series(self.finals(metric), seeds)


@dataclass
class Sweep:
    runs: list
    keys: list  # the hyperparameters that tell groups apart
    findings: list
    include: tuple = ()  # statuses of runs to be shown though they do not count
    n_coming: int = 0  # runs that its folders are still to hold

    @property
    def groups(self):
        """The Groups, in the order of their values."""
        return group_runs(self.runs, self.keys)

    @property
    def metrics(self):
        """The metrics that any of the runs has, in the order of epochs.csv."""
        return [name for name in EPOCH_METRICS if any(name in run.metrics for run in self.runs)]

    def final_metric(self, metric=None):
        """The metric; the default is val_accuracy, or else test_accuracy.

        Raises WrongArgument where no run has it.
        """
        metric = metric or ("val" if "val_accuracy" in self.metrics else "test") + "_accuracy"
        check_word("metric", metric, self.metrics)
        return metric

    def add_finding(self, run, what):
        """Add a finding that only a log could tell. A second reading adds nothing."""
        if (finding := Finding(run, what)) not in self.findings:
            self.findings.append(finding)

    @property
    def notes(self):
        """The findings, with a run's name in the keys that tell it from others: lr=0.1,seed=2."""
        keys = self.keys if "seed" in self.keys else [*self.keys, "seed"]
        names = {
            run.name: Group({key: run.config.get(key) for key in keys}, []).name
            for run in self.runs
        }
        return [Finding(names.get(run, run), what) for run, what in self.findings]

    def table(self, metric=None, baseline=()):
        """Final metrics as a DataFrame, a row per group, best first: analysis.table.tabulate."""
        from .table import tabulate

        return tabulate(self, metric, baseline)

    def frame(self):
        """A DataFrame with a row per run, named by it.

        Its columns: status, the hyperparameters as on the command line, seconds, and of the last
        epoch epoch, step and the metrics. A run may lack a value: whole numbers stay whole.
        """
        columns = {"status": [run.status for run in self.runs]}
        columns |= {key: [run.config.get(key) for run in self.runs] for key in all_keys(self.runs)}
        columns["seconds"] = [run.seconds for run in self.runs]
        for clock in "epoch", "step":
            columns[clock] = [run.metrics.get(clock) for run in self.runs]
        columns |= {name: [run.final(name) for run in self.runs] for name in self.metrics}
        index = pd.Index([run.name for run in self.runs], name="run")
        return pd.DataFrame({key: column(values) for key, values in columns.items()}, index)


NONE = type(None)
WITH_GAPS = {frozenset({int, NONE}): "Int64", frozenset({bool, NONE}): "boolean"}


def column(values):
    """A pandas array. Beside None, whole numbers stay whole, and true or false stay so too."""
    return pd.Series(values, dtype=WITH_GAPS.get(frozenset(map(type, values)))).array


def read_sweep(folders, by=(), where=(), include=()):
    """The Sweep of all runs under one folder or several.

    by: keys to group runs by; () for all in which the runs differ, except seed.
    where: conditions such as "lr=0.01", "lr=0.1,1", "lr<50" or "lr!=1"; a run must meet all.
    include: statuses of runs to be shown though they do not count. Raises UserError.
    """
    runs, findings, n_coming = read_runs(folders)
    known, by, include = all_keys(runs), several(by), several(include)
    for condition in several(where):
        runs = matching(condition, runs, known)
    for key in by:
        check_word("by", key, known)

    identity = [key for key in known if key not in NOT_GROUPING or key in by]
    kept = []
    for copies in partition(runs, identity).values():
        # The last folder counts, which is the newest of dated ones; a finished run comes first.
        *older, last = sorted(copies, key=lambda run: (run.counts, run.name))
        what = f"same configuration and seed as {last.name}"
        findings += [Finding(run.name, what) for run in older]
        kept.append(last)
    kept.sort(key=lambda run: run.name)
    findings += [Finding(run.name, run.problem) for run in kept if not run.counts]
    if not any(run.counts or run.status in include for run in kept):
        raise nothing_to_show(findings)

    sweep = Sweep(kept, by or differing_keys(kept), findings, tuple(include), n_coming)
    findings += [
        Finding(group, f"no run with seed {', '.join(map(label, seeds))}")
        for group, seeds in missing_seeds(sweep.groups).items()
    ]
    findings += mixtures(sweep)
    return sweep


def read_runs(folders):
    """Every Run under one folder or several, findings, and how many runs are still to come.

    Raises UserError.
    """
    paths, findings, n_coming = find_runs(several(folders))
    runs = []
    for name, path in tqdm(paths.items(), "reading runs", disable=None, leave=False):
        try:
            runs.append(read_run(path, name))
        except Damaged as damage:
            findings.append(Finding(name, str(damage)))
    if not runs:
        raise nothing_to_show(findings)
    return runs, findings, n_coming


def find_runs(folders):
    """{name: path} of every run under folders, findings, and how many runs are still to come.

    A run's name is its path below the folder, or below what several folders have in common. Raises
    UserError.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"{folder}: no such folder")
    roots = [os.path.realpath(folder) for folder in folders]
    base = os.path.commonpath(roots)
    runs, findings, seen, n_coming = {}, [], set(), 0

    def unreadable(error):
        findings.append(Finding(os.path.relpath(error.filename, base), error.strerror))

    for root in roots:
        for path, subfolders, files in os.walk(root, followlinks=True, onerror=unreadable):
            name = os.path.relpath(path, base)
            if os.path.realpath(path) in seen:  # by a link, or in two of the folders
                subfolders.clear()
                continue
            seen.add(os.path.realpath(path))
            if COMING in files:
                with suppress(OSError, ValueError):  # the sweep has just ended
                    names = json.loads(Path(path, COMING).read_text())
                    n = sum(not Path(path, run).is_dir() for run in names)
                    n_coming += n
                    what = f"{n} of its {len(names)} runs are still to come"
                    findings += [Finding(os.path.basename(path), what)] if n else []
            if ".hydra" in subfolders or {"result.json", "steps.csv", "epochs.csv"} & set(files):
                runs[os.path.basename(path) if name == "." else name] = Path(path)
                subfolders.clear()  # a run holds no runs
            elif not subfolders and not files and path != root:
                findings.append(Finding(name, "an empty folder"))
            subfolders[:] = sorted(folder for folder in subfolders if not folder.startswith("."))
    if not runs:
        raise UserError(f"no runs under {', '.join(map(str, folders))}")
    return dict(sorted(runs.items())), findings, n_coming


def nothing_to_show(findings):
    """The UserError that says why no run counts."""
    (run, what), *others = findings
    more = f" (and {len(others)} more)" if others else ""
    return UserError(f"nothing to show: {run}: {what}{more}")


# Groups


def partition(runs, keys):
    """{values of keys: [runs that have them]}, in order of appearance; None for a missing key."""
    members = {}
    for run in runs:
        members.setdefault(tuple(run.config.get(key) for key in keys), []).append(run)
    return members


def group_runs(runs, keys):
    """The Groups of runs that are equal in keys, in the order of their values."""
    groups = partition(runs, keys).items()
    ordered = sorted(groups, key=lambda group: [rank(value) for value in group[0]])
    return [Group(dict(zip(keys, values, strict=True)), members) for values, members in ordered]


def all_keys(runs):
    """Every key that a run has, in order of appearance."""
    return list(dict.fromkeys(key for run in runs for key in run.config))


def differing_keys(runs):
    """The keys, except seed and NOT_GROUPING, in which the runs have different values.

    A run that lacks the key does not differ in it. It lacks beta1, say, because it differs in
    optimizer.
    """
    keys = [key for key in all_keys(runs) if key not in (*NOT_GROUPING, "seed")]
    return [key for key in keys if len({run.config.get(key) for run in runs} - {None}) > 1]


def missing_seeds(groups):
    """{name of a group: the seeds that it lacks and that at least half of the groups have}."""
    seeds = {group.name: {run.config.get("seed") for run in group.runs} for group in groups}
    times = Counter(seed for own in seeds.values() for seed in own)
    usual = {seed for seed, count in times.items() if 2 * count >= len(seeds)}
    return {name: sorted(usual - own, key=rank) for name, own in seeds.items() if usual - own}


def mixtures(sweep):
    """Findings on groups that pool different hyperparameters or different versions of the code."""
    findings = []
    others = [key for key in differing_keys(sweep.runs) if key not in sweep.keys]
    for group in sweep.groups:
        differing = differing_keys(group.counted)
        if pooled := [key for key in others if key in differing]:
            findings.append(Finding(group.name, f"pools runs that differ in {', '.join(pooled)}"))
        usual = Counter(run.version for run in group.counted).most_common(1)
        findings += [
            Finding(run.name, f"made by code version {run.version}, its group by {usual[0][0]}")
            for run in group.counted
            if run.version != usual[0][0]
        ]
    return findings


# Keys and values that a person gives


def check_word(argument, word, known):
    """Raises WrongArgument, with the nearest known word, where `word` is not one."""
    known = list(known)
    if word not in known:
        near = difflib.get_close_matches(word, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}"
        raise WrongArgument(argument, f": unknown {word!r}; {hint}")


def conditions(argument, texts, known):
    """[(key, sign, [values])] of texts such as "lr=0.1,1" or "lr<50,batch_size!=16".

    A comma outside brackets starts one more value, or one more condition. Raises WrongArgument.
    """
    found = []
    for text in several(texts):
        parts = re.split(r",(?![^[]*\])", text)
        if not re.match(CONDITION, parts[0]):
            raise WrongArgument(argument, f" wants KEY=VALUE, such as lr=0.01, got {text!r}")
        for part in parts:
            if not (match := re.fullmatch(CONDITION, part)):
                found[-1][-1].append(part)
                continue
            key, sign, value = match.groups()
            check_word(argument, key, known)
            found.append((key, sign, [value]))
        for key, sign, values in found:
            if sign in ORDERS and not (len(values) == 1 and is_number(values[0])):
                what = f" {key}{sign} wants one number, got {','.join(values)}"
                raise WrongArgument(argument, what)
    return found


def meets(value, sign, texts):
    """Whether a hyperparameter's value meets a condition."""
    if sign in ORDERS:
        return isinstance(value, int | float) and ORDERS[sign](value, float(texts[0]))
    return any(is_value(text, value) for text in texts) == (sign == "=")


def is_value(text, value):
    """Whether text means a hyperparameter's value: 1e-2 is 0.01, [300, 100] is [300,100]."""
    if is_number(text) and isinstance(value, int | float):
        return float(text) == value
    return text.replace(" ", "") == label(value)


def is_number(text):
    with suppress(ValueError):
        return math.isfinite(float(text))
    return False


def matching(condition, runs, known):
    """The runs that meet conditions in a text. Raises WrongArgument where none does."""
    found = runs
    for key, sign, texts in conditions("where", condition, known):
        before = found
        found = [run for run in before if meets(run.config.get(key), sign, texts)]
        if not found:
            values = sorted({run.config.get(key) for run in before}, key=rank)
            there = f"{key}: {', '.join(map(label, values))}"
            what = f" {condition} matches none of {len(before)} runs; {there}"
            raise WrongArgument("where", what)
    return found


def rank(value):
    """Sorts numbers before lists of numbers before words before nothing."""
    if isinstance(value, str):
        with suppress(ValueError):
            if value.startswith("["):
                return 1, [float(number) for number in value[1:-1].split(",") if number]
        return 2, value
    return (3, 0) if value is None else (0, value)
