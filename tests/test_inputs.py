"""The matrix of inputs, rare features apart, against the same matrix written out."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from mlp.inputs import EXAMPLES, FEW, RARE, Inputs, rare_features
from mlp.sparse import SparseRows, load_kernels

N, N_RARE, N_FREQUENT, N_OUT = 12, 9, 5, 4


def matrix(n, n_columns, share, rng, dtype=float):
    """Random numbers, of which this share is not zero; the first, second and last row have none."""
    dense = rng.normal(size=(n, n_columns)) * (rng.random((n, n_columns)) < share)
    dense[[0, 1, -1]] = 0
    return dense.astype(dtype)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def rare(rng, dtype):
    return matrix(N, N_RARE, 0.3, rng, dtype)


@pytest.fixture(params=["rare and frequent", "rare alone", "frequent alone"])
def inputs(request, rng, dtype, rare):
    """Inputs, and the same written out: (n, n_features + 1)."""
    frequent = rng.normal(size=(N, 0 if request.param == "rare alone" else N_FREQUENT))
    frequent = np.column_stack([frequent, np.ones(N)]).astype(dtype)
    if request.param == "frequent alone":
        return Inputs(frequent), frequent
    sparse = SparseRows.of(rare, dtype=dtype)
    return Inputs(frequent, sparse), np.hstack([rare, frequent])


def close(found, expected):
    assert found.dtype == expected.dtype
    tolerance = 1e-5 if found.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


# Which features are rare


def features(n, *shares):
    """FEW features for each share of examples in which they are not zero."""
    rows = np.arange(n)[:, None]
    return np.hstack([np.repeat(rows < share * n, FEW, axis=1) for share in shares]).astype(int)


def test_rare_features_are_not_zero_in_few_examples():
    inputs = features(800, 1.0, RARE, RARE - 0.01, 0.0)
    np.random.default_rng(0).shuffle(inputs)
    np.testing.assert_array_equal(rare_features(inputs), np.arange(2 * FEW, 4 * FEW))


def test_a_handful_of_rare_features_is_left_where_it_is():
    assert rare_features(features(800, 1.0, 0.0)[:, 1:]).tolist() == list(
        range(FEW - 1, 2 * FEW - 1)
    )
    assert rare_features(features(800, 1.0, 0.0)[:, :-1]).tolist() == []


def test_rare_features_are_told_by_rows_from_all_over_the_data():
    inputs = features(4 * EXAMPLES, 0.9)  # only the last rows would make them rare
    assert rare_features(inputs).tolist() == []
    assert len(rare_features(inputs[::-1] == 0)) == FEW


# Sparse rows


def test_sparse_rows_hold_the_numbers_that_are_not_zero():
    stored = np.array([[0, 3, 0], [0, 0, 0], [5, 0, 255]], np.uint8)
    rows = SparseRows.of(stored, 0.5, np.float32)
    assert rows.n_columns == 3
    assert rows.starts.tolist() == [0, 1, 1, 3]
    assert rows.columns.tolist() == [1, 0, 2]
    assert rows.values.tolist() == [1.5, 2.5, 127.5]
    assert rows.values.dtype == np.float32


def test_rows_are_taken_in_any_order_and_seen_in_part(rare):
    order = np.array([4, 0, 11, 2, 2, 7])
    taken = SparseRows.of(rare, dtype=rare.dtype).take(order)
    np.testing.assert_array_equal(taken.transposed(), rare[order].T)
    for rows in slice(0, 3), slice(2, 6), slice(1, 1), slice(3, None), slice(None, -2):
        np.testing.assert_array_equal(taken.part(rows).transposed(), rare[order][rows].T)
        assert np.shares_memory(taken.part(rows).values, taken.values)


def test_products_are_those_of_scipys_operator(rare, rng):
    """The kernels are no public part of SciPy: this holds what is expected of them."""
    rows, public = SparseRows.of(rare, dtype=rare.dtype), csr_array(rare)
    right, left = (rng.normal(size=(n, N_OUT)).astype(rare.dtype) for n in (N_RARE, N))
    product, transposed = (np.ones((n, N_OUT), rare.dtype) for n in (N, N_RARE))
    rows.add_dot(right, product)
    rows.add_transposed_dot(left, transposed)
    close(product, 1 + public @ right)
    close(transposed, 1 + public.T @ left)


def test_a_scipy_without_the_kernels_is_named(monkeypatch):
    monkeypatch.setattr("scipy.__file__", "/elsewhere/scipy/__init__.py")
    with pytest.raises(ImportError, match=r"SciPy .* has no _sparsetools in /elsewhere/scipy/sp"):
        load_kernels()


# The whole matrix


@pytest.mark.parametrize("rows", [slice(0, N), slice(3, 7), slice(8, None)], ids=str)
def test_products_are_those_of_the_matrix_written_out(inputs, rows, rng):
    inputs, dense = inputs[0][rows], inputs[1][rows]
    assert len(inputs) == len(dense)
    weights = rng.normal(size=(dense.shape[1], N_OUT)).astype(dense.dtype)
    grads = rng.normal(size=(len(dense), N_OUT)).astype(dense.dtype)

    out = np.full_like(grads, 7)
    inputs.dot(weights, out)
    close(out, dense @ weights)
    out = np.full_like(weights, 7)
    inputs.transposed_dot(grads, out)
    close(out, dense.T @ grads)
    inputs.add_transposed_dot(grads, out, np.empty_like(out))
    close(out, 2 * dense.T @ grads)
    later, earlier = slice(2, None), slice(0, -2)
    close(inputs[later].inner_products(inputs[earlier]), dense[later] @ dense[earlier].T)


def test_dense_inputs_get_a_column_of_ones(dtype):
    inputs = Inputs.dense(np.array([[2, 3], [4, 5]], dtype))
    assert inputs.rare is None
    assert inputs.frequent.dtype == dtype
    np.testing.assert_array_equal(inputs.frequent, [[2, 3, 1], [4, 5, 1]])


def test_what_does_not_fit_is_an_error(inputs):
    inputs, dense = inputs
    weights = np.zeros((dense.shape[1] + 1, N_OUT), dense.dtype)
    with pytest.raises(ValueError, match="not aligned"):
        inputs.dot(weights, np.zeros((N, N_OUT), dense.dtype))
    with pytest.raises(ValueError, match="output array"):
        inputs.dot(weights[1:], np.zeros((N + 1, N_OUT), dense.dtype))
    with pytest.raises(ValueError, match="output array"):
        inputs.dot(weights[1:], np.zeros((N_OUT, N), dense.dtype).T)
