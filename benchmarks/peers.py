"""The same training steps, taken by this program and by its peers.

A peer is a function: task -> (run, params). What it does before it returns is not timed. `run()`
is: it takes the task's steps and returns when they are done. `params()` then gives the weights and
biases that came out, [W (n_in, n_out), b (n_out,), V, c, ...].

This program does all that its users' runs do, through its public training loop: it orders the
examples, gathers and scales them from the stored bytes, and writes steps.csv. The peers have scaled
float32 inputs from the start, find the order drawn, take each mini-batch out by its indices as
their users would, and write nothing. scikit-learn and Keras, which would draw an order themselves,
even find the examples lying in order. Each peer goes the fastest way it has in public. They are
imported inside their functions, so that one can be missing and no two share a process.
"""

import functools
import itertools
import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from mlp import make_config
from mlp.data import Dataset, steps_per_block
from mlp.experiment import start
from mlp.mnist import load_mnist
from mlp.run_folder import RunFolder
from mlp.training import Epoch

THIS, PRODUCTS = "this program", "dense products"
mnist = functools.cache(load_mnist)


@dataclass(frozen=True)
class Task:
    """n_steps steps at one batch size from one set of weights: sigmoid, softmax, float32, MNIST."""

    batch_size: int
    path: str = "plain SGD"  # what the settings below amount to, in words
    seed: int = 0  # draws the initial weights and the order of the examples
    sizes: tuple = (784, 300, 10)
    optimizer: str = "sgd"
    momentum: float = 0.0
    lr: float = 0.1
    offset: float = 0.0  # inputs are (pixels - offset) * scale
    scale: float = 1 / 255

    @property
    def n_steps(self):
        """About as long for every batch size; whole blocks of this program; within one epoch."""
        block = steps_per_block(self.batch_size)
        wanted = 20_000 // (self.batch_size + 12)
        most = len(mnist()[0][0]) // self.batch_size
        return max(1, min(wanted, most) // block) * block

    @property
    def options(self):
        """The optimizer's settings besides lr, by the names that they have here and in PyTorch."""
        return {"momentum": self.momentum} if self.momentum else {}

    def training(self):
        """This program's Training, over a dataset with one held-out example: it is not timed."""
        train, held_out, n_classes = mnist()
        few = tuple(part[:1] for part in held_out)
        config = make_config(
            dataset="mnist",
            model={"hidden_sizes": list(self.sizes[1:-1]), "activation": "sigmoid"},
            optimizer={"name": self.optimizer, **self.options},
            lr=self.lr,
            batch_size=self.batch_size,
            epochs=1,
            seed=self.seed,
        )
        return start(config, Dataset(train, few, n_classes, self.offset, self.scale))

    def params(self):
        """The initial weights and biases of this program."""
        return parameters(self.training().learner)

    def data(self):
        """inputs (n, n_features) float32, labels (n,) int64, order (n_steps, batch_size) of them.

        The order is that of this program's first epoch.
        """
        inputs, labels = prepared(self.offset, self.scale)
        order = self.training().rng.permutation(len(inputs))
        order = order[: self.n_steps * self.batch_size].reshape(self.n_steps, self.batch_size)
        return inputs, labels, order

    def batches(self):
        """inputs (n_steps, batch_size, n_features) and labels (n_steps, batch_size), in order."""
        inputs, labels, order = self.data()
        return inputs[order], labels[order]

    def loss(self, params):
        """Mean loss of the first 1,000 validation examples, in float64: the common judge."""
        x, y = (part[:1000] for part in mnist()[1])
        h = (x - self.offset) * self.scale
        for weights, bias in zip(params[::2], params[1::2], strict=True):
            o = h @ weights.astype(float) + bias
            h = 1 / (1 + np.exp(-o))
        return float(np.mean(np.log(np.exp(o).sum(axis=1)) - o[np.arange(len(y)), y]))


@functools.lru_cache(maxsize=1)
def prepared(offset, scale):
    x, y = mnist()[0]
    inputs = np.multiply(x, scale, dtype=np.float32)
    inputs -= np.float32(offset * scale)
    return inputs, y.astype(np.int64)


def parameters(learner):
    """[W (n_in, n_out), b (n_out,), V, c, ...] of a learner."""
    state = learner.state().items()
    return [array for name, array in state if name.startswith(("weights", "bias"))]


def this_program(task):
    training = task.training()
    records = training.records()
    assert isinstance(next(records), Epoch)  # the untrained network
    files = ExitStack()
    folder = files.enter_context(tempfile.TemporaryDirectory())
    folder = files.enter_context(RunFolder(folder, config={}))
    folder.open_logs("val", "float32")

    def run():
        while training.step < task.n_steps:
            folder.write(next(records))
        assert training.step == task.n_steps

    def params():
        files.close()
        return parameters(training.learner)

    return run, params


def dense_products(task):
    """The matrix products of a step and nothing else; arrays made once, mini-batches lying ready.

    One product for each layer's outputs, its weights' gradient, and, but for the first layer, its
    inputs' gradient: for two layers, five.
    """
    rng = np.random.default_rng(0)
    inputs, _ = task.batches()
    weights = task.params()[::2]
    hidden, grads = [
        [rng.random((task.batch_size, n), np.float32) for n in task.sizes[1:]] for _ in range(2)
    ]
    outputs, grad_hidden = [np.empty_like(h) for h in hidden], [np.empty_like(h) for h in hidden]
    grad_weights = [np.empty_like(w) for w in weights]

    def run():
        for x in inputs:
            h = [x, *hidden]
            for n, w in enumerate(weights):
                np.matmul(h[n], w, out=outputs[n])
            for n in reversed(range(len(weights))):
                np.matmul(h[n].T, grads[n], out=grad_weights[n])
                if n:
                    np.matmul(grads[n], weights[n].T, out=grad_hidden[n - 1])

    return run, lambda: None


def textbook(task):
    """NumPy as one writes it down from the formulas."""
    w, b, v, c = task.params()
    inputs, labels, order = task.data()
    rows, lr = np.arange(task.batch_size), task.lr

    def run():
        nonlocal w, b, v, c
        for batch in order:
            x, y = inputs[batch], labels[batch]
            h = 1 / (1 + np.exp(-(x @ w + b)))
            o = h @ v + c
            exps = np.exp(o - o.max(axis=1, keepdims=True))
            grad_o = exps / exps.sum(axis=1, keepdims=True)
            grad_o[rows, y] -= 1
            grad_o /= len(y)
            grad_k = grad_o @ v.T * h * (1 - h)
            w -= lr * (x.T @ grad_k)
            b -= lr * grad_k.sum(axis=0)
            v -= lr * (h.T @ grad_o)
            c -= lr * grad_o.sum(axis=0)

    return run, lambda: [w, b, v, c]


def pytorch(task):
    """The loop of PyTorch's tutorials; optim's default implementation."""
    import torch
    from torch import nn

    layers = []
    start = task.params()
    for weights, bias in zip(start[::2], start[1::2], strict=True):
        linear = nn.Linear(*weights.shape)
        linear.weight.data = torch.from_numpy(weights.T.copy())
        linear.bias.data = torch.from_numpy(bias)
        layers += [linear, nn.Sigmoid()]
    model = nn.Sequential(*layers[:-1])
    optimizers = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    optimizer = optimizers[task.optimizer](model.parameters(), task.lr, **task.options)
    inputs, labels, order = map(torch.from_numpy, task.data())

    def run():
        for batch in order:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
            loss.backward()
            optimizer.step()

    return run, lambda: [tensor.detach().numpy().T for tensor in model.parameters()]


def torch_compile(task):
    """Taking the batch out, forward, backward and update as one compiled function.

    Compiling the model alone, or the usual loop's step, leaves more to Python and is slower.
    """
    import torch

    step = compiled_step(task.lr)
    weights = [torch.from_numpy(array.T.copy()) for array in task.params()]
    inputs, labels, order = map(torch.from_numpy, task.data())

    def run():
        for batch in order:
            step(weights, inputs, labels, batch)

    return run, lambda: [tensor.numpy().T for tensor in weights]


@functools.cache
def compiled_step(lr):
    import torch
    from torch.nn.functional import cross_entropy, linear

    torch._dynamo.config.recompile_limit = 100  # one compilation a batch size

    def loss(params, x, y):
        w, b, v, c = params
        return cross_entropy(linear(torch.sigmoid(linear(x, w, b)), v, c), y)

    @functools.partial(torch.compile, dynamic=False)
    def step(params, inputs, labels, batch):
        grads = torch.func.grad(loss)(params, inputs[batch], labels[batch])
        for param, grad in zip(params, grads, strict=True):
            param.sub_(grad, alpha=lr)

    return step


def jax_scan(task):
    """All steps in one compiled call, data on the device, the weights' memory handed on."""
    import jax

    scan = jitted_scan(task.lr)
    weights, data = jax.block_until_ready(jax.device_put((task.params(), task.data())))

    def run():
        nonlocal weights
        weights = jax.block_until_ready(scan(weights, *data))

    return run, lambda: [np.asarray(array) for array in weights]


@functools.cache
def jitted_scan(lr):
    import jax

    def loss(params, x, y):
        w, b, v, c = params
        logits = jax.nn.sigmoid(x @ w + b) @ v + c
        log_probabilities = jax.nn.log_softmax(logits)
        return -log_probabilities[jax.numpy.arange(len(y)), y].mean()

    @functools.partial(jax.jit, donate_argnums=0)
    def scan(params, inputs, labels, order):
        def step(params, batch):
            grads = jax.grad(loss)(params, inputs[batch], labels[batch])
            return jax.tree.map(lambda param, grad: param - lr * grad, params, grads), None

        return jax.lax.scan(step, params, order)[0]

    return scan


def scikit_learn(task):
    """One pass of MLPClassifier over the batches lying end to end, its own shuffling off.

    One call for all: calling once a batch would check inputs and labels anew at every step.
    """
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        task.sizes[1:-1],
        activation="logistic",
        solver="sgd",
        alpha=0,
        batch_size=task.batch_size,
        learning_rate_init=task.lr,
        shuffle=False,
        momentum=0,
    )
    inputs, labels = (array.reshape(-1, *array.shape[2:]) for array in task.batches())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one example is less than a batch
        model.partial_fit(inputs[:1], labels[:1], classes=range(task.sizes[-1]))
    weights = task.params()
    model.coefs_[:], model.intercepts_[:] = weights[::2], weights[1::2]

    def params():
        pairs = zip(model.coefs_, model.intercepts_, strict=True)
        return list(itertools.chain.from_iterable(pairs))

    return functools.partial(model.partial_fit, inputs, labels), params


def keras_jax(task):
    """`fit`, its own shuffling off, several steps between its returns to Python."""
    model = keras_model(task.sizes, task.lr)
    model.set_weights(task.params())
    inputs, labels = (array.reshape(-1, *array.shape[2:]) for array in task.batches())

    def run():
        model.fit(inputs, labels, batch_size=task.batch_size, shuffle=False, verbose=0)

    return run, model.get_weights


@functools.cache
def keras_model(sizes, lr):
    import keras

    hidden = [keras.layers.Dense(n, "sigmoid") for n in sizes[1:-1]]
    model = keras.Sequential([keras.Input(sizes[:1]), *hidden, keras.layers.Dense(sizes[-1])])
    model.compile(
        keras.optimizers.SGD(lr),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=32,
    )
    return model


PEERS = {
    THIS: this_program,
    PRODUCTS: dense_products,
    "NumPy textbook": textbook,
    "JAX jit + scan": jax_scan,
    "Keras on JAX": keras_jax,
    "torch.compile": torch_compile,
    "PyTorch": pytorch,
    "scikit-learn": scikit_learn,
}
