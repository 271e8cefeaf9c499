"""What several tests train: a small dataset, a network for it, and every optimizer and schedule."""

import numpy as np

from mlp.data import Dataset
from mlp.network import MLP
from mlp.optimizers import SGD, Adam, Muon
from mlp.schedules import Constant, Cosine, Linear, OneCycle
from mlp.training import Epoch, Learner, Steps, Training

PLAIN_SGD = SGD(momentum=0.0, nesterov=False, weight_decay=0.0)
OPTIMIZERS = {
    "sgd": PLAIN_SGD,
    "momentum": SGD(momentum=0.9, nesterov=False, weight_decay=0.0),
    "nesterov": SGD(momentum=0.9, nesterov=True, weight_decay=0.0),
    "weight decay": SGD(momentum=0.0, nesterov=False, weight_decay=0.01),
    "adam": Adam(beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0),
    "adam with weight decay": Adam(beta1=0.8, beta2=0.99, eps=1e-4, weight_decay=0.1),
    "muon": Muon(momentum=0.9, weight_decay=0.01),
}
SCHEDULES = {
    "constant": Constant(),
    "linear": Linear(),
    "cosine": Cosine(),
    "one_cycle": OneCycle(warm_up=0.3),
}


def example_dataset(n_rare=0, n_frequent=40, n_train=330):
    """n_train training and 50 held-out examples of three classes; inputs are bytes, scaled to 0..1.

    n_frequent features that are seldom zero, and before, between and after them n_rare that mostly
    are.
    """
    rng, n, width = np.random.default_rng(0), n_train + 50, n_frequent + n_rare
    x = rng.integers(0, 256, (n, width), np.uint8)
    rare = rng.permutation(width)[:n_rare]
    x[:, rare] *= rng.random((n, n_rare)) < 0.05
    y = rng.integers(0, 3, n)
    return Dataset((x[:n_train], y[:n_train]), (x[n_train:], y[n_train:]), 3, scale=1 / 255)


def example_network(dataset, hidden_sizes=(20,), dtype="float64", activation="tanh", seed=1):
    network = MLP([dataset.n_features, *hidden_sizes, dataset.n_classes], activation, dtype)
    network.initialise("glorot", np.random.default_rng(seed))
    return network


def example_learner(dataset, optimizer=PLAIN_SGD, **options):
    return Learner(example_network(dataset, **options), optimizer)


def training_of(learner, dataset, seed=0, schedule=SCHEDULES["constant"], **changes):
    settings = {"lr": 0.1, "batch_size": 4, "epochs": 2} | changes
    return Training(learner, schedule, dataset, rng=np.random.default_rng(seed), **settings)


def records_of(*arguments, **options):
    return list(training_of(*arguments, **options).records())


def losses_in(records):
    return [loss for record in records if isinstance(record, Steps) for loss in record.losses]


def epochs_in(records):
    return [record for record in records if isinstance(record, Epoch)]


def figures_in(records):
    """Losses and accuracies of the epochs."""
    return [record[3:7] for record in epochs_in(records)]
