"""Stacks: trainings of equal sizes, which take their steps together.

The networks of a stack stand in rows, (n_rows, n_each). Those of a row share data and seed, and
with these the order of their examples and all that is computed of the inputs alone. Each gets the
bytes that it would get alone.
"""

import math
import time
from collections import defaultdict
from dataclasses import replace
from itertools import groupby
from types import SimpleNamespace

import numpy as np

from mlp.data import steps_per_block
from mlp.training import QUIET, Training, evaluate, evaluated


class Stack:
    """Trainings at the same step, in rows, and one Learner of all their networks.

    Trainings of the same row share their dataset. The shapes of all datasets are equal.
    """

    def __init__(self, learner, rows):
        self.learner, self.shape = learner, (len(rows), len(rows[0]))
        self.trainings = [training for row in rows for training in row]
        for i, training in enumerate(self.trainings):
            training.learner = Member(self, divmod(i, self.shape[1]))
        datasets = {id(row[0].dataset): row[0].dataset for row in rows}
        self.datasets = list(datasets.values())
        self.which = np.array([[*datasets].index(id(row[0].dataset)) for row in rows])
        self.going = set(range(len(self.trainings)))
        self.loaded, self.n_blocks, self._copies = {}, 0, (None, None)

    def records(self, every=1):
        """Train, yielding {i: the record of training i} of all that go on, as they would alone.

        A training that has ended takes no part any more, nor does one that is removed from `going`.
        every: steps in a record at least, but at the end of an epoch.
        """
        first = self.trainings[0]
        if self.loaded:
            self.learner.load_state(self._loaded())
        parts = [[dataset.train, *evaluated(dataset)] for dataset in self.datasets]
        examples, *measured = (self.read(part) for part in zip(*parts, strict=True))
        if first.step == 0:
            figures = self.evaluate(measured)
            yield self._of_each(Training.before_training, figures)
        n_batches, n = steps_per_block(first.batch_size), len(self.trainings)
        for _ in range(first.epoch, first.epochs):
            if not self.going:
                return
            (order, lrs), seconds, losses = self.begin_epoch(), 0.0, []
            began = time.perf_counter()
            for x, labels in examples.blocks(order, first.batch_size, n_batches):
                n_steps = math.ceil(labels.shape[-1] / first.batch_size)
                with np.errstate(**QUIET):
                    losses.append(self.learner.steps(x, labels, lrs[:n_steps]).reshape(n_steps, n))
                lrs, self.n_blocks = lrs[n_steps:], self.n_blocks + 1
                if len(lrs) and sum(map(len, losses)) < every:
                    continue
                seconds, of_each = seconds + time.perf_counter() - began, np.concatenate(losses).T
                yield self._of_each(Training.after_steps, of_each)
                if not self.going:
                    return
                losses, began = [], time.perf_counter()
            figures, share = self.evaluate(measured), seconds / n
            yield self._of_each(Training.end_epoch, figures, share)

    def _of_each(self, method, values, *common):
        """{i: record} of the trainings that go on, by a method of theirs that takes values[i]."""
        going = sorted(self.going)
        records = {i: method(self.trainings[i], values[i], *common) for i in going}
        self.going -= {i for i, record in records.items() if not record.is_finite}
        return records

    def begin_epoch(self):
        """The order of each row's examples, (n,) or (n_rows, 1, n), and (n_steps, *shape) lrs."""
        begun = {divmod(i, self.shape[1]): self.trainings[i].begin_epoch() for i in self.going}
        orders = {row: order for (row, _), (order, _) in begun.items()}
        some, n_steps = next(iter(orders.values())), len(next(iter(begun.values()))[1])
        lrs = np.zeros((n_steps, *self.shape))
        for place, (_, own) in begun.items():
            lrs[:, *place] = own
        orders = [orders.get(row, some) for row in range(self.shape[0])]
        return self.indices(orders, self.trainings[0].n_examples), lrs

    def read(self, parts):
        """The same part, (inputs, labels), of each of the datasets."""
        if len(parts) == 1:
            return self.learner.read(self.datasets[0], parts[0])
        together = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        norms = {
            name: np.array([getattr(one, name) for one in self.datasets])[self.which]
            for name in ("offset", "scale")
        }
        norms = {name: norm.reshape(len(norm), 1, 1, -1) for name, norm in norms.items()}
        return self.learner.read(replace(self.datasets[0], **norms), tuple(together))

    def indices(self, orders, n):
        """Where `read` has the examples of each row's order: its dataset has n there."""
        if len(orders) == 1:
            return orders[0]
        return (np.array(orders) + self.which[:, None] * n)[:, None]

    def evaluate(self, parts):
        """The figures of each training, as Training.evaluate gives them."""
        sizes = [len(part) // len(self.datasets) for part in parts]
        n_orders = self.shape[0] if len(self.datasets) > 1 else 1
        orders = [self.indices([np.arange(n)] * n_orders, n) for n in sizes]
        figures = evaluate(self.learner, zip(parts, orders, strict=True))
        return np.reshape(figures, (len(figures), -1)).T

    def state(self):
        """The learner's, copied once a block."""
        if self._copies[0] != self.n_blocks:
            self._copies = self.n_blocks, self.learner.state()
        return self._copies[1]

    def _loaded(self):
        """The learner's state, of those that the members have been given."""
        some = next(iter(self.loaded.values()))  # for a member that was given none
        states = [self.loaded.get(training.learner.place, some) for training in self.trainings]
        return {
            name: np.reshape([one[name] for one in states], array.shape)
            if array.ndim
            else states[0][name]
            for name, array in self.learner.state().items()
        }


class Member:
    """A network of a stack, in a Learner's place for its own training."""

    def __init__(self, stack, place):
        self.stack, self.place = stack, place

    def state(self):
        state = self.stack.state()
        return {k: array[self.place] if array.ndim else array for k, array in state.items()}

    def load_state(self, state):
        self.stack.loaded[self.place] = state


class Mixed:
    """Optimizers of one kind with other numbers, one for each column of a stack."""

    def __init__(self, optimizers):
        self.parts, start = [], 0
        for optimizer, equal in groupby(optimizers):
            stop = start + len(list(equal))
            self.parts.append((optimizer, np.s_[:, start:stop]))
            start = stop

    def start(self, network):
        return self.parts[0][0].start(network)

    def update(self, network, lr, memory):
        counts = {name: array.copy() for name, array in memory.items() if not array.ndim}
        for optimizer, part in self.parts:
            for name, count in counts.items():  # one for all, and each update counts
                memory[name][...] = count
            own = {name: array[part] if array.ndim else array for name, array in memory.items()}
            params, grads = network.params[part], network.grads[part]
            view = SimpleNamespace(params=params, grads=grads, named=network.named)
            optimizer.update(view, lr[part], own)


def likeness(tree):
    """A text, equal for those configurations whose runs can be a stack; None where none can.

    tree: plain values, as Config's. What makes no shape may differ; an optimizer's number must not
    be 0 for some alone, as then it needs other memory.
    """
    if tree["model"]["name"] == "scalar":
        return None
    own = {"seed", "init", "init_std"}
    parts = [{k: v for k, v in tree[part].items() if k not in own} for part in ("dataset", "model")]
    optimizer = {k: v if k == "name" else bool(v) for k, v in tree["optimizer"].items()}
    apart = {"name", "seed", "lr", "schedule", "dataset", "model", "optimizer"}
    return repr((optimizer, *parts, {k: v for k, v in tree.items() if k not in apart}))


def in_rows(trees):
    """Indices of configurations, arranged for stacks: lists of rows of equal length.

    Data and seed are equal within a row, optimizers are equal down each column of a list.
    """
    optimizers = [repr(tree["optimizer"]) for tree in trees]
    rows, alike = defaultdict(list), defaultdict(list)
    for i, tree in enumerate(trees):
        rows[repr((tree["dataset"], tree["seed"]))].append(i)
    for row in rows.values():
        row.sort(key=lambda i: optimizers[i])
        alike[tuple(optimizers[i] for i in row)].append(row)
    return list(alike.values())


def stacks(trees, n_parts, most):
    """Indices of configurations, in lists of those that are best trained together.

    n_parts: into how many lists at least those are cut that can be trained together.
    most(tree): how many such networks are fastest together.
    """
    groups, found = defaultdict(list), []
    for i, tree in enumerate(trees):
        groups[likeness(tree) or i].append(i)
    for group in groups.values():
        size = most(trees[group[0]]) if group[1:] else 1
        for rows in in_rows([trees[i] for i in group]):
            for part in _cut(rows, n_parts, size):
                found.append([group[i] for row in part for i in row])
    return found


CALLS, INPUTS = 4, 0.5  # what a step costs beside that of a member: once, and for each row


def _cut(rows, n_parts, size):
    """Rows in blocks of at most `size` members, which n_parts workers finish the soonest."""
    n_rows, n_each = len(rows), len(rows[0])

    def cost(block):
        height, width = block
        n_blocks = math.ceil(n_rows / height) * math.ceil(n_each / width)
        return math.ceil(n_blocks / n_parts) * (CALLS + height * (INPUTS + width))

    widths = range(1, min(n_each, size) + 1)
    blocks = [(h, w) for w in widths for h in range(1, min(n_rows, size // w) + 1)]
    height, width = min(blocks, key=cost)
    return [
        [row[column : column + width] for row in rows[first : first + height]]
        for first in range(0, n_rows, height)
        for column in range(0, n_each, width)
    ]
