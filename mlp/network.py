"""The multilayer perceptron: an ordered list of layers over one vector of parameters."""

from itertools import pairwise

import numpy as np

from mlp.layers import Activation, InputLinear, Linear

MAX_BATCH = 512  # rows that the layers' arrays are made for, unless a training batch is larger


class MLP:
    """n_in inputs -> Linear, (activation, Linear)* -> n_classes logits.

    sizes: [n_in, *hidden_sizes, n_classes]. All parameters lie in one vector, `params`, and their
    gradients in another, `grads`: an optimizer needs no more than these two. The layers hold
    views of them. The first layer is kept apart from the rest because it alone reads the data.
    """

    def __init__(self, sizes, activation="sigmoid", dtype=np.float32, max_batch=MAX_BATCH):
        self.sizes, self.max_batch = list(sizes), max_batch
        self.params = np.zeros(sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes)), dtype)
        self.grads = np.zeros_like(self.params)

        self.first, self.rest = None, []
        start = 0
        for n_in, n_out in pairwise(sizes):
            views = []
            for vector in self.params, self.grads:
                weights, bias = np.split(vector[start : start + (n_in + 1) * n_out], [n_in * n_out])
                views += [weights.reshape(n_in, n_out), bias.reshape(1, n_out)]
            start += (n_in + 1) * n_out
            if self.first is None:
                self.first = InputLinear(*views, max_batch)
                self.rest_params, self.rest_grads = self.params[start:], self.grads[start:]
            else:
                self.rest.append(Activation(activation, n_in, dtype, max_batch))
                self.rest.append(Linear(*views, max_batch))

    @property
    def linear_layers(self):
        return [self.first, *self.rest[1::2]]

    def initialise(self, init, rng, std=None):
        """Draw every weight from a normal distribution; biases are 0.

        init: "normal" (with the given std), "glorot" (variance 2 / (n_in + n_out); Glorot and
        Bengio 2010) or "he" (variance 2 / n_in; He et al. 2015). The draws are made in float64,
        so that one seed gives the same network in either precision.
        """
        for layer in self.linear_layers:
            n_in, n_out = layer.weights.shape
            scale = {"normal": std, "glorot": (2 / (n_in + n_out)) ** 0.5, "he": (2 / n_in) ** 0.5}
            layer.weights[...] = rng.normal(0.0, scale[init], (n_in, n_out))
            layer.bias[...] = 0

    def forward(self, inputs, columns=None):
        """inputs (batch, n_in) -> logits (batch, n_classes); `columns` as in InputLinear."""
        return self.forward_rest(self.first.forward(inputs, columns))

    def backward(self, grad_logits):
        """grad_logits (batch, n_classes): fills `grads` for the batch that was last seen."""
        self.first.backward(self.backward_rest(grad_logits))

    def forward_rest(self, outputs):
        """From the first layer's outputs (batch, n_out) to the logits."""
        for layer in self.rest:
            outputs = layer.forward(outputs)
        return outputs

    def backward_rest(self, grad):
        """From the logits' gradient back to that of the first layer's outputs."""
        for layer in reversed(self.rest):
            grad = layer.backward(grad)
        return grad

    def state(self):
        """Copies of the parameters: weights_0 (n_in, n_out), bias_0 (n_out,), weights_1, ..."""
        state = {}
        for i, layer in enumerate(self.linear_layers):
            state[f"weights_{i}"] = layer.weights.copy()
            state[f"bias_{i}"] = layer.bias[0].copy()
        return state

    def load_state(self, state):
        """Take the parameters that `state()` gave."""
        for i, layer in enumerate(self.linear_layers):
            layer.weights[...] = state[f"weights_{i}"]
            layer.bias[...] = state[f"bias_{i}"]
