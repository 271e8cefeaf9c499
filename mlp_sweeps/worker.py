"""Jobs where they run: in this process, a worker's, or one on a cluster."""

import importlib
import inspect
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobStatus, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig

from mlp.errors import UserError


@dataclass
class Task:
    """A job in a form that pickles: another process imports the program by its path."""

    program: str
    function: str
    cwd: str
    cfg: DictConfig
    context: HydraContext
    n_jobs = 1


@dataclass
class Stack:
    """Jobs that run together, likewise: (config, folder, overrides, notes) of each."""

    program: str
    function: str
    cwd: str
    jobs: list

    @property
    def n_jobs(self):
        return len(self.jobs)


@dataclass
class Outcome:
    """How a job ended, as far as its worker could tell. The run folder tells the rest."""

    value: object = None
    error: str | None = None  # one line
    traceback: str = ""
    signal: int | None = None  # asked it to stop
    died: bool = False  # took its worker with it
    stderr: str = ""

    @classmethod
    def of(cls, error):
        """That of a job which this exception ended; None: it ended well."""
        if error is None:
            return cls()
        if isinstance(error, KeyboardInterrupt):
            return cls(signal=(error.args or [signal.SIGINT])[0])
        text = "".join(traceback.format_exception(error))
        if isinstance(error, SystemExit):
            return cls(error=f"it called sys.exit({error.code!r})", traceback=text)
        if isinstance(error, UserError):
            return cls(error=str(error))
        line = f"{type(error).__name__}: {error}"
        if isinstance(error, OSError):  # a disk, a folder: where the program stood does not matter
            return cls(error=line)
        return cls(error=line, traceback=text)


def run(task):
    """Run a Task or a Stack; returns the Outcome of each of its jobs, whatever happens."""
    try:
        os.chdir(task.cwd)
        if isinstance(task, Task):
            return [Outcome(_run_alone(task))]
        errors = load(task.program, task.function).together(task.jobs)
    except BaseException as error:
        errors = [error] * task.n_jobs
    return [Outcome.of(error) for error in errors]


def interrupted(task):
    """The Outcomes of a task that SIGINT kept from running."""
    return [Outcome(signal=signal.SIGINT) for _ in range(task.n_jobs)]


def _run_alone(task):
    setup_globals()
    done = run_job(
        hydra_context=task.context,
        task_function=load(task.program, task.function),
        config=task.cfg,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    if done.status is JobStatus.COMPLETED:
        return done.return_value
    raise done._return_value  # return_value would print before it raises


def program_of(function):
    """Where another process finds a function: its file's path, and its name there."""
    return str(Path(inspect.getfile(function)).resolve()), function.__qualname__


def load(path, name):
    """The function `name` of the program at path, without Hydra's wrapper."""
    program = sys.modules["__main__"]
    if Path(getattr(program, "__file__", None) or "/").resolve() != Path(path):
        module = Path(path).stem
        if module not in sys.modules:
            sys.path.insert(0, str(Path(path).parent))
            importlib.import_module(module)
        program = sys.modules[module]
    return inspect.unwrap(getattr(program, name))
