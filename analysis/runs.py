"""One run as its folder tells it: configuration, how it ended, last metrics, curves."""

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from mlp.run_folder import Damaged, read_config, read_log, read_result

# The columns of epochs.csv. A run with dataset.final=true has test_* instead of val_*.
EPOCH_METRICS = [f"{on}_{of}" for on in ("train", "val", "test") for of in ("loss", "accuracy")]
METRICS = ["loss", *EPOCH_METRICS]  # loss: the mini-batches', from steps.csv


@dataclass(frozen=True)
class Run:
    """A run. It counts if it finished and its metrics are finite numbers."""

    name: str  # its folder below the sweep's
    folder: Path
    config: dict  # flat, see flatten
    status: str  # that of result.json, or running, or damaged
    problem: str | None = None  # why the run does not count
    metrics: dict = field(default_factory=dict)  # of the last epoch
    version: str = ""  # of the code

    @property
    def counts(self):
        return self.problem is None

    def final(self, metric):
        """The last epoch's value; NaN where there is none."""
        value = self.metrics.get(metric)
        return math.nan if value is None else float(value)

    def curves(self, metrics, x="step"):
        """{metric: (x, y)}, both (points,) float64, x rising. Raises Damaged.

        x: "step", "epoch" or "examples". For the mini-batch loss, epoch rises by a fraction each
        step. examples is step times batch_size, so it takes a short last batch for a whole one.
        """
        if not self.metrics:
            raise Damaged(self.problem)
        logs, curves = {}, {}
        for metric in several(metrics):
            clock = "step" if metric == "loss" else "epoch"
            if clock not in logs:
                logs[clock] = read_log(self.folder, clock, int(self.metrics[clock]), parse)
            log = logs[clock]
            if metric not in log:
                raise Damaged(f"{clock}s.csv has no column {metric}")
            if x == "examples":
                points = log["step"] * self.config["batch_size"]
            elif x == "epoch" and clock == "step":
                points = log["step"] / np.count_nonzero(log["epoch"] == log["epoch"][0])
            else:
                points = log[x]
            curves[metric] = points, log[metric]
        return curves


def several(values):
    """A list of values that may be given as one alone."""
    return [values] if isinstance(values, str | os.PathLike) else list(values)


def parse(path):
    """The columns of a CSV file, NaN where there is no number. Raises ValueError, OSError."""
    # pandas 3.1 is the first to read every number as float() does, to the last bit.
    log = pd.read_csv(path, skip_blank_lines=False)
    return {name: pd.to_numeric(log[name], errors="coerce").to_numpy(float) for name in log}


def read_run(folder, name):
    """The Run in a folder. Raises Damaged where nothing tells its configuration."""
    try:
        result = read_result(folder)
    except FileNotFoundError:
        status, problem = "running", "no result.json: running, or killed"
    except Damaged as damage:
        status, problem = "damaged", str(damage)
    else:
        status, metrics = result["status"], result["metrics"]
        if status == "finished":
            problem = unusable(metrics)
        else:
            problem = ": ".join([status, *str(result.get("error", "")).splitlines()[:1]])
        version = code_version(**result["environment"])
        return Run(name, folder, flatten(result["config"]), status, problem, metrics, version)
    return Run(name, folder, flatten(read_config(folder)), status, problem)


def code_version(git_commit=None, git_dirty=None, **_):
    return (git_commit or "unknown")[:7] + " with changes" * bool(git_dirty)


def unusable(metrics):
    """What is wrong with a finished run's metrics, or None."""
    for key in ("step", "epoch", *metrics):
        if not isinstance(value := metrics.get(key), int | float) or not math.isfinite(value):
            return f"result.json: {key} is {value}"
    return None


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


def label(value):
    """A hyperparameter's value as on the command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
