"""From a configuration to its records, and into a run folder. Python and notebooks start here.

from mlp import make_config, run

result = run(make_config(dataset="mnist", lr=0.3, epochs=1), folder="outputs/try")
result.metrics["val_accuracy"]
"""

import math
import random
import re
import signal
import threading
import time
from collections import ChainMap
from contextlib import closing, contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mlp.config import SWITCHES, check
from mlp.errors import UserError
from mlp.fast import fastest
from mlp.machine import cores, require_memory
from mlp.network import MLP
from mlp.run_folder import RunFolder, read_back, read_checkpoint, read_result
from mlp.scalar import Network
from mlp.settings import tree_of
from mlp.training import Epoch, Learner, ScalarLearner, Steps, Training

PLACES = Path(__file__).with_name("program"), Path(__file__).parents[1]  # installed, in a checkout
CONF = next(place for place in PLACES if place.is_dir()) / "conf"  # beside run.py
BAR = "{percentage:3.0f}%|{bar}| {remaining} left{postfix}"  # its words fit 60 columns
GROUPS = "dataset", "model", "optimizer", "schedule"


def make_config(**settings):
    """The Config of these settings, and of conf/'s values for all others. Raises UserError.

    A group takes the name of a choice, optimizer="adam", or a dict of settings, with or without a
    name: optimizer={"name": "adam", "beta1": 0.8}, model={"hidden_sizes": [100]}.
    """
    tree = yaml.safe_load((CONF / "config.yaml").read_text())
    for key in ("hydra", *SWITCHES):
        tree.pop(key)
    usual = ChainMap(*(entry for entry in tree.pop("defaults") if isinstance(entry, dict)))
    for group in GROUPS:
        own = settings.pop(group, usual[group])
        own = {"name": usual[group]} | own if isinstance(own, dict) else {"name": own}
        path = CONF / group / f"{own['name']}.yaml"
        text = path.read_text() if path.is_file() else "{}"  # then `check` says what there is
        values = yaml.safe_load(text)
        tree |= values if text.startswith("# @package _global_") else {group: values}
        tree[group] |= own
    reference = re.compile(r"\${(\w+)\.name}")  # the only kind in conf/
    tree["name"] = reference.sub(lambda match: tree[match[1]]["name"], tree["name"])
    return check(tree | settings)


def start(config, dataset):
    """The Training that config asks for, ahead of its first step."""
    network = network_of(config, dataset)
    if config.model.name == "scalar":
        return training_of(config, dataset, ScalarLearner(network))
    learner = Learner(network, config.optimizer)
    if config.model.fast:
        learner = fastest(learner, dataset, config.lr)
    return training_of(config, dataset, learner)


def network_of(config, dataset):
    """The network that config asks for, its weights drawn by the first stream of config.seed."""
    model, (weights_seed, _) = config.model, streams(config)
    sizes = [dataset.n_features, *model.hidden_sizes, dataset.n_classes]
    if not np.max(np.abs(dataset.ranges)) <= np.finfo(config.dtype).max:
        hint = "scale the data, or set dataset.normalize or dtype=float64"
        raise UserError(f"the normalised inputs go beyond {config.dtype}: {hint}")
    n_params = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    rows = min(config.batch_size, len(dataset.train[0]))
    n_bytes = 4 * np.dtype(config.dtype).itemsize * (n_params + rows * sum(sizes))
    require_memory(n_bytes, f"model.hidden_sizes: {n_params:,} parameters at batch size {rows:,}")
    if model.name == "scalar":
        network = Network(sizes)
        rng = random.Random(int(weights_seed.generate_state(1, np.uint64)[0]))
    else:
        network = MLP(sizes, model.activation, config.dtype)
        rng = np.random.default_rng(weights_seed)
    network.initialise(model.init, rng, model.init_std)
    return network


def training_of(config, dataset, learner):
    """The Training of a learner; the second stream of config.seed orders its examples."""
    rng = np.random.default_rng(streams(config)[1])
    numbers = {"lr": config.lr, "batch_size": config.batch_size, "epochs": config.epochs}
    return Training(learner, config.schedule, dataset, rng=rng, **numbers)


def streams(config):
    """Two independent streams of random numbers."""
    return np.random.SeedSequence(config.seed).spawn(2)


class Result(NamedTuple):
    """What a run gave.

    status: "finished" or "diverged"; losses: each step's mini-batch loss in nats; epochs: an Epoch
    record (mlp.training) each, from the untrained network on; metrics: the last one's figures, by
    the names of epochs.csv; state: the parameters, what the optimizer remembers, and the rest of a
    checkpoint, by name. What stands in a folder already is read from there.
    """

    status: str
    losses: list
    epochs: list
    metrics: dict
    state: dict


def run(config, folder=None, overrides=(), say=lambda line: None, overwrite=False, notes=()):
    """Train as config says, writing into folder if there is one; returns the Result.

    A run that the folder holds goes on; one that has finished is left as it is. overrides: what
    the command line set, for the record. say: takes a line of text for the person who waits.
    overwrite, notes: as in RunFolder. Whatever ends the run early is raised, once the folder's
    result tells of it. KeyboardInterrupt holds the number of the signal.
    """
    tree = tree_of(config)
    files = RunFolder(folder, tree, overrides, say, overwrite, notes) if folder else None
    threads = min(config.threads, cores())
    with threadpool_limits(threads), files or nullcontext():
        if folder and files.done:
            result, state = read_result(folder), read_checkpoint(folder)
            return Result(result["status"], *read_back(folder), result["metrics"], state)
        if threads < config.threads:
            say(f"threads is {threads}: there are no more processors")
        dataset = config.dataset.load()
        say(f"{config.dataset.name}: {dataset.summary()}")
        training = start(config, dataset)
        if training.batch_size < config.batch_size:
            say(f"batch_size is {training.batch_size}: there are no more training examples")
        recorder = Recorder(config, training, files)
        with (
            closing(shown(training, config, say)) as records,
            stop_signals() if folder else nullcontext([]) as came,
        ):
            for record in records:
                recorder.take(record, came)
        if recorder.is_no_better:
            first = recorder.epochs[0].train_loss
            say(f"no better than untrained, when train_loss was {first:.4g}")
        return recorder.end()


def shown(training, config, say):
    """The records of a training, beside a bar, or a line an epoch where there is no terminal."""
    hidden, held_out = not config.progress or None, f"{training.dataset.held_out_name}_loss"
    total, done = training.n_steps, training.step
    with tqdm(total=total, initial=done, bar_format=BAR, disable=hidden) as bar:
        for record in training.records():
            if isinstance(record, Steps):
                bar.update(len(record.losses))
            else:
                loss = f"{held_out} {record.held_out_loss:.4g}"
                line = f"epoch {record.epoch} of {config.epochs}, {loss}"
                bar.set_postfix_str(line)
                if bar.disable and config.progress:
                    say(line)
            yield record


class Recorder:
    """Takes the records of a training, and writes them to its folder, if it has one."""

    def __init__(self, config, training, files=None, pause=0):
        """The training goes on from what the folder holds.

        pause: seconds at least from one checkpoint at the end of an epoch to the next.
        """
        self.training, self.files, self.pause = training, files, pause
        self.every = config.checkpoint_every or math.inf
        self.losses, self.epochs, self.record, self.seconds = [], [], None, 0.0
        if files:
            self.losses, self.epochs = files.open_logs(training.dataset.held_out_name, config.dtype)
            self.record = self.epochs[-1] if self.epochs else None
            if files.state:
                training.load_state(files.state)
        self.began = self.held = training.step
        self.saved = time.monotonic()

    def take(self, record, came=()):
        """A record, and with it a checkpoint where one is due.

        came: not empty once the run has to stop. It saves its state, and raises KeyboardInterrupt.
        """
        self.record = record
        if isinstance(record, Steps):
            self.losses += record.losses
        else:
            self.epochs.append(record)
            self.seconds += record.seconds
        if self.files:
            self.write(record, came)
        if came:
            raise KeyboardInterrupt(*came)

    def write(self, record, came):
        files, step, is_epoch = self.files, self.training.step, isinstance(record, Epoch)
        files.write(record)
        if is_epoch and self.seconds:
            n_epochs = (step - self.began) / self.training.steps_per_epoch
            files.speed(n_epochs * self.training.n_examples / self.seconds)
        is_due = step >= self.held + self.every
        if (record.is_finite or not step) and (came or is_epoch or is_due):
            files.hold(self.training.state())
            self.held = step
            if came or is_due or time.monotonic() >= self.saved + self.pause:
                files.save()
                self.saved = time.monotonic()

    @property
    def is_no_better(self):
        """Whether it has ended well, and no better than it began."""
        return self.record.is_finite and self.record.train_loss >= self.epochs[0].train_loss

    def end(self):
        """The Result. The folder says it once its own block ends."""
        training, record = self.training, self.record
        status, told = "finished", {"batch_size": training.batch_size}
        if not record.is_finite:
            status = "diverged"
            told["error"] = f"at step {training.step} (epoch {record.epoch}), loss {record.loss}"
        if self.files:
            self.files.save()
            self.files.end(status, **told)
        metrics = self.epochs[-1].named(training.dataset.held_out_name)
        return Result(status, self.losses, self.epochs, metrics, training.state())


STOPS = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}


@contextmanager
def stop_signals():
    """A list for the one of STOPS that comes within the block; a second one stops at once.

    Where nobody has acted on it, it comes again as the block ends.
    """
    came, before = [], {}

    def note(number, _):
        if came:
            raise KeyboardInterrupt(number)
        came.append(number)

    if threading.current_thread() is threading.main_thread():
        for number in STOPS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, note)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(*came)
