"""Datasets: their arrays, how inputs are normalised, and where they come from.

A data set is one function, `load_<name>`, and one class whose fields are its settings.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from mlp.errors import UserError
from mlp.mnist import load_fashion_mnist, load_mnist
from mlp.settings import setting


@dataclass
class Dataset:
    """Training and held-out examples, and how their inputs are normalised.

    train and held_out: (inputs (n, n_features) of any real type, labels (n,) in 0..n_classes-1).
    offset and scale, numbers or arrays (n_features,): a network sees (inputs - offset) * scale.
    held_out_name: "val", or "test" for the canonical test set.
    """

    train: tuple
    held_out: tuple
    n_classes: int
    offset: object = 0.0
    scale: object = 1.0
    held_out_name: str = "val"

    @property
    def n_features(self):
        return self.train[0].shape[1]

    def normalised(self, inputs, dtype=float, out=None):
        """Stored inputs (..., n_features) as a network sees them, in this floating-point type.

        The offset is subtracted in the type that holds the stored numbers too, before any
        rounding. out: an array of that type to work in.
        """
        exact = np.result_type(inputs, dtype)
        x = np.empty(inputs.shape, exact) if out is None else out
        x[...] = inputs
        x -= np.asarray(self.offset, exact)
        x *= np.asarray(self.scale, exact)
        return x.astype(dtype, copy=False)

    def input_range(self):
        """Smallest and largest normalised training input."""
        inputs = self.train[0]
        low = (np.min(inputs, axis=0) - self.offset) * self.scale
        high = (np.max(inputs, axis=0) - self.offset) * self.scale
        return float(np.min(low)), float(np.max(high))

    def summary(self):
        (low, high), words = self.input_range(), {"val": "validation", "test": "test"}
        return (
            f"{len(self.train[0]):,} training and {len(self.held_out[0]):,} "
            f"{words[self.held_out_name]} examples, {self.n_features} features "
            f"from {low:.3g} to {high:.3g}, {self.n_classes} classes"
        )


def normalise(inputs, how):
    """offset and scale such that (inputs - offset) * scale has a controlled range.

    inputs (n, n_features). how: "none"; "unit": from 0 to 1, by the least and the greatest of all
    inputs; "standard": mean 0 and standard deviation 1, feature by feature (a constant one: 0).
    """
    if how == "none":
        return 0.0, 1.0
    if how == "unit":
        low, high = float(np.min(inputs)), float(np.max(inputs))
        return low, 1 / (high - low) if high > low else 1.0
    offset, spread = np.mean(inputs, axis=0, dtype=float), np.std(inputs, axis=0, dtype=float)
    return offset, 1 / np.where(spread > 0, spread, 1)


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
            self.x = np.empty(shape, np.result_type(self.inputs, self.dtype))
        # mode="clip" because "raise", the default, buffers the whole output
        np.take(self.inputs, order, axis=0, out=self.stored, mode="clip")
        return self.normalise(self.stored, self.dtype, out=self.x)


def load_synth(num_train=60_000, num_val=10_000, seed=0):
    """Points of two features, standard normal; class 1 outside an ellipse.

    Class 1 where x1^2 + 0.95 x1 x2 + 0.4 x2^2 > 0.6. Returns ((x, y), (x, y), 2): x (n, 2)
    float64, y (n,) int64. NumPy's legacy generator, whose numbers never change, draws the points.
    """
    x = np.random.RandomState(seed).standard_normal((num_train + num_val, 2))
    y = (x[:, 0] ** 2 + 0.95 * x[:, 0] * x[:, 1] + 0.4 * x[:, 1] ** 2 > 0.6).astype(np.int64)
    return (x[:num_train], y[:num_train]), (x[num_train:], y[num_train:]), 2


VAL_FRACTION = 0.2  # of a dataset that comes undivided


def split(x, y, seed):
    """A random fifth of the examples becomes the validation set: ((x, y), (x, y))."""
    order = np.random.default_rng(seed).permutation(len(x))
    n_val = max(1, round(VAL_FRACTION * len(x)))
    train, val = order[n_val:], order[:n_val]
    return (x[train], y[train]), (x[val], y[val])


def load_digits(seed=0):
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels from 0 to 16, a fifth held out.

    Returns ((x, y), (x, y), 10): x (n, 64) uint8, y (n,). Raises UserError without scikit-learn.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise UserError(
            "dataset=digits needs scikit-learn; install it with: pip install -e '.[digits]'"
        ) from error
    x, y = datasets.load_digits(return_X_y=True)
    return *split(x.astype(np.uint8), y, seed), 10


def load_npz(path, seed=0):
    """A user's own arrays: x_train (n, ...), y_train (n,), and x_val, y_val or a split by `split`.

    Inputs are flattened to (n, n_features); the classes are 0..max(y_train). Returns
    ((x, y), (x, y), n_classes). Raises UserError that names the array and what is wrong with it.
    """
    where = f"dataset=npz: {path}"

    def require(holds, complaint):
        if not holds:
            raise UserError(f"{where}: {complaint}")

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{where} does not exist; give your file with dataset.path=FILE") from None
    except Exception as error:  # NumPy, zipfile and zlib each have their own for a damaged file
        reason = str(error).split(". ")[0]  # what NumPy adds for pickles is poor advice
        raise UserError(f"{where} is not a .npz file of plain arrays ({reason})") from error

    names = ["x_train", "y_train"]
    if "x_val" in arrays or "y_val" in arrays:
        names += ["x_val", "y_val"]
    for name in names:
        if name not in arrays:
            raise UserError(f"{where} holds {', '.join(arrays) or 'nothing'} but no {name}")
    n_classes = 0
    for x_name, y_name in zip(names[::2], names[1::2], strict=True):
        x, y = arrays[x_name], arrays[y_name]
        got = f"got {x.dtype} {x.shape}"
        is_real = x.dtype.kind in "buif" and x.ndim >= 2 and x.size
        require(is_real, f"{x_name} must be real numbers of shape (n, features), {got}")
        x = arrays[x_name] = x.reshape(len(x), -1)
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1)).tolist()
        require(
            not bad, f"{x_name} has a NaN or infinite value, first in row {bad[0] if bad else 0}"
        )
        shape = f"integers of shape ({len(x)},), as {x_name} has {len(x)} rows"
        is_right = y.dtype.kind in "ui" and y.shape == x.shape[:1]
        require(is_right, f"{y_name} must be {shape}, got {y.dtype} {y.shape}")
        least, most = int(y.min()), int(y.max())
        n_classes = n_classes or most + 1
        is_right = least >= 0 and most < n_classes
        require(is_right, f"{y_name} must be classes 0..{n_classes - 1}, got {least}..{most}")
    n_train = len(arrays["y_train"])
    numbering = f"classes up to {n_classes - 1} but only {n_train} examples"
    is_dense = n_classes <= max(2, n_train)
    require(is_dense, f"y_train has {numbering}; number the classes 0, 1, 2, ...")
    require(n_classes > 1, "y_train has one class only; a classifier needs two or more")
    if "x_val" not in arrays:
        require(n_train > 1, "x_train has one row; a split needs two or more")
        return *split(arrays["x_train"], arrays["y_train"], seed), n_classes
    own, others = arrays["x_val"].shape[1], arrays["x_train"].shape[1]
    require(own == others, f"x_val has {own} features, x_train has {others}")
    return (arrays["x_train"], arrays["y_train"]), (arrays["x_val"], arrays["y_val"]), n_classes


@dataclass(frozen=True)
class Source:
    """What all classes below share."""

    held_out_name = "val"
    normalize: str = setting(
        "inputs as stored, to 0..1 by the least and greatest of all, or to mean 0 and std 1 each",
        choices=["none", "unit", "standard"],
    )

    def load(self):
        """The Dataset, its inputs normalised. Raises UserError where it can't be had."""
        train, held_out, n_classes = self.examples()
        offset, scale = normalise(train[0], self.normalize)
        return Dataset(train, held_out, n_classes, offset, scale, self.held_out_name)


@dataclass(frozen=True)
class Seeded(Source):
    seed: int = setting("draws the points, or the validation fifth", least=0, below=2**32)


@dataclass(frozen=True)
class Synth(Seeded):
    """two normal features, class 1 outside an ellipse"""

    name = "synth"
    num_train: int = setting("training examples", least=1)
    num_val: int = setting("validation examples", least=1)

    def examples(self):
        return load_synth(self.num_train, self.num_val, self.seed)


@dataclass(frozen=True)
class Mnist(Source):
    """28 x 28 grey images of 10 classes: handwritten digits"""

    name = "mnist"
    final: bool = setting("train on all 60,000 and measure on the canonical test set")

    @property
    def held_out_name(self):
        return "test" if self.final else "val"

    def examples(self):
        return load_mnist(self.final)


@dataclass(frozen=True)
class FashionMnist(Mnist):
    """28 x 28 grey images of 10 classes: Zalando's clothes"""

    name = "fashion_mnist"

    def examples(self):
        return load_fashion_mnist(self.final)


@dataclass(frozen=True)
class Digits(Seeded):
    """scikit-learn's 1,797 digits of 8 x 8 pixels"""

    name = "digits"

    def examples(self):
        return load_digits(self.seed)


@dataclass(frozen=True)
class Npz(Seeded):
    """your own arrays: x_train, y_train and, if you like, x_val, y_val"""

    name = "npz"
    path: str = setting("the .npz file")

    def examples(self):
        return load_npz(Path(self.path), self.seed)


DATASETS = Synth, Mnist, FashionMnist, Digits, Npz
