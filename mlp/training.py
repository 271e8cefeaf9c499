"""Training: a loop over epochs, blocks and steps that yields what happened and writes nothing."""

import math
import time
from typing import NamedTuple

import numpy as np

from mlp.data import Reader
from mlp.loss import positions, softmax_cross_entropy
from mlp.steps import BLOCK_ROWS


class Steps(NamedTuple):
    """Consecutive steps: the number of the first, and the mini-batch loss of each in nats."""

    epoch: int
    first: int
    losses: list

    @property
    def is_finite(self):
        return math.isfinite(self.losses[-1])


class Epoch(NamedTuple):
    """The state at the end of an epoch; epoch 0 is the untrained network.

    lr is that of the epoch's last step (for epoch 0, of the first step to come). Losses in nats
    an example, accuracies 0 to 1; `held_out` is the validation set or the canonical test set.
    seconds: what the training in this epoch took, evaluation and the caller's own work left out.
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
    def is_finite(self):
        return math.isfinite(self.train_loss) and math.isfinite(self.held_out_loss)


# A diverging run may overflow; its loss then says so. Where exp overflows in the sigmoid, its
# reciprocal is the right answer, 0.
QUIET = {"over": "ignore", "invalid": "ignore", "divide": "ignore"}


def train(steps, schedule, dataset, *, lr, batch_size, epochs, dtype, rng):
    """Train, yielding a Steps record for every block of steps and an Epoch record per epoch.

    steps: one of mlp.steps; schedule: progress (n,) -> factor on lr (n,); rng: the
    np.random.Generator that orders the examples. Ends early where a loss is not finite: the last
    record then shows it and is_finite is False.
    """
    batch_size = min(batch_size, len(dataset.train[0]))
    block_rows = max(1, BLOCK_ROWS // batch_size) * batch_size
    training = Reader(dataset.train, dataset, dtype, block_rows)
    evaluate = Evaluation(steps, dataset, dtype)
    n_examples = len(training)
    steps_per_epoch = math.ceil(n_examples / batch_size)
    progress = (np.arange(steps_per_epoch * epochs) + 0.5) / (steps_per_epoch * epochs)
    lrs = lr * schedule(progress)

    step = 0
    yield Epoch(0, 0, float(lrs[0]), *evaluate(), seconds=0.0)
    for epoch in range(1, epochs + 1):
        order = rng.permutation(n_examples)
        seconds = 0.0
        for start in range(0, n_examples, block_rows):
            began = time.perf_counter()
            block = training.read(order[start : start + block_rows])
            n_steps = math.ceil(len(block.labels) / batch_size)
            with np.errstate(**QUIET):
                losses = steps.steps(block, batch_size, lrs[step : step + n_steps])
            seconds += time.perf_counter() - began
            if not np.isfinite(losses).all():
                losses = losses[: np.argmin(np.isfinite(losses)) + 1]  # to the first that is not
            record = Steps(epoch, step + 1, losses.tolist())
            yield record
            if not record.is_finite:
                return
            step += n_steps
        record = Epoch(epoch, step, float(lrs[step - 1]), *evaluate(), seconds)
        yield record
        if not record.is_finite:
            return


class Evaluation:
    """Loss and accuracy on the held-out examples, and on as many training examples.

    The latter are one random subset, the same in every run, whatever its seed.
    """

    ROWS = 256  # examples at once

    def __init__(self, steps, dataset, dtype):
        self._steps = steps
        n_train, n_held_out = len(dataset.train[0]), len(dataset.held_out[0])
        subset = np.random.default_rng(0).permutation(n_train)[:n_held_out]
        self._parts = [
            (Reader(dataset.train, dataset, dtype, self.ROWS), np.sort(subset)),
            (Reader(dataset.held_out, dataset, dtype, self.ROWS), np.arange(n_held_out)),
        ]

    def __call__(self):
        """(train_loss, train_accuracy, held_out_loss, held_out_accuracy)."""
        figures = []
        for reader, indices in self._parts:
            loss = correct = 0.0
            for start in range(0, len(indices), self.ROWS):
                block = reader.read(indices[start : start + self.ROWS])
                with np.errstate(**QUIET):
                    logits = self._steps.logits(block)
                    true_class = positions(block.labels, logits.shape[-1], len(logits))
                    losses = softmax_cross_entropy(logits, true_class, np.empty_like(logits))
                loss += float(losses.sum(dtype=np.float64))
                correct += int((logits.argmax(axis=-1) == block.labels).sum())
            figures += [loss / len(indices), correct / len(indices)]
        return figures
