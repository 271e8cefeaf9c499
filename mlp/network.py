"""The multilayer perceptron: an ordered list of layers over one vector of parameters."""

from itertools import pairwise

import numpy as np

from mlp.layers import Activation, InputLinear, Linear

MAX_BATCH = 512  # rows that the layers' arrays are made for, unless a training batch is larger


class MLP:
    """n_in inputs -> Linear, (activation, Linear)* -> n_classes logits.

    sizes: [n_in, *hidden_sizes, n_classes]. All parameters lie in one vector, `params`, and their
    gradients in another, `grads`: an optimizer needs no more than these two. The layers hold
    views of them. The first layer is kept apart from the rest because it alone reads the data; the
    rows of its weights are in the order of mlp.inputs, `rare` being the rare features' indices.
    What the layers write goes into arrays that are made once, for max_batch examples.
    """

    def __init__(self, sizes, activation="sigmoid", dtype=np.float32, max_batch=MAX_BATCH, rare=()):
        self.sizes, self.max_batch = list(sizes), max_batch
        self.rare = np.asarray(rare, np.intp)
        self._order = np.r_[self.rare, np.delete(np.arange(sizes[0]), self.rare)]
        self.params = np.zeros(sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes)), dtype)
        self.grads = np.zeros_like(self.params)

        params, grads = self._matrices(self.params), self._matrices(self.grads)
        self.first, self.rest = InputLinear(params[0], grads[0]), []
        for layer_params, layer_grads in zip(params[1:], grads[1:], strict=True):
            self.rest += [Activation(activation), Linear(layer_params, layer_grads, max_batch)]
        n_first = params[0].size
        self.rest_params, self.rest_grads = self.params[n_first:], self.grads[n_first:]
        widths = [*np.repeat(sizes[1:-1], 2), sizes[-1]]  # before and after each activation
        self._all_outputs = [np.empty((max_batch, width), dtype) for width in widths]
        self._all_grad_outputs = [np.empty_like(outputs) for outputs in self._all_outputs]
        self._resize(max_batch)

    def _matrices(self, vector):
        """Views of a vector like `params`: each layer's [weights; bias], (n_in + 1, n_out)."""
        shapes = [(n_in + 1, n_out) for n_in, n_out in pairwise(self.sizes)]
        parts = np.split(vector, np.cumsum([rows * columns for rows, columns in shapes])[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def _resize(self, batch):
        if batch > self.max_batch:
            raise ValueError(f"made for batches of up to {self.max_batch} examples, got {batch}")
        self._batch = batch
        self._outputs = [array[:batch] for array in self._all_outputs]
        self._grad_outputs = [array[:batch] for array in self._all_grad_outputs]

    def initialise(self, init, rng, std=None):
        """Draw every weight from a normal distribution; biases are 0.

        init: "normal" (with the given std), "glorot" (variance 2 / (n_in + n_out); Glorot and
        Bengio 2010) or "he" (variance 2 / n_in; He et al. 2015). The draws are made in float64,
        so that one seed gives the same network in either precision.
        """
        state = {}
        for i, (n_in, n_out) in enumerate(pairwise(self.sizes)):
            scale = {"normal": std, "glorot": (2 / (n_in + n_out)) ** 0.5, "he": (2 / n_in) ** 0.5}
            state[f"weights_{i}"] = rng.normal(0.0, scale[init], (n_in, n_out))
            state[f"bias_{i}"] = np.zeros(n_out)
        self.load_state(state)

    def forward(self, inputs):
        """Inputs of batch examples -> logits (batch, n_classes)."""
        if len(inputs) != self._batch:
            self._resize(len(inputs))
        return self.forward_rest(self.first.forward(inputs, self._outputs[0]), self._outputs[-1])

    def backward(self, grad_logits):
        """grad_logits (batch, n_classes): fills `grads` for the batch that was last seen."""
        self.first.backward(self.backward_rest(grad_logits, self._grad_outputs[0]))

    def forward_rest(self, outputs, out):
        """From the first layer's outputs (batch, n_out) to the logits, written into out."""
        if len(outputs) != self._batch:
            self._resize(len(outputs))
        for layer, layer_out in zip(self.rest, [*self._outputs[1:-1], out], strict=False):
            outputs = layer.forward(outputs, layer_out)
        if not self.rest:
            out[...] = outputs
        return out

    def backward_rest(self, grad, out):
        """From the logits' gradient back to that of the first layer's outputs, written into out."""
        layers = zip(reversed(self.rest), [*self._grad_outputs[-2:0:-1], out], strict=False)
        for layer, layer_out in layers:
            grad = layer.backward(grad, layer_out)
        if not self.rest:
            out[...] = grad
        return out

    def state(self):
        """Copies of the parameters: weights_0 (n_in, n_out), bias_0 (n_out,), weights_1, ..."""
        return self.by_name(self.params)

    def by_name(self, vector):
        """Copies of the parts of a vector like `params`, named as in `state`.

        The features' rows are in the features' own order, whichever of them are rare.
        """
        arrays = {}
        for i, matrix in enumerate(self._matrices(vector)):
            weights, bias = matrix[:-1].copy(), matrix[-1].copy()
            if i == 0:
                weights[self._order] = matrix[:-1]
            arrays[f"weights_{i}"], arrays[f"bias_{i}"] = weights, bias
        return arrays

    def load_state(self, state):
        """Take the parameters that `state()` gave."""
        for i, matrix in enumerate(self._matrices(self.params)):
            weights = np.asarray(state[f"weights_{i}"])
            matrix[:-1] = weights[self._order] if i == 0 else weights
            matrix[-1] = state[f"bias_{i}"]
