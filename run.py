"""Train one network, or sweep many: configuration -> data, model, optimizer -> run folder.

python run.py --help lists the settings. This is the one place that knows Hydra.
"""

import hashlib
import itertools
import math
import os
import random
import re
import sys
import time
from datetime import datetime
from functools import partial
from pathlib import Path

import hydra
import numpy as np
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    OmegaConfBaseException,
)
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mlp import config as schema
from mlp.data import load_dataset
from mlp.errors import UserError
from mlp.network import MAX_BATCH, MLP
from mlp.optimizers import OPTIMIZERS
from mlp.run_folder import RunFolder
from mlp.scalar import Network
from mlp.schedules import SCHEDULES
from mlp.steps import ScalarSteps, choose_steps
from mlp.training import Steps, train


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def job(cfg):
    """One run, from its composed configuration to its result.json."""
    tree = plain(cfg)
    config = schema.check(tree)
    hydra_config = HydraConfig.get()
    facts = {"config": tree, "overrides": list(hydra_config.overrides.task)}
    with (
        threadpool_limits(config.threads),
        RunFolder(hydra_config.runtime.output_dir, held_out_name(config), config.dtype) as folder,
    ):
        began = time.perf_counter()
        try:
            status = run(config, folder)
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except Exception as error:
            status, facts["error"] = "failed", f"{type(error).__name__}: {error}"
            raise
        finally:
            folder.write_result(status, **facts, seconds=time.perf_counter() - began)
            report(status, folder)


def run(config, folder):
    """Train as config says and log into folder; returns the status."""
    dataset = load_dataset(config.dataset)
    n_train, n_held_out = len(dataset.train[0]), len(dataset.held_out[0])
    low, high = dataset.input_range()
    held_out = {"val": "validation", "test": "test"}[held_out_name(config)]
    print(
        f"{config.dataset.name}: {n_train:,} training and {n_held_out:,} {held_out} "
        f"examples, {dataset.n_features} features from {low:.3g} to {high:.3g}, "
        f"{dataset.n_classes} classes"
    )
    weights_seed, order_seed = np.random.SeedSequence(config.seed).spawn(2)
    steps = build(config, dataset, weights_seed)
    schedule = partial(SCHEDULES[config.schedule.name], **options(config.schedule))
    rng = np.random.default_rng(order_seed)
    records = train(
        steps,
        schedule,
        dataset,
        lr=config.lr,
        batch_size=config.batch_size,
        epochs=config.epochs,
        dtype=config.dtype,
        rng=rng,
    )
    n_steps = config.epochs * math.ceil(n_train / config.batch_size)
    seconds = 0.0
    with tqdm(total=n_steps, unit="step", disable=None if config.progress else True) as bar:
        for record in records:
            if isinstance(record, Steps):
                folder.write_steps(*record)
                bar.update(len(record.losses))
                continue
            *columns, epoch_seconds = record
            folder.write_epoch(*columns)
            folder.write_checkpoint(steps.state(), rng, epoch=record.epoch, step=record.step)
            bar.set_postfix_str(f"epoch {record.epoch}, loss {record.held_out_loss:.4g}")
            seconds += epoch_seconds
            if seconds:
                folder.examples_per_second = record.epoch * n_train / seconds
    return "finished" if record.is_finite else "diverged"


def build(config, dataset, weights_seed):
    """The network and the way it takes its steps."""
    model_config = config.model
    sizes = [dataset.n_features, *model_config.hidden_sizes, dataset.n_classes]
    if model_config.name == "scalar":
        network = Network(sizes)
        seed = int(weights_seed.generate_state(1, np.uint64)[0])
        network.initialise(model_config.init, random.Random(seed), model_config.init_std)
        return ScalarSteps(network)
    max_batch = max(MAX_BATCH, min(config.batch_size, len(dataset.train[0])))
    rare = dataset.rare_features()
    network = MLP(sizes, model_config.activation, config.dtype, max_batch, rare)
    rng = np.random.default_rng(weights_seed)
    network.initialise(model_config.init, rng, model_config.init_std)
    optimizer = OPTIMIZERS[config.optimizer.name](**options(config.optimizer))
    return choose_steps(network, optimizer)


def options(group):
    """A group's settings besides its name, as keyword arguments."""
    return {key: value for key, value in vars(group).items() if key != "name"}


def held_out_name(config):
    """The canonical test set, or a validation set."""
    return "test" if getattr(config.dataset, "final", False) else "val"


def report(status, folder):
    shown = {k: v for k, v in folder.metrics.items() if k.endswith(("_loss", "_accuracy"))}
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
    print(f"{status}: {metrics}" if metrics else status)
    print(f"run folder: {os.path.relpath(folder.path)}")


# What Hydra needs from us: folders, the help page, and errors in one line


def plain(cfg):
    """The configuration as dicts, lists, numbers and strings, without Hydra's own part."""
    cfg = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    return OmegaConf.to_container(cfg, resolve=True)


def new_folder(parent, *, _root_):
    """A single run's folder, named by date and time, that no other run has.

    Hydra asks for the folder before it writes anything, so here the configuration is checked.
    """
    schema.check(plain(_root_))
    now = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for name in itertools.chain([now], (f"{now}-{n}" for n in itertools.count(2))):
        path = Path(parent, name)
        try:
            path.mkdir(parents=True)
            return str(path)
        except FileExistsError:
            continue


def sweep_folder(path, *, _root_):
    """A sweep's folder; every value of the sweep is checked first, one at a time."""
    if not OmegaConf.is_missing(_root_.hydra.job, "num"):
        return path  # asked for by one of the sweep's jobs
    task = list(_root_.hydra.overrides.task)
    task += [f"{key}={values}" for key, values in (_root_.hydra.sweeper.params or {}).items()]
    axes = []
    for override in OverridesParser.create().parse_overrides(task):
        if override.is_discrete_sweep():
            key = override.get_key_element()
            axes.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        elif not override.is_sweep_override():
            axes.append([override.input_line])
    usual = [values[0] for values in axes]
    for i, values in enumerate(axes):
        for value in values:
            if value != usual[i] or i == 0:
                composed = hydra.compose("config", [*usual[:i], value, *usual[i + 1 :]])
                schema.check(plain(composed))
    return path


def job_folder(overrides):
    """A run's folder within its sweep: its overrides, the same in whatever order they came."""
    parts = []
    for override in sorted(overrides):
        key, _, value = override.partition("=")
        if key in ("name", "progress"):
            continue
        if len(value) > 60 or re.search(r"[^\w.,+\-\[\]]", value):
            value = digest(value)
        parts.append(f"{key}={value}")
    folder = ",".join(parts) or "defaults"
    return folder if len(folder) <= 200 else digest(folder)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


OmegaConf.register_new_resolver("new_folder", new_folder)
OmegaConf.register_new_resolver("sweep_folder", sweep_folder)
OmegaConf.register_new_resolver("job_folder", job_folder)
OmegaConf.register_new_resolver("help_text", schema.help_text)


def explain(error):
    """One line for an error that the user can mend; None for a bug."""
    chain = [error]
    while chain[-1].__context__:  # not __cause__, which OmegaConf clears
        chain.append(chain[-1].__context__)
    for link in reversed(chain):
        if isinstance(link, UserError):
            return str(link)
        if isinstance(link, ConfigAttributeError | ConfigKeyError):
            return schema.unknown_key(link.full_key)
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
    if isinstance(error, HydraException | OmegaConfBaseException):
        return " ".join(str(error).split("\nSee https")[0].split())
    return None


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, and `explain` words them
    try:
        job()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        sys.exit(f"run.py: {line}")
