"""Softmax cross-entropy and its gradient.

With y = softmax(o) and true class c the loss is l = -log y_c = log(sum_j exp(o_j)) - o_c, and
dl/do_i = y_i - [i = c]: the softmax's own derivative, dy_i/do_j = y_i ([i = j] - y_j), and the
logarithm's, -1/y_c, multiply to this. Both are computed from logits shifted by their maximum,
which changes neither and keeps exp within range.

Loss and gradient are apart because a step needs the gradient alone: losses are computed for many
steps at once, as at batch size 1 every call of NumPy counts. So a product with ones sums rows: it
takes half as long as np.sum.
"""

import numpy as np


class SoftmaxCrossEntropy:
    """For logits (n, n_classes) float and labels (n,) int in 0..n_classes-1."""

    def __init__(self, n_classes, dtype):
        self._ones = np.ones((n_classes, 1), dtype)
        self._identity = np.eye(n_classes, dtype=dtype)

    def losses(self, logits, labels):
        """The loss of every example, (n,) in nats."""
        shifted = logits - np.maximum.reduce(logits, axis=1, keepdims=True)
        sums = np.dot(np.exp(shifted), self._ones)[:, 0]
        return np.log(sums) - shifted[np.arange(len(labels)), labels]

    def targets(self, labels):
        """[i = c] for every example, (n, n_classes)."""
        return self._identity.take(labels, axis=0)

    def gradient(self, logits, targets, out, factor=1.0):
        """out = factor (y - targets) / n: factor times the *mean* loss's gradient by the logits.

        The division by the batch size that the mean brings happens here and nowhere else.
        """
        np.subtract(logits, np.maximum.reduce(logits, axis=1, keepdims=True), out=out)
        np.exp(out, out=out)
        out /= np.dot(out, self._ones)
        out -= targets
        out *= factor / len(out)
