"""Examples from arrays, tables and scikit-learn: their labels may be of any kind."""

import zipfile
import zlib
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp.errors import UserError

VAL_FRACTION = 0.2  # of a dataset that comes undivided


class Examples(NamedTuple):
    """What a dataset consists of, as stored.

    train and held_out: (inputs (n, n_features) of any real type, labels (n,) in 0..n_classes-1);
    classes: their names, the numbers themselves if (); shape: that of one example's inputs.
    """

    train: tuple
    held_out: tuple
    n_classes: int
    classes: tuple = ()
    shape: tuple = ()


def split(x, y, seed):
    """A random fifth of the examples becomes the validation set: ((x, y), (x, y))."""
    order = np.random.default_rng(seed).permutation(len(x))
    n_val = max(1, round(VAL_FRACTION * len(x)))
    train, val = order[n_val:], order[:n_val]
    return (x[train], y[train]), (x[val], y[val])


def load_npz(path, seed=0, final=False):
    """Examples of a .npz file: x_train (n, ...) and y_train, whatever `encoded` takes.

    They are measured on x_val, y_val, or on a fifth held out by `split`. final: x_test, y_test
    (Keras' layout) are the measure, and x_val, y_val belong to the training examples. Raises
    UserError that names the array and what is wrong with it.
    """
    where = f"dataset=npz: {path}"
    with saying(where, "a .npz file of plain arrays"):
        file = np.load(path)
        if isinstance(file, np.ndarray):
            raise ValueError("but a single array: np.savez(path, x_train=x, y_train=y) makes one")
        parts = ["train"] + ["val"] * ("x_val" in file or "y_val" in file) + ["test"] * final
        names = [f"{kind}_{part}" for part in parts for kind in "xy"]
        if missing := [name for name in names if name not in file]:
            there = ", ".join(file) or "nothing"
            raise UserError(f"{where} holds {there} but no {missing[0]}")
        arrays = {name: file[name] for name in names}
    return examples(where, arrays, parts, seed)


def load_csv(path, label=None, seed=0):
    """Examples of a table whose first line names the columns, a fifth held out by `split`.

    label: the column of the labels, None for the last; all others are features, and numbers. Raises
    UserError that names the column and what is wrong with it.
    """
    import pandas  # most runs don't need it, and it takes 0.3 s

    where = f"dataset=csv: {path}"
    with saying(where, "a table"):
        table = pandas.read_csv(path)
    columns = [str(column) for column in table.columns]
    label = columns[-1] if label is None else label

    def require(holds, complaint):
        if not holds:
            raise UserError(f"{where}: {complaint}")

    named = not all(column.replace(".", "").strip("-").isdigit() for column in columns)
    require(named, f"the first line must name the columns, got {','.join(columns)[:40]}")
    require(label in columns, f"there is no column {label!r}; there are {', '.join(columns)}")
    for row, column in np.argwhere(table.isna().to_numpy())[:1]:
        require(False, f"row {row + 1} has no value in column {columns[column]!r}")
    y = table.pop(label)
    for column in table.select_dtypes(exclude=["number", "bool"]):
        require(False, f"column {column!r} holds text; features must be numbers")
    require(table.shape[1] > 0, "there is no column but the labels")
    arrays = {"x_train": table.to_numpy(float), "y_train": y.to_numpy()}
    if y.dtype.kind not in "buif":
        arrays["y_train"] = arrays["y_train"].astype(str)
    return examples(where, arrays, ["train"], seed)


def load_bundled(name, seed=0):
    """Examples of one of scikit-learn's own sets, a fifth held out; UserError without scikit-learn.

    name: iris, wine, breast_cancer, or digits: 1,797 images of 8 x 8 pixels from 0 to 16.
    """
    if (found := find_spec("sklearn")) is None:
        hint = "install it with: pip install 'mlp-numpy[digits]'"
        raise UserError(f"dataset={name} needs scikit-learn; {hint}")
    file = Path(found.origin).parent / "datasets/data/digits.csv.gz"
    if name == "digits" and file.is_file():  # all of scikit-learn takes a second to load
        table = np.loadtxt(file, np.uint8, delimiter=",")
        x, y, names = table[:, :-1], table[:, -1].astype(int), range(10)
    else:
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{name}")()
        x, y, names = bunch.data, bunch.target, bunch.target_names
        x = x.astype(np.uint8) if name == "digits" else x
    classes = tuple(map(str, names))
    shape = (8, 8) if name == "digits" else ()
    return Examples(*split(x, y, seed), len(classes), classes, shape)


@contextmanager
def saying(where, what):
    """A UserError in place of whatever the reader of a missing or damaged file raises."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{where} does not exist; give your file with dataset.path=FILE") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).split(". ")[0].split("\n")[0]  # the rest is advice for programmers
        raise UserError(f"{where} is not {what} ({reason})") from error


def examples(where, arrays, parts, seed):
    """The Examples of arrays x_PART and y_PART, for PART in parts, "train" first.

    Classes are the labels that occur, in their order. Raises UserError, which begins with `where`.
    """
    inputs, labels = [], []
    for part in parts:
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        inputs.append(flat(x, f"{where}: x_{part}"))
        labels.append(one_each(y, len(x), f"{where}: y_{part}"))
        own, others = x.shape[1:], arrays["x_train"].shape[1:]
        if own != others:
            raise UserError(f"{where}: x_{part} has examples of shape {own}, x_train of {others}")
    values, codes = np.unique(np.concatenate(labels), return_inverse=True)
    sizes = [len(x) for x in inputs]
    if sum(sizes) < 2:
        raise UserError(f"{where}: x_train has one row; a split needs two or more")
    if len(values) < 2:
        raise UserError(f"{where}: y_train has one class only; a classifier needs two or more")
    if len(values) == sum(sizes) > 2:
        many = f"{len(values):,} classes in as many examples"
        raise UserError(f"{where}: y_train has {many}; labels must be classes, not numbers of rows")
    parts = list(zip(inputs, np.split(codes, np.cumsum(sizes)[:-1]), strict=True))
    if len(parts) == 1:
        parts = split(*parts[0], seed)
    *train, held_out = parts
    train = tuple(map(np.concatenate, zip(*train, strict=True))) if len(train) > 1 else train[0]
    shape = tuple(
        side for side in arrays["x_train"].shape[1:] if side > 1
    )  # 28 x 28 x 1 is 28 x 28
    return Examples(train, held_out, len(values), tuple(map(str, values.tolist())), shape)


def flat(x, where):
    """Inputs x (n, ...) as (n, n_features)."""
    if x.dtype.kind not in "buif" or x.ndim < 2 or not x.size:
        got = f"got {x.dtype} {x.shape}"
        raise UserError(f"{where} must be real numbers of shape (n, features), {got}")
    x = x.reshape(len(x), -1)
    for row in np.flatnonzero(~np.isfinite(x).all(axis=1))[:1]:
        raise UserError(f"{where} has a NaN or infinite value, first in row {row}")
    return x


def one_each(y, n, where):
    """Labels y as n integers or texts (n,). They may be so already, (n, 1), or one-hot rows."""
    if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "buif":
        if not (((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all()):
            raise UserError(f"{where} has several columns, but not a single 1 in each row")
        y = y.argmax(axis=1)
    if y.shape == (n, 1):
        y = y[:, 0]
    if y.dtype.kind not in "buifSU" or y.shape != (n,):
        shape = f"({n},), ({n}, 1) or one-hot rows, as its inputs have {n} rows"
        raise UserError(
            f"{where} must be integers or texts of shape {shape}, got {y.dtype} {y.shape}"
        )
    if y.dtype.kind == "S":
        return np.char.decode(y, "utf-8", "replace")
    if y.dtype.kind == "f":
        if not (np.isfinite(y) & (y == np.floor(y))).all():
            raise UserError(f"{where} holds fractions; labels must be integers or texts")
        return y.astype(np.int64)
    if y.dtype == np.uint64 and y.max() < 2**63:
        return y.astype(np.int64)  # NumPy joins the two as floats
    return y
