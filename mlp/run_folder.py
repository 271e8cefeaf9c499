"""A run's folder: steps.csv, epochs.csv, checkpoint.npz and result.json, written and read."""

import errno
import functools
import hashlib
import io
import itertools
import json
import math
import os
import platform
import re
import subprocess
import time
import traceback
import zlib
from contextlib import ExitStack, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import yaml
from threadpoolctl import threadpool_info

from mlp.config import APART, difference
from mlp.errors import UserError
from mlp.files import PART, lock, naming, whole_file
from mlp.training import Epoch, Steps

FORMAT = 1  # what result.json says under "format"; without that key it is 0, and reads the same
DONE = "finished", "diverged"
ENDED = *DONE, "interrupted", "failed"
LOGS = "steps.csv", "epochs.csv"
COMING = ".runs.json"  # beside run folders: the names of a sweep's, while some have not begun
CHECKPOINTS = "checkpoint.npz", "checkpoint-before.npz"
NOTES = ".hydra/config.yaml", ".hydra/overrides.yaml", ".hydra/hydra.yaml"
# All that is ever removed. result.json goes first: without it, the rest is a run that has not ended
FILES = "result.json", *CHECKPOINTS, *LOGS, *NOTES


class RunFolder:
    """The files of one run, owned by one process. When its block ends, result.json says how.

    done: the run ended well before, and is left as it is. state: from where it goes on, as
    Training.load_state takes it; None if from the start.
    """

    def __init__(
        self,
        path,
        config,
        overrides=(),
        say=lambda line: None,
        overwrite=False,
        notes=(),
        durable=True,
    ):
        """config: the whole configuration as plain values; overrides: as typed.

        overwrite: remove the run that is there. notes: {one of NOTES: its text}, to lie beside.
        durable: False leaves it to the caller to bring logs and checkpoint to the disk, ahead of
        result.json.
        To enter raises UserError, before anything is written, where the folder holds a run of
        another configuration or another process owns it.
        """
        self.path, self._say, self._overwrite, self._notes = Path(path), say, overwrite, dict(notes)
        self._result = {"format": FORMAT, "status": "failed", "config": config}
        self._result |= {"overrides": list(overrides), "metrics": {}, "examples_per_second": None}
        self._here, self._open = os.path.relpath(path), ExitStack()
        self._logs, self.state = [], None
        self._durable, self._held = durable, None

    def __enter__(self):
        self._began, self.done = time.perf_counter(), self._is_done()
        if self.done:
            return self
        with naming(self.path), ExitStack() as stack:
            self.path.mkdir(parents=True, exist_ok=True)
            if not (owned := lock(self.path / ".lock")):
                raise UserError(f"{self._here} is in use: another process runs this run")
            stack.enter_context(owned)
            stack.callback((self.path / ".lock").unlink, missing_ok=True)
            self.done = self._is_done()  # another process may have been faster
            if not self.done:
                self._begin()
            self._open = stack.pop_all()
        return self

    def _is_done(self):
        if self._overwrite or not self._there():
            return False
        hint = "choose another folder, or add overwrite=true"
        with suppress(Damaged):
            if differs := difference(read_config(self.path), self._result["config"]):
                raise UserError(f"{self._here} holds another configuration: {differs}; {hint}")
        try:
            found = read_result(self.path)
        except FileNotFoundError:
            return False
        except Damaged as damage:
            raise UserError(f"{self._here}: {damage}; {hint}") from None
        if done := found["status"] in DONE:
            self._result = found
        return done

    def _there(self):
        return [name for name in FILES if (self.path / name).exists()]

    def _begin(self):
        there = self._there()
        if self._overwrite and there:
            self._say(f"overwrite=true deletes {', '.join(there)} in {self._here}")
            clear(self.path)
            there = []
        for part in (*self.path.glob(PART), *self.path.glob(f".hydra/{PART}")):
            part.unlink()  # a kill left it
        (self.path / "result.json").unlink(missing_ok=True)  # it tells of an earlier attempt
        for name in self._notes.keys() - set(there):
            with whole_file(self.path / name, durable=False) as file:
                file.write(self._notes[name].encode())
        for name in CHECKPOINTS:
            try:
                if name in there and not self.state:
                    self.state = self._read_state(name)
            except Damaged as damage:
                self._say(f"{damage}: it is not used")
        if self.state:
            self._say(f"going on after step {self.state['step']}")

    def _read_state(self, name):
        """The state in a checkpoint that the logs go with, unless of step 0. Raises Damaged."""
        state = read_checkpoint(self.path, name)
        if not {"logs", "config"} <= state.keys():
            raise Damaged(f"{name} has no logs")
        if difference(json.loads(str(state["config"])), self._result["config"]):
            raise Damaged(f"{name} has another configuration")
        for log, (size, crc) in zip(LOGS, state["logs"].tolist(), strict=True):
            data = b""
            with suppress(FileNotFoundError):
                data = (self.path / log).read_bytes()[:size]
            if (len(data), zlib.crc32(data)) != (size, crc):
                raise Damaged(f"{name} goes with another {log}")
        return state if state["step"] else None

    def open_logs(self, held_out_name, dtype):
        """Begin the logs, or cut them back to the state; the losses are of this float type.

        Returns what they hold then, as `read_back` does.
        """
        self._held_out_name = held_out_name
        # As many digits as it takes to read the same float back
        self._digits = 9 if np.dtype(dtype) == np.float32 else 17
        self._marks = self.state["logs"].tolist() if self.state else [(0, 0), (0, 0)]
        with naming(self.path):
            for name, (size, _) in zip(LOGS, self._marks, strict=True):
                self._logs.append(self._open.enter_context(open(self.path / name, "ab")))  # noqa: SIM115
                self._logs[-1].truncate(size)
        if not self.state:
            self._append(0, "step,epoch,loss\n")
        losses, epochs = read_back(self.path)
        for epoch in epochs[-1:]:
            self._set_metrics(epoch)
        return losses, epochs

    def write(self, record):
        """A Steps or an Epoch record (mlp.training)."""
        if isinstance(record, Steps):
            row = f"%d,{record.epoch},%.{self._digits}g\n"
            rows = [row % step for step in enumerate(record.losses, record.first)]
            self._append(0, "".join(rows))
            return
        values = self._set_metrics(record)
        header = ",".join(values) + "\n" if record.epoch == 0 else ""
        self._append(1, header + ",".join(map(str, values.values())) + "\n")
        self._flush()

    def _append(self, i, text):
        data, (size, crc) = text.encode(), self._marks[i]
        with naming(self._logs[i].name):
            self._logs[i].write(data)
        self._marks[i] = size + len(data), zlib.crc32(data, crc)

    def _flush(self, durable=False):
        for log in self._logs:
            with naming(log.name):
                log.flush()
                if durable:
                    os.fsync(log.fileno())

    def _set_metrics(self, epoch):
        values = epoch.named(self._held_out_name)
        self._result["metrics"] = {k: v if math.isfinite(v) else None for k, v in values.items()}
        return values

    def hold(self, state):
        """A state to go on from, until `save` writes it: arrays by name."""
        self._held = state, np.array(self._marks)  # with the logs as they are now

    def save(self):
        """Write the state that is held, if any, as the checkpoint.

        A kill at any moment leaves the old checkpoint or the new one, whole. The logs up to here
        are on the disk before it. A comment ends the archive: the SHA-256 of all that stands
        before it. The one before lies beside it, for as long as the run goes on.
        """
        if not self._held:
            return
        (state, marks), self._held = self._held, None
        durable = self._durable and bool(state["step"])  # at step 0 there is nothing to lose
        self._flush(durable)
        config = {k: v for k, v in self._result["config"].items() if k not in APART}
        config = np.array(json.dumps(config))  # the same bytes under whatever name
        np.savez(buffer := io.BytesIO(), **state, logs=marks, config=config)
        data = buffer.getvalue()[:-2] + b"\x20\0"  # the comment's length
        data += sha256(data)
        path, before = (self.path / name for name in CHECKPOINTS)
        with suppress(OSError):  # there is none yet, or the file system knows no links
            before.unlink(missing_ok=True)
            os.link(path, before)
        with whole_file(path, durable) as file:
            file.write(data)
        if path.read_bytes() != data:
            raise OSError(errno.EIO, "not what was written", str(path))

    def speed(self, examples_per_second):
        """Of the training alone, in this attempt."""
        self._result["examples_per_second"] = examples_per_second

    def end(self, status, **entries):
        """How the run ended, and what else result.json is to hold."""
        self._result |= {"status": status, **entries}

    def __exit__(self, kind, error, _):
        with naming(self.path), self._open:
            if not self.done:
                self._write_result(kind, error)
        result = self._result
        shown = {k: v for k, v in result["metrics"].items() if k.endswith(("_loss", "_accuracy"))}
        metrics = ", ".join(
            f"{name} {math.nan if value is None else value:.4g}" for name, value in shown.items()
        )
        status = result["status"] + " before, left as it is" * self.done
        if result["status"] == "diverged" and "error" in result:
            status, metrics = status + ":" * self.done + f" {result['error']}", ""
        self._say(f"{status}: {metrics}" if metrics else status)
        self._say(f"run folder: {self._here}")

    def _write_result(self, kind, error):
        if kind is KeyboardInterrupt:
            self.end("interrupted")
        elif error:
            self.end("failed", error=f"{kind.__name__}: {error}")
            if not isinstance(error, UserError | OSError):
                self._result["traceback"] = "".join(traceback.format_exception(error))
        else:
            self._flush(self._durable)
        if self._result["status"] in DONE:
            (self.path / CHECKPOINTS[1]).unlink(missing_ok=True)
        self.end(self._result["status"], seconds=time.perf_counter() - self._began)
        threads = self._result["config"].get("threads")
        result = self._result | {"environment": environment(threads)}
        quiet = suppress(OSError) if error else nullcontext()  # the error itself says more
        with quiet, whole_file(self.path / "result.json") as file:
            file.write(json.dumps(result, indent=2).encode() + b"\n")


def clear(folder):
    """Remove the run that a folder holds, and nothing else."""
    for name in FILES:
        Path(folder, name).unlink(missing_ok=True)


def sha256(data):
    return hashlib.sha256(data).digest()  # 32 bytes


@functools.cache
def environment(threads):
    """What a result depends on besides its configuration, while this many BLAS threads are set."""
    versions = {"python": platform.python_version()}
    for package in ("numpy", "hydra-core", "omegaconf"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    blas = [
        {
            "name": f"{lib['internal_api']} {lib['version']}",
            "threads": lib["num_threads"],
            "architecture": lib.get("architecture"),  # its kernels: others round otherwise
        }
        for lib in threadpool_info()
        if lib["user_api"] == "blas"
    ]
    return versions | {"blas": blas, "cpu": cpu_name(), "host": platform.node()} | git_state()


@functools.cache
def cpu_name():
    with suppress(OSError):
        if match := re.search(r"^model name\s*: (.+)", Path("/proc/cpuinfo").read_text(), re.M):
            return match[1]
    return platform.processor() or platform.machine()


@functools.cache
def git_state():
    """Commit of this program and whether its files differ from it; null outside a checkout."""
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch"]
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        (root / ".git").stat()  # installed, it may lie within somebody else's repository
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_dirty": None}
    commit, *rest = done.stdout.splitlines()  # "# branch.oid COMMIT", and a line for each change
    return {"git_commit": commit.split()[-1], "git_dirty": any(line[0] != "#" for line in rest)}


class Damaged(UserError):
    """A file of a run that can't be trusted: which, where and why."""


def read_result(folder):
    """What result.json holds. Raises FileNotFoundError where there is none, else Damaged."""
    try:
        result = json.loads(Path(folder, "result.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(*error.args) from None
    except OSError as error:
        raise Damaged(f"result.json: {error.strerror}") from None
    except ValueError:
        result = None
    kinds = {"config": dict, "status": str, "metrics": dict, "environment": dict}
    if not isinstance(result, dict) or not isinstance(number := result.get("format", 0), int):
        raise Damaged("result.json is not what a run writes")
    if number > FORMAT:
        known = f"this version of the program reads up to {FORMAT}"
        raise Damaged(f"result.json has format {number}; {known}")
    if not all(isinstance(result.get(key), kind) for key, kind in kinds.items()):
        raise Damaged("result.json is not what a run writes")
    return result


def read_config(folder):
    """The run's nested configuration: of result.json, else of .hydra/ or of a checkpoint.

    Raises Damaged where neither can be read.
    """
    with suppress(FileNotFoundError, Damaged):
        return read_result(folder)["config"]
    c_loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # knows no name that is not UTF-8
    for loader in c_loader, yaml.SafeLoader:
        with suppress(OSError, ValueError, yaml.YAMLError):
            config = yaml.load(Path(folder, ".hydra/config.yaml").read_bytes(), loader)
            if isinstance(config, dict):
                return config
    for name in CHECKPOINTS:
        with suppress(Damaged, KeyError):
            return json.loads(str(read_checkpoint(folder, name)["config"]))
    raise Damaged("neither result.json nor .hydra/config.yaml can be read")


def read_log(folder, clock, last, parse):
    """A run's CSV log: {column: (rows,) float64}. Raises Damaged.

    clock: "step" or "epoch". The log has finite numbers and one row for each, up to `last`.
    parse: path -> {column: (rows,) float64}, NaN where there is no number; raises ValueError.
    The caller brings it because pandas parses eight times as fast as NumPy.
    """
    path = Path(folder, f"{clock}s.csv")
    try:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                raise Damaged(f"{path.name}: the last line is torn")
        columns = parse(path)
    except FileNotFoundError:
        raise Damaged(f"{path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise Damaged(f"{path.name}: {' '.join(str(error).split())}") from None
    if not {"step", "epoch"} <= columns.keys():
        raise Damaged(f"{path.name} has the columns {','.join(columns)}")
    bad = ~np.isfinite(list(columns.values())).all(axis=0)
    if bad.any():
        above = 1 + int(bad.argmax())  # the header and the good lines
        with open(path, errors="replace") as file:
            line = next(itertools.islice(file, above, None)).strip()
        raise Damaged(f"{path.name}, line {above + 1}: {line[:40]}")
    first = 1 if clock == "step" else 0  # epoch 0 is the untrained network
    if not np.array_equal(columns[clock], np.arange(first, last + 1)):
        rows = f"{len(columns[clock])} rows, not one for each {clock} {first} to {last}"
        raise Damaged(f"{path.name}: {rows}")
    return columns


def read_back(folder):
    """What the logs hold: each step's loss in nats, and the Epoch records but for their seconds."""
    steps, epochs = (Path(folder, name).read_text().split()[1:] for name in LOGS)
    epochs = [[float(value) for value in row.split(",")] for row in epochs]
    epochs = [Epoch(int(row[0]), int(row[1]), *row[2:], seconds=0.0) for row in epochs]
    return [float(row.rpartition(",")[2]) for row in steps], epochs


def read_checkpoint(folder, name="checkpoint.npz"):
    """The arrays of a checkpoint, {name: array}. Raises Damaged."""
    try:
        data = Path(folder, name).read_bytes()
        has_comment = data[-22:-18] != b"PK\5\6" or data[-2:] != b"\0\0"  # format 0 has none
        if has_comment and sha256(data[:-32]) != data[-32:]:
            raise ValueError("checksum")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise Damaged(f"{name} is missing") from None
    except Exception as error:  # NumPy, zipfile and zlib each raise their own
        raise Damaged(f"{name} can't be read ({type(error).__name__})") from None
