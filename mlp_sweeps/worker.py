"""One job where it runs: in this process, a worker's, or one on a cluster."""

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
    """What a job needs, in a form that pickles: another process imports the program by its path."""

    program: str
    function: str
    cfg: DictConfig
    context: HydraContext
    cwd: str


@dataclass
class Outcome:
    """How a job ended, as far as its worker could tell. The run folder tells the rest."""

    value: object = None
    error: str | None = None  # one line
    traceback: str = ""
    signal: int | None = None  # asked it to stop
    died: bool = False  # took its worker with it
    stderr: str = ""


def run(task):
    """Run a job; returns its Outcome, whatever happens."""
    try:
        os.chdir(task.cwd)
        setup_globals()
        done = run_job(
            hydra_context=task.context,
            task_function=load(task.program, task.function),
            config=task.cfg,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if done.status is JobStatus.COMPLETED:
            return Outcome(done.return_value)
        raise done._return_value  # return_value would print before it raises
    except KeyboardInterrupt as stop:
        return Outcome(signal=(stop.args or [signal.SIGINT])[0])
    except SystemExit as end:
        return Outcome(error=f"it called sys.exit({end.code!r})", traceback=traceback.format_exc())
    except UserError as error:
        return Outcome(error=str(error))
    except OSError as error:  # a disk, a folder: where the program stood does not matter
        return Outcome(error=f"{type(error).__name__}: {error}")
    except BaseException as error:
        return Outcome(error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())


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
