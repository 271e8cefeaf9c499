"""Softmax cross-entropy and its gradient.

With y = softmax(o) and true class c the loss is l = -log y_c = log(sum_j exp(o_j)) - o_c, and
dl/do_i = y_i - [i = c]: the softmax's own derivative, dy_i/do_j = y_i ([i = j] - y_j), and the
logarithm's, -1/y_c, multiply to this. Both are computed from logits shifted by their maximum,
which changes neither and keeps exp within range.
"""

import numpy as np


def positions(labels, n_classes, batch_size):
    """Where the true classes of consecutive batches lie in each batch's flattened logits.

    labels (n,) int in 0..n_classes-1 -> (n,) int. One index instead of a pair, made for many
    batches together: at batch size 1 every call of NumPy counts.
    """
    return np.arange(len(labels)) % batch_size * n_classes + labels


def softmax_cross_entropy(logits, true_class, grad, factor=1.0):
    """Loss of every example, and factor times the gradient of the *mean* loss by the logits.

    logits (batch, n_classes) float; true_class (batch,) as `positions` gives it. Returns the
    losses (batch,) in nats and fills grad (batch, n_classes), C-contiguous. The division by the
    batch size that the mean brings happens here and nowhere else.
    """
    np.subtract(logits, np.maximum.reduce(logits, axis=-1, keepdims=True), out=grad)
    true_logits = grad.take(true_class)
    np.exp(grad, out=grad)
    sums = np.add.reduce(grad, axis=-1, keepdims=True)
    grad /= sums
    grad.put(true_class, grad.take(true_class) - 1)
    grad *= factor / len(logits)
    return np.log(sums[:, 0]) - true_logits
