"""Ways to take optimizer steps: plain, looking ahead, and one example at a time in plain Python.

All do the same mathematics. Each offers

    steps(block, lrs)   one step for each learning rate in lrs (n_steps,), with the block's rows in
                        as many mini-batches of equal size; gives each step's mean loss before its
                        update, (n_steps,) in nats
    logits(block)       (n, n_classes)
    state()             parameters and the optimizer's memory, arrays by name
    rare                indices of the features that it wants apart (mlp.inputs)
"""

import numpy as np

from mlp.loss import SoftmaxCrossEntropy

MOST_STEPS, MOST_ROWS = 64, 128  # of a block, unless a single batch has more rows


def choose_steps(model, optimizer):
    """The fastest way that is exact for this network and this optimizer."""
    looks_ahead = optimizer.is_plain and model.sizes[0] > MOST_STEPS
    return (LookaheadSteps if looks_ahead else PlainSteps)(model, optimizer)


def steps_per_block(batch_size):
    """How many mini-batches are best handed over at once."""
    return max(1, min(MOST_STEPS, MOST_ROWS // batch_size))


class PlainSteps:
    """Forward, backward, update: with any optimizer."""

    def __init__(self, model, optimizer):
        self.model, self.optimizer, self.rare = model, optimizer, model.rare
        n_classes, dtype = model.sizes[-1], model.params.dtype
        self.loss = SoftmaxCrossEntropy(n_classes, dtype)
        self._logits = np.empty((model.max_batch, n_classes), dtype)  # of a block

    def steps(self, block, lrs):
        model, (inputs, labels) = self.model, block
        size = len(labels) // len(lrs)
        logits, targets = self._logits[: len(labels)], self.loss.targets(labels)
        for step, lr in enumerate(lrs.tolist()):
            batch = slice(step * size, (step + 1) * size)
            logits[batch] = model.forward(inputs[batch])
            self.loss.gradient(model.logits, targets[batch], out=model.grad_logits)
            model.backward()
            self.optimizer.update(model.params, model.grads, lr)
        return self._mean_losses(logits, labels, len(lrs))

    def _mean_losses(self, logits, labels, n_steps):
        losses = self.loss.losses(logits, labels)
        return losses.reshape(n_steps, -1).mean(axis=1, dtype=np.float64)

    def logits(self, block):
        return self.model.forward(block.inputs)

    def state(self):
        state = self.model.state()
        for name, vector in self.optimizer.state().items():
            parts = self.model.by_name(vector)
            state |= {f"{name}_{part}": array for part, array in parts.items()}
        return state


class LookaheadSteps(PlainSteps):
    """Plain SGD, with the first layer's large products made once for all steps of a block.

    Let X_t be the inputs of step t with their column of ones, W_t the first layer's weights with
    the bias as last row, k_t = X_t W_t its outputs and C_t = -lr_t dloss/dk_t. Plain SGD makes
    W_t = W_0 + sum_{s<t} X_s' C_s (' transposes); hence

        k_t = X_t W_0 + sum_{s<t} X_t X_s' C_s.

    As the inputs of all steps are known beforehand, one product gives X W_0, one X X', and one,
    in the end, W_0 + X' C. What is left for a step is the sum over the few steps before it. This
    is exact: the results differ from those of PlainSteps by rounding alone.
    """

    def __init__(self, model, optimizer):
        super().__init__(model, optimizer)
        shape = 2, model.max_batch, model.sizes[1]
        self._outputs, self._changes = np.empty(shape, model.params.dtype)
        if not model.rest:  # the first layer's outputs are the logits
            self._outputs = self._logits

    def steps(self, block, lrs):
        model, (inputs, labels) = self.model, block
        n, n_steps = len(labels), len(lrs)
        size = n // n_steps
        model.resize(size)
        outputs, changes, logits = self._outputs[:n], self._changes[:n], self._logits[:n]
        targets = self.loss.targets(labels)
        rest_params, rest_grads = model.rest_params, model.rest_grads
        model.first.forward(inputs, outputs)
        if n_steps > 1:
            overlaps = inputs[size:].inner_products(inputs[:-size])
        parts = (a.reshape(n_steps, size, -1) for a in (outputs, targets, logits, changes))
        for step, (lr, k, target, o, change) in enumerate(zip(lrs.tolist(), *parts, strict=True)):
            if step:
                seen = step * size
                k += np.dot(overlaps[seen - size : seen, :seen], changes[:seen])
            model.attach(k, o, change)
            model.forward_rest()
            self.loss.gradient(o, target, out=model.grad_logits, factor=-lr)
            model.backward_rest()
            rest_params += rest_grads
        model.first.add(changes)
        return self._mean_losses(logits, labels, n_steps)


class ScalarSteps:
    """The plain-Python network: every example is a step."""

    rare = ()  # it takes all features alike

    def __init__(self, network):
        self.network = network

    def steps(self, block, lrs):
        inputs = block.inputs.frequent[:, :-1].tolist()
        examples = zip(inputs, block.labels.tolist(), lrs.tolist(), strict=True)
        return np.array([self.network.sgd_step(x, label, lr) for x, label, lr in examples])

    def logits(self, block):
        return np.array([self.network.forward(x) for x in block.inputs.frequent[:, :-1].tolist()])

    def state(self):
        weights = {f"weights_{i}": np.array(w) for i, w in enumerate(self.network.weights)}
        biases = {f"bias_{i}": np.array(b) for i, b in enumerate(self.network.biases)}
        return weights | biases
