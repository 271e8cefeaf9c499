"""Datasets, their normalisation, blocks of examples, and what is said about files that won't do."""

import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.datasets

from mlp.data import (
    GATHERED,
    Dataset,
    Reader,
    load_dataset,
    load_digits,
    load_npz,
    load_synth,
    normalise,
)
from mlp.errors import UserError
from mlp.inputs import FEW

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
    load_digits()
    after = np.random.get_state()
    assert before[2:] == after[2:]
    np.testing.assert_array_equal(before[1], after[1])


# Digits


def test_digits_are_divided_by_the_seed():
    everything = rows(*sklearn.datasets.load_digits(return_X_y=True))
    (x, y), (x_val, y_val), n_classes = load_digits(seed=0)
    assert (x.shape, x_val.shape, n_classes) == ((1438, 64), (359, 64), 10)
    assert (x.dtype, x.min(), x.max()) == (np.uint8, 0, 16)
    assert rows(np.vstack([x, x_val]), np.concatenate([y, y_val])) == everything
    np.testing.assert_array_equal(load_digits(seed=0)[0][0], x)
    assert (load_digits(seed=1)[0][0] != x).any()


def test_digits_without_scikit_learn_say_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r"dataset=digits needs scikit-learn.*pip install"):
        load_digits()


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
    (x, y), (x_val, y_val), n_classes = load_npz(path)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(x_val, X[:2])
    np.testing.assert_array_equal(y_val, Y[:2])
    assert n_classes == 3


def test_npz_without_one_holds_a_fifth_out_by_the_seed(npz):
    path = npz(x_train=np.repeat(X, 4, axis=0) + np.arange(20)[:, None], y_train=np.repeat(Y, 4))
    (x, y), (x_val, y_val), _ = load_npz(path, seed=0)
    assert (len(x), len(x_val)) == (16, 4)
    with np.load(path) as arrays:
        everything = rows(arrays["x_train"], arrays["y_train"])
    assert rows(np.vstack([x, x_val]), np.concatenate([y, y_val])) == everything
    np.testing.assert_array_equal(load_npz(path, seed=0)[0][0], x)
    assert (load_npz(path, seed=1)[0][0] != x).any()


def test_npz_inputs_are_flattened_and_keep_their_type(npz):
    images = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)
    (x, _), (x_val, _), _ = load_npz(npz(x_train=images, y_train=Y, x_val=images, y_val=Y))
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
        ({"y_train": Y[:4]}, "y_train must be integers of shape (5,), as x_train has 5 rows, got"),
        ({"y_train": Y[:, None]}, "y_train must be integers of shape (5,), as x_train has 5 rows"),
        ({"y_train": Y * 1.0}, "y_train must be integers of shape (5,)"),
        ({"x_val": X, "y_val": Y[:2]}, "y_val must be integers of shape (5,), as x_val has 5"),
        ({"y_train": Y - 1}, "y_train must be classes 0..1, got -1..1"),
        ({"x_val": X, "y_val": Y + 1}, "y_val must be classes 0..2, got 1..3"),
        ({"x_val": X, "y_val": Y - 1}, "y_val must be classes 0..2, got -1..1"),
        ({"y_train": Y * 10**9}, "y_train has classes up to 2000000000 but only 5 examples"),
        ({"y_train": 0 * Y}, "y_train has one class only"),
        ({"x_val": X[:, :1], "y_val": Y}, "x_val has 1 features, x_train has 2"),
        ({"x_train": X[:1], "y_train": Y[1:2]}, "x_train has one row; a split needs two or more"),
    ],
    ids=lambda value: value.split(",")[0] if isinstance(value, str) else "",
)
def test_npz_arrays_that_will_not_do(npz, changes, complaint):
    arrays = {"x_train": X, "y_train": Y} | changes
    path = npz(**{name: array for name, array in arrays.items() if array is not None})
    assert complaint in refusal(path)


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


def test_inputs_that_are_all_the_same_normalise_to_zero():
    for how in "unit", "standard":
        offset, scale = normalise(np.full((3, 2), 5.0), how)
        np.testing.assert_array_equal((5.0 - offset) * scale, 0)


def test_input_range_is_that_of_the_normalised_training_inputs():
    examples, none = (X, Y), (X[:0], Y[:0])
    assert Dataset(examples, none, 3).input_range() == (0, 7)
    assert Dataset(examples, none, 3, offset=1.0, scale=2.0).input_range() == (-2, 12)
    offset, scale = np.array([2.0, 0.0]), np.array([1.0, 0.1])
    assert Dataset(examples, none, 3, offset, scale).input_range() == (-2, 2)


def test_load_dataset_normalises_by_the_training_inputs(npz):
    path = npz(x_train=X, y_train=Y, x_val=10 * X, y_val=Y)
    group = SimpleNamespace(name="npz", path=str(path), seed=0, normalize="unit")
    dataset = load_dataset(group)
    assert (dataset.n_features, dataset.n_classes) == (2, 3)
    assert (dataset.offset, dataset.scale) == (0, 1 / 7)
    np.testing.assert_array_equal(dataset.held_out[0], 10 * X)


# Blocks


def blocks(
    x, order, *, offset=0.0, scale=1.0, dtype=np.float64, batch_size=4, n_batches=1, rare=()
):
    """(inputs (n, n_features) in the features' own order, labels) of each block, as copies."""
    dataset = Dataset((x, np.arange(len(x))), (x, None), 2, offset, scale)
    reader = Reader(dataset.train, dataset, dtype, batch_size, n_batches, rare)
    assert len(reader) == len(x)
    found = []
    for inputs, labels in reader.blocks(np.array(order)):
        assert len(inputs) == len(labels)
        np.testing.assert_array_equal(inputs.frequent[:, -1], 1)
        whole = np.zeros((len(inputs), x.shape[1]), dtype)
        whole[:, np.delete(np.arange(x.shape[1]), rare)] = inputs.frequent[:, :-1]
        assert inputs.frequent.dtype == dtype
        if len(rare):
            whole[:, rare] = inputs.rare.transposed().T
            assert inputs.rare.values.dtype == dtype
        found.append((whole, labels.tolist()))
    return found


SPARSE = np.array(
    [[0, 1, 0, 0, 9], [0, 0, 0, 2, 0], [0, 3, 0, 4, 0], [5, 6, 7, 8, 9], [0, 0, 0, 0, 0]], np.uint8
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rare", [[], [0, 2], [3, 4], [0, 1, 2, 3, 4]], ids=str)
def test_a_block_holds_the_examples_asked_for(rare, dtype):
    order = [3, 0, 4, 2, 2]
    found = blocks(SPARSE, order, scale=0.5, dtype=dtype, batch_size=2, rare=rare)
    np.testing.assert_array_equal(np.vstack([inputs for inputs, _ in found]), SPARSE[order] * 0.5)
    assert [labels for _, labels in found] == [[3, 0], [4, 2], [2]]


@pytest.mark.parametrize(
    ("n", "batch_size", "n_batches", "sizes"),
    [
        (10, 2, 2, [4, 4, 2]),
        (11, 2, 3, [6, 4, 1]),
        (3, 4, 2, [3]),
        (8, 4, 2, [8]),
        (9, 4, 2, [8, 1]),
    ],
)
def test_a_block_holds_whole_batches_and_a_short_one_stands_alone(n, batch_size, n_batches, sizes):
    found = blocks(np.ones((n, 1)), range(n), batch_size=batch_size, n_batches=n_batches)
    assert [len(labels) for _, labels in found] == sizes
    assert [label for _, labels in found for label in labels] == list(range(n))


def test_only_the_last_batch_of_many_is_short():
    found = blocks(np.ones((2 * GATHERED, 1)), range(2 * GATHERED), batch_size=7, n_batches=3)
    *sizes, last_whole, short = (len(labels) for _, labels in found)
    assert set(sizes) == {21}
    assert (last_whole % 7, short) == (0, 2 * GATHERED % 7)


@pytest.mark.parametrize("offset", [1.0, np.array([0, 0, 1.0, 0, 0])], ids=["one", "each"])
@pytest.mark.parametrize("scale", [0.5, np.array([1, 2, 3, 4, 5.0])], ids=["one", "each"])
def test_an_offset_is_taken_off_before_the_inputs_are_scaled(offset, scale):
    ((inputs, _),) = blocks(SPARSE, [0, 1], offset=offset, scale=scale)
    np.testing.assert_array_equal(inputs, (SPARSE[[0, 1]] - offset) * scale)


def test_an_offset_is_taken_off_in_the_stored_precision():
    x, offset = np.array([[1e9 + 1], [1e9 + 2]]), 1e9 + 1  # which float32 can't tell from 1e9
    ((inputs, _),) = blocks(x, [0, 1], offset=offset, dtype=np.float32)
    np.testing.assert_array_equal(inputs, [[0], [1]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stored", [np.uint8, np.int64, np.float32, np.float64, bool])
def test_a_block_has_the_type_of_the_network(stored, dtype):
    x = X.astype(stored)
    for offset in 0.0, 0.25:
        ((inputs, _),) = blocks(x, [1, 4], offset=offset, scale=0.5, dtype=dtype)
        np.testing.assert_array_equal(inputs, (x[[1, 4]] - offset) * 0.5)


def test_blocks_share_their_arrays_and_leave_the_data_as_it_is():
    original = SPARSE.copy()
    dataset = Dataset((SPARSE, np.arange(5)), (SPARSE, None), 2, 1.0)
    first, second = Reader(dataset.train, dataset, np.float64, 3).blocks(np.arange(5))
    assert np.shares_memory(first.inputs.frequent, second.inputs.frequent)
    np.testing.assert_array_equal(SPARSE, original)


@pytest.mark.parametrize(
    ("offset", "scale", "n_rare"),
    [
        (0, 0.5, FEW),
        (0.5, 1, 0),
        (np.eye(FEW)[0], 1, 0),
        (np.zeros(FEW), 1, 0),
        (0, np.ones(FEW), 0),
    ],
)
def test_rare_features_are_those_of_data_without_offset_and_of_one_scale(offset, scale, n_rare):
    x = np.zeros((200, FEW))
    assert len(Dataset((x, None), (x, None), 2, offset, scale).rare_features()) == n_rare
