"""Train one network, or sweep many, from YAML and the command line.

python run.py --help lists the settings. This file is what Hydra needs: folders, the help page, and
errors in one line. What a run is stands in mlp/experiment.py.
"""

import hashlib
import itertools
import os
import re
import signal
import sys
from contextlib import suppress
from datetime import datetime
from functools import cache, partial
from pathlib import Path

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    OmegaConfBaseException,
)

from mlp import config, make_config, run
from mlp.config import APART, SWITCHES
from mlp.errors import UserError
from mlp.experiment import CONF
from mlp.run_folder import NOTES
from mlp.settings import describe, tree_of, unknown_key
from mlp.stack import stacks
from mlp.together import most_together, run_together
from mlp_sweeps import checked_by, how_to_see, how_to_start, stacked_by
from mlp_sweeps.report import say

IS_1_3 = hydra.__version__.startswith("1.3")  # Hydra 1.4 retires what 1.3 must be told
BASE = {"version_base": "1.3"} if IS_1_3 else {}
NAME = os.path.basename(sys.argv[0])  # run.py, or mlp run
FILE_GROUPS = "experiment", "launcher", "sweeper"
register = OmegaConf.register_new_resolver if IS_1_3 else OmegaConf.register_resolver


def together(jobs):
    """Runs of a sweep in one process: (config, folder, overrides, notes) of each, plain values."""
    texts = [dict(zip(NOTES, map(as_yaml, notes), strict=True)) for *_, notes in jobs]
    known = [(config.check(tree), *rest) for tree, *rest, _ in jobs]
    return run_together([(*one, text) for one, text in zip(known, texts, strict=True)])


@hydra.main(**BASE, config_path=str(CONF), config_name="config")
@checked_by(lambda tree, overrides: tree_of(checked(tree, overrides)))
@stacked_by(partial(stacks, most=most_together), together)
def job(cfg):
    """One run, from its composed configuration to its result.json."""
    hydra_config = HydraConfig.get()
    is_single = hydra_config.mode != RunMode.MULTIRUN  # a sweep's launcher has seen to `overwrite`
    overrides, folder = hydra_config.overrides.task, hydra_config.runtime.output_dir
    os.chdir(hydra_config.runtime.cwd)  # whatever hydra.job.chdir says: paths are the user's
    try:
        tree = OmegaConf.to_container(cfg, resolve=True)
        config = checked(tree, overrides)
        if is_single:
            refuse_switches(cfg)
            if hydra_config.run.dir == "./":  # that of conf/config.yaml
                folder = new_folder(Path("outputs", config.name))
        own = {"hydra": OmegaConf.to_container(hydra_config, enum_to_str=True)}
        contents = tree, list(overrides), own
        notes = zip(NOTES, map(as_yaml, contents), strict=True)
        overwrite = is_single and cfg.overwrite
        result = run(config, folder, overrides, say=say, overwrite=overwrite, notes=notes)
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit):
            error = UserError(f"the run called sys.exit({error.code!r})")
        if is_single and (line := explain(error)):  # Hydra would print a line more
            sys.exit(f"{NAME}: {line}")
        raise error
    if is_single and result.status == "finished":
        say(how_to_see(folder))


def as_yaml(tree):
    """What OmegaConf.load reads as this tree of plain values."""
    try:
        return yaml.dump(tree, Dumper=Dumper, sort_keys=False, allow_unicode=True)
    except UnicodeEncodeError:  # C knows no name that is not UTF-8
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
    """PyYAML's, in C where it was built with it. To OmegaConf, 1e-3 is a number too."""

    def text(self, value):
        is_like_number = re.fullmatch(r"[-+.\d_e]+|[-+]?(inf|nan)", value, re.IGNORECASE)
        style = "'" if is_like_number else None
        return self.represent_scalar("tag:yaml.org,2002:str", value, style)


Dumper.add_representer(str, Dumper.text)


def checked(tree, overrides):
    """The Config that plain values describe, as Hydra composed them from these overrides."""
    if "experiment" in tree:  # an experiment's values belong to the whole
        raise UserError("the experiment's file must begin with # @package _global_")
    made = config.check({key: value for key, value in tree.items() if key not in SWITCHES})
    given = dict(override.partition("=")[::2] for override in overrides)
    if {"experiment", "optimizer"} <= given.keys() and "lr" not in given:
        usual, own = lr_of(), lr_of(optimizer=made.optimizer.name)
        if own not in (usual, made.lr):
            both = f"experiment={{experiment}} sets lr={made.lr}, optimizer={{optimizer}} lr={own}"
            raise UserError(f"{both.format_map(given)}: say which, with lr=")
    return made


@cache  # a sweep asks for each of its runs
def lr_of(**choices):
    return make_config(**choices).lr


def refuse_switches(cfg):
    for key in ("dry_run", "fail_fast"):
        if cfg[key]:
            raise UserError(f"{key}=true is for sweeps: add -m")
    if HydraConfig.get().sweeper.params:
        raise UserError("this experiment is a sweep: add -m")


def new_folder(parent):
    """A folder in parent, named by date and time, that no other run has."""
    parent.mkdir(parents=True, exist_ok=True)
    now = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for name in itertools.chain([now], (f"{now}-{n}" for n in itertools.count(2))):
        with suppress(FileExistsError):
            (parent / name).mkdir()
            return parent / name


def job_folder(overrides):
    """A run's folder within its sweep: its overrides, the same in whatever order they came."""
    parts = []
    for override in sorted(overrides):
        key, _, value = override.partition("=")
        if key in APART:
            continue
        if len(value) > 60 or re.search(r"[^\w.,+\-\[\]]", value):
            value = digest(value)
        parts.append(f"{key}={value}")
    folder = ",".join(parts) or "defaults"
    return folder if len(folder) <= 200 else digest(folder)


def digest(text):
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]


def help_page(part, *, _root_):
    """A part of the help page in conf/config.yaml."""
    options = GlobalHydra.instance().config_loader().get_group_options
    files = [f"  {group + '=':28} {', '.join(options(group))}" for group in FILE_GROUPS]
    texts = {"files": "\n".join(files), "run": how_to_start("run")}
    own = OmegaConf.masked_copy(_root_, [key for key in _root_ if key != "hydra"])
    return (describe(config.Config, OmegaConf.to_container(own, resolve=True)) | texts)[part]


register("job_folder", job_folder)
register("help", help_page)


def resumed(arguments):
    """The arguments that resume=FOLDER stands for: those its run began with, and its folder."""
    for resume in [argument for argument in arguments if argument.startswith("resume=")]:
        folder = os.path.abspath(resume.removeprefix("resume="))
        try:
            overrides = yaml.safe_load(Path(folder, NOTES[1]).read_text())
        except OSError:
            raise UserError(f"{resume}: no run has begun there") from None
        quoted = folder.replace("'", r"\'")
        own = ["hydra.mode=RUN", f"hydra.run.dir='{quoted}'"]
        arguments = [*overrides, *own, *(rest for rest in arguments if rest != resume)]
    return arguments


def explain(error):
    """One line for an error that the user can mend; None for a bug."""
    chain = [error]
    while chain[-1].__context__:  # not __cause__, which OmegaConf clears
        chain.append(chain[-1].__context__)
    for link in reversed(chain):
        if isinstance(link, UserError):
            return str(link)
        is_key = isinstance(link, ConfigAttributeError | ConfigKeyError)
        if is_key and not str(link.full_key).startswith("hydra"):
            return unknown_key(config.Config, link.full_key)
        if isinstance(link, MissingConfigException) and link.options is not None:
            group, _, name = link.missing_cfg_file.rpartition("/")
            return f"{group} must be one of {', '.join(link.options)}, got {name!r}"
        if isinstance(link, OverrideParseException):
            return f"can't read {link.override!r}: write key=value, special characters in quotes"
        if isinstance(link, ValueError) and "Config group override" in str(link):  # model=null
            return "a group needs a choice, such as model=mlp; leave it out for the default"
        if isinstance(link, yaml.MarkedYAMLError):
            mark = link.problem_mark
            return f"{mark.name}, line {mark.line + 1}: not valid YAML ({link.problem})"
        if isinstance(link, UnicodeDecodeError | yaml.reader.ReaderError):
            return f"a YAML file is not text in UTF-8: {' '.join(str(link).split())}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return " ".join(str(error).split("\nSee https")[0].split())
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if isinstance(error, MemoryError):
        return f"there is too little memory: {error}"
    return None


def main():
    for number, name in enumerate(["stdin", "stdout", "stderr"]):
        if not getattr(sys, name):  # closed from the start: other files would take its number
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
            os.set_inheritable(number, True)
        getattr(sys, name).reconfigure(errors="backslashreplace")  # where a terminal lacks a letter
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, and `explain` words them
    try:
        sys.argv[1:] = resumed(sys.argv[1:])
        job()
    except KeyboardInterrupt as stop:
        sys.exit(128 + (stop.args or [signal.SIGINT])[0])
    except BrokenPipeError:  # nobody reads the help page any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        sys.exit(f"{NAME}: {line}")


if __name__ == "__main__":
    main()
