"""Training: a loop over epochs, blocks and steps that yields what happened and writes nothing."""

import math
import time
from typing import NamedTuple

import numpy as np

from mlp.data import Reader
from mlp.loss import SoftmaxCrossEntropy
from mlp.steps import steps_per_block


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
    n_batches = steps_per_block(batch_size)
    training = Reader(dataset.train, dataset, dtype, batch_size, n_batches, steps.rare)
    evaluate = Evaluation(steps, dataset, dtype)
    n_examples = len(training)
    steps_per_epoch = math.ceil(n_examples / batch_size)
    progress = (np.arange(steps_per_epoch * epochs) + 0.5) / (steps_per_epoch * epochs)
    lrs = lr * schedule(progress)

    step = 0
    yield Epoch(0, 0, float(lrs[0]), *evaluate(), seconds=0.0)
    for epoch in range(1, epochs + 1):
        seconds, began = 0.0, time.perf_counter()
        for block in training.blocks(rng.permutation(n_examples)):
            n_steps = math.ceil(len(block.labels) / batch_size)
            with np.errstate(**QUIET):
                losses = steps.steps(block, lrs[step : step + n_steps])
            seconds += time.perf_counter() - began
            if not np.isfinite(losses).all():
                losses = losses[: np.argmin(np.isfinite(losses)) + 1]  # to the first that is not
            record = Steps(epoch, step + 1, losses.tolist())
            yield record
            if not record.is_finite:
                return
            step += n_steps
            began = time.perf_counter()
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
        self._losses = SoftmaxCrossEntropy(dataset.n_classes, dtype).losses
        n_train, n_held_out = len(dataset.train[0]), len(dataset.held_out[0])
        subset = np.random.default_rng(0).permutation(n_train)[:n_held_out]
        parts = tuple(array[subset] for array in dataset.train), dataset.held_out
        self._readers = [Reader(part, dataset, dtype, self.ROWS, rare=steps.rare) for part in parts]

    def __call__(self):
        """(train_loss, train_accuracy, held_out_loss, held_out_accuracy)."""
        figures = []
        for reader in self._readers:
            loss = correct = 0.0
            for block in reader.blocks(np.arange(len(reader))):
                with np.errstate(**QUIET):
                    logits = self._steps.logits(block)
                    losses = self._losses(logits, block.labels)
                loss += float(losses.sum(dtype=np.float64))
                correct += int((logits.argmax(axis=1) == block.labels).sum())
            figures += [loss / len(reader), correct / len(reader)]
        return figures
