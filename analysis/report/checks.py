"""Computations that the report makes itself: no runs, a fraction of a second."""

import numpy as np

from mlp import scalar
from mlp.experiment import make_config
from mlp.network import MLP, SoftmaxCrossEntropy


def two_step(o, label):
    """y and dl/do as the chain rule's two steps give them: -1/y_c times dy_c/do_i, in float64.

    The softmax is the textbook's, without a shift. Returns y, dl/dy and dl/do.
    """
    with np.errstate(all="ignore"):
        e = np.exp(np.asarray(o, float))
        y = e / e.sum()
        outer = np.zeros_like(y)
        outer[label] = -1 / y[label]
        return y, outer, (np.diag(y) - np.outer(y, y)) @ outer


def naive_rows(gaps=(1, 40, 700, 800)):
    """Both ways for o = (0, -gap), class 1: gap, y_c, dl/dy_c, dl/do_c by two steps and by the
    formula, -log y_c, and l by log-sum-exp.
    """
    for gap in gaps:
        o = [0.0, -float(gap)]
        y, outer, grad = two_step(o, 1)
        stable_y, loss = scalar.softmax_cross_entropy(o, 1)
        direct = scalar.softmax_cross_entropy_backward(stable_y, 1)
        with np.errstate(divide="ignore"):
            yield gap, *map(float, (y[1], outer[1], grad[1], direct[1], -np.log(y[1]))), loss


def numeric_gradient(f, params, step):
    """Central finite differences of f() by each entry of an array that it reads, in its shape."""
    grad = np.empty_like(params)
    for index in np.ndindex(params.shape):
        kept, values = params[index], []
        for changed in kept + step, kept - step:
            params[index] = changed
            values.append(f())
        params[index] = kept
        grad[index] = (values[0] - values[1]) / (2 * step)
    return grad


def gradients(sizes, n, step):
    """The mean loss's gradient for n random examples, three ways, each (n_params,) float64:
    batched, example by example in plain Python, and by finite differences.
    """
    rng = np.random.default_rng(0)
    network, plain = MLP(sizes, dtype=np.float64), scalar.Network(sizes)
    network.initialise("normal", rng, 1.0)
    x, labels = rng.standard_normal((n, sizes[0])), rng.integers(sizes[-1], size=n)
    loss = SoftmaxCrossEntropy(network.layers[-1].bias)
    network.backward(loss.gradient(network.forward(x), loss.targets(labels)))
    batched = network.grads.copy()

    views = network.named(network.params)
    plain.weights, plain.biases = (
        [views[f"{kind}_{i}"].tolist() for i in range(len(sizes) - 1)]
        for kind in ("weights", "bias")
    )
    total = np.zeros_like(batched)
    for example, label in zip(x.tolist(), labels.tolist(), strict=True):
        plain.forward(example)
        layers = zip(*plain.backward(label), strict=True)
        total += np.concatenate([np.ravel(part) for layer in layers for part in layer])

    def mean_loss():
        return float(loss.losses(network.forward(x), labels).mean())

    return batched, total / n, numeric_gradient(mean_loss, network.params, step)


def gradient_directions(n):
    """Singular values of the first layer's gradient on n training images, at the start."""
    dataset = make_config(dataset="mnist").dataset.load()
    x, labels = (part[:n] for part in dataset.train)
    network = MLP([dataset.n_features, 300, dataset.n_classes])
    network.initialise("glorot", np.random.default_rng(0))
    loss = SoftmaxCrossEntropy(network.layers[-1].bias)
    logits = network.forward(dataset.normalised(x, np.float32))
    network.backward(loss.gradient(logits, loss.targets(labels)))
    return np.linalg.svd(network.named(network.grads)["weights_0"], compute_uv=False)
