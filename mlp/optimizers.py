"""Optimizers: a class whose fields are its settings, with what it remembers and how it updates.

    memory = optimizer.start(network)         arrays like params, or numbers, by name; {} for none
    optimizer.update(network, lr, memory)     changes params and memory; grads is scratch

network.params and network.grads (..., n_params); lr a number, or (..., 1) for a stack of networks.
"""

from dataclasses import dataclass

import numpy as np

from mlp.errors import UserError
from mlp.settings import setting


@dataclass(frozen=True)
class SGD:
    """stochastic gradient descent

    g = grads + weight_decay params;  v = momentum v + g;  params -= lr v
    or, with nesterov, params -= lr (g + momentum v)       (Sutskever et al. 2013, as in PyTorch)
    """

    name = "sgd"
    momentum: float = setting("fraction of the velocity kept each step", least=0, below=1)
    nesterov: bool = setting("look ahead along the velocity; needs momentum")
    weight_decay: float = setting("added to the gradient, times the parameters", least=0)

    def __post_init__(self):
        if self.nesterov and not self.momentum:
            raise UserError("optimizer.nesterov=true needs optimizer.momentum above 0")

    def start(self, network):
        return {"velocity": np.zeros_like(network.params)} if self.momentum else {}

    def update(self, network, lr, memory):
        params, grads = network.params, network.grads
        if self.weight_decay:
            grads += self.weight_decay * params
        direction = grads
        if self.momentum:
            velocity = memory["velocity"]
            velocity *= self.momentum
            velocity += grads
            if self.nesterov:
                grads += self.momentum * velocity
            else:
                direction = velocity
        params -= np.multiply(direction, lr, out=grads)


@dataclass(frozen=True)
class Adam:
    """Adam, with decoupled weight decay

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    params -= lr (weight_decay params + m^ / (sqrt(v^) + eps)), m^ = m / (1 - beta1^t), v^ likewise
    (Kingma and Ba 2015; Loshchilov and Hutter 2019)

    We store sums, m / (1 - beta1) and v / (1 - beta2), not means. That saves two passes over the
    vectors.
    """

    name = "adam"
    beta1: float = setting("decay of the mean of the gradient", least=0, below=1)
    beta2: float = setting("decay of the mean of its square", least=0, below=1)
    eps: float = setting("added to the root of the latter", above=0)
    weight_decay: float = setting("shrinks the parameters by lr times this each step", least=0)

    def start(self, network):
        zeros = np.zeros_like(network.params)
        return {"updates": np.zeros((), int), "sum": zeros, "sum_of_squares": zeros.copy()}

    def update(self, network, lr, memory):
        params, grads = network.params, network.grads
        updates, total, squares = memory["updates"], memory["sum"], memory["sum_of_squares"]
        updates += 1
        to_mean = (1 - self.beta1) / (1 - self.beta1 ** int(updates))
        to_root_mean_square = ((1 - self.beta2) / (1 - self.beta2 ** int(updates))) ** 0.5
        if self.weight_decay:
            params *= 1 - lr * self.weight_decay
        total *= self.beta1
        total += grads
        grads *= grads
        squares *= self.beta2
        squares += grads
        np.sqrt(squares, out=grads)
        grads += self.eps / to_root_mean_square
        np.divide(total, grads, out=grads)
        grads *= lr * (to_mean / to_root_mean_square)
        params -= grads


@dataclass(frozen=True)
class Muon:
    """momentum, with orthogonal steps: a matrix's step is as long in all its directions

    v = momentum v + g;  d = g + momentum v;  W -= lr (weight_decay W + orthogonal(d))
    (Jordan et al. 2024, without their factors for a matrix's shape). A bias is a matrix of one row.
    """

    name = "muon"
    momentum: float = setting("fraction of the velocity kept each step", least=0, below=1)
    weight_decay: float = setting("shrinks the parameters by lr times this each step", least=0)

    def start(self, network):
        return {"velocity": np.zeros_like(network.params)}

    def update(self, network, lr, memory):
        params, grads, velocity = network.params, network.grads, memory["velocity"]
        velocity *= self.momentum
        velocity += grads
        grads += self.momentum * velocity
        if self.weight_decay:
            params *= 1 - lr * self.weight_decay
        parts = network.named(params), network.named(grads)
        for name, part, direction in zip(parts[0], *(p.values() for p in parts), strict=True):
            if name.startswith("bias"):
                part, direction = part[..., None, :], direction[..., None, :]
            part -= (lr[..., None] if np.ndim(lr) else lr) * orthogonal(direction)


def orthogonal(matrix):
    """About U V', where matrix (..., n, m) is U S V' with singular values S: (..., n, m).

    The polynomial a x + b x^3 + c x^5 takes singular values x, from 0 to 1 by the division, to 0.7
    to 1.2 within five rounds. a, b and c are those of Jordan et al. (2024).
    """
    x = matrix if matrix.shape[-2] <= matrix.shape[-1] else matrix.mT  # the smaller products
    norm = np.sqrt(np.sum(x * x, axis=(-2, -1), keepdims=True))
    x = x / (norm + np.finfo(x.dtype).tiny)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (2.0315 * (gram @ gram) - 4.7750 * gram) @ x
    return x if x.shape == matrix.shape else x.mT


OPTIMIZERS = SGD, Adam, Muon
