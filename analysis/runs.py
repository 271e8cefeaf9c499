"""One run as its folder tells it: configuration, how it ended, last metrics, curves."""

import json
import math
import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from mlp.data import Dataset
from mlp.errors import UserError
from mlp.run_folder import Damaged, read_checkpoint, read_config, read_log, read_result

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
    seconds: float = math.nan  # that its last start took
    batch_size: int | None = None  # as it was used: no more than there are examples

    @property
    def counts(self):
        return self.problem is None

    def final(self, metric):
        """The last epoch's value; NaN where there is none."""
        value = self.metrics.get(metric)
        return math.nan if value is None else float(value)

    def curves(self, metrics, x="step"):
        """{metric: (x, y)}, both (points,) float64, x rising. Raises Damaged.

        A run that counts has all its rows, or is damaged. Any other has those that are sound.

        x: "step", "epoch" or "examples". For the mini-batch loss, epoch rises by a fraction each
        step. examples is step times batch_size, so it takes a short last batch for a whole one.
        """
        logs, curves = {}, {}
        for metric in several(metrics):
            clock = "step" if metric == "loss" else "epoch"
            if clock not in logs:
                logs[clock] = self.log(clock)
            if metric not in logs[clock]:
                raise Damaged(f"{clock}s.csv has no column {metric}")
            curves[metric] = self.points(logs[clock], x), logs[clock][metric]
        return curves

    def points(self, log, x):
        """Where on x, as `curves` says, the rows of one of its logs lie: (rows,) float64."""
        if x == "examples":
            return log["step"] * (self.batch_size or self.config["batch_size"])
        if x == "epoch" and "loss" in log:
            return log["step"] / np.count_nonzero(log["epoch"] == log["epoch"][0])
        return log[x]

    def log(self, clock):
        """The columns of its log, {column: (rows,) float64}, as far as `curves` says.

        clock: "step" or "epoch".
        """
        if self.counts:
            return read_log(self.folder, clock, int(self.metrics[clock]), parse)
        return read_beginning(self.folder, clock)

    @property
    def classes(self):
        """What the data calls the classes, (n_classes,): integers, or texts. Raises UserError."""
        names = np.array(self._trained[1].classes)
        with suppress(ValueError):
            numbers = names.astype(int)
            if (numbers.astype(str) == names).all():
                return numbers
        return names

    def predict(self, inputs):
        """The most probable of `classes` for each example, (n,). Else as `probabilities`."""
        return self.classes[self.probabilities(inputs).argmax(axis=-1)]

    def probabilities(self, inputs):
        """The probability of each of `classes`, (n, n_classes) of the run's floating-point type.

        inputs (n, n_features), or (n, ...) with as many numbers an example: raw ones, as the data
        holds them. They are normalised as the run's own were. Raises UserError where the run has
        not finished, or the inputs have another shape or are not finite.
        """
        from .predictions import probabilities

        network, dataset = self._trained
        x, n_features = np.asarray(inputs), network.sizes[0]
        got = f"got {x.dtype} {x.shape}"
        if x.dtype.kind not in "buif" or x.ndim < 2 or math.prod(x.shape[1:]) != n_features:
            wanted = f"real numbers of shape (n, {n_features})"
            raise UserError(f"{self.folder} predicts from {wanted}, {got}")
        if not np.isfinite(x).all():
            raise UserError(f"{self.folder} predicts from finite numbers, {got} with others")
        x = dataset.normalised(x.reshape(len(x), n_features), network.params.dtype)
        return probabilities(network, x)

    @cached_property
    def _trained(self):
        """The network, and a Dataset that knows the classes and how to normalise."""
        from . import dataset, predictions

        if not self.counts:
            raise UserError(f"{self.folder} can't predict: {self.problem}")
        network, state = predictions.load_network(self.folder), read_checkpoint(self.folder)
        if "classes" not in state:  # an older version wrote it
            name = self.config.get("dataset.path", self.config["dataset"])
            return network, dataset.run_settings(name, self.folder).load()
        how, classes = (state["offset"], state["scale"]), tuple(state["classes"].tolist())
        return network, Dataset(None, None, len(classes), *how, classes=classes)


def several(values):
    """A list of values that may be given as one alone."""
    return [values] if isinstance(values, str | os.PathLike) else list(values)


def parse(path):
    """The columns of a CSV file, NaN where there is no number. Raises ValueError, OSError.

    path: or the bytes, as a file.
    """
    # pandas 3.1 is the first to read every number as float() does, to the last bit.
    log = pd.read_csv(path, skip_blank_lines=False)
    return {name: pd.to_numeric(log[name], errors="coerce").to_numpy(float) for name in log}


def read_beginning(folder, clock):
    """A run's CSV log up to the first row that is torn or not finite: {column: (rows,) float64}.

    clock: "step" or "epoch". Raises Damaged where not even one row is sound.
    """
    path = Path(folder, f"{clock}s.csv")
    try:
        whole_lines = path.read_bytes().rpartition(b"\n")[0]
        log = parse(BytesIO(whole_lines))
    except FileNotFoundError:
        raise Damaged(f"{path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise Damaged(f"{path.name}: {' '.join(str(error).split())}") from None
    sound = np.isfinite(list(log.values())).all(axis=0)
    n = len(sound) if sound.all() else int(sound.argmin())
    if not n or clock not in log or (np.diff(log[clock][:n]) != 1).any():
        raise Damaged(f"{path.name}: no rows yet, or not one for each {clock}")
    return {name: column[:n] for name, column in log.items()}


def load_run(folder):
    """The Run in a folder, as `outputs/try`. Raises UserError."""
    try:
        return read_run(Path(folder), Path(folder).resolve().name)
    except Damaged as damage:
        raise UserError(f"{folder}: {damage}") from None


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
            problem = unusable(metrics) or contradiction(folder, metrics)
        else:
            problem = ": ".join([status, *str(result.get("error", "")).splitlines()[:1]])
        version, seconds = code_version(**result["environment"]), result.get("seconds", math.nan)
        more = version, seconds, result.get("batch_size")
        return Run(name, folder, flatten(result["config"]), status, problem, metrics, *more)
    return Run(name, folder, flatten(read_config(folder)), status, problem)


def code_version(git_commit=None, git_dirty=None, **_):
    return (git_commit or "unknown")[:7] + " with changes" * bool(git_dirty)


def unusable(metrics):
    """What is wrong with a finished run's metrics, or None."""
    for key in ("step", "epoch", *metrics):
        if not isinstance(value := metrics.get(key), int | float) or not math.isfinite(value):
            return f"result.json: {key} is {value}"
    return None


def contradiction(folder, metrics):
    """How epochs.csv differs from a finished run's metrics in the last epoch, or None."""
    with suppress(OSError, ValueError):  # what else is wrong with a log, read_log tells
        header, *_, last = Path(folder, "epochs.csv").read_text().split()
        row = dict(zip(header.split(","), map(float, last.split(",")), strict=True))
        for key in row if row.get("epoch") == metrics["epoch"] else ():
            if key in metrics and row[key] != metrics[key]:
                return f"epochs.csv ends with {key} {row[key]}, result.json says {metrics[key]}"
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
            flat[key] = printable(label(value)) if isinstance(value, list | str) else value
    return flat


def printable(text):
    """Bytes of a path that are not UTF-8, spelt."""
    return text.encode(errors="backslashreplace").decode()


def label(value):
    """A hyperparameter's value as on the command line. 1.0 and 1 are one value, and one text."""
    if isinstance(value, list):
        return f"[{','.join(map(label, value))}]"
    return value if isinstance(value, str) else json.dumps(value).removesuffix(".0")
