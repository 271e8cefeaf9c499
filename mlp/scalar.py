"""The multilayer perceptron in plain Python: one example, lists of floats, the chain rule.

For one hidden layer, with x the inputs and c the true class:

    k = x W + b        k_j = sum_i x_i W_ij + b_j
    h = sigmoid(k)     h_j = 1 / (1 + exp(-k_j))
    o = h V + c
    y = softmax(o)     y_i = exp(o_i) / sum_j exp(o_j)
    l = -log y_c

Each module below is a pair of functions: the value, and the derivative of l with respect to what
went in, given its derivative with respect to what came out. `grad_x` stands for dl/dx. A weight
matrix is a list of rows, a row for each input.
"""

import math


def linear(x, weights, bias):
    """k_j = sum_i x_i W_ij + b_j"""
    k = bias[:]
    for x_i, row in zip(x, weights):
        for j, w in enumerate(row):
            k[j] += x_i * w
    return k


def linear_backward_weights(grad_k, x):
    """dl/dW_ij = x_i dl/dk_j; and dl/db_j is dl/dk_j itself."""
    return [[x_i * g for g in grad_k] for x_i in x]


def linear_backward(grad_k, weights):
    """dl/dx_i = sum_j W_ij dl/dk_j"""
    grad_x = []
    for row in weights:
        total = 0.0
        for w, g in zip(row, grad_k):
            total += w * g
        grad_x.append(total)
    return grad_x


def sigmoid(k):
    """h_j = 1 / (1 + exp(-k_j)), by way of exp(k_j) where exp(-k_j) could overflow."""
    return [1 / (1 + math.exp(-k_j)) if k_j > -700 else math.exp(k_j) for k_j in k]


def sigmoid_backward(grad_h, h):
    """dl/dk_j = dl/dh_j h_j (1 - h_j)"""
    return [g * h_j * (1 - h_j) for g, h_j in zip(grad_h, h)]


def softmax_cross_entropy(o, label):
    """y_i = exp(o_i - m) / sum_j exp(o_j - m) and l = log(sum_j exp(o_j - m)) - (o_c - m), in nats.

    l is -log y_c. m = max o cancels in both and keeps exp within range.
    """
    m = max(o)
    exps = [math.exp(o_i - m) for o_i in o]
    total = sum(exps)
    return [e / total for e in exps], math.log(total) - (o[label] - m)


def softmax_cross_entropy_backward(y, label):
    """dl/do_i = y_i - [i = c]: dl/dy_c = -1/y_c times dy_c/do_i = y_c ([i = c] - y_i)."""
    grad_o = y[:]
    grad_o[label] -= 1
    return grad_o


class Network:
    """sizes: [n_in, *hidden_sizes, n_classes]; sigmoid between the linear modules.

    weights[n] is layer n's matrix, sizes[n] rows of sizes[n + 1] floats; biases[n] its bias.
    """

    def __init__(self, sizes):
        self.sizes = list(sizes)
        shapes = list(zip(sizes, sizes[1:]))
        self.weights = [[[0.0] * n_out for _ in range(n_in)] for n_in, n_out in shapes]
        self.biases = [[0.0] * n_out for _, n_out in shapes]

    def initialise(self, init, rng, std=None):
        """Draw weights from normal distributions as `MLP.initialise` does; rng: random.Random."""
        for weights in self.weights:
            n_in, n_out = len(weights), len(weights[0])
            scale = {"normal": std, "glorot": (2 / (n_in + n_out)) ** 0.5, "he": (2 / n_in) ** 0.5}
            for row in weights:
                row[:] = [rng.gauss(0.0, scale[init]) for _ in row]

    def forward(self, x):
        """The logits o for one example x; keeps every module's input for `backward`."""
        if len(x) != self.sizes[0]:
            raise ValueError(f"Network expects {self.sizes[0]} inputs, got {len(x)}")
        self.inputs = [x]
        for weights, bias in zip(self.weights[:-1], self.biases):
            x = sigmoid(linear(x, weights, bias))
            self.inputs.append(x)
        self.logits = linear(x, self.weights[-1], self.biases[-1])
        return self.logits

    def output_grads(self, label):
        """The loss l, and dl/dk of every linear module's outputs k, for the example that `forward`
        saw: by the chain rule from the last module to the first.
        """
        y, loss = softmax_cross_entropy(self.logits, label)
        grads = [softmax_cross_entropy_backward(y, label)]
        for n in range(len(self.weights) - 1, 0, -1):
            grad_h = linear_backward(grads[0], self.weights[n])
            grads.insert(0, sigmoid_backward(grad_h, self.inputs[n]))
        return loss, grads

    def backward(self, label):
        """dl/dW and dl/db of every layer, for the example that `forward` saw: two lists."""
        _, grads = self.output_grads(label)
        return [linear_backward_weights(g, x) for g, x in zip(grads, self.inputs)], grads

    def sgd_step(self, x, label, lr):
        """One step of gradient descent on one example; its loss before the step, in nats."""
        self.forward(x)
        loss, grads = self.output_grads(label)
        for x, weights, bias, grad in zip(self.inputs, self.weights, self.biases, grads):
            for j, g in enumerate(grad):
                bias[j] -= lr * g
            for x_i, row in zip(x, weights):
                for j, g in enumerate(grad):
                    row[j] -= lr * x_i * g
        return loss
