"""A sweep's folder, read and checked: what was run, how it ended, and what may be averaged.

Runs that differ in nothing but the seed are a group. Only finished, undamaged runs count; every
other one, and all that is odd about those that do count, becomes a Finding that names it.
"""

import difflib
import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from tqdm import tqdm

from mlp.errors import UserError

# These change nothing about what is computed. With `name` among them, the runs of several sweeps
# (it is their folder) that are equal in all else are one group.
NOT_GROUPING = ("name", "threads", "progress")

# Those of epochs.csv; test_* instead of val_* in a run with dataset.final=true.
EPOCH_METRICS = [f"{on}_{of}" for on in ("train", "val", "test") for of in ("loss", "accuracy")]
METRICS = ["loss", *EPOCH_METRICS]  # and the mini-batches' own, of steps.csv

YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, where it was compiled in


class Damaged(Exception):
    """A file of a run that can't be trusted: which, where and why."""


class Finding(NamedTuple):
    run: str
    what: str


class Run(NamedTuple):
    config: dict  # flat, see flatten
    status: str
    problem: str | None  # why it doesn't count
    metrics: dict  # of the last epoch
    version: str  # of the code


@dataclass
class Sweep:
    """Runs and what was found out about them. The tables have a row per run, named by its folder.

    runs: path, status, problem (None for the runs that count), version (of the code).
    config: a column per hyperparameter; values as they were set, None where a run has no such key.
    metrics: the last epoch's row of epochs.csv; NaN where there was none.
    keys: the hyperparameters that tell groups apart.
    """

    runs: pd.DataFrame
    config: pd.DataFrame
    metrics: pd.DataFrame
    keys: list[str]
    findings: list[Finding]

    def groups(self):
        """[(values of keys, names of the group's runs)], in the order of the values."""
        groups = partition(self.config[self.keys])
        return sorted(groups.items(), key=lambda group: [rank(value) for value in group[0]])

    def counted(self, names):
        """Those of the named runs that count."""
        return [name for name in names if self.runs.at[name, "problem"] is None]

    def describe(self, values):
        """A group as on the command line: lr=0.01,batch_size=16."""
        pairs = zip(self.keys, values, strict=True)
        return ",".join(f"{key}={label(value)}" for key, value in pairs) or "all runs"

    def read_curves(self, name, metrics, x):
        """A run's curves, {metric: (x, y)}, both (points,) float64, x rising.

        x is "step", "epoch" (for the mini-batch loss, step by steps per epoch) or "examples" (step
        times batch_size, so a short last batch counts as a full one). Raises Damaged.
        """
        logs, curves = {}, {}
        for metric in metrics:
            clock = "step" if metric == "loss" else "epoch"
            if clock not in logs:
                path = self.runs.at[name, "path"] / f"{clock}s.csv"
                logs[clock] = read_log(path, clock, int(self.metrics.at[name, clock]))
            log = logs[clock]
            if metric not in log:
                raise Damaged(f"{clock}s.csv has no column {metric}")
            if x == "examples":
                points = log["step"] * self.config.at[name, "batch_size"]
            elif x == "epoch" and clock == "step":
                points = log["step"] / np.count_nonzero(log["epoch"] == log["epoch"][0])
            else:
                points = log[x]
            curves[metric] = points, log[metric]
        return curves


def read_sweep(folders, by=(), where=()):
    """The Sweep of all runs under folders.

    by: the keys to group by; () for all in which the runs differ, but for the seed.
    where: conditions KEY=VALUE, all of which a run must meet. Raises UserError.
    """
    paths, findings = find_runs(folders)
    found = {}
    for name, path in tqdm(paths.items(), "reading runs", disable=None, leave=False):
        try:
            found[name] = read_run(path)
        except Damaged as damage:
            findings.append(Finding(name, str(damage)))
    if not found:
        raise nothing_to_show(findings)
    config = _table(found, [run.config for run in found.values()])
    for condition in where:
        config = config[_meets(condition, config)]
    for key in by:
        check_word("--by", key, config.columns)

    identity = [key for key in config if key not in NOT_GROUPING or key in by]
    kept = []
    for copies in partition(config[identity]).values():
        # Rather a finished one than a later failure; else the last: the newest of dated folders.
        *older, last = sorted(copies, key=lambda name: (found[name].problem is None, name))
        findings += [Finding(name, f"same configuration and seed as {last}") for name in older]
        kept.append(last)
    kept.sort()
    config, found = config.loc[kept], {name: found[name] for name in kept}
    rows = [{"path": paths[name], **run._asdict()} for name, run in found.items()]
    runs = _table(found, rows)[["path", "status", "problem", "version"]]
    findings += [Finding(name, run.problem) for name, run in found.items() if run.problem]
    if runs["problem"].notna().all():
        raise nothing_to_show(findings)

    keys = list(by) or hyperparameters(config)
    metrics = pd.DataFrame([run.metrics for run in found.values()], index=kept)
    sweep = Sweep(runs, config, metrics, keys, findings)
    findings += _missing_seeds(sweep) + _mixtures(sweep)
    return sweep


def nothing_to_show(findings):
    """The UserError that says why no run counts."""
    (run, what), *others = findings
    more = f" (and {len(others)} more)" if others else ""
    return UserError(f"nothing to show: {run}: {what}{more}")


def find_runs(folders):
    """({name: path} of every run under folders, findings). Raises UserError.

    A run's name is its path below the folder, or below what several folders have in common.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"{folder}: no such folder")
    roots = [os.path.realpath(folder) for folder in folders]
    base = os.path.commonpath(roots)
    runs, findings, seen = {}, [], set()

    def unreadable(error):
        findings.append(Finding(os.path.relpath(error.filename, base), error.strerror))

    for root in roots:
        for path, subfolders, files in os.walk(root, followlinks=True, onerror=unreadable):
            name = os.path.relpath(path, base)
            if os.path.realpath(path) in seen:  # by a link, or in two of the folders
                subfolders.clear()
                continue
            seen.add(os.path.realpath(path))
            if ".hydra" in subfolders or {"result.json", "steps.csv", "epochs.csv"} & set(files):
                runs[os.path.basename(path) if name == "." else name] = Path(path)
                subfolders.clear()  # a run holds no runs
            elif not subfolders and not files and path != root:
                findings.append(Finding(name, "an empty folder"))
            subfolders[:] = sorted(folder for folder in subfolders if not folder.startswith("."))
    if not runs:
        raise UserError(f"no runs under {', '.join(map(str, folders))}")
    return dict(sorted(runs.items())), findings


def read_run(path):
    """The Run in a folder, from result.json, or else from what Hydra wrote at the start.

    Raises Damaged where not even the configuration can be read.
    """
    try:
        result = json.loads((path / "result.json").read_bytes())
        config, status, metrics = flatten(result["config"]), result["status"], result["metrics"]
        version = _version(**result["environment"])
        if status == "finished":
            problem = _unusable(metrics)
        else:
            problem = ": ".join([status, *result.get("error", "").splitlines()[:1]])
        return Run(config, status, problem, metrics or {}, version)
    except FileNotFoundError:
        return Run(_started(path), "running", "no result.json: running, or killed", {}, "")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Run(_started(path), "damaged", "result.json is not what a run writes", {}, "")


def _version(git_commit=None, git_dirty=None, **_):
    return (git_commit or "unknown")[:7] + " with changes" * bool(git_dirty)


def _unusable(metrics):
    """What is wrong with a finished run's metrics, or None."""
    for key in ("step", "epoch", *metrics):
        if not isinstance(value := metrics.get(key), int | float) or not math.isfinite(value):
            return f"result.json: {key} is {value}"
    return None


def _started(path):
    try:
        return flatten(yaml.load((path / ".hydra/config.yaml").read_bytes(), YAML_LOADER))
    except (OSError, ValueError, yaml.YAMLError, AttributeError):
        raise Damaged("neither result.json nor .hydra/config.yaml can be read") from None


def flatten(config):
    """{"lr": 1, "model": {"name": "mlp", "init": "he"}} to {"lr": 1, "model": "mlp", "model.init":
    "he"}: every key as on the command line. Lists become text, [300,100].
    """
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict):
            inner = {f"{key}.{name}": below for name, below in flatten(value).items()}
            if f"{key}.name" in inner:
                flat[key] = inner.pop(f"{key}.name")
            flat |= inner
        else:
            flat[key] = label(value) if isinstance(value, list) else value
    return flat


def read_log(path, clock, last):
    """A run's CSV log, {column: (rows,) float64}: finite numbers, and a row for every `clock`
    ("step" or "epoch") up to `last`. Raises Damaged where it is anything else.
    """
    first = 1 if clock == "step" else 0  # epoch 0 is the untrained network
    try:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                raise Damaged(f"{path.name}: the last line is torn")
        # From 3.1 on, pandas reads every number as float() does, to the last bit.
        log = pd.read_csv(path, skip_blank_lines=False)
    except FileNotFoundError:
        raise Damaged(f"{path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise Damaged(f"{path.name}: {' '.join(str(error).split())}") from None
    if not {"step", "epoch"} <= set(log):
        raise Damaged(f"{path.name} has the columns {','.join(log)}")
    columns = {name: pd.to_numeric(log[name], errors="coerce").to_numpy(float) for name in log}
    bad = ~np.isfinite(list(columns.values())).all(axis=0)
    if bad.any():
        above = 1 + int(bad.argmax())  # lines above the first bad one, with the header
        with open(path, errors="replace") as file:
            line = next(islice(file, above, None)).strip()
        raise Damaged(f"{path.name}, line {above + 1}: {line[:40]}")
    if not np.array_equal(columns[clock], np.arange(first, last + 1)):
        raise Damaged(f"{path.name}: {len(log)} rows, not one for each {clock} {first} to {last}")
    return columns


def partition(table):
    """{values of a row: [names of the rows that have them]}, in order of appearance."""
    members = {}
    for name, *values in table.itertuples():
        members.setdefault(tuple(values), []).append(name)
    return members


def hyperparameters(config):
    """The keys, but for the seed and NOT_GROUPING, of which the runs have different values. Not to
    have the key is no difference: that comes of another one, such as optimizer=adam.
    """
    keys = [key for key in config if key not in (*NOT_GROUPING, "seed")]
    return [key for key in keys if config[key].nunique() > 1]


def label(value):
    """A hyperparameter's value as on the command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def check_word(option, word, known):
    """Raises UserError, with the nearest known word, where `word` is not one."""
    known = list(known)
    if word not in known:
        near = difflib.get_close_matches(word, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}"
        raise UserError(f"{option}: unknown {word!r}; {hint}")


def split_condition(option, condition):
    """("lr", "0.01") from "lr=0.01"."""
    key, equals, text = condition.partition("=")
    if not equals:
        raise UserError(f"{option} wants KEY=VALUE, such as lr=0.01, got {condition!r}")
    return key, text


def is_value(text, value):
    """Whether text means a hyperparameter's value: 1e-2 is 0.01, [300, 100] is [300,100]."""
    try:
        return float(text) == value
    except ValueError:
        return text.replace(" ", "") == label(value)


def _meets(condition, config):
    key, text = split_condition("--where", condition)
    check_word("--where", key, config.columns)
    mask = np.array([is_value(text, value) for value in config[key]])
    if not mask.any():
        known = ", ".join(label(value) for value in sorted(set(config[key]), key=rank))
        raise UserError(f"--where {condition} matches none of {len(config)} runs; {key}: {known}")
    return mask


def rank(value):
    """Sorts numbers before words before nothing."""
    return (value is None, isinstance(value, str), value if value is not None else 0)


def _table(found, records):
    """One row per run and a column for every key of any; None where a record lacks it."""
    keys = dict.fromkeys(key for record in records for key in record)
    columns = {key: [record.get(key) for record in records] for key in keys}
    return pd.DataFrame(columns, index=list(found), dtype=object)


def _missing_seeds(sweep):
    """Findings on groups without a seed that at least half of the groups have."""
    seeds = {
        sweep.describe(values): set(sweep.config.loc[names, "seed"])
        for values, names in sweep.groups()
    }
    times = Counter(seed for own in seeds.values() for seed in own)
    usual = {seed for seed, count in times.items() if 2 * count >= len(seeds)}
    return [
        Finding(group, f"no run with seed {', '.join(map(label, sorted(usual - own, key=rank)))}")
        for group, own in seeds.items()
        if usual - own
    ]


def _mixtures(sweep):
    """Findings on groups that pool different hyperparameters or different versions of the code."""
    findings = []
    others = [key for key in hyperparameters(sweep.config) if key not in sweep.keys]
    for values, names in sweep.groups():
        names = sweep.counted(names)
        pooled = [key for key in others if sweep.config.loc[names, key].nunique() > 1]
        if pooled:
            what = f"pools runs that differ in {', '.join(pooled)}"
            findings.append(Finding(sweep.describe(values), what))
        versions = sweep.runs.loc[names, "version"]
        usual = Counter(versions).most_common(1)
        findings += [
            Finding(name, f"made by code version {version}, its group by {usual[0][0]}")
            for name, version in versions.items()
            if version != usual[0][0]
        ]
    return findings
