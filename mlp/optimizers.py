"""Optimizers: a class whose fields are its settings, with what it remembers and how it updates.

    memory = optimizer.start(params)               arrays by name; {} where nothing is remembered
    optimizer.update(params, grads, lr, memory)    changes params and memory; grads is scratch

params and grads (..., n_params); lr a number, or (..., 1) for a stack of networks.
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

    def start(self, params):
        return {"velocity": np.zeros_like(params)} if self.momentum else {}

    def update(self, params, grads, lr, memory):
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

    def start(self, params):
        zeros = np.zeros_like(params)
        return {"updates": np.zeros((), int), "sum": zeros, "sum_of_squares": zeros.copy()}

    def update(self, params, grads, lr, memory):
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


OPTIMIZERS = SGD, Adam
