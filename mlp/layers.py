"""The layers of a multilayer perceptron: each its forward rule and, beside it, the backward rule.

Both write into an array that they are handed, `out`, and return it. `grad_x` stands for dloss/dx.
"""

import numpy as np

# As an array without dimensions, which NumPy takes in faster than a Python number: at batch size 1
# that is half the time of an operation.
ONE = np.array(1, np.float32)


class InputLinear:
    """outputs = X W for the data's X (mlp.inputs), the bias being the last row of W.

    W (n_in + 1, n_out) and its gradient are views that the network hands in. Nobody needs the
    gradient with respect to the data.
    """

    def __init__(self, weights, grads):
        self.weights, self.grads = weights, grads
        self._products = np.empty_like(weights)

    def forward(self, inputs, out):
        """Inputs of batch examples -> outputs (batch, n_out)."""
        self._inputs = inputs
        return inputs.dot(self.weights, out)

    def backward(self, grad_outputs):
        """grad_outputs (batch, n_out) -> nothing; keeps the gradient of W."""
        self._inputs.transposed_dot(grad_outputs, self.grads)

    def add(self, changes):
        """W += X' changes, for changes (batch, n_out): descent, if they are -lr grad_outputs."""
        self._inputs.add_transposed_dot(changes, self.weights, self._products)


class Linear:
    """outputs = inputs W + b, with weights W (n_in, n_out) and bias b (1, n_out).

    Both and their gradients are views that the network hands in, [W; b] as one array each.
    """

    def __init__(self, params, grads, max_batch):
        self.weights, self.bias = params[:-1], params[-1:]
        self.grad_weights, self.grad_bias = grads[:-1], grads[-1:]
        self._ones = np.ones((1, max_batch), params.dtype)

    def forward(self, inputs, out):
        """inputs (batch, n_in) -> outputs (batch, n_out)."""
        self._inputs = inputs
        np.dot(inputs, self.weights, out=out)
        out += self.bias
        return out

    def backward(self, grad_outputs, out):
        """grad_outputs (batch, n_out) -> grad_inputs (batch, n_in); keeps the parameters' own."""
        np.dot(self._inputs.T, grad_outputs, out=self.grad_weights)
        np.dot(self._ones[:, : len(grad_outputs)], grad_outputs, out=self.grad_bias)
        return np.dot(grad_outputs, self.weights.T, out=out)


class Activation:
    """outputs = f(inputs), element by element, with f' written in terms of the outputs."""

    def __init__(self, name):
        self._function, self._slope = ACTIVATIONS[name]

    def forward(self, inputs, out):
        """inputs (batch, width) -> outputs (batch, width)."""
        self._function(inputs, out)
        self._outputs = out
        return out

    def backward(self, grad_outputs, out):
        """grad_outputs (batch, width) -> grad_inputs (batch, width)."""
        self._slope(self._outputs, out)
        out *= grad_outputs
        return out


# Each pair: y = f(x), then f'(x) as a function of y. Both write into `out`.


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
