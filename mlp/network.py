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

    The first layer's outputs are `first_outputs` (batch, n_out), the last one's `logits` (batch,
    n_classes); their gradients are `first_grads` and `grad_logits`. `resize` makes all of them.
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
            self.rest += [Activation(activation), Linear(layer_params, layer_grads)]
        n_first = params[0].size
        self.rest_params, self.rest_grads = self.params[n_first:], self.grads[n_first:]
        widths = [*np.repeat(sizes[1:-1], 2), sizes[-1]]  # before and after each activation
        self._outputs = [np.empty((max_batch, width), dtype) for width in widths]
        self._grads = [np.empty_like(outputs) for outputs in self._outputs]
        self._batch = 0
        self.resize(max_batch)

    def _matrices(self, vector):
        """Views of a vector like `params`: each layer's [weights; bias], (n_in + 1, n_out)."""
        shapes = [(n_in + 1, n_out) for n_in, n_out in pairwise(self.sizes)]
        parts = np.split(vector, np.cumsum([rows * columns for rows, columns in shapes])[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def resize(self, batch):
        """Connect the layers for a batch of this many examples, max_batch at most."""
        if batch == self._batch:
            return
        if batch > self.max_batch:
            raise ValueError(f"made for batches of up to {self.max_batch} examples, got {batch}")
        self._batch = batch
        outputs, grads = ([a[:batch] for a in arrays] for arrays in (self._outputs, self._grads))
        ends = zip(pairwise(outputs), pairwise(grads), strict=True)
        for layer, (layer_outputs, layer_grads) in zip(self.rest, ends, strict=True):
            layer.connect(*layer_outputs, *layer_grads)
        self.first_outputs, self.first_grads = outputs[0], grads[0]
        self.logits, self.grad_logits = outputs[-1], grads[-1]

    def attach(self, first_outputs, logits, first_grads):
        """Use these arrays, with as many rows as at present, instead of the network's own.

        Without hidden layers the first layer's outputs are the logits: give the same array twice.
        """
        self.first_outputs, self.logits, self.first_grads = first_outputs, logits, first_grads
        if self.rest:
            self.rest[0].inputs, self.rest[0].grad_inputs = first_outputs, first_grads
            self.rest[-1].outputs = logits
        else:
            self.grad_logits = first_grads

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
        self.resize(len(inputs))
        self.first.forward(inputs, self.first_outputs)
        self.forward_rest()
        return self.logits

    def backward(self):
        """From grad_logits to `grads`, for the batch that `forward` saw."""
        self.backward_rest()
        self.first.backward(self.first_grads)

    def forward_rest(self):
        """From first_outputs to logits."""
        for layer in self.rest:
            layer.forward()

    def backward_rest(self):
        """From grad_logits to first_grads."""
        for layer in reversed(self.rest):
            layer.backward()

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
