"""Softmax cross-entropy and its gradient.

With y = softmax(o) and true class c the loss is l = -log y_c = log(sum_j exp(o_j)) - o_c, and
dl/do_i = y_i - [i = c]: the softmax's own derivative, dy_i/do_j = y_i ([i = j] - y_j), and the
logarithm's, -1/y_c, multiply to this. Both are computed from logits shifted by their maximum,
which changes neither and keeps exp within range.
"""

import numpy as np


def cross_entropy(logits, labels):
    """Loss of every example in nats, (n,); logits (n, n_classes), labels (n,) in 0..n_classes-1."""
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    log_sum = np.log(np.sum(np.exp(shifted), axis=-1))
    return log_sum - shifted[..., np.arange(len(labels)), labels]


def cross_entropy_gradient(logits, labels, out):
    """Gradient of the batch's *mean* loss with respect to the logits, written into out.

    logits and out (batch, n_classes); labels (batch,). The division by the batch size that the
    mean brings happens here and nowhere else.
    """
    np.subtract(logits, np.maximum.reduce(logits, axis=-1, keepdims=True), out=out)
    np.exp(out, out=out)
    out /= np.add.reduce(out, axis=-1, keepdims=True)
    out[..., np.arange(len(labels)), labels] -= 1
    out /= len(labels)
    return out
