"""run.py from end to end against a training written out, with no setting at its default value.

The reference has its own draws, data, network, optimizers and schedules. It shares nothing with the
program but the words on the command line.
"""

import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
F = {  # value and slope
    "sigmoid": (lambda k: 1 / (1 + np.exp(-k)), lambda k: np.exp(-k) / (1 + np.exp(-k)) ** 2),
    "tanh": (np.tanh, lambda k: 1 / np.cosh(k) ** 2),
    "relu": (lambda k: k * (k > 0), lambda k: 1.0 * (k > 0)),
    "leaky_relu": (lambda k: k * np.where(k > 0, 1, 0.01), lambda k: np.where(k > 0, 1, 0.01)),
}


def synth(num_train, num_val, seed):
    x = np.random.RandomState(seed).normal(size=(num_train + num_val, 2))
    y = (np.einsum("ij,jk,ik->i", x, [[1, 0.475], [0.475, 0.4]], x) > 0.6).astype(int)
    return x[:num_train], y[:num_train], x[num_train:], y[num_train:]


def factor(schedule, t):
    if schedule["name"] == "linear":
        return 1 - t
    up = schedule.get("warm_up", 0)
    return t / up if t < up else (1 + np.cos(np.pi * (t - up) / (1 - up))) / 2


def reference(c, x, y, x_val, y_val):
    """(each step's loss, each epoch's figures, weights, biases) of a nested configuration c."""
    model, optimizer, n_classes = c["model"], c["optimizer"], y.max() + 1
    sizes = [x.shape[1], *model["hidden_sizes"], n_classes]
    weights_seed, order_seed = np.random.SeedSequence(c["seed"]).spawn(2)
    rng, order = np.random.default_rng(weights_seed), np.random.default_rng(order_seed)
    plain = random.Random(int(weights_seed.generate_state(1, np.uint64)[0]))
    W, b, f, slope = [], [np.zeros(n) for n in sizes[1:]], *F[model.get("activation", "sigmoid")]
    for n, m in pairwise(sizes):
        std = {"normal": model["init_std"], "glorot": (2 / (n + m)) ** 0.5, "he": (2 / n) ** 0.5}
        std = std[model["init"]]
        drawn = rng.normal(0, std, (n, m)) if model["name"] == "mlp" else None
        W += [
            np.array([[plain.gauss(0, std) for _ in range(m)] for _ in range(n)])
            if drawn is None
            else drawn
        ]

    def forward(x):
        ks, hs = [], [x]
        for w, a in zip(W, b, strict=True):
            ks.append(hs[-1] @ w + a)
            hs.append(f(ks[-1]))
        p = np.exp(ks[-1])
        return ks, hs, p / p.sum(axis=1, keepdims=True)

    subset = np.random.default_rng(0).permutation(len(x))[: len(x_val)]
    size, steps, epochs = c["batch_size"], [], []
    n_steps = c["epochs"] * -(-len(x) // size)
    moments = [[np.zeros_like(a) for a in (*W, *b)] for _ in range(2)]

    def measure(lr):
        figures = [len(epochs), len(steps), lr]
        for part, labels in (x[subset], y[subset]), (x_val, y_val):
            p = forward(part)[2]
            figures += [
                -np.log(p[range(len(p)), labels]).mean(),
                (p.argmax(axis=1) == labels).mean(),
            ]
        epochs.append(figures)

    measure(c["lr"] * factor(c["schedule"], 0.5 / n_steps))
    for _ in range(c["epochs"]):
        shuffled = order.permutation(len(x))
        for batch in (shuffled[i : i + size] for i in range(0, len(x), size)):
            ks, hs, p = forward(x[batch])
            steps.append(-np.log(p[range(len(p)), y[batch]]).mean())
            delta, grads = (p - np.eye(n_classes)[y[batch]]) / len(batch), []
            for i in reversed(range(len(W))):
                grads += [(hs[i].T @ delta, delta.sum(axis=0))]
                delta = delta @ W[i].T * slope(ks[i - 1]) if i else None
            gW, gb = zip(*reversed(grads), strict=True)
            t, lr = len(steps), c["lr"] * factor(c["schedule"], (len(steps) - 0.5) / n_steps)
            for a, g, m, v in zip((*W, *b), (*gW, *gb), *moments, strict=True):
                if optimizer["name"] == "adam":
                    m[...] = optimizer["beta1"] * m + (1 - optimizer["beta1"]) * g
                    v[...] = optimizer["beta2"] * v + (1 - optimizer["beta2"]) * g**2
                    root = np.sqrt(v / (1 - optimizer["beta2"] ** t)) + optimizer["eps"]
                    a -= lr * (
                        optimizer["weight_decay"] * a + m / (1 - optimizer["beta1"] ** t) / root
                    )
                else:
                    g = g + optimizer["weight_decay"] * a
                    m[...] = optimizer["momentum"] * m + g
                    a -= lr * (g + optimizer["momentum"] * m if optimizer["nesterov"] else m)
        measure(lr)
    return steps, epochs, W, b


def held_out(x, y, seed):
    order, n = np.random.default_rng(seed).permutation(len(x)), round(len(x) / 5)
    return x[order[n:]], y[order[n:]], x[order[:n]], y[order[:n]]


OWN = np.random.default_rng(1).normal(size=(143, 3)) * [1, 20, 1e-3] + [0, 1e6, -1]
CASES = {
    "momentum": """lr=0.03 batch_size=24 epochs=3 seed=11 dtype=float64 dataset.num_train=410
        dataset.num_val=130 dataset.seed=5 dataset.normalize=standard model.hidden_sizes=[7,6]
        model.activation=tanh model.init=normal model.init_std=0.6 optimizer.momentum=0.8
        optimizer.nesterov=true optimizer.weight_decay=0.01
        schedule=one_cycle schedule.warm_up=0.45""",
    "adam": """lr=0.02 batch_size=9 epochs=4 seed=7 dtype=float64 dataset=npz dataset.path=own.npz
        dataset.seed=3 dataset.normalize=standard model.hidden_sizes=[8,5]
        model.activation=leaky_relu model.init=he optimizer=adam optimizer.beta1=0.8
        optimizer.beta2=0.95 optimizer.eps=0.001 optimizer.weight_decay=0.02 schedule=cosine""",
    "sgd": """lr=0.2 batch_size=7 epochs=2 seed=3 dtype=float64 dataset=npz dataset.path=wide.npz
        dataset.seed=8 dataset.normalize=unit model.hidden_sizes=[9] model.activation=relu
        model.init=he schedule=linear""",
    "plain": """lr=0.2 batch_size=7 epochs=2 seed=3 dtype=float64 dataset=npz dataset.path=wide.npz
        dataset.seed=8 dataset.normalize=none model.hidden_sizes=[9] model.init=normal
        model.init_std=0.2 model.fast=false schedule=linear""",
    "scalar": """lr=0.3 epochs=2 seed=9 dataset.num_train=130 dataset.num_val=40 dataset.seed=2
        dataset.normalize=unit model=scalar model.hidden_sizes=[4,5] model.init=glorot
        model.init_std=null schedule=cosine""",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_what_its_settings_say(case, tmp_path):
    labels = np.arange(143) % 3
    wide = np.random.default_rng(2).random((143, 90)) * 0.5 + 0.25
    np.savez(tmp_path / "own.npz", x_train=OWN, y_train=labels)
    np.savez(tmp_path / "wide.npz", x_train=wide, y_train=labels)
    command = [sys.executable, ROOT / "run.py", *CASES[case].split(), "hydra.run.dir=run"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    c = yaml.safe_load((tmp_path / "run/.hydra/config.yaml").read_text())
    for word in CASES[case].split():
        key, value = word.split("=", 1)
        group, _, inner = key.partition(".")
        there = c[group][inner] if inner else c[group]
        there = there["name"] if isinstance(there, dict) else there
        assert there == yaml.safe_load(value), "as set"

    data = c["dataset"]
    if data["name"] == "synth":
        x, y, x_val, y_val = synth(data["num_train"], data["num_val"], data["seed"])
    else:
        x = OWN if data["path"] == "own.npz" else wide
        x, y, x_val, y_val = held_out(x, labels, data["seed"])
    offset, scale = {
        "standard": (x.mean(axis=0), 1 / x.std(axis=0)),
        "unit": (x.min(), 1 / (x.max() - x.min())),
        "none": (0, 1),
    }[data["normalize"]]
    losses, figures, W, b = reference(c, (x - offset) * scale, y, (x_val - offset) * scale, y_val)
    steps, epochs = (
        np.loadtxt(tmp_path / f"run/{name}.csv", delimiter=",", skiprows=1)
        for name in ("steps", "epochs")
    )
    np.testing.assert_allclose(steps[:, 2], losses, rtol=1e-9)
    np.testing.assert_allclose(epochs, figures, rtol=1e-9)
    with np.load(tmp_path / "run/checkpoint.npz") as state:
        for i in range(len(W)):
            np.testing.assert_allclose(state[f"weights_{i}"], W[i], rtol=1e-7, atol=1e-10)
            np.testing.assert_allclose(state[f"bias_{i}"], b[i], rtol=1e-7, atol=1e-10)
