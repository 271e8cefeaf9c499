"""The fast ways to take steps: exact equals of the plain way, apart from rounding.

Nothing else depends on this module; without it, every run takes the plain way of mlp.training.

Rare features apart. A pixel at the edge of an image is nearly always zero, and a dense product
spends as much time on it as on any other. NumPy multiplies the frequent features. SciPy multiplies
the non-zero entries of the rare ones.

Looking ahead. Let X_t be the inputs of step t, W_t the first layer's weights before it, k_t =
X_t W_t + b_t the layer's outputs, and C_t = -lr_t dloss/dk_t. Plain SGD makes W_t = W_0 +
sum_{s<t} X_s' C_s (' transposes) and b_t = b_0 + sum_{s<t} 1' C_s, where 1 is a column of ones. So

    k_t = X_t W_0 + b_0 + sum_{s<t} (X_t X_s' + 1) C_s.

The inputs of the coming steps are known. One product for the whole block gives X W_0, one gives
X X', and one, in the end, W_0 + X' C. A step itself computes its short sum over earlier steps.
"""

from dataclasses import replace
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from mlp.data import MOST_ROWS, Batches
from mlp.network import MLP, product_for
from mlp.training import Learner, in_batches, one_by_one

RARE = 1 / 8  # a number costs a sparse product about 8 times what it costs a dense one
FEW = 64  # fewer rare features than this are not worth a product of their own
EXAMPLES = 2000  # are enough to tell which features are rare
GATHERED = 4096  # examples at least, whose rare features are put in order at once


def fastest(learner, dataset, lr=1.0):
    """The fastest equal of a plain Learner on this dataset; perhaps the learner itself.

    lr: the greatest to come.
    """
    network, optimizer, rare = learner.network, learner.optimizer, rare_features(dataset)
    # A step's sum goes over the earlier rows of its block, half of MOST_ROWS on average. The
    # product that it replaces goes over the features.
    pays = network.sizes[0] > MOST_ROWS / 2 and stays_in_range(dataset, lr, learner.dtype)
    if pays and is_plain_descent(optimizer, network.params.shape[:-1]):
        return LookaheadLearner(network, optimizer, rare)
    return SplitLearner(network, optimizer, rare) if len(rare) else learner


def stays_in_range(dataset, lr, dtype):
    """Whether the type holds the terms of k_t that the plain way has not, for lr at most."""
    largest = float(np.max(np.abs(dataset.ranges)))
    most = MOST_ROWS * max(1, lr) * (dataset.n_features * largest * largest + 1)
    return most < float(np.finfo(dtype).max)


def is_plain_descent(optimizer, stack=()):
    """Whether an update is params -= lr grads, and no more.

    We ask the optimizer itself: it must need no memory, and do so to gradients of all sizes.
    """
    network, lr = MLP([30, 1], dtype=float, stack=stack), np.full((*stack, 1), 0.125)
    network.grads[:] = np.resize([1, -1], 31) * np.logspace(-30, 30, 31)
    network.params[:] = np.linspace(-1, 1, 31) * network.grads  # so that every change shows
    if optimizer.start(network):
        return False
    expected = network.params - lr * network.grads
    optimizer.update(network, lr, {})
    return np.array_equal(network.params, expected)


def rare_features(dataset):
    """Features that are not zero in fewer than RARE of the examples, ascending: (n_rare,).

    We look at about EXAMPLES training examples. There are no rare features below FEW, nor where a
    network sees a stored zero as another number.
    """
    inputs = dataset.train[0]
    some = inputs[:: -(-len(inputs) // EXAMPLES)]
    rare = np.flatnonzero(np.count_nonzero(some, axis=0) < RARE * len(some))
    keeps_zeros = np.ndim(dataset.offset) == np.ndim(dataset.scale) == 0 == dataset.offset
    return rare if len(rare) >= FEW and keeps_zeros else rare[:0]


class SplitLearner(Learner):
    """The plain way, with the rare features apart: their rows come first in the first weights.

    What leaves this class, or comes in, has its rows in the features' own order.
    """

    def __init__(self, network, optimizer, rare):
        super().__init__(network, optimizer)
        self.rare = rare
        self.order = np.r_[rare, np.delete(np.arange(network.sizes[0]), rare)]
        weights = network.layers[0].weights
        weights[...] = weights[..., self.order, :]
        network.layers[0] = self.first = SplitLinear(network)

    def read(self, dataset, examples):
        return SplitBatches(dataset, examples, self.dtype, self.rare)

    def state(self):
        return self._reordered(super().state(), np.argsort(self.order))

    def load_state(self, state):
        super().load_state(self._reordered(state, self.order))

    def _reordered(self, state, order):
        first = {name: array for name, array in state.items() if name.endswith("weights_0")}
        return {**state, **{name: array[..., order, :] for name, array in first.items()}}


class LookaheadLearner(SplitLearner):
    """Plain SGD, with the first layer's large products made once for all steps of a block."""

    def __init__(self, network, optimizer, rare):
        super().__init__(network, optimizer, rare)
        self.rest, n_first = network.layers[1:], (network.sizes[0] + 1) * network.sizes[1]
        params, grads = network.params[..., n_first:], network.grads[..., n_first:]
        self.behind = SimpleNamespace(params=params, grads=grads)  # all that plain descent needs

    def steps(self, x, labels, lrs):
        n_steps, size = len(lrs), labels.shape[-1] // len(lrs)
        targets, outputs = self.loss.targets(labels), self.first.forward(x)
        changes, product = self.first.changes, product_for(outputs)
        logits = np.empty((*outputs.shape[:-1], targets.shape[-1]), self.dtype)
        if n_steps > 1:
            overlaps = x[..., size:, :].inner_products(x[..., :-size, :])
        parts = [in_batches(array, n_steps) for array in (outputs, targets, logits, changes)]
        parts += one_by_one(lrs, self.dtype, 1), one_by_one(-lrs, self.dtype, 2)
        for step, (k, target, o, change, lr, minus_lr) in enumerate(zip(*parts, strict=True)):
            if step:
                seen = step * size
                overlap = overlaps[..., seen - size : seen, :seen]
                if k.shape[-1] == 1:  # np.matmul and np.dot differ for part of a matrix, a column
                    overlap = np.ascontiguousarray(overlap)
                k += product(overlap, changes[..., :seen, :])
            y = k
            for layer in self.rest:
                y = layer.forward(y)
            o[...] = y
            grad = self.loss.gradient(y, target)
            for layer in reversed(self.rest):
                grad = layer.backward(grad)
            np.multiply(grad, minus_lr, out=change)
            self.optimizer.update(self.behind, lr, self.memory)
        self.first.add(changes)
        return self.mean_losses(logits, labels, n_steps)


class SplitLinear:
    """A network's first layer, y = X [W; b], for SplitInputs X."""

    def __init__(self, network):
        shape = *network.params.shape[:-1], network.sizes[0] + 1, network.sizes[1]
        vectors = network.params, network.grads
        self.params, self.grads = (v[..., : shape[-2] * shape[-1]].reshape(shape) for v in vectors)
        self.shape = None

    def forward(self, x):
        if x.shape != self.shape:
            (*stack, _, n_out), self.shape = self.params.shape, x.shape
            self.y, self.changes = np.empty((2, *stack, x.shape[-2], n_out), self.params.dtype)
        self.x = x
        x.dot(self.params, self.y)
        return self.y

    def backward_params(self, grad_y):
        self.x.transposed_dot(grad_y, self.grads)

    def add(self, changes):
        """[W; b] += X' changes: descent, where changes are -lr dloss/dy. `grads` is scratch."""
        self.x.add_transposed_dot(changes, self.params, self.grads)


class SplitBatches(Batches):
    """Batches whose inputs are SplitInputs."""

    def __init__(self, dataset, examples, dtype, rare):
        inputs, labels = examples
        self.rare = []
        if len(rare):
            rows = SparseRows.of(np.take(inputs, rare, axis=1))
            self.rare = [rows._replace(values=dataset.normalised(rows.values, dtype))]
        # Behind the frequent features comes any other, to make room for the ones
        kept = np.r_[np.delete(np.arange(inputs.shape[1]), rare), 0]
        norms = {"offset": dataset.offset, "scale": dataset.scale}
        norms = {name: np.take(a, kept, axis=-1) if np.ndim(a) else a for name, a in norms.items()}
        super().__init__(replace(dataset, **norms), (np.take(inputs, kept, axis=1), labels), dtype)

    def blocks(self, order, batch_size, n_batches=1):
        at_once = -(-GATHERED // (batch_size * n_batches)) * batch_size * n_batches
        for start in range(0, order.shape[-1], at_once):
            part, stop = order[..., start : start + at_once], 0
            orders = part.reshape(-1, part.shape[-1])
            rare = [matrix.take(rows) for matrix in self.rare for rows in orders]
            for x, labels in super().blocks(part, batch_size, n_batches):
                rows = slice(stop, stop := stop + labels.shape[-1])
                yield SplitInputs(x, [matrix.part(rows) for matrix in rare]), labels

    def read(self, order):
        x = super().read(order)
        x[..., -1] = 1
        return x


class SplitInputs:
    """Inputs with a column of ones, X = [rare features | frequent features | 1].

    frequent (..., n, n_frequent + 1), ones included; rare: the rare features of each network of a
    stack as SparseRows (n, n_rare), or of one for all, or of none. What X is multiplied with is
    C-contiguous and of the same type.
    """

    def __init__(self, frequent, rare=()):
        self.frequent, self.rare, self.shape = frequent, rare, frequent.shape
        self.n_rare = rare[0].n_columns if rare else 0

    def __getitem__(self, key):
        """A view of the examples in a slice without a step: x[..., rows, :]."""
        _, rows, _ = key
        return SplitInputs(self.frequent[key], [matrix.part(rows) for matrix in self.rare])

    def dot(self, weights, out):
        """X weights, for weights (..., n_features + 1, n_out) -> out (..., n, n_out)."""
        product_for(out)(self.frequent, weights[..., self.n_rare :, :], out=out)
        for rare, w, o in self._each(weights, out):
            rare.add_dot(w[: self.n_rare], o)

    def transposed_dot(self, grads, out):
        """X' grads, for grads (..., n, n_out) -> out (..., n_features + 1, n_out)."""
        product_for(out)(self.frequent.mT, grads, out=out[..., self.n_rare :, :])
        out[..., : self.n_rare, :] = 0
        for rare, g, o in self._each(grads, out):
            rare.add_transposed_dot(g, o[: self.n_rare])

    def add_transposed_dot(self, grads, out, scratch):
        """out += X' grads. scratch, an array like out, is written over."""
        frequent = np.s_[..., self.n_rare :, :]
        out[frequent] += product_for(out)(self.frequent.mT, grads, out=scratch[frequent])
        for rare, g, o in self._each(grads, out):
            rare.add_transposed_dot(g, o[: self.n_rare])

    def inner_products(self, other):
        """X Y' (..., n, n_other), for Y like X."""
        out = product_for(self.frequent)(self.frequent, other.frequent.mT)
        for (rare, o), rare_other in zip(self._each(out), other.rare, strict=False):
            rare.add_dot(rare_other.transposed(), o)
        return out

    def _each(self, *stacks):
        """For each network: its rare features, and its matrix of each of the stacks."""
        if self.rare and stacks[0].ndim == 2:
            yield self.rare[0], *stacks
        elif self.rare:
            stack = stacks[0].shape[:-2]
            which = np.arange(len(self.rare)).reshape(self.frequent.shape[:-2] or 1)
            for index, i in zip(np.ndindex(stack), np.broadcast_to(which, stack).flat, strict=True):
                yield self.rare[i], *(stack[index] for stack in stacks)


class SparseRows(NamedTuple):
    """Compressed sparse rows, one after the other.

    Row i has values[starts[i] : starts[i + 1]] in columns[starts[i] : starts[i + 1]].
    """

    n_columns: int
    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, matrix):
        """matrix (n, n_columns), whose values keep their type."""
        rows, columns = np.divmod(np.flatnonzero(matrix != 0), matrix.shape[1])
        starts = np.searchsorted(rows, np.arange(len(matrix) + 1))
        return cls(matrix.shape[1], starts, columns, matrix[rows, columns])

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
        if kernel := kernels().get("csr_matvecs"):
            kernel(len(out), self.n_columns, out.shape[1], *self[1:], other.ravel(), out.ravel())
        else:
            out += self.public() @ other

    def add_transposed_dot(self, other, out):
        """out += R' other, for R this matrix (n, n_columns), other (n, m), out (n_columns, m)."""
        if kernel := kernels().get("csc_matvecs"):
            kernel(len(out), len(other), out.shape[1], *self[1:], other.ravel(), out.ravel())
        else:
            out += self.public().T @ other

    def public(self):
        """The same as a matrix of scipy.sparse."""
        from scipy.sparse import csr_array

        here = slice(self.starts[0], self.starts[-1])
        shape = len(self.starts) - 1, self.n_columns
        return csr_array((self.values[here], self.columns[here], self.starts - here.start), shape)


@cache
def kernels():
    """The compiled routines behind SciPy's sparse products, by name.

    SciPy's operator @ makes a new matrix for each product. Its kernels add to a matrix that is
    there, so that a step touches only those weights that it changes. But they are private: a SciPy
    without them gives {}, and its operator serves. We load them from their file, because importing
    scipy.sparse takes a tenth of a second, and under a name of our own, so that nothing of SciPy's
    is left half imported.
    """
    import scipy

    spec = PathFinder.find_spec("_sparsetools", [str(Path(scipy.__file__).parent / "sparse")])
    if spec is None:
        return {}
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)
