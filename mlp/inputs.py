"""The inputs of some examples as one matrix, X = [rare features | frequent features | 1].

A pixel at the edge of an image is nearly always zero, and a dense product spends as much time on it
as on any other. So the rare features are told from the frequent ones: NumPy multiplies these, and
of those only the numbers that are not zero are kept, for SciPy to multiply. The column of ones
makes the bias one more row of the weights.
"""

import numpy as np

RARE = 1 / 8  # a number costs a sparse product about 8 times what it costs a dense one
FEW = 64  # fewer rare features than this are not worth a product of their own
EXAMPLES = 2000  # are enough to tell which features are rare


def rare_features(inputs):
    """Features that are not zero in fewer than RARE of the examples, ascending: (n_rare,).

    inputs (n, n_features), of which about EXAMPLES rows are looked at. Below FEW, none.
    """
    some = inputs[:: -(-len(inputs) // EXAMPLES)]
    rare = np.flatnonzero(np.count_nonzero(some, axis=0) < RARE * len(some))
    return rare if len(rare) >= FEW else rare[:0]


class Inputs:
    """X (n, n_features + 1), as above.

    frequent (n, n_frequent + 1), its last column 1; rare: the other features as SparseRows (n,
    n_rare), or None. What X is multiplied with is C-contiguous and of the same type.
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

    def inner_products(self, other):
        """X Y' (n, n_other), for Y like X: the examples' inner products, the ones included."""
        out = np.dot(self.frequent, other.frequent.T)
        if self.rare:
            self.rare.add_dot(other.rare.transposed(), out)
        return out
