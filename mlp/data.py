"""Datasets: arrays, how their inputs are normalised, and blocks of examples ready for a network."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp.errors import UserError
from mlp.inputs import Inputs, rare_features
from mlp.mnist import load_fashion_mnist, load_mnist
from mlp.sparse import SparseRows


@dataclass
class Dataset:
    """Training and held-out examples.

    train and held_out: (inputs (n, n_features) of any real type, labels (n,) in 0..n_classes-1).
    offset and scale, numbers or arrays (n_features,): a network sees (inputs - offset) * scale.
    """

    train: tuple
    held_out: tuple
    n_classes: int
    offset: object = 0.0
    scale: object = 1.0

    @property
    def n_features(self):
        return self.train[0].shape[1]

    def rare_features(self):
        """Indices of the features that are best kept apart (mlp.inputs): (n_rare,), often none."""
        numbers = np.ndim(self.offset) == np.ndim(self.scale) == 0
        if numbers and self.offset == 0:  # so that a zero stays one, and all features are alike
            return rare_features(self.train[0])
        return np.array([], np.intp)

    def input_range(self):
        """Smallest and largest normalised training input."""
        inputs = self.train[0]
        low = (np.min(inputs, axis=0) - self.offset) * self.scale
        high = (np.max(inputs, axis=0) - self.offset) * self.scale
        return float(np.min(low)), float(np.max(high))


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


GATHERED = 4096  # examples at least, whose labels and rare features are put in order at once


class Block(NamedTuple):
    """Consecutive examples: normalised inputs, and labels (n,)."""

    inputs: Inputs
    labels: np.ndarray


class Reader:
    """Hands out examples in blocks of n_batches batches, in arrays that the next block overwrites.

    rare: the features that are kept apart. The others stay in their stored type until then.
    """

    def __init__(self, examples, dataset, dtype, batch_size, n_batches=1, rare=()):
        inputs, labels = examples
        block_rows = batch_size * n_batches
        self._batch_size, self._block_rows, self._dtype = batch_size, block_rows, dtype
        self._labels = labels.astype(np.intp)
        self._rare = None
        if len(rare):
            self._rare = SparseRows.of(np.take(inputs, rare, axis=1), dataset.scale, dtype)
            inputs = np.take(inputs, np.delete(np.arange(inputs.shape[1]), rare), axis=1)
        self._frequent, n_frequent = inputs, inputs.shape[1]
        self._stored = np.empty((block_rows, n_frequent), inputs.dtype)
        exact = np.result_type(inputs, dtype)  # an offset is taken off before anything is rounded
        self._normalised = np.ones((block_rows, n_frequent + 1), exact)
        offset, scale = np.asarray(dataset.offset, exact), np.asarray(dataset.scale, exact)
        self._offset, self._scale = (np.append(a, a[0]) if a.ndim else a for a in (offset, scale))

    def __len__(self):
        return len(self._labels)

    def blocks(self, order):
        """The examples at indices order (n,) as Blocks; a short last batch is one of its own."""
        at_once = -(-GATHERED // self._block_rows) * self._block_rows
        for start in range(0, len(order), at_once):
            yield from self._blocks(order[start : start + at_once])

    def _blocks(self, order):
        labels = self._labels[order]
        rare = self._rare.take(order) if self._rare else None
        whole = len(order) // self._batch_size * self._batch_size
        for start, stop in pairwise([*range(0, whole, self._block_rows), whole, len(order)]):
            rows = slice(start, stop)
            if start < stop:
                inputs = Inputs(self._read(order[rows]), rare and rare.part(rows))
                yield Block(inputs, labels[rows])

    def _read(self, indices):
        """The frequent features of the examples at indices (n,), and the column of ones."""
        stored, normalised = self._stored[: len(indices)], self._normalised[: len(indices)]
        # mode="clip" because "raise", the default, buffers the whole output
        np.take(self._frequent, indices, axis=0, out=stored, mode="clip")
        normalised[:, :-1] = stored
        normalised -= self._offset
        normalised *= self._scale
        normalised[:, -1] = 1  # last, as whole rows take a third of the time of all but the ones
        return normalised.astype(self._dtype, copy=False)


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
        if x.dtype.kind not in "buif" or x.ndim < 2 or x.size == 0:
            raise UserError(
                f"{where}: {x_name} must be real numbers of shape (n, features), "
                f"got {x.dtype} {x.shape}"
            )
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            row = int(np.argwhere(~np.isfinite(x))[0][0])
            raise UserError(f"{where}: {x_name} has a NaN or infinite value, first in row {row}")
        if y.dtype.kind not in "ui" or y.shape != x.shape[:1]:
            raise UserError(
                f"{where}: {y_name} must be integers of shape ({len(x)},), as {x_name} has "
                f"{len(x)} rows, got {y.dtype} {y.shape}"
            )
        n_classes = n_classes or int(y.max()) + 1
        if y.min() < 0 or y.max() >= n_classes:
            raise UserError(
                f"{where}: {y_name} must be classes 0..{n_classes - 1}, "
                f"got {int(y.min())}..{int(y.max())}"
            )
        arrays[x_name] = x.reshape(len(x), -1)
    if n_classes > max(2, len(arrays["y_train"])):
        raise UserError(
            f"{where}: y_train has classes up to {n_classes - 1} but only "
            f"{len(arrays['y_train'])} examples; number the classes 0, 1, 2, ..."
        )
    if n_classes < 2:
        raise UserError(f"{where}: y_train has one class only; a classifier needs two or more")
    if "x_val" not in arrays:
        if len(arrays["x_train"]) < 2:
            raise UserError(f"{where}: x_train has one row; a split needs two or more")
        return *split(arrays["x_train"], arrays["y_train"], seed), n_classes
    if arrays["x_val"].shape[1] != arrays["x_train"].shape[1]:
        raise UserError(
            f"{where}: x_val has {arrays['x_val'].shape[1]} features, "
            f"x_train has {arrays['x_train'].shape[1]}"
        )
    return (arrays["x_train"], arrays["y_train"]), (arrays["x_val"], arrays["y_val"]), n_classes


def load_dataset(config):
    """The Dataset that a checked configuration's `dataset` group asks for."""
    if config.name == "synth":
        train, held_out, n_classes = load_synth(config.num_train, config.num_val, config.seed)
    elif config.name == "digits":
        train, held_out, n_classes = load_digits(config.seed)
    elif config.name == "npz":
        train, held_out, n_classes = load_npz(Path(config.path), config.seed)
    else:
        load = {"mnist": load_mnist, "fashion_mnist": load_fashion_mnist}[config.name]
        train, held_out, n_classes = load(config.final)
    offset, scale = normalise(train[0], config.normalize)
    return Dataset(train, held_out, n_classes, offset, scale)
