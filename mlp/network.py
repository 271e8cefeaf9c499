"""The multilayer perceptron in NumPy: mlp/scalar.py, a batch at a time.

Each layer has its forward rule and, beside it, its backward rule. `grad_x` stands for dloss/dx.
Arrays may carry leading axes: x (..., batch, n_in), W (..., n_in, n_out). A stack of networks is
then the same code, and every network of the stack gets the bits that it would get alone.
"""

import math
from itertools import pairwise

import numpy as np

# As an array without dimensions, which NumPy takes in faster than a Python number: at batch size 1
# that is half the time of an operation.
ONE = np.array(1, np.float32)


def product_for(array):
    """np.dot for matrices, or its like for stacks of them, whichever the array is.

    np.dot starts in half the time of np.matmul, but knows no stacks. Both call the same routines
    of the BLAS, matrix by matrix, and so agree to the bit.
    """
    return np.dot if array.ndim == 2 else stacked_product


def stacked_product(a, b, out=None):
    """(..., n, k) times (..., k, m): (..., n, m)."""
    is_outer = a.shape[-1] == 1  # then np.matmul would not call the BLAS
    return (np.multiply if is_outer else np.matmul)(a, b, out=out)


class Linear:
    """y = x W + b, for x (..., batch, n_in), W (..., n_in, n_out) and b (..., n_out).

    W, b and their gradients are views that the network hands in. What a layer returns, it writes
    over in its next pass.
    """

    def __init__(self, weights, bias, grad_weights, grad_bias):
        self.weights, self.bias = weights, bias[..., None, :]
        self.grad_weights, self.grad_bias = grad_weights, grad_bias[..., None, :]
        self.product, self.shape = product_for(weights), None

    def forward(self, x):
        if x.shape != self.shape:
            self.make_room(x.shape)
        self.x = x
        self.product(x, self.weights, out=self.y)
        self.y += self.bias
        return self.y

    def backward(self, grad_y):
        self.backward_params(grad_y)
        return self.product(grad_y, self.weights.mT, out=self.grad_x)

    def backward_params(self, grad_y):
        """dloss/dW = x' grad_y (' transposes), and dloss/db, the sum of grad_y over the batch."""
        self.product(self.x.mT, grad_y, out=self.grad_weights)
        self.product(self.ones, grad_y, out=self.grad_bias)  # half the time of np.sum

    def make_room(self, shape):
        """Makes the arrays that the layer writes to, for x of this shape."""
        (*stack, n_in, n_out), batch, dtype = self.weights.shape, shape[-2], self.weights.dtype
        self.shape, self.ones = shape, np.ones((1, batch), dtype)
        self.y, self.grad_x = (np.empty((*stack, batch, n), dtype) for n in (n_out, n_in))


class Activation:
    """y = f(x), element by element. f' is written in terms of y."""

    def __init__(self, name):
        self.function, self.slope = ACTIVATIONS[name]
        self.shape = None

    def forward(self, x):
        if x.shape != self.shape:
            self.shape = x.shape
            self.y, self.grad_x = np.empty_like(x), np.empty_like(x)
        self.function(x, self.y)
        return self.y

    def backward(self, grad_y):
        self.slope(self.y, self.grad_x)
        self.grad_x *= grad_y
        return self.grad_x


# Each pair: y = f(x), then f'(x) as a function of y. Both write to `out`.


def sigmoid(x, out):  # 1 / (1 + exp(-x)); where exp overflows to inf, 0 is the right answer
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += ONE
    np.reciprocal(out, out=out)


def sigmoid_slope(y, out):  # y (1 - y)
    np.subtract(ONE, y, out=out)
    out *= y


def tanh(x, out):
    np.tanh(x, out=out)


def tanh_slope(y, out):  # 1 - y^2
    np.multiply(y, y, out=out)
    np.subtract(ONE, out, out=out)


def relu(x, out):
    np.maximum(x, 0, out=out)


def relu_slope(y, out):  # 1 where y > 0, else 0
    np.greater(y, 0, out=out)


LEAK = 0.01  # slope of leaky_relu below zero; Maas, Hannun and Ng (2013)


def leaky_relu(x, out):
    np.multiply(x, LEAK, out=out)
    np.maximum(x, out, out=out)


def leaky_relu_slope(y, out):  # 1 where y > 0, else LEAK
    np.greater(y, 0, out=out)
    out *= 1 - LEAK
    out += LEAK


ACTIVATIONS = {
    "sigmoid": (sigmoid, sigmoid_slope),
    "tanh": (tanh, tanh_slope),
    "relu": (relu, relu_slope),
    "leaky_relu": (leaky_relu, leaky_relu_slope),
}


class SoftmaxCrossEntropy:
    """The loss of logits o (..., batch, n_classes) for labels c (..., batch) in 0..n_classes-1.

    With y = softmax(o) the loss is l = -log y_c = log(sum_j exp(o_j)) - o_c, and dl/do_i = y_i -
    [i = c]: the softmax's own derivative, dy_i/do_j = y_i ([i = j] - y_j), and the logarithm's,
    -1/y_c, multiply to this. Logits shifted by their maximum change neither, and keep exp within
    range. Loss and gradient are apart because a step needs the gradient alone: losses are computed
    for many steps at once.
    """

    def __init__(self, logits):
        """logits: an array like those to come, for its n_classes, type and stack."""
        self.n_classes, self.dtype = logits.shape[-1], logits.dtype
        self.product, self.ones = product_for(logits), np.ones((self.n_classes, 1), self.dtype)

    def losses(self, logits, labels):
        """The loss of every example, (..., batch) in nats; labels broadcast to that."""
        shifted = logits - largest(logits)
        sums = self.product(np.exp(shifted), self.ones)[..., 0]
        if labels.shape != sums.shape:  # networks of a stack share them
            labels = np.broadcast_to(labels, sums.shape)
        each = shifted.reshape(-1, self.n_classes)
        true = each[np.arange(labels.size), labels.ravel()].reshape(sums.shape)
        return np.log(sums) - true

    def targets(self, labels):
        """[i = c] of every example, (..., batch, n_classes)."""
        targets = np.zeros((*labels.shape, self.n_classes), self.dtype)
        targets.reshape(-1, self.n_classes)[np.arange(labels.size), labels.ravel()] = 1
        return targets

    def gradient(self, logits, targets):
        """dloss/dlogits of the batch's *mean* loss, (..., batch, n_classes).

        The mean's division by the batch size happens here and nowhere else.
        """
        grad = logits - largest(logits)
        np.exp(grad, out=grad)
        grad /= self.product(grad, self.ones)
        grad -= targets
        if (batch := grad.shape[-2]) > 1:  # dividing by 1 would cost a fortieth of a step
            grad /= batch
        return grad


def largest(logits):
    """The maximum over the classes, (..., batch, 1)."""
    n_classes = logits.shape[-1]
    if logits.size < 40 * n_classes * n_classes:
        return np.maximum.reduce(logits, axis=-1, keepdims=True)
    most = logits[..., :1]  # class by class: np.reduce takes its time for each of many short rows
    for i in range(1, n_classes):
        most = np.maximum(most, logits[..., i : i + 1])
    return most


class MLP:
    """n_in inputs -> Linear, (Activation, Linear)* -> n_classes logits.

    sizes: [n_in, *hidden_sizes, n_classes]; stack: the shape of a stack of networks, () for one.
    One vector holds all parameters, `params` (*stack, n_params), another their gradients, `grads`.
    An optimizer needs no more. The layers work on views of the two.
    """

    def __init__(self, sizes, activation="sigmoid", dtype=np.float32, stack=()):
        self.sizes = list(sizes)
        n_params = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
        self.params = np.zeros((*stack, n_params), dtype)
        self.grads = np.zeros_like(self.params)
        views = [list(self.named(vector).values()) for vector in (self.params, self.grads)]
        self.layers = []
        for i in range(0, len(views[0]), 2):
            self.layers += [Activation(activation)] if i else []
            self.layers += [Linear(*views[0][i : i + 2], *views[1][i : i + 2])]

    def forward(self, x):
        """x (..., batch, n_in) -> logits (..., batch, n_classes)."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, grad):
        """From dloss/dlogits to `grads`, for the batch that `forward` saw."""
        first, *others = self.layers
        for layer in reversed(others):
            grad = layer.backward(grad)
        first.backward_params(grad)  # nobody needs the gradient with respect to the data

    def initialise(self, init, rng, std=None):
        """Draw every weight from a normal distribution; biases are 0.

        init: "normal" (with the given std), "glorot" (variance 2 / (n_in + n_out); Glorot and
        Bengio 2010) or "he" (variance 2 / n_in; He et al. 2015). The draws are made in float64,
        so that one seed gives the same network in either precision.
        """
        self.params[...] = 0
        for layer in self.layers[::2]:
            n_in, n_out = layer.weights.shape[-2:]
            scale = {"normal": std, "glorot": (2 / (n_in + n_out)) ** 0.5, "he": (2 / n_in) ** 0.5}
            layer.weights[...] = rng.normal(0.0, scale[init], layer.weights.shape)

    def named(self, vector):
        """Views of a vector like `params`: weights_0 (..., n_in, n_out), bias_0 (..., n_out)..."""
        views, start = {}, 0
        for i, (n_in, n_out) in enumerate(pairwise(self.sizes)):
            for name, shape in (f"weights_{i}", (n_in, n_out)), (f"bias_{i}", (n_out,)):
                part = vector[..., start : start + math.prod(shape)]
                views[name] = part.reshape(*vector.shape[:-1], *shape)
                start += math.prod(shape)
        return views
