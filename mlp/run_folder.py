"""What one run writes: steps.csv, epochs.csv, checkpoint.npz and result.json."""

import contextlib
import functools
import json
import math
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from mlp.files import whole_file


class RunFolder:
    """The files of one run; a context manager that closes the logs.

    What an earlier run left under these names is removed first, so that a folder without
    result.json is a run that has not ended.
    """

    def __init__(self, path, held_out_name, dtype):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        for name in ("result.json", "checkpoint.npz", "steps.csv", "epochs.csv"):
            for old in self.path.glob(f"*{name}*"):  # and parts that a killed run left
                old.unlink()
        # As many digits as it takes to read the same float back
        self._digits = 9 if np.dtype(dtype) == np.float32 else 17
        self._columns = ["epoch", "step", "lr", "train_loss", "train_accuracy"]
        self._columns += [f"{held_out_name}_loss", f"{held_out_name}_accuracy"]
        self._steps = open(self.path / "steps.csv", "w", encoding="ascii")  # noqa: SIM115
        self._epochs = open(self.path / "epochs.csv", "w", encoding="ascii")  # noqa: SIM115
        self._steps.write("step,epoch,loss\n")
        self._epochs.write(",".join(self._columns) + "\n")
        self.metrics = {}
        self.examples_per_second = None  # of the training alone, once an epoch has been trained

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._steps.close()
        self._epochs.close()

    def write_steps(self, epoch, first, losses):
        """One row a step; `first` is the number of the first."""
        row = f"%d,{epoch},%.{self._digits}g\n"
        self._steps.write("".join([row % step for step in enumerate(losses, first)]))

    def write_epoch(self, *values):
        """One row; values in the order of the columns."""
        self.metrics = dict(zip(self._columns, values, strict=True))
        self._epochs.write(",".join(str(value) for value in values) + "\n")
        self._epochs.flush()
        self._steps.flush()

    def write_checkpoint(self, arrays, rng, **numbers):
        """Arrays by name, the state of rng as JSON text, and numbers; read with np.load.

        A kill at any moment leaves the old checkpoint or the new one, whole.
        """
        random_state = json.dumps(rng.bit_generator.state)
        with whole_file(self.path / "checkpoint.npz") as file:
            np.savez(file, **arrays, **numbers, random_state=random_state)

    def write_result(self, status, **entries):
        """status: finished, diverged, interrupted or failed; metrics are the last epoch's."""
        metrics = {k: v if math.isfinite(v) else None for k, v in self.metrics.items()}
        result = {
            "status": status,
            **entries,
            "examples_per_second": self.examples_per_second,
            "metrics": metrics,
            "environment": environment(),
        }
        with whole_file(self.path / "result.json") as file:
            file.write(json.dumps(result, indent=2).encode() + b"\n")


def environment():
    """What a result depends on besides its configuration."""
    packages = ["numpy", "hydra-core", "omegaconf"]
    blas = [
        {"name": f"{lib['internal_api']} {lib['version']}", "threads": lib["num_threads"]}
        for lib in threadpool_info()
        if lib["user_api"] == "blas"
    ]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "blas": blas,
        "cpu": cpu_name(),
        "host": platform.node(),
        **git_state(),
    }


@functools.cache
def cpu_name():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@functools.cache
def git_state():
    """Commit of this program and whether its files differ from it; null outside a checkout."""

    def git(*arguments):
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain")
        return {"git_commit": commit, "git_dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_dirty": None}
