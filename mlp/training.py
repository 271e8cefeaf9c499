"""Training: the step, and the loop around it, which yields what happened and writes nothing."""

import json
import math
import time
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mlp.data import Batches, steps_per_block
from mlp.network import SoftmaxCrossEntropy


class Learner:
    """The plain way to take steps, for any network, optimizer and data."""

    def __init__(self, network, optimizer):
        self.network, self.optimizer = network, optimizer
        self.memory = optimizer.start(network)
        self.dtype = network.params.dtype
        self.loss = SoftmaxCrossEntropy(network.layers[-1].bias)

    def step(self, x, targets, lr):
        """One step: forward, loss, backward, update. Returns the logits before the update.

        x (..., batch, n_in); targets (..., batch, n_classes): [i = c]; lr a number or (..., 1).
        """
        logits = self.network.forward(x)
        self.network.backward(self.loss.gradient(logits, targets))
        self.optimizer.update(self.network, lr, self.memory)
        return logits

    def steps(self, x, labels, lrs):
        """A step for each learning rate in lrs (n_steps, ...), on as many equal parts of x.

        x (..., n, n_in), labels (..., n). Returns each step's mean loss before its update,
        (n_steps, ...) in nats.
        """
        targets = self.loss.targets(labels)
        logits = np.empty((*self.network.params.shape[:-1], *targets.shape[-2:]), self.dtype)
        parts = (in_batches(array, len(lrs)) for array in (x, targets, logits))
        for x_batch, target, o, lr in zip(*parts, one_by_one(lrs, self.dtype, 1), strict=True):
            o[...] = self.step(x_batch, target, lr)
        return self.mean_losses(logits, labels, len(lrs))

    def mean_losses(self, logits, labels, n_steps):
        losses = self.loss.losses(logits, labels)
        batches = losses.reshape(*losses.shape[:-1], n_steps, -1)
        means = np.add.reduce(batches, axis=-1, dtype=np.float64) / batches.shape[-1]
        return np.moveaxis(means, -1, 0) if means.ndim > 1 else means

    def logits(self, x):
        return self.network.forward(x)

    def read(self, dataset, examples):
        """Examples of the dataset, as this learner takes them."""
        return Batches(dataset, examples, self.dtype)

    def state(self):
        """Copies of all that changes: weights_0 (..., n_in, n_out), bias_0 (..., n_out), ...

        The optimizer's memory likewise: velocity_weights_0, ..., or a number under its own name.
        """
        return {name: array.copy() for name, array in self._views().items()}

    def load_state(self, state):
        for name, view in self._views().items():
            view[...] = state[name]

    def _views(self):
        views = self.network.named(self.network.params)
        for name, array in self.memory.items():
            parts = self.network.named(array) if array.ndim else {"": array}
            views |= {f"{name}_{part}".rstrip("_"): view for part, view in parts.items()}
        return views


class ScalarLearner:
    """The network of mlp.scalar in a Learner's place: every example is a step."""

    def __init__(self, network):
        self.network, self.dtype = network, np.dtype(float)
        self.loss = SoftmaxCrossEntropy(np.empty((1, network.sizes[-1])))

    read = Learner.read

    def steps(self, x, labels, lrs):
        examples = zip(x.tolist(), labels.tolist(), lrs.tolist(), strict=True)
        return np.array([self.network.sgd_step(*example) for example in examples])

    def logits(self, x):
        return np.array([self.network.forward(example) for example in x.tolist()])

    def state(self):
        layers = list(enumerate(zip(self.network.weights, self.network.biases, strict=True)))
        weights = {f"weights_{i}": np.array(layer[0]) for i, layer in layers}
        return weights | {f"bias_{i}": np.array(layer[1]) for i, layer in layers}

    def load_state(self, state):
        for i in range(len(self.network.weights)):
            self.network.weights[i] = state[f"weights_{i}"].tolist()
            self.network.biases[i] = state[f"bias_{i}"].tolist()


def in_batches(rows, n_batches):
    """Views of rows (..., n, width), cut into n_batches equal parts."""
    n, size = rows.shape[-2], rows.shape[-2] // n_batches
    return [rows[..., start : start + size, :] for start in range(0, n, size)]


def one_by_one(lrs, dtype, n_axes):
    """The learning rates (n_steps, *stack), each with n_axes axes after those of the stack.

    Without a stack it has no axes: NumPy multiplies by () in half the time of (1,).
    """
    lrs = lrs.astype(dtype).reshape(*lrs.shape, *[1] * (n_axes if lrs.ndim > 1 else 0))
    return [lrs[step, ...] for step in range(len(lrs))]


class Steps(NamedTuple):
    """Consecutive steps: the number of the first, and the mini-batch loss of each in nats."""

    epoch: int
    first: int
    losses: list

    @property
    def loss(self):
        return self.losses[-1]

    @property
    def is_finite(self):
        return math.isfinite(self.loss)


class Epoch(NamedTuple):
    """The state at the end of an epoch; epoch 0 is the untrained network.

    lr is that of the epoch's last step (for epoch 0, of the first step to come). Losses in nats
    an example, accuracies 0 to 1; `held_out` is the validation set or the canonical test set.
    seconds: what the steps took, without evaluation and the caller's own work.
    """

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_accuracy: float
    held_out_loss: float
    held_out_accuracy: float
    seconds: float

    @property
    def loss(self):
        """On held-out examples, or on training examples where that is not finite."""
        return self.held_out_loss if math.isfinite(self.train_loss) else self.train_loss

    @property
    def is_finite(self):
        return math.isfinite(self.loss)

    def named(self, held_out_name):
        """All but the seconds, by the names that they have in epochs.csv: val_loss, ..."""
        columns = [column.replace("held_out", held_out_name) for column in self._fields[:-1]]
        return dict(zip(columns, self[:-1], strict=True))


EVALUATED = 256  # examples at once
# A diverging run may overflow; its loss then says so. Where exp overflows in the sigmoid, its
# reciprocal is the right answer, 0.
QUIET = {"over": "ignore", "invalid": "ignore", "divide": "ignore"}


class Training:
    """The loop over epochs and steps; epoch and step count what is done.

    schedule: progress (n,) -> factor on lr (n,); rng: the np.random.Generator that orders the
    examples.
    """

    def __init__(self, learner, schedule, dataset, *, lr, batch_size, epochs, rng):
        self.learner, self.dataset, self.rng, self.epochs = learner, dataset, rng, epochs
        self.n_examples = len(dataset.train[0])
        self.batch_size = min(batch_size, self.n_examples)
        self.steps_per_epoch = math.ceil(self.n_examples / self.batch_size)
        self.n_steps, self.lr, self.schedule = self.steps_per_epoch * epochs, lr, schedule
        self.epoch = self.step = 0
        self.order_state = rng.bit_generator.state  # from which this epoch's order is drawn

    @cached_property
    def examples(self):
        return self.learner.read(self.dataset, self.dataset.train)

    @cached_property
    def evaluated(self):
        return [self.learner.read(self.dataset, part) for part in evaluated(self.dataset)]

    def lrs(self, epoch):
        """The learning rate of each step of an epoch, counted from 0: (steps_per_epoch,)."""
        steps = epoch * self.steps_per_epoch + np.arange(self.steps_per_epoch)
        return self.lr * self.schedule((steps + 0.5) / self.n_steps)

    def records(self):
        """Train, yielding a Steps record for every block of steps and an Epoch record per epoch.

        Ends early where a loss is not finite: the last record shows it, its is_finite is False.
        """
        if self.step == 0:
            record = self.before_training(self.evaluate())
            yield record
            if not record.is_finite:
                return
        n_batches = steps_per_block(self.batch_size)
        while self.epoch < self.epochs:
            (order, lrs), seconds = self.begin_epoch(), 0.0
            began = time.perf_counter()
            for x, labels in self.examples.blocks(order, self.batch_size, n_batches):
                n_steps = math.ceil(len(labels) / self.batch_size)
                with np.errstate(**QUIET):
                    losses = self.learner.steps(x, labels, lrs[:n_steps])
                lrs, seconds = lrs[n_steps:], seconds + time.perf_counter() - began
                record = self.after_steps(losses)
                yield record
                if not record.is_finite:
                    return
                began = time.perf_counter()
            record = self.end_epoch(self.evaluate(), seconds)
            yield record
            if not record.is_finite:
                return

    def begin_epoch(self):
        """What is left of this epoch: its examples in order (n,), its learning rates (n_steps,)."""
        done = self.step - self.epoch * self.steps_per_epoch
        order = self.rng.permutation(self.n_examples)
        return order[done * self.batch_size :], self.lrs(self.epoch)[done:]

    def before_training(self, figures):
        return Epoch(0, 0, float(self.lrs(0)[0]), *map(float, figures), seconds=0.0)

    def after_steps(self, losses):
        """Count these steps, up to the first whose loss is not finite."""
        if not np.isfinite(losses).all():
            losses = losses[: np.argmin(np.isfinite(losses)) + 1]
        record = Steps(self.epoch + 1, self.step + 1, losses.tolist())
        self.step += len(losses)
        return record

    def end_epoch(self, figures, seconds):
        lr = float(self.lrs(self.epoch)[-1])
        self.epoch, self.order_state = self.epoch + 1, self.rng.bit_generator.state
        return Epoch(self.epoch, self.step, lr, *map(float, figures), seconds)

    def evaluate(self):
        """(train_loss, train_accuracy, held_out_loss, held_out_accuracy)."""
        orders = [np.arange(len(part)) for part in self.evaluated]
        return evaluate(self.learner, zip(self.evaluated, orders, strict=True))

    def state(self):
        """Arrays by name. `load_state` takes them, and `records` goes on from there.

        offset, scale and classes of the dataset are there for those who predict.
        """
        order = json.dumps(self.order_state)
        done = {"epoch": self.epoch, "step": self.step, "random_state": order}
        done |= {name: getattr(self.dataset, name) for name in ("offset", "scale", "classes")}
        return self.learner.state() | {name: np.array(value) for name, value in done.items()}

    def load_state(self, state):
        self.learner.load_state(state)
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        self.order_state = self.rng.bit_generator.state = json.loads(str(state["random_state"]))


def evaluated(dataset):
    """The examples that figures are taken on: of the training set as many as are held out, and
    those. The training examples are one random subset, the same in every run, whatever its seed.
    """
    n_train, n_held_out = len(dataset.train[0]), len(dataset.held_out[0])
    subset = np.random.default_rng(0).permutation(n_train)[:n_held_out]
    return [tuple(array[subset] for array in dataset.train), dataset.held_out]


def evaluate(learner, parts):
    """Mean loss and accuracy of each part: Batches, and the indices of its examples (..., n)."""
    figures = []
    for examples, order in parts:
        loss = correct = 0.0
        for x, labels in examples.blocks(order, EVALUATED):
            with np.errstate(**QUIET):
                logits = learner.logits(x)
                losses = learner.loss.losses(logits, labels)
            loss += losses.sum(axis=-1, dtype=np.float64)
            correct += (logits.argmax(axis=-1) == labels).sum(axis=-1)
        figures += [loss / order.shape[-1], correct / order.shape[-1]]
    return figures
