"""Optimizers: from parameters, their gradients and a learning rate to new parameters, in place.

All parameters of a network come as one vector, their gradients as another.
"""

import numpy as np


class SGD:
    """Stochastic gradient descent with momentum, Nesterov's variant and weight decay.

    g = grads + weight_decay params;  v = momentum v + g;  params -= lr v
    or, with nesterov, params -= lr (g + momentum v)       (Sutskever et al. 2013, as in PyTorch)
    """

    def __init__(self, momentum=0.0, nesterov=False, weight_decay=0.0):
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        self.is_plain = not momentum and not weight_decay  # a step is params -= lr grads, no more
        self.velocity = None

    def update(self, params, grads, lr):
        """params and grads (n_params,) change in place; grads is left without meaning."""
        if self.weight_decay:
            grads += self.weight_decay * params
        if self.momentum:
            if self.velocity is None:
                self.velocity = np.zeros_like(params)
            self.velocity *= self.momentum
            self.velocity += grads
            if self.nesterov:
                grads += self.momentum * self.velocity
                grads *= lr
            else:
                np.multiply(self.velocity, lr, out=grads)
        else:
            grads *= lr
        params -= grads

    def state(self):
        return {} if self.velocity is None else {"velocity": self.velocity.copy()}


class Adam:
    """Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019).

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    params -= lr (weight_decay params + m^ / (sqrt(v^) + eps)), m^ = m / (1 - beta1^t), v^ likewise

    Kept are m / (1 - beta1) and v / (1 - beta2), sums instead of means: two passes over the
    vectors fewer, as the factors and both corrections come together in two numbers.
    """

    is_plain = False

    def __init__(self, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
        self.beta1, self.beta2, self.eps, self.weight_decay = beta1, beta2, eps, weight_decay
        self.step, self.sum, self.sum_of_squares = 0, None, None

    def update(self, params, grads, lr):
        """params and grads (n_params,) change in place; grads is left without meaning."""
        if self.sum is None:
            self.sum, self.sum_of_squares = np.zeros_like(params), np.zeros_like(params)
        self.step += 1
        to_mean = (1 - self.beta1) / (1 - self.beta1**self.step)
        to_root_mean_square = ((1 - self.beta2) / (1 - self.beta2**self.step)) ** 0.5
        if self.weight_decay:
            params *= 1 - lr * self.weight_decay
        self.sum *= self.beta1
        self.sum += grads
        grads *= grads
        self.sum_of_squares *= self.beta2
        self.sum_of_squares += grads
        np.sqrt(self.sum_of_squares, out=grads)
        grads += self.eps / to_root_mean_square
        np.divide(self.sum, grads, out=grads)
        grads *= lr * to_mean / to_root_mean_square
        params -= grads

    def state(self):
        names = ["sum", "sum_of_squares"] if self.step else []
        return {name: getattr(self, name).copy() for name in names}


OPTIMIZERS = {"sgd": SGD, "adam": Adam}
