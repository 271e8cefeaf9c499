"""Runs that are trained together, in one process, to the same bytes as mlp.experiment's."""

import os
from collections import defaultdict
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import pairwise

import numpy as np
from threadpoolctl import threadpool_limits

from mlp.config import check
from mlp.errors import UserError
from mlp.experiment import Recorder, network_of, stop_signals, training_of
from mlp.fast import fastest, is_plain_descent, rare_features, stays_in_range
from mlp.machine import cores, open_files
from mlp.network import MLP
from mlp.run_folder import RunFolder
from mlp.settings import tree_of
from mlp.stack import Mixed, Stack, in_rows, likeness
from mlp.training import Learner

PAUSE = 10  # seconds from one checkpoint of a run to the next, but where it asks for more
EVERY = 512  # steps from one record to the next: to handle records takes time too


def run_together(jobs):
    """Do what `run` does for each of these, together: (config, folder, overrides, notes).

    Returns for each the exception that ended it early, or None. One that fails leaves the others
    alone.
    """
    runs, datasets = [Joined(*job) for job in jobs], {}
    threads = min([cores(), *(run.config.threads for run in runs)])
    with threadpool_limits(threads), stop_signals() as came:
        for run in runs:
            with run.alone():
                run.enter(datasets)
        groups = defaultdict(list)
        for run in runs:
            if run.is_open:
                groups[run.likeness()].append(run)
        for group in groups.values():
            for rows in in_rows([tree_of(run.config) for run in group]):
                train_together([[group[i] for i in row] for row in rows], came)
    return [run.error for run in runs]


def train_together(rows, came):
    """Runs in rows, from where they are to their end."""
    runs = [run for row in rows for run in row]
    try:
        stack = start_together(
            [[run.config for run in row] for row in rows],
            [[run.dataset for run in row] for row in rows],
        )
        for run, training in zip(runs, stack.trainings, strict=True):
            with run.alone():
                run.recorder = Recorder(run.config, training, run.files, PAUSE)
        stack.going -= {i for i, run in enumerate(runs) if run.error}
        for records in stack.records(runs[0].config.checkpoint_every or EVERY):
            for i, record in records.items():
                with runs[i].alone():
                    runs[i].recorder.take(record, came)
                    runs[i].recorder.losses.clear()  # the folder has them
            stack.going -= {i for i in records if runs[i].error}
    except (Exception, KeyboardInterrupt) as error:
        for run in runs:
            with run.alone():
                raise error
    for run in runs:
        with run.alone():
            if run.is_open:
                run.recorder.end()
    if hasattr(os, "sync"):
        os.sync()  # their logs and checkpoints, before any result.json tells of them
    for run in runs:
        with run.alone():
            run.close()


class Joined:
    """One of the runs that `run_together` runs."""

    def __init__(self, config, folder, overrides, notes):
        self.config, self.error, self.is_open = config, None, False
        durable = not hasattr(os, "sync")  # else that does it, once for all
        self.files = RunFolder(folder, tree_of(config), overrides, notes=notes, durable=durable)

    @contextmanager
    def alone(self):
        """What goes wrong in this block ends this run alone."""
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            if not self.error:
                self.error = error
                with suppress(OSError):
                    self.close(error)

    def enter(self, datasets):
        """Own the folder. datasets: what is `loaded` by now, or why not, by source."""
        self.files.__enter__()
        self.is_open = True
        if self.files.done:
            self.close()
            return
        source = self.config.dataset
        if source not in datasets:
            try:
                datasets[source] = loaded(source)
            except Exception as error:
                datasets[source] = error
        if isinstance(datasets[source], Exception):
            raise datasets[source]
        self.dataset, self.has_rare = datasets[source]

    def likeness(self):
        """Equal for runs that can be a stack from where they are."""
        dataset, config = self.dataset, self.config
        (inputs, labels), (_, held_out) = dataset.train, dataset.held_out
        state = self.files.state or {"epoch": 0, "step": 0}
        done = int(state["epoch"]), int(state["step"])  # at an epoch's end, with its figures or not
        sizes = inputs.shape, inputs.dtype, len(labels), len(held_out), dataset.n_classes
        own = id(dataset) if self.has_rare else None  # data differ in what is rare
        in_range = stays_in_range(dataset, config.lr, config.dtype)
        return likeness(tree_of(config)), done, sizes, own, in_range

    def close(self, error=None):
        if self.is_open:
            self.is_open = False
            self.files.__exit__(type(error) if error else None, error, None)


@lru_cache(maxsize=1)
def loaded(source):
    """A source's Dataset, and whether it has rare features. One stack after another needs it."""
    dataset = source.load()
    return dataset, len(rare_features(dataset)) > 0


def start_together(configs, datasets):
    """A Stack of these trainings: rows of configs, as `in_rows` arranges them, and their datasets.

    Their sizes are equal.
    """
    rows = [list(zip(*row, strict=True)) for row in zip(configs, datasets, strict=True)]
    config, dataset = rows[0][0]
    networks = [network_of(*one) for row in rows for one in row]
    shape, first = (len(rows), len(rows[0])), networks[0]
    network = MLP(first.sizes, config.model.activation, config.dtype, shape)
    network.params[...] = np.reshape([one.params for one in networks], network.params.shape)
    optimizers = [config.optimizer for config, _ in rows[0]]
    mixed = any(optimizer != optimizers[0] for optimizer in optimizers)
    learner = Learner(network, Mixed(optimizers) if mixed else optimizers[0])
    if config.model.fast:
        learner = fastest(learner, dataset, max(config.lr for row in configs for config in row))
    return Stack(learner, [[training_of(*one, None) for one in row] for row in rows])


# A step of more multiplications is as fast alone. Up to it, these networks fit into the cache.
# benchmarks/stack.py shows both
MOST_WORK, MOST_BYTES, FEWEST, MOST = 1e6, 4e6, 12, 128


def most_together(tree):
    """How many networks of this configuration, plain values, take a step each the fastest."""
    config = check(tree)
    try:
        n_features, n_classes = config.dataset.sizes or sizes_of(config.dataset.load())
    except (UserError, OSError, MemoryError):
        return 1  # each run says it for itself
    sizes = [n_features, *config.model.hidden_sizes, n_classes]
    n_params = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    passes = 0 if is_plain_descent(config.optimizer) else 10  # over the parameters
    if n_params * (config.batch_size + passes) > MOST_WORK:
        return 1
    n_bytes = n_params * np.dtype(config.dtype).itemsize
    room = (open_files() - 100) / 3  # a run has its lock and its logs open
    return max(1, int(min(max(MOST_BYTES / n_bytes, FEWEST), MOST, room)))


def sizes_of(dataset):
    return dataset.n_features, dataset.n_classes
