"""Datasets: their arrays, how inputs are normalised, and where they come from.

A data set is one function, `load_<name>`, and one class whose fields are its settings.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from mlp.errors import UserError
from mlp.machine import require_memory
from mlp.mnist import CLOTHES, load_fashion_mnist, load_mnist
from mlp.own_data import Examples, load_bundled, load_csv, load_npz
from mlp.settings import setting


@dataclass
class Dataset:
    """Training and held-out examples, and how their inputs are normalised.

    train and held_out: (inputs (n, n_features) of any real type, labels (n,) in 0..n_classes-1).
    offset and scale, numbers or arrays (n_features,): a network sees (inputs - offset) * scale.
    held_out_name: "val", or "test" for the canonical test set. classes: their names, by default
    the numbers. shape: that of one example as it came; two sides make a picture.
    """

    train: tuple
    held_out: tuple
    n_classes: int
    offset: object = 0.0
    scale: object = 1.0
    held_out_name: str = "val"
    classes: tuple = ()
    shape: tuple = ()

    def __post_init__(self):
        self.classes = self.classes or tuple(map(str, range(self.n_classes)))

    @property
    def n_features(self):
        return self.train[0].shape[1]

    def normalised(self, inputs, dtype=float, out=None):
        """Stored inputs (..., n_features) as a network sees them, in this floating-point type.

        Rounding comes last. out: an array to work in, of the type that `exact_type` tells.
        """
        exact = exact_type(inputs, dtype)
        x = np.empty(inputs.shape, exact) if out is None else out
        x[...] = inputs
        x -= np.asarray(self.offset, exact)
        x *= np.asarray(self.scale, exact)
        return x.astype(dtype, copy=False)

    @cached_property
    def ranges(self):
        """The smallest and the largest normalised input, of training and of held-out examples."""
        found = []
        for inputs, _ in self.train, self.held_out:
            with np.errstate(over="ignore", invalid="ignore"):
                ends = self.normalised(np.stack([inputs.min(axis=0), inputs.max(axis=0)]))
            found.append((float(ends[0].min()), float(ends[1].max())))
        return found

    def summary(self):
        (low, high), words = self.ranges[0], {"val": "validation", "test": "test"}
        return (
            f"{len(self.train[0]):,} training and {len(self.held_out[0]):,} "
            f"{words[self.held_out_name]} examples, {self.n_features} features "
            f"from {low:.3g} to {high:.3g}, {self.n_classes} classes{self.imbalance()}"
        )

    def imbalance(self):
        """In words, how unevenly the training examples fall into classes; "" if they are even."""
        counts = np.bincount(self.train[1], minlength=self.n_classes)
        least, most = counts.min(), counts.max()
        words = f" of {least:,} to {most:,} training examples" if most > 2 * least else ""
        if empty := [self.classes[i] for i in np.flatnonzero(counts == 0)]:
            named = ", ".join(empty[:3]) + f" and {len(empty) - 3:,} more" * (len(empty) > 3)
            words += f"; no training example of class {named}"
        return words


def exact_type(inputs, dtype):
    """The type to normalise stored inputs in, for a network of this dtype.

    Of bytes, float32 is exact enough. All others have a float64: a mean of 1e6 under a standard
    deviation of 1 would lose what float32 does not hold, and 1e-42 has no float32 reciprocal.
    """
    return np.result_type(inputs, dtype, dtype if inputs.dtype.itemsize == 1 else float)


def normalise(inputs, how):
    """offset and scale such that (inputs - offset) * scale has a controlled range.

    inputs (n, n_features). how: "none"; "unit": from 0 to 1, by the least and the greatest of all
    inputs; "standard": mean 0 and standard deviation 1, feature by feature. What is constant but
    for rounding becomes 0, also in other examples. Raises UserError where a float can't hold the
    spread.
    """
    if how == "none":
        return 0.0, 1.0
    exact, axis = exact_type(inputs, float), None if how == "unit" else 0
    low, high = (extreme(inputs, axis).astype(exact) for extreme in (np.min, np.max))
    error = len(inputs) * np.finfo(exact).eps  # of a sum
    if inputs.dtype.kind == "f":
        error = max(error, np.finfo(inputs.dtype).eps)
    with np.errstate(all="ignore"):
        offset, spread = low, high - low
        is_constant = spread <= error * np.maximum(abs(low), abs(high))
        if how == "standard":
            offset, spread = (f(inputs, axis=0, dtype=exact) for f in (np.mean, np.std))
            spread[spread < np.finfo(exact).tiny ** 0.5] = 0  # its square has lost digits
        scale = np.where(is_constant, 0, 1 / spread)
    if not np.all(np.isfinite(offset) & np.isfinite(scale) & (is_constant | (scale > 0))):
        limits = f"from {np.min(low):.3g} to {np.max(high):.3g}"
        raise UserError(f"dataset.normalize={how}: no float holds the spread of inputs {limits}")
    return offset, scale


MOST_STEPS, MOST_ROWS = 64, 128  # of a block, unless a single batch has more rows


def steps_per_block(batch_size):
    """How many mini-batches are best read at once."""
    return max(1, min(MOST_STEPS, MOST_ROWS // batch_size))


class Batches:
    """Part of a dataset, examples = (inputs, labels), read as a network of this dtype sees it."""

    def __init__(self, dataset, examples, dtype):
        self.inputs, self.labels = examples
        self.normalise, self.dtype = dataset.normalised, dtype
        self.stored = np.empty(0)

    def __len__(self):
        return len(self.labels)

    def blocks(self, order, batch_size, n_batches=1):
        """The examples at indices order (..., n): (inputs, labels) of n_batches batches at a time.

        A last batch that is short is a block of its own. A block's arrays are written over by the
        next one.
        """
        n, rows = order.shape[-1], batch_size * n_batches
        whole = n // batch_size * batch_size
        for start, stop in pairwise([*range(0, whole, rows), whole, n]):
            if start < stop:
                yield self.read(order[..., start:stop]), self.labels[order[..., start:stop]]

    def read(self, order):
        """The normalised inputs of the examples at indices order (..., n): (..., n, n_features)."""
        shape = (*order.shape, self.inputs.shape[1])
        if self.stored.shape != shape:
            self.stored = np.empty(shape, self.inputs.dtype)
            self.x = np.empty(shape, exact_type(self.inputs, self.dtype))
        # mode="clip" because "raise", the default, buffers the whole output
        np.take(self.inputs, order, axis=0, out=self.stored, mode="clip")
        return self.normalise(self.stored, self.dtype, out=self.x)


def load_synth(num_train=60_000, num_val=10_000, seed=0):
    """Points of two features, standard normal; class 1 outside an ellipse.

    Class 1 where x1^2 + 0.95 x1 x2 + 0.4 x2^2 > 0.6. Returns ((x, y), (x, y), 2): x (n, 2)
    float64, y (n,) int64. NumPy's legacy generator, whose numbers never change, draws the points.
    """
    require_memory(40 * (num_train + num_val), f"dataset.num_train: {num_train + num_val:,} points")
    x = np.random.RandomState(seed).standard_normal((num_train + num_val, 2))
    y = (x[:, 0] ** 2 + 0.95 * x[:, 0] * x[:, 1] + 0.4 * x[:, 1] ** 2 > 0.6).astype(np.int64)
    return (x[:num_train], y[:num_train]), (x[num_train:], y[num_train:]), 2


@dataclass(frozen=True)
class Source:
    """What all classes below share. sizes: (n_features, n_classes), where the files don't tell."""

    held_out_name, sizes = "val", None
    normalize: str = setting(
        "inputs as stored, to 0..1 by the least and greatest of all, or to mean 0 and std 1 each",
        choices=["none", "unit", "standard"],
    )

    def load(self):
        """The Dataset, its inputs normalised. Raises UserError where it can't be had."""
        train, held_out, n_classes, *names = self.examples()
        offset, scale = normalise(train[0], self.normalize)
        return Dataset(train, held_out, n_classes, offset, scale, self.held_out_name, *names)


@dataclass(frozen=True)
class Seeded(Source):
    seed: int = setting("draws the points, or the validation fifth", least=0, below=2**32)


@dataclass(frozen=True)
class Synth(Seeded):
    """two normal features, class 1 outside an ellipse"""

    name, sizes = "synth", (2, 2)
    num_train: int = setting("training examples", least=1)
    num_val: int = setting("validation examples", least=1)

    def examples(self):
        return Examples(*load_synth(self.num_train, self.num_val, self.seed))


@dataclass(frozen=True)
class Final(Source):
    final: bool = setting("train on all but the test set, and measure on that")

    @property
    def held_out_name(self):
        return "test" if self.final else "val"


@dataclass(frozen=True)
class Mnist(Final):
    """28 x 28 grey images of 10 classes: handwritten digits"""

    name, sizes = "mnist", (784, 10)

    def examples(self):
        return Examples(*load_mnist(self.final), shape=(28, 28))


@dataclass(frozen=True)
class FashionMnist(Mnist):
    """28 x 28 grey images of 10 classes: Zalando's clothes"""

    name = "fashion_mnist"

    def examples(self):
        return Examples(*load_fashion_mnist(self.final), CLOTHES, (28, 28))


@dataclass(frozen=True)
class Bundled(Seeded):
    def examples(self):
        return load_bundled(self.name, self.seed)


@dataclass(frozen=True)
class Digits(Bundled):
    """scikit-learn's 1,797 digits of 8 x 8 pixels"""

    name, sizes = "digits", (64, 10)


@dataclass(frozen=True)
class Iris(Bundled):
    """scikit-learn's 150 flowers, four features, 3 classes"""

    name, sizes = "iris", (4, 3)


@dataclass(frozen=True)
class Wine(Bundled):
    """scikit-learn's 178 wines, 13 features, 3 classes"""

    name, sizes = "wine", (13, 3)


@dataclass(frozen=True)
class BreastCancer(Bundled):
    """scikit-learn's 569 tumours, 30 features, 2 classes"""

    name, sizes = "breast_cancer", (30, 2)


@dataclass(frozen=True)
class Npz(Final, Seeded):
    """your own arrays: x_train, y_train and, if you like, x_val, y_val, x_test, y_test"""

    name = "npz"
    path: str = setting("the file")

    def examples(self):
        return load_npz(Path(self.path), self.seed, self.final)


@dataclass(frozen=True)
class Csv(Seeded):
    """your own table: a column of labels, all others numbers"""

    name = "csv"
    path: str = setting("the file")
    label: str | None = setting("the column of the labels; null: the last one")

    def examples(self):
        return load_csv(Path(self.path), self.label, self.seed)


DATASETS = Synth, Mnist, FashionMnist, Digits, Iris, Wine, BreastCancer, Npz, Csv
