"""Ways to take optimizer steps: plain, looking ahead, and one example at a time in plain Python.

All do the same mathematics. Each offers

    steps(block, batch_size, lrs)   one step a mini-batch, in the order of the block's rows, with
                                    learning rates lrs (n_steps,); gives each step's mean loss
                                    before its update, (n_steps,) in nats
    logits(block)                   (n, n_classes)
    state()                         parameters and the optimizer's memory, arrays by name
"""

import numpy as np

from mlp.loss import positions, softmax_cross_entropy

BLOCK_ROWS = 64  # examples handed over at once, in whole batches, at least one


def choose_steps(model, optimizer):
    """The fastest way that is exact for this network and this optimizer."""
    looks_ahead = optimizer.is_plain and model.sizes[0] > BLOCK_ROWS
    return (LookaheadSteps if looks_ahead else PlainSteps)(model, optimizer)


def batch_means(losses, batch_size):
    """Mean of each mini-batch's losses, (n_steps,) float64."""
    starts = np.arange(0, len(losses), batch_size)
    sums = np.add.reduceat(losses, starts, dtype=np.float64)
    return sums / np.minimum(batch_size, len(losses) - starts)


class PlainSteps:
    """Forward, backward, update: with any optimizer."""

    def __init__(self, model, optimizer):
        self.model, self.optimizer = model, optimizer
        self._all_losses = np.empty(model.max_batch, model.params.dtype)
        self._all_grads = np.empty((model.max_batch, model.sizes[-1]), model.params.dtype)

    def steps(self, block, batch_size, lrs):
        model, (inputs, columns, labels) = self.model, block
        losses, grads = self._all_losses[: len(labels)], self._all_grads[: len(labels)]
        true_class = positions(labels, model.sizes[-1], batch_size)
        for step, lr in enumerate(lrs.tolist()):
            batch = slice(step * batch_size, (step + 1) * batch_size)
            logits, grad = model.forward(inputs[batch], columns), grads[batch]
            losses[batch] = softmax_cross_entropy(logits, true_class[batch], grad)
            model.backward(grad)
            self.optimizer.update(model.params, model.grads, lr)
        return batch_means(losses, batch_size)

    def logits(self, block):
        return self.model.forward(block.inputs, block.columns)

    def state(self):
        return self.model.state() | self.optimizer.state()


class LookaheadSteps(PlainSteps):
    """Plain SGD, with the first layer's large products made once for all steps of a block.

    Let X_t be the inputs of step t, k_t = X_t W_t + b_t the first layer's outputs and
    G_t = lr_t dloss/dk_t. Plain SGD makes W_t = W_0 - sum_{s<t} X_s' G_s (' transposes) and
    b_t = b_0 - sum_{s<t} 1' G_s; hence

        k_t = (X_t W_0 + b_0) - sum_{s<t} (X_t X_s' + 1) G_s.

    As the inputs of all steps are known beforehand, one product gives X W_0, one X X', and one,
    in the end, W_0 - X' G. What is left for a step is the sum over the few steps before it. This
    is exact: the results differ from those of PlainSteps by rounding alone.
    """

    def __init__(self, model, optimizer):
        super().__init__(model, optimizer)
        self._all_changes = np.empty((model.max_batch, model.sizes[1]), model.params.dtype)
        self._all_overlaps = np.empty((BLOCK_ROWS, BLOCK_ROWS), model.params.dtype)

    def steps(self, block, batch_size, lrs):
        model, (inputs, columns, labels) = self.model, block
        n = len(labels)
        losses, grads, changes = self._all_losses[:n], self._all_grads[:n], self._all_changes[:n]
        true_class = positions(labels, model.sizes[-1], batch_size)
        outputs = model.first.forward(inputs, columns)
        # Of X X' + 1, the rows after the first batch and the columns before the last
        later, earlier = inputs[batch_size:], inputs[: batch_size * (len(lrs) - 1)]
        overlaps = self._all_overlaps[: len(later), : len(earlier)]
        np.matmul(later, earlier.T, out=overlaps)
        overlaps += 1
        rest_params, rest_grads = model.rest_params, model.rest_grads
        for step, lr in enumerate(lrs.tolist()):
            batch = slice(step * batch_size, (step + 1) * batch_size)
            k, grad = outputs[batch], grads[batch]
            if step:
                row = batch.start - batch_size
                k -= overlaps[row : row + len(k), : batch.start] @ changes[: batch.start]
            logits = model.forward_rest(k)
            losses[batch] = softmax_cross_entropy(logits, true_class[batch], grad, lr)
            changes[batch] = model.backward_rest(grad)
            rest_params -= rest_grads
        model.first.descend(changes)
        return batch_means(losses, batch_size)


class ScalarSteps:
    """The plain-Python network: every example is a step."""

    def __init__(self, network):
        self.network = network

    def steps(self, block, batch_size, lrs):
        examples = zip(block.inputs.tolist(), block.labels.tolist(), lrs.tolist(), strict=True)
        return np.array([self.network.sgd_step(x, label, lr) for x, label, lr in examples])

    def logits(self, block):
        return np.array([self.network.forward(x) for x in block.inputs.tolist()])

    def state(self):
        weights = {f"weights_{i}": np.array(w) for i, w in enumerate(self.network.weights)}
        biases = {f"bias_{i}": np.array(b) for i, b in enumerate(self.network.biases)}
        return weights | biases
