"""The inputs of some examples as one matrix, X = [rare features | frequent features | 1].

A pixel at the edge of an image is nearly always zero, and a dense product spends as much time on it
as on any other. So the rare features are told from the frequent ones: NumPy multiplies these, and
of those only the numbers that are not zero are kept, for SciPy to multiply. The column of ones
makes the bias one more row of the weights.
"""

from typing import NamedTuple

import numpy as np

# The kernels behind SciPy's sparse products. Its operator @ makes a new matrix for each product;
# these add to one that is there, so that a step touches only those weights that it changes.
from scipy.sparse._sparsetools import csc_matvecs, csr_matvecs

RARE = 1 / 8  # a number costs a sparse product about 8 times what it costs a dense one
FEW = 64  # fewer rare features than this are not worth a product of their own
EXAMPLES = 2000  # are enough to tell which features are rare


def rare_features(inputs):
    """Features that are not zero in fewer than RARE of the examples, ascending; none if FEW.

    inputs (n, n_features), of which EXAMPLES rows are looked at.
    """
    some = inputs[:: -(-len(inputs) // EXAMPLES)]
    rare = np.flatnonzero(np.count_nonzero(some, axis=0) < RARE * len(some))
    return rare if len(rare) >= FEW else rare[:0]


class SparseRows(NamedTuple):
    """A matrix as compressed sparse rows, which hold only the numbers that are not zero.

    Row i has values[starts[i] : starts[i + 1]] in columns[starts[i] : starts[i + 1]].
    """

    n_columns: int
    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, matrix, scale):
        """matrix (n, n_columns) times scale (n_columns,), in the latter's type."""
        rows, columns = np.divmod(np.flatnonzero(matrix != 0), matrix.shape[1])
        starts = np.searchsorted(rows, np.arange(len(matrix) + 1))
        values = (matrix[rows, columns] * scale[columns]).astype(scale.dtype)
        return cls(matrix.shape[1], starts, columns, values)

    def take(self, rows):
        """Copies of the rows at these indices (n,), in their order."""
        first = self.starts[rows]
        lengths = self.starts[rows + 1] - first
        starts = np.zeros(len(rows) + 1, np.intp)
        np.cumsum(lengths, out=starts[1:])
        where = np.arange(starts[-1]) + np.repeat(first - starts[:-1], lengths)
        return SparseRows(self.n_columns, starts, self.columns[where], self.values[where])

    def part(self, rows):
        """A view of the rows in a slice without a step."""
        start, stop, _ = rows.indices(len(self.starts) - 1)
        return self._replace(starts=self.starts[start : stop + 1])

    def transposed(self):
        """The transpose as a dense matrix (n_columns, n)."""
        n = len(self.starts) - 1
        dense = np.zeros((self.n_columns, n), self.values.dtype)
        here = slice(self.starts[0], self.starts[-1])
        rows = np.repeat(np.arange(n), np.diff(self.starts))
        dense[self.columns[here], rows] = self.values[here]
        return dense

    def add_dot(self, other, out):
        """out += R other, for R this matrix (n, n_columns), other (n_columns, m), out (n, m)."""
        n, m = out.shape
        csr_matvecs(n, self.n_columns, m, *self[1:], other.ravel(), out.ravel())

    def add_transposed_dot(self, other, out):
        """out += R' other, for R this matrix (n, n_columns), other (n, m), out (n_columns, m)."""
        n, m = other.shape
        csc_matvecs(self.n_columns, n, m, *self[1:], other.ravel(), out.ravel())


class Inputs:
    """X (n, n_features + 1), as above.

    frequent (n, n_frequent + 1), its last column 1; rare: the other features as SparseRows, or None
    where there are none. What X is multiplied with is C-contiguous and of the same type.
    """

    def __init__(self, frequent, rare=None):
        self.frequent, self.rare = frequent, rare
        self._n_rare = rare.n_columns if rare else 0

    @classmethod
    def dense(cls, inputs):
        """inputs (n, n_features), all of which are taken for frequent."""
        return cls(np.column_stack([inputs, np.ones(len(inputs), inputs.dtype)]))

    def __len__(self):
        return len(self.frequent)

    def __getitem__(self, rows):
        """A view of the examples in a slice without a step."""
        return Inputs(self.frequent[rows], self.rare and self.rare.part(rows))

    def dot(self, weights, out):
        """X weights, for weights (n_features + 1, n_out) -> out (n, n_out)."""
        np.dot(self.frequent, weights[self._n_rare :], out=out)
        if self.rare:
            self.rare.add_dot(weights[: self._n_rare], out)

    def transposed_dot(self, grads, out):
        """X' grads, for grads (n, n_out) -> out (n_features + 1, n_out)."""
        np.dot(self.frequent.T, grads, out=out[self._n_rare :])
        if self.rare:
            out[: self._n_rare] = 0
            self.rare.add_transposed_dot(grads, out[: self._n_rare])

    def add_transposed_dot(self, grads, out, products):
        """out += X' grads; products, an array like out, serves for what is in between."""
        out[self._n_rare :] += np.dot(self.frequent.T, grads, out=products[self._n_rare :])
        if self.rare:
            self.rare.add_transposed_dot(grads, out[: self._n_rare])

    def gram(self):
        """X X' (n, n): the inner products of the examples, of those with the column of ones."""
        out = np.dot(self.frequent, self.frequent.T)
        if self.rare:
            self.rare.add_dot(self.rare.transposed(), out)
        return out
