"""Datasets, their normalisation, blocks of examples, and what is said about files that won't do."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets

from mlp import make_config, run
from mlp.data import (
    MOST_ROWS,
    MOST_STEPS,
    Batches,
    Csv,
    Dataset,
    Digits,
    FashionMnist,
    Iris,
    Mnist,
    Npz,
    Synth,
    load_synth,
    normalise,
    steps_per_block,
)
from mlp.errors import UserError
from mlp.experiment import start
from mlp.own_data import load_bundled, load_csv, load_npz, split

X = np.array([[0, 1.5], [1, 2.5], [2, 0], [3, 1], [4, 7]])
Y = np.array([0, 1, 2, 1, 0])


def rows(x, y):
    """Examples as a sorted list, to compare sets of them."""
    return sorted((*inputs, label) for inputs, label in zip(x.tolist(), y.tolist(), strict=True))


# The synthetic set


def test_synth_is_the_known_one():
    (x, y), (x_val, y_val), n_classes = load_synth()
    assert (x.shape, y.shape, x_val.shape, y_val.shape) == (
        (60_000, 2),
        (60_000,),
        (10_000, 2),
        (10_000,),
    )
    assert n_classes == 2
    assert x[0].round(4).tolist() == [1.7641, 0.4002]
    assert y.mean().round(4) == 0.5582
    assert y_val.mean() == 0.5622
    q = x[:, 0] ** 2 + 0.95 * x[:, 0] * x[:, 1] + 0.4 * x[:, 1] ** 2
    np.testing.assert_array_equal(y, q > 0.6)


def test_synth_takes_its_sizes_and_its_seed():
    (x, _), (x_val, y_val), _ = load_synth(num_train=7, num_val=3, seed=1)
    assert (len(x), len(x_val), len(y_val)) == (7, 3, 3)
    assert (load_synth(10, 3, seed=0)[0][0][:7] != x).all()
    np.testing.assert_array_equal(load_synth(10, 3, seed=1)[0][0], np.vstack([x, x_val]))


def test_loading_leaves_the_global_generator_alone():
    np.random.seed(5)
    before = np.random.get_state()
    load_synth(10, 10)
    load_bundled("digits")
    after = np.random.get_state()
    assert before[2:] == after[2:]
    np.testing.assert_array_equal(before[1], after[1])


# Digits


def test_digits_are_divided_by_the_seed():
    everything = rows(*sklearn.datasets.load_digits(return_X_y=True))
    (x, y), (x_val, y_val), *others = load_bundled("digits", seed=0)
    assert (x.shape, x_val.shape) == ((1438, 64), (359, 64))
    assert others == [10, tuple("0123456789"), (8, 8)]
    assert (x.dtype, x.min(), x.max()) == (np.uint8, 0, 16)
    assert rows(np.vstack([x, x_val]), np.concatenate([y, y_val])) == everything
    np.testing.assert_array_equal(load_bundled("digits", seed=0)[0][0], x)
    assert (load_bundled("digits", seed=1)[0][0] != x).any()


def test_digits_are_those_that_scikit_learn_loads(monkeypatch):
    ours = load_bundled("digits")
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    theirs = load_bundled("digits")
    for (x, y), (its_x, its_y) in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_array_equal(x, its_x)
        np.testing.assert_array_equal(y, its_y)
        assert (x.dtype, y.dtype) == (its_x.dtype, its_y.dtype)
    assert ours[2:] == theirs[2:]


def test_digits_without_scikit_learn_say_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r"dataset=digits needs scikit-learn.*pip install"):
        load_bundled("digits")


# A user's own arrays


@pytest.fixture
def npz(tmp_path):
    """Writes arrays to a file and gives its path."""

    def write(**arrays):
        np.savez(tmp_path / "my.npz", **arrays)
        return tmp_path / "my.npz"

    return write


def test_npz_with_its_own_validation_set(npz):
    path = npz(x_train=X, y_train=Y, x_val=X[:2].astype(np.float32), y_val=Y[:2].astype(np.uint8))
    (x, y), (x_val, y_val), n_classes, classes, shape = load_npz(path)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(x_val, X[:2])
    np.testing.assert_array_equal(y_val, Y[:2])
    assert (n_classes, classes, shape) == (3, ("0", "1", "2"), (2,))


def test_npz_without_one_holds_a_fifth_out_by_the_seed(npz):
    path = npz(x_train=np.repeat(X, 4, axis=0) + np.arange(20)[:, None], y_train=np.repeat(Y, 4))
    (x, y), (x_val, y_val), *_ = load_npz(path, seed=0)
    assert (len(x), len(x_val)) == (16, 4)
    with np.load(path) as arrays:
        everything = rows(arrays["x_train"], arrays["y_train"])
    assert rows(np.vstack([x, x_val]), np.concatenate([y, y_val])) == everything
    np.testing.assert_array_equal(load_npz(path, seed=0)[0][0], x)
    assert (load_npz(path, seed=1)[0][0] != x).any()


@pytest.mark.parametrize(("n", "n_val"), [(2, 1), (7, 1), (8, 2), (18, 4), (20, 4), (1797, 359)])
def test_the_fifth_that_is_held_out_is_rounded_to_the_nearest(n, n_val):
    x = np.arange(n).reshape(-1, 1)
    (x_train, _), (x_val, _) = split(x, x[:, 0], seed=0)
    assert (len(x_train), len(x_val)) == (n - n_val, n_val)


STORED = [*"?bBhHiIlLefdg", ">f4", ">i2"]  # all types of real numbers, and two of another machine
HIGHEST = {"?": 1, "e": 4e4, "f": 3e38, "d": 1e150, ">f4": 3e38}


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("how", ["none", "unit", "standard"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_sees_the_stored_numbers_whatever_their_type(npz, dtype, how, stored):
    """Normalised in longdouble, then rounded; in batches, for evaluation and in the summary."""
    unit = np.random.default_rng(0).random((60, 4))
    highest = HIGHEST.get(stored, np.iinfo(stored).max if stored in "bBhHiIlL>i2" else 1e30)
    if stored[-1] in "bhilefdg" or stored == ">f4":
        unit = 2 * unit - 1
    x = np.clip(unit, -0.99, 0.99) * float(highest) if stored != "?" else unit > 0.5
    path = npz(x_train=x.astype(stored), y_train=(np.arange(60) % 2).astype("L"))
    dataset = Npz(path=str(path), seed=0, final=False, normalize=how).load()
    if how == "none" and np.abs(x.astype(np.longdouble)).max() > np.finfo(dtype).max:
        with pytest.raises(UserError, match=f"go beyond {dtype}"):
            start(make_config(dtype=dtype), dataset)
        return
    exact = dataset.train[0].astype(np.longdouble)
    offset, scale = normalise(exact, how)
    expected = ((exact - offset) * scale).astype(dtype)
    training = start(make_config(dtype=dtype), dataset)
    ((seen, _),) = Batches(dataset, dataset.train, dtype).blocks(np.arange(48), 48)
    assert seen.dtype == dtype
    tolerance = 4 * np.finfo(dtype).eps * np.abs(expected).max()
    np.testing.assert_allclose(seen, expected, rtol=0, atol=tolerance)
    low, high = dataset.ranges[0]
    assert (low, high) == pytest.approx((expected.min(), expected.max()), rel=1e-6, abs=1e-6)
    assert np.isfinite(training.evaluate()).all()


@pytest.mark.parametrize("types", ["Ll", "lL", "LL", "Bq"])
def test_labels_of_two_types_are_the_same_classes(npz, types):
    """NumPy joins uint64 and int64 as floats."""
    y_train, y_val = Y.astype(types[0]), Y.astype(types[1])
    found = load_npz(npz(x_train=X, y_train=y_train, x_val=X, y_val=y_val))
    assert found.classes == ("0", "1", "2")
    np.testing.assert_array_equal(found.held_out[1], Y)


def test_npz_inputs_are_flattened_and_keep_their_type(npz):
    images = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)
    found = load_npz(npz(x_train=images[..., None], y_train=Y, x_val=images[..., None], y_val=Y))
    (x, _), (x_val, _) = found[:2]
    assert found.shape == (2, 3), "a picture, whether or not it says that it has one colour"
    assert x.dtype == np.uint8
    np.testing.assert_array_equal(x, images.reshape(5, 6))
    np.testing.assert_array_equal(x_val, x)


def refusal(path):
    """What load_npz says about a file: one line that names it."""
    with pytest.raises(UserError) as caught:
        load_npz(path)
    line = str(caught.value)
    assert line.startswith(f"dataset=npz: {path}")
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"x_train": None}, "holds y_train but no x_train"),
        ({"y_train": None}, "holds x_train but no y_train"),
        ({"x_val": X}, "holds x_train, y_train, x_val but no y_val"),
        ({"y_val": Y}, "holds x_train, y_train, y_val but no x_val"),
        ({"x_train": X[:, 0]}, "x_train must be real numbers of shape (n, features), got"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "x_train must be real numbers of shape"),
        ({"x_train": X * 1j}, "x_train must be real numbers"),
        ({"x_train": X.astype(str)}, "x_train must be real numbers"),
        (
            {"x_train": np.where(X == 7, np.nan, X)},
            "x_train has a NaN or infinite value, first in row 4",
        ),
        ({"x_val": np.where(X == 0, np.inf, X), "y_val": Y}, "x_val has a NaN or infinite value"),
        ({"y_train": Y[:4]}, "y_train must be integers or texts of shape (5,), (5, 1) or one-hot"),
        ({"x_val": X, "y_val": Y[:2]}, "y_val must be integers or texts of shape (5,), (5, 1)"),
        ({"y_train": Y[:, None, None]}, "y_train must be integers or texts of shape (5,), (5, 1)"),
        ({"y_train": Y * 1j}, "y_train must be integers or texts of shape (5,)"),
        ({"y_train": Y / 2}, "y_train holds fractions; labels must be integers or texts"),
        ({"y_train": np.where(Y, Y, np.nan)}, "y_train holds fractions"),
        ({"y_train": np.eye(5) + np.eye(5)[0]}, "y_train has several columns, but not a single 1"),
        ({"y_train": np.eye(5)[Y] / 2}, "y_train has several columns, but not a single 1"),
        ({"y_train": np.arange(5)}, "y_train has 5 classes in as many examples; labels must be"),
        ({"y_train": 0 * Y}, "y_train has one class only"),
        ({"x_val": X[:, :1], "y_val": Y}, "x_val has examples of shape (1,), x_train of (2,)"),
        ({"y_train": np.array([0, 1, None, 1, 0])}, "is not a .npz file of plain arrays (Object"),
        ({"x_train": X[:1], "y_train": Y[1:2]}, "x_train has one row; a split needs two or more"),
    ],
    ids=lambda value: value.split(",")[0] if isinstance(value, str) else "",
)
def test_npz_arrays_that_will_not_do(npz, changes, complaint):
    arrays = {"x_train": X, "y_train": Y} | changes
    path = npz(**{name: array for name, array in arrays.items() if array is not None})
    assert complaint in refusal(path)


LABELS = ["no", "yes", "perhaps", "yes", "no"]  # 0, 2, 1, 2, 0 in the order of the alphabet


@pytest.mark.parametrize(
    ("y", "codes", "classes"),
    [
        (Y + 1, Y, ("1", "2", "3")),
        (Y - 1, Y, ("-1", "0", "1")),
        (Y * 10**9, Y, ("0", "1000000000", "2000000000")),
        (Y.astype(np.uint64) + 2**63, Y, tuple(str(2**63 + i) for i in range(3))),
        (Y * 1.0, Y, ("0", "1", "2")),
        (Y[:, None], Y, ("0", "1", "2")),
        (Y > 0, Y > 0, ("False", "True")),
        (np.eye(3)[Y], Y, ("0", "1", "2")),
        (np.eye(3, dtype=bool)[Y], Y, ("0", "1", "2")),
        (np.array(LABELS), [0, 2, 1, 2, 0], ("no", "perhaps", "yes")),
        (np.array(LABELS, "S")[:, None], [0, 2, 1, 2, 0], ("no", "perhaps", "yes")),
    ],
    ids=str,
)
def test_npz_labels_may_be_of_any_kind(npz, y, codes, classes):
    found = load_npz(npz(x_train=X, y_train=y, x_val=X[:2], y_val=y[:2]))
    np.testing.assert_array_equal(found.train[1], codes)
    np.testing.assert_array_equal(found.held_out[1], codes[:2])
    assert (found.n_classes, found.classes) == (len(classes), classes)


def test_a_class_that_is_held_out_alone_is_a_class_and_named(npz):
    path = npz(x_train=X, y_train=Y, x_val=X, y_val=Y + 2)
    dataset = Npz(path=str(path), seed=0, final=False, normalize="none").load()
    np.testing.assert_array_equal(dataset.held_out[1], Y + 2)
    assert dataset.summary().endswith(
        "5 classes of 0 to 2 training examples; no training example of class 3, 4"
    )


def test_an_imbalance_is_said(npz):
    y = np.repeat([0, 1], [3, 7])

    def summary(y):
        x = np.arange(10.0)[:, None]
        path = npz(x_train=x, y_train=y, x_val=x, y_val=y)
        return Npz(path=str(path), seed=0, final=False, normalize="none").load().summary()

    assert summary(y).endswith(", 2 classes of 3 to 7 training examples")
    assert summary(np.repeat([0, 1], [4, 6])).endswith(", 2 classes")


def test_npz_has_a_test_set_for_the_final_figure_alone(npz):
    parts = {"x_train": X, "y_train": Y, "x_test": X[:2] + 50, "y_test": Y[:2]}
    train, held_out, *_ = load_npz(npz(**parts), final=True)
    np.testing.assert_array_equal(train[0], X)
    np.testing.assert_array_equal(held_out[0], X[:2] + 50)
    train, held_out, *_ = load_npz(npz(**parts, x_val=X[:1] + 9, y_val=Y[:1]), final=True)
    np.testing.assert_array_equal(train[0], np.vstack([X, X[:1] + 9]))
    np.testing.assert_array_equal(train[1], [*Y, Y[0]])
    np.testing.assert_array_equal(held_out[0], X[:2] + 50)
    parts["x_test"] = np.array([None])  # which can't be read
    train, held_out, *_ = load_npz(npz(**parts), final=False)
    assert len(train[0]) + len(held_out[0]) == 5
    dataset = Npz(
        path=str(npz(x_train=X, y_train=Y, x_test=X, y_test=Y)),
        seed=0,
        final=True,
        normalize="none",
    )
    assert dataset.load().held_out_name == "test"


def test_npz_without_a_test_set_has_no_final_figure(npz):
    with pytest.raises(UserError, match="holds x_train, y_train but no x_test"):
        load_npz(npz(x_train=X, y_train=Y), final=True)


# A user's own table


@pytest.fixture
def csv(tmp_path):
    def write(text):
        (tmp_path / "my.csv").write_text(text)
        return tmp_path / "my.csv"

    return write


FLOWERS = """length,kind,wide,width
5.1,setosa,True,3
4.9,virginica,False,2
4.7,setosa,False,2.5
0.1,virginica,True,1e3
7,versicolor,False,4
"""


def test_a_table_has_labels_in_a_column_and_numbers_in_all_others(csv):
    train, held_out, n_classes, classes, shape = load_csv(csv(FLOWERS), "kind")
    x, y = (np.concatenate(both) for both in zip(train, held_out, strict=True))
    expected = [[5.1, 1, 3], [4.9, 0, 2], [4.7, 0, 2.5], [0.1, 1, 1e3], [7, 0, 4]]
    assert rows(x, y) == rows(np.array(expected), np.array([0, 2, 0, 2, 1]))
    assert (len(held_out[1]), n_classes, shape) == (1, 3, (3,))
    assert classes == ("setosa", "versicolor", "virginica")
    by_seed = [load_csv(csv(FLOWERS), "kind", seed).held_out[0].tolist() for seed in range(5)]
    assert by_seed[0] == held_out[0].tolist() and by_seed.count(by_seed[0]) < 5


def test_the_last_column_of_a_table_holds_the_labels_unless_another_is_named(csv):
    path = csv("a,b\n1,5\n2,7\n3,5\n")
    assert load_csv(path).classes == ("5", "7")
    settings = {"path": str(path), "seed": 0, "normalize": "none"}
    assert Csv(label=None, **settings).load().classes == ("5", "7")
    with pytest.raises(UserError, match="3 classes in as many examples"):
        Csv(label="a", **settings).load()


@pytest.mark.parametrize(
    ("text", "label", "complaint"),
    [
        (FLOWERS, "species", "there is no column 'species'; there are length, kind, wide, width"),
        (FLOWERS, None, "column 'kind' holds text; features must be numbers"),
        (FLOWERS.replace("4.7", ""), "kind", "row 3 has no value in column 'length'"),
        (FLOWERS.replace("4.7,setosa", "4.7,"), "kind", "row 3 has no value in column 'kind'"),
        (FLOWERS.replace("4.7", "inf"), "kind", "x_train has a NaN or infinite value"),
        ("5.1,3,0\n4.9,2,1\n", None, "the first line must name the columns, got 5.1,3,0"),
        ("kind\na\nb\n", None, "there is no column but the labels"),
        ("a,b\n1,2\n3,4,5,6\n", None, "is not a table ("),
        ("", None, "is not a table ("),
    ],
    ids=lambda value: (value or "none").split(",")[0],
)
def test_tables_that_will_not_do(csv, text, label, complaint):
    path = csv(text)
    with pytest.raises(UserError) as caught:
        load_csv(path, label)
    assert str(caught.value).startswith(f"dataset=csv: {path}") and complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_missing_or_no_text(tmp_path):
    with pytest.raises(UserError, match=r"none.csv does not exist; give your file with dataset"):
        load_csv(tmp_path / "none.csv")
    (tmp_path / "my.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(UserError, match="is not a table"):
        load_csv(tmp_path / "my.csv")


@pytest.mark.parametrize(
    ("name", "n", "n_features", "classes"),
    [
        ("iris", 150, 4, ("setosa", "versicolor", "virginica")),
        ("wine", 178, 13, ("class_0", "class_1", "class_2")),
        ("breast_cancer", 569, 30, ("malignant", "benign")),
    ],
)
def test_sets_that_come_with_scikit_learn(name, n, n_features, classes):
    train, held_out, n_classes, found, _ = load_bundled(name)
    assert (train[0].shape[1], n_classes, found) == (n_features, len(classes), classes)
    everything = rows(*getattr(sklearn.datasets, f"load_{name}")(return_X_y=True))
    both = (np.concatenate(pair) for pair in zip(train, held_out, strict=True))
    assert len(everything) == n and rows(*both) == everything


def objects(path):
    np.savez(path, x_train=np.array([[1, None]]), y_train=Y)


def single_array(path):
    with open(path, "wb") as file:
        np.save(file, X)


def cut_short(path):
    np.savez(path, x_train=X, y_train=Y)
    path.write_bytes(path.read_bytes()[:300])


def damaged(path):
    np.savez(path, x_train=X, y_train=Y)
    content = bytearray(path.read_bytes())
    content[content.index(X.tobytes())] ^= 1
    path.write_bytes(content)


def archive_of_texts(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes", "no array")


@pytest.mark.parametrize(
    "write",
    [
        objects,
        single_array,
        cut_short,
        damaged,
        lambda path: path.write_text("x_train,y_train\n1,0\n"),
        lambda path: path.write_bytes(b""),
        lambda path: path.mkdir(),
    ],
    ids=["objects", "single array", "cut short", "damaged", "text", "empty", "folder"],
)
def test_files_that_are_no_npz_of_plain_arrays(tmp_path, write):
    write(tmp_path / "my.npz")
    assert "is not a .npz file of plain arrays" in refusal(tmp_path / "my.npz")


def test_files_without_arrays_and_files_that_are_missing(tmp_path):
    archive_of_texts(tmp_path / "my.npz")
    assert "holds notes but no x_train" in refusal(tmp_path / "my.npz")
    assert "does not exist; give your file with dataset.path=FILE" in refusal(tmp_path / "none.npz")


# Normalisation


@pytest.mark.parametrize("dtype", [float, np.float32, np.uint8, bool])
def test_normalise_reaches_the_stated_range(dtype):
    x = np.array([[0, 1, 7], [0, 3, 7], [0, 2, 7], [0, 4, 7]]).astype(dtype)

    def normalised(how):
        offset, scale = normalise(x, how)
        return (x - np.asarray(offset, float)) * scale

    np.testing.assert_array_equal(normalised("none"), x)
    unit = normalised("unit")
    assert (unit.min(), unit.max()) == (0, 1)
    np.testing.assert_allclose(unit, x / x.max().astype(float))
    standard = normalised("standard")
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(standard.std(axis=0), [0, x[:, 1].std() > 0, 0])


@pytest.mark.parametrize("stored", [np.uint8, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("how", ["unit", "standard"])
def test_what_is_constant_is_0_in_every_example(how, stored):
    """The mean of equal numbers is often none of them, and their computed std above 0."""
    constants = np.random.default_rng(0).random(200) * 100
    if stored is np.float64:
        constants = np.r_[constants, constants * 1e150, constants * 1e-150]
    x = np.tile(constants.astype(stored), (999, 1))
    if how == "unit":
        x[:] = x[0, 0]
    offset, scale = normalise(x, how)
    dataset = Dataset((x, None), (x + 1, None), 2, offset, scale)
    for inputs in x, x + np.ones((), stored):
        np.testing.assert_array_equal(dataset.normalised(inputs), 0)


@pytest.mark.parametrize("stored", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("how", ["unit", "standard"])
def test_a_spread_within_rounding_is_none(how, stored):
    value = stored(0.1)
    few_last_places = [value, np.nextafter(value, stored(1))]
    _, scale = normalise(np.array(few_last_places * 50).reshape(-1, 1), how)
    assert scale == 0
    further = np.array([value, value * stored(1.01)] * 50, stored).reshape(-1, 1)
    offset, scale = normalise(further, how)
    expected = (further.astype(float) - offset) * scale
    assert np.ptp(expected) == pytest.approx(1 if how == "unit" else 2)


def test_a_spread_within_the_rounding_of_a_mean_is_none():
    column = 0.1 * (1 + np.arange(20_000) % 5 * 2**-52)
    x = np.column_stack([column] * 3)
    assert (abs(np.mean(x, axis=0) - x[0]) > 100 * np.ptp(column)).all()
    assert not normalise(x, "standard")[1].any()


def test_a_constant_feature_costs_no_accuracy(npz):
    """0.1 in all of x_train and 0.2 in x_val says nothing about the classes."""
    rng, found = np.random.default_rng(0), []
    x, x_val = rng.normal(size=(400, 3)), rng.normal(size=(200, 3))
    for constants in (0.1, 0.1), (0.1, 0.2), (1 / 3, 1e6):
        arrays = [np.c_[a, np.full(len(a), c)] for a, c in zip((x, x_val), constants, strict=True)]
        path = npz(
            **dict(zip(("x_train", "x_val"), arrays, strict=True)),
            y_train=(x[:, 0] > 0).astype(int),
            y_val=(x_val[:, 0] > 0).astype(int),
        )
        config = make_config(dataset={"name": "npz", "path": str(path)}, model={"hidden_sizes": []})
        found.append(run(config).metrics["val_accuracy"])
    assert found[0] == found[1] == found[2] > 0.95


def test_an_offset_takes_part_in_the_range_of_the_unit():
    offset, scale = normalise(np.array([[3.0, 7.0], [5.0, 11.0]]), "unit")
    assert (offset, scale) == (3, 1 / 8)


@pytest.mark.parametrize("how", ["unit", "standard"])
@pytest.mark.parametrize(
    ("stored", "size"), [(np.float32, 1e-42), (np.float32, 3e38), (float, 1e150)]
)
def test_small_and_large_numbers_are_normalised_like_others(how, stored, size):
    x = np.linspace(-1, 1, 21).reshape(-1, 1)
    near = (x * size).astype(stored)
    exact = near.astype(float) / size
    expected, found = (
        Dataset((a, None), (a, None), 2, *normalise(a, how)).normalised(a, np.float32)
        for a in (exact, near)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("how", "size"),
    [
        ("unit", 1e-320),
        ("unit", 1.7e308),
        ("standard", 1e-320),
        ("standard", 1e-170),
        ("standard", 1e-160),  # its square is there, with three digits
        ("standard", 1e200),
        ("standard", 1.7e308),
    ],
)
def test_a_spread_that_no_float_holds_is_said(how, size):
    line = f"dataset.normalize={how}: no float holds the spread of inputs from -"
    with pytest.raises(UserError, match=line):
        normalise(np.linspace(-1, 1, 9).reshape(3, 3) * size, how)


def test_ranges_are_those_of_the_normalised_inputs():
    examples, few = (X, Y), (X[:2], Y[:2])
    assert Dataset(examples, few, 3).ranges == [(0, 7), (0, 2.5)]
    assert Dataset(examples, few, 3, offset=1.0, scale=2.0).ranges == [(-2, 12), (-2, 3)]
    offset, scale = np.array([2.0, 0.0]), np.array([1.0, 0.1])
    assert Dataset(examples, few, 3, offset, scale).ranges == [(-2, 2), (-2, 0.25)]


@pytest.mark.parametrize("stored", [np.uint8, np.int64, np.float32, np.float64, bool])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalised_inputs_have_the_type_asked_for(stored, dtype):
    x = X.astype(stored)
    for offset, scale in (0.0, 0.5), (0.25, 0.5), (np.array([1.0, 0.25]), np.array([2.0, 0.5])):
        before = x.copy()
        found = Dataset((x, Y), (x, Y), 3, offset, scale).normalised(x, dtype)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, (X.astype(stored) - np.float64(offset)) * scale)
        np.testing.assert_array_equal(x, before)


def test_an_offset_is_subtracted_before_anything_is_rounded():
    x, offset = np.array([[1e9 + 1], [1e9 + 2]]), 1e9 + 1  # which float32 can't tell from 1e9
    dataset = Dataset((x, Y[:2]), (x, Y[:2]), 2, offset)
    np.testing.assert_array_equal(dataset.normalised(x, np.float32), [[0], [1]])
    ((inputs, _),) = Batches(dataset, dataset.train, np.float32).blocks(np.arange(2), 2)
    np.testing.assert_array_equal(inputs, [[0], [1]])


@pytest.mark.parametrize("stored", [np.float32, np.uint16])
def test_a_large_mean_costs_no_digits(stored):
    """A float32 offset would be off by up to 1/32 of the std."""
    rng, large = np.random.default_rng(0), {np.float32: 1e6, np.uint16: 6e4}[stored]
    x = np.round(rng.normal(size=(500, 3)) * 4) / (4 if stored is np.float32 else 1) + large
    x = x.astype(stored)
    exact = x.astype(np.longdouble)
    expected = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    found = Dataset((x, None), (x, None), 2, *normalise(x, "standard")).normalised(x, np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


# Data sets by name


def test_a_data_set_is_normalised_by_its_training_inputs(npz):
    path = npz(x_train=X, y_train=Y, x_val=10 * X, y_val=Y)
    dataset = Npz(path=str(path), seed=0, final=False, normalize="unit").load()
    assert (dataset.n_features, dataset.n_classes, dataset.held_out_name) == (2, 3, "val")
    assert (dataset.offset, dataset.scale) == (0, 1 / 7)
    np.testing.assert_array_equal(dataset.held_out[0], 10 * X)


@pytest.mark.parametrize(
    ("source", "examples"),
    [
        (Synth(num_train=7, num_val=3, seed=1, normalize="none"), lambda: load_synth(7, 3, 1)),
        (Digits(seed=1, normalize="unit"), lambda: load_bundled("digits", 1)),
        (Iris(seed=1, normalize="none"), lambda: load_bundled("iris", 1)),
    ],
    ids=["synth", "digits", "iris"],
)
def test_a_data_set_takes_its_settings(source, examples):
    dataset = source.load()
    for found, expected in zip((dataset.train, dataset.held_out), examples(), strict=False):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize(
    ("cls", "loader"), [(Mnist, "load_mnist"), (FashionMnist, "load_fashion_mnist")]
)
@pytest.mark.parametrize(("final", "name"), [(False, "val"), (True, "test")])
def test_what_is_held_out_of_mnist_has_its_name(cls, loader, final, name, monkeypatch):
    def load(final):
        return (X + final, Y), (X, Y), 3

    monkeypatch.setattr(f"mlp.data.{loader}", load)
    dataset = cls(final=final, normalize="none").load()
    assert dataset.held_out_name == name
    np.testing.assert_array_equal(dataset.train[0], X + final)


# Blocks


def blocks(x, order, batch_size=4, n_batches=1):
    """(inputs, labels) of each block, as copies; a label is its example's number."""
    dataset = Dataset((x, np.arange(len(x))), (x, None), 2, scale=0.5)
    batches = Batches(dataset, dataset.train, np.float64)
    assert len(batches) == len(x)
    found = batches.blocks(np.array(order), batch_size, n_batches)
    return [(inputs.copy(), labels.tolist()) for inputs, labels in found]


def test_a_block_holds_the_examples_asked_for():
    found = blocks(X, [3, 0, 4, 2, 2], batch_size=2)
    np.testing.assert_array_equal(np.vstack([x for x, _ in found]), X[[3, 0, 4, 2, 2]] * 0.5)
    assert [labels for _, labels in found] == [[3, 0], [4, 2], [2]]


def test_a_block_holds_examples_for_each_network_of_a_stack():
    orders = np.array([[[3, 0, 4], [2, 2, 1]], [[0, 1, 2], [4, 4, 4]]])
    (first, labels), (second, last) = blocks(X, orders, batch_size=2)
    np.testing.assert_array_equal(first, X[orders[..., :2]] * 0.5)
    np.testing.assert_array_equal(second, X[orders[..., 2:]] * 0.5)
    np.testing.assert_array_equal(np.concatenate([labels, last], axis=-1), orders)


@pytest.mark.parametrize(
    ("n", "batch_size", "n_batches", "sizes"),
    [
        (10, 2, 2, [4, 4, 2]),
        (11, 2, 3, [6, 4, 1]),
        (3, 4, 2, [3]),
        (8, 4, 2, [8]),
        (9, 4, 2, [8, 1]),
        (0, 4, 2, []),
    ],
)
def test_a_block_holds_whole_batches_and_a_short_one_stands_alone(n, batch_size, n_batches, sizes):
    found = blocks(np.ones((20, 1)), np.arange(n), batch_size, n_batches)
    assert [len(labels) for _, labels in found] == sizes
    assert [label for _, labels in found for label in labels] == list(range(n))


def test_a_block_of_large_batches_holds_one_and_of_small_ones_as_many_as_pay():
    assert [steps_per_block(size) for size in (10**6, MOST_ROWS, MOST_ROWS // 2)] == [1, 1, 2]
    assert steps_per_block(1) == MOST_STEPS < MOST_ROWS


def test_blocks_share_their_arrays_and_leave_the_data_as_it_is():
    original = X.copy()
    dataset = Dataset((X, Y), (X, Y), 3, offset=1.0)
    (first, _), (second, _) = Batches(dataset, dataset.train, np.float64).blocks(np.arange(4), 2)
    assert np.shares_memory(first, second)
    np.testing.assert_array_equal(X, original)
