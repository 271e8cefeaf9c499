"""The layers of a multilayer perceptron: each its forward rule and, beside it, the backward rule.

A layer reads `inputs` and writes `outputs`; going back, it reads `grad_outputs` and writes
`grad_inputs`, where `grad_x` stands for dloss/dx. The network makes these arrays once and hands
them out, so that one layer's outputs are the next one's inputs.
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

    def forward(self, inputs, outputs):
        """Inputs of batch examples -> outputs (batch, n_out)."""
        self._inputs = inputs
        inputs.dot(self.weights, outputs)

    def backward(self, grad_outputs):
        """grad_outputs (batch, n_out) -> the gradient of W."""
        self._inputs.transposed_dot(grad_outputs, self.grads)

    def add(self, changes):
        """W += X' changes, for changes (batch, n_out): descent, if they are -lr grad_outputs."""
        self._inputs.add_transposed_dot(changes, self.weights, self._products)


class Layer:
    """What layers behind the first share."""

    def connect(self, inputs, outputs, grad_inputs, grad_outputs):
        """inputs and grad_inputs (batch, n_in), outputs and grad_outputs (batch, n_out)."""
        self.inputs, self.outputs = inputs, outputs
        self.grad_inputs, self.grad_outputs = grad_inputs, grad_outputs


class Linear(Layer):
    """outputs = inputs W + b, with weights W (n_in, n_out) and bias b (1, n_out).

    Both and their gradients are views that the network hands in, [W; b] as one array each.
    """

    def __init__(self, params, grads):
        self.weights, self.bias = params[:-1], params[-1:]
        self.grad_weights, self.grad_bias = grads[:-1], grads[-1:]

    def connect(self, inputs, *others):
        super().connect(inputs, *others)
        self._ones = np.ones((1, len(inputs)), inputs.dtype)

    def forward(self):
        np.dot(self.inputs, self.weights, out=self.outputs)
        self.outputs += self.bias

    def backward(self):
        np.dot(self.inputs.T, self.grad_outputs, out=self.grad_weights)
        np.dot(self._ones, self.grad_outputs, out=self.grad_bias)  # sums, as in mlp.loss
        np.dot(self.grad_outputs, self.weights.T, out=self.grad_inputs)


class Activation(Layer):
    """outputs = f(inputs), element by element, with f' written in terms of the outputs."""

    def __init__(self, name):
        self._function, self._slope = ACTIVATIONS[name]

    def forward(self):
        self._function(self.inputs, self.outputs)

    def backward(self):
        self._slope(self.outputs, self.grad_inputs)
        self.grad_inputs *= self.grad_outputs


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
