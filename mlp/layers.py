"""The layers of a multilayer perceptron: each its forward rule and, beside it, the backward rule.

Arrays are batched over their last two axes, (batch, features), and multiplied with np.matmul.
Every layer owns the arrays that it writes; they are made once, for the largest batch, and a
smaller batch uses views of their first rows. `grad_x` stands for dloss/dx throughout.
"""

import numpy as np

# As an array without dimensions, which NumPy takes in faster than a Python number: at batch size 1
# that is half the time of an operation.
ONE = np.array(1, np.float32)


def matmul(a, b, out):
    """a b over the last two axes: np.matmul, or np.dot, which is faster for a single pair."""
    return (np.dot if a.ndim == 2 else np.matmul)(a, b, out=out)


class Layer:
    """What layers share: arrays for their outputs and for the gradient of their inputs."""

    def __init__(self, n_in, n_out, dtype, max_batch):
        self._max_batch = max_batch
        self._all_outputs = np.empty((max_batch, n_out), dtype)
        self._all_grad_inputs = np.empty((max_batch, n_in), dtype)
        self._resize(max_batch)

    def _resize(self, batch):
        if batch > self._max_batch:
            raise ValueError(f"made for batches of up to {self._max_batch} examples, got {batch}")
        self._outputs = self._all_outputs[:batch]
        self._grad_inputs = self._all_grad_inputs[:batch]


class Linear(Layer):
    """outputs = inputs W + b, with weights W (n_in, n_out) and bias b (1, n_out).

    The parameters and their gradients are views that the network hands in.
    """

    def __init__(self, weights, bias, grad_weights, grad_bias, max_batch):
        super().__init__(*weights.shape, weights.dtype, max_batch)
        self.weights, self.bias = weights, bias
        self.grad_weights, self.grad_bias = grad_weights, grad_bias

    def forward(self, inputs):
        """inputs (batch, n_in) -> outputs (batch, n_out)."""
        if len(inputs) != len(self._outputs):
            self._resize(len(inputs))
        self._inputs = inputs
        matmul(inputs, self.weights, out=self._outputs)
        self._outputs += self.bias
        return self._outputs

    def backward(self, grad_outputs):
        """grad_outputs (batch, n_out) -> grad_inputs (batch, n_in); keeps the parameters' own."""
        matmul(self._inputs.mT, grad_outputs, out=self.grad_weights)
        np.add.reduce(grad_outputs, axis=-2, keepdims=True, out=self.grad_bias)
        return matmul(grad_outputs, self.weights.mT, out=self._grad_inputs)


class InputLinear(Linear):
    """The linear layer that reads the data.

    Nobody needs the gradient with respect to the data. And where an input is zero in the whole
    batch, its row of W does not matter and has no gradient: such inputs may be left out, and
    `columns` then lists those that are present. Only their rows of W are read and written.
    """

    def __init__(self, weights, bias, grad_weights, grad_bias, max_batch):
        super().__init__(weights, bias, grad_weights, grad_bias, max_batch)
        self._all_rows, self._all_products = np.empty_like(weights), np.empty_like(weights)

    def forward(self, inputs, columns=None):
        """inputs (batch, n_in), or (batch, len(columns)) -> outputs (batch, n_out)."""
        if len(inputs) != len(self._outputs):
            self._resize(len(inputs))
        self._inputs, self._columns = inputs, columns
        if columns is None:
            self._rows = self.weights
        else:  # mode="clip" because "raise", the default, buffers the whole output
            rows = self._all_rows[: len(columns)]
            self._rows = np.take(self.weights, columns, axis=-2, out=rows, mode="clip")
        matmul(inputs, self._rows, out=self._outputs)
        self._outputs += self.bias
        return self._outputs

    def backward(self, grad_outputs):
        """grad_outputs (batch, n_out) -> nothing; keeps the parameters' gradients."""
        if self._columns is None:
            matmul(self._inputs.mT, grad_outputs, out=self.grad_weights)
        else:
            self.grad_weights[...] = 0
            self.grad_weights[..., self._columns, :] = self._product(grad_outputs)
        np.add.reduce(grad_outputs, axis=-2, keepdims=True, out=self.grad_bias)

    def descend(self, scaled_grad_outputs):
        """W -= inputs' G and b -= 1' G for G = lr dloss/doutputs (batch, n_out)."""
        self._rows -= self._product(scaled_grad_outputs)
        if self._columns is not None:
            self.weights[..., self._columns, :] = self._rows
        self.bias -= np.add.reduce(scaled_grad_outputs, axis=-2, keepdims=True)

    def _product(self, grad_outputs):
        out = self._all_products[: len(self._rows)]
        return matmul(self._inputs.mT, grad_outputs, out=out)


class Activation(Layer):
    """outputs = f(inputs), element by element, with f' written in terms of the outputs."""

    def __init__(self, name, width, dtype, max_batch):
        super().__init__(width, width, dtype, max_batch)
        self._function, self._slope = ACTIVATIONS[name]

    def forward(self, inputs):
        """inputs (batch, width) -> outputs (batch, width)."""
        if len(inputs) != len(self._outputs):
            self._resize(len(inputs))
        self._function(inputs, self._outputs)
        return self._outputs

    def backward(self, grad_outputs):
        """grad_outputs (batch, width) -> grad_inputs (batch, width)."""
        self._slope(self._outputs, self._grad_inputs)
        self._grad_inputs *= grad_outputs
        return self._grad_inputs


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
