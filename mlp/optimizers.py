"""Optimizers: from parameters, their gradients and a learning rate to new parameters, in place.

All parameters of a network come as one vector. It is updated a piece at a time, so that the
several passes of a rule over one piece happen while it is in the processor's cache.
"""

import numpy as np

PIECE = 16384  # numbers; four such float32 arrays fit in 256 KB of cache


def pieces(*vectors):
    for start in range(0, vectors[0].size, PIECE):
        yield [vector[start : start + PIECE] for vector in vectors]


class SGD:
    """Stochastic gradient descent with momentum, Nesterov's variant and weight decay.

    g = grads + weight_decay params;  v = momentum v + g;  params -= lr v
    or, with nesterov, params -= lr (g + momentum v)       (Sutskever et al. 2013, as in PyTorch)
    """

    def __init__(self, momentum=0.0, nesterov=False, weight_decay=0.0):
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        self.velocity = None

    @property
    def is_plain(self):
        """Whether a step is params -= lr grads and nothing else."""
        return not self.momentum and not self.weight_decay

    def update(self, params, grads, lr):
        """params and grads (n_params,); params change in place, grads may."""
        if self.momentum and self.velocity is None:
            self.velocity = np.zeros_like(params)
        velocity = self.velocity if self.momentum else grads
        for p, g, v in pieces(params, grads, velocity):
            if self.weight_decay:
                g += self.weight_decay * p
            if self.momentum:
                v *= self.momentum
                v += g
                if self.nesterov:
                    g += self.momentum * v
                else:
                    g = v
            p -= lr * g

    def state(self):
        return {} if self.velocity is None else {"velocity": self.velocity.copy()}


class Adam:
    """Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019).

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    params -= lr (weight_decay params + m^ / (sqrt(v^) + eps)), m^ = m / (1 - beta1^t), v^ likewise
    """

    def __init__(self, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
        self.beta1, self.beta2, self.eps, self.weight_decay = beta1, beta2, eps, weight_decay
        self.step, self.mean, self.square = 0, None, None

    is_plain = False

    def update(self, params, grads, lr):
        """params and grads (n_params,); params change in place, grads may."""
        if self.mean is None:
            self.mean, self.square = np.zeros_like(params), np.zeros_like(params)
        self.step += 1
        # Both bias corrections as scalars: m^ / (sqrt(v^) + eps) = scale m / (sqrt(v) + eps root)
        root = (1 - self.beta2**self.step) ** 0.5
        scale = root / (1 - self.beta1**self.step)
        for p, g, m, v in pieces(params, grads, self.mean, self.square):
            if self.weight_decay:
                p *= 1 - lr * self.weight_decay
            m *= self.beta1
            m += (1 - self.beta1) * g
            g *= g
            g *= 1 - self.beta2
            v *= self.beta2
            v += g
            np.sqrt(v, out=g)
            g += self.eps * root
            np.divide(m, g, out=g)
            g *= lr * scale
            p -= g

    def state(self):
        moments = {} if self.mean is None else {"mean": self.mean, "square": self.square}
        return {name: vector.copy() for name, vector in moments.items()}


OPTIMIZERS = {"sgd": SGD, "adam": Adam}
