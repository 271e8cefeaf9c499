"""Matrices of which only the numbers that are not zero are kept, and their products."""

from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy


def load_kernels():
    """The compiled module behind SciPy's sparse products.

    SciPy's operator @ makes a new matrix for each product; its kernels add to one that is there, so
    that a step touches only those weights that it changes. They are loaded from their file, as
    importing scipy.sparse brings in much else and takes a tenth of a second; and under a name of
    their own, so that nothing of SciPy's is left half imported.
    """
    folder = Path(scipy.__file__).parent / "sparse"
    spec = PathFinder.find_spec("_sparsetools", [str(folder)])
    if spec is None:
        raise ImportError(f"SciPy {scipy.__version__} has no _sparsetools in {folder}")
    kernels = module_from_spec(spec)
    spec.loader.exec_module(kernels)
    return kernels


kernels = load_kernels()


class SparseRows(NamedTuple):
    """Compressed sparse rows, one after the other.

    Row i has values[starts[i] : starts[i + 1]] in columns[starts[i] : starts[i + 1]].
    """

    n_columns: int
    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, matrix, scale=1.0, dtype=np.float64):
        """matrix (n, n_columns) times a number."""
        rows, columns = np.divmod(np.flatnonzero(matrix != 0), matrix.shape[1])
        starts = np.searchsorted(rows, np.arange(len(matrix) + 1))
        values = np.multiply(matrix[rows, columns], scale, dtype=dtype)
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
        kernels.csr_matvecs(n, self.n_columns, m, *self[1:], other.ravel(), out.ravel())

    def add_transposed_dot(self, other, out):
        """out += R' other, for R this matrix (n, n_columns), other (n, m), out (n_columns, m)."""
        n, m = other.shape
        kernels.csc_matvecs(self.n_columns, n, m, *self[1:], other.ravel(), out.ravel())
