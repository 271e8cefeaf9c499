"""Training: what is yielded, in which order the examples come, and that looking ahead is exact."""

import math
from pathlib import Path

import numpy as np
import pytest

from mlp.data import Dataset
from mlp.inputs import Inputs
from mlp.loss import SoftmaxCrossEntropy
from mlp.network import MLP
from mlp.optimizers import SGD, Adam
from mlp.scalar import Network
from mlp.schedules import constant, linear
from mlp.steps import LookaheadSteps, PlainSteps, ScalarSteps, choose_steps
from mlp.training import Epoch, Steps, train


class Recorder:
    """Stands in for a network: takes no step, keeps what it was handed, gives stated losses."""

    rare = ()

    def __init__(self, losses=(), logits=0.0):
        self.losses, self.value, self.clock = list(losses), logits, 0.0
        self.trained_on, self.measured, self.batches, self.lrs = [], [], [], []

    def steps(self, block, lrs):
        self.clock += 1
        examples = block.inputs.frequent[:, 0].tolist()
        self.trained_on += examples
        self.batches += np.split(np.array(examples), len(lrs))
        self.lrs += lrs.tolist()
        given, self.losses = self.losses[: len(lrs)], self.losses[len(lrs) :]
        return np.array(given or [1.0] * len(lrs))

    def logits(self, block):
        self.clock += 100
        self.measured += block.inputs.frequent[:, 0].tolist()
        return np.full((len(block.inputs), 2), self.value)


def numbered(n_train=10, n_held_out=4):
    """A dataset whose only feature is the example's number: 1, 2, ... and -1, -2, ..."""
    train, held_out = np.arange(1, n_train + 1.0), -np.arange(1, n_held_out + 1.0)
    return Dataset(
        (train[:, None], np.arange(n_train) % 2), (held_out[:, None], np.zeros(n_held_out, int)), 2
    )


def records_of(steps, dataset, seed=0, schedule=constant, dtype="float64", **changes):
    settings = {"lr": 0.1, "batch_size": 4, "epochs": 2} | changes
    rng = np.random.default_rng(seed)
    return list(train(steps, schedule, dataset, dtype=dtype, rng=rng, **settings))


def losses_in(records):
    return [loss for record in records if isinstance(record, Steps) for loss in record.losses]


def epochs_in(records):
    return [record for record in records if isinstance(record, Epoch)]


def example_dataset(n_rare=0):
    """330 training and 50 held-out examples of three classes; inputs are bytes, scaled to 0..1.

    40 features that are seldom zero, and before, between and after them n_rare that mostly are.
    """
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (380, 40 + n_rare), np.uint8)
    rare = rng.permutation(40 + n_rare)[:n_rare]
    x[:, rare] *= rng.random((380, n_rare)) < 0.05
    y = rng.integers(0, 3, 380)
    return Dataset((x[:330], y[:330]), (x[330:], y[330:]), 3, scale=1 / 255)


def example_network(dataset, hidden_sizes=(20,), dtype=np.float64, activation="tanh"):
    sizes = [dataset.n_features, *hidden_sizes, 3]
    network = MLP(sizes, activation, dtype, rare=dataset.rare_features())
    network.initialise("glorot", np.random.default_rng(1))
    return network


# Records


def test_steps_are_numbered_through_and_every_epoch_ends_with_its_record():
    records = records_of(Recorder(), numbered())
    numbers = [
        (record.epoch, number)
        for record in records
        if isinstance(record, Steps)
        for number in range(record.first, record.first + len(record.losses))
    ]
    assert numbers == [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6)]
    assert [(record.epoch, record.step) for record in epochs_in(records)] == [
        (0, 0),
        (1, 3),
        (2, 6),
    ]
    assert isinstance(records[0], Epoch)
    assert isinstance(records[-1], Epoch)


def test_epoch_0_is_the_untrained_network():
    dataset = example_dataset()
    network = example_network(dataset)
    x, y = dataset.held_out
    logits = network.forward(Inputs.dense(x / 255))
    loss = SoftmaxCrossEntropy(3, logits.dtype).losses(logits, y).mean()
    accuracy = (logits.argmax(axis=1) == y).mean()

    record = records_of(PlainSteps(network, SGD()), dataset)[0]
    assert record.held_out_loss == pytest.approx(loss, rel=1e-12)
    assert record.held_out_accuracy == accuracy
    assert record.seconds == 0


def test_a_step_takes_the_schedule_at_its_middle():
    steps = Recorder()
    records = records_of(steps, numbered(), schedule=linear, lr=0.6)
    np.testing.assert_allclose(steps.lrs, [0.55, 0.45, 0.35, 0.25, 0.15, 0.05], rtol=1e-12)
    lrs = [record.lr for record in epochs_in(records)]  # epoch 0 tells the first one to come
    np.testing.assert_allclose(lrs, [0.55, 0.35, 0.05], rtol=1e-12)


def test_seconds_are_those_of_training_alone(monkeypatch):
    steps = Recorder()
    monkeypatch.setattr("mlp.training.time.perf_counter", lambda: steps.clock)
    records = records_of(steps, numbered(n_train=1000), batch_size=500)
    assert [record.seconds for record in epochs_in(records)] == [0, 2, 2]


# Examples


@pytest.mark.parametrize("batch_size", [1, 4, 7, 300, 10**12])
def test_every_example_is_used_once_an_epoch_in_fresh_order(batch_size):
    steps = Recorder()
    records_of(steps, numbered(n_train=1000), batch_size=batch_size)
    first, second = steps.trained_on[:1000], steps.trained_on[1000:]
    in_order = list(range(1, 1001))
    assert sorted(first) == sorted(second) == in_order
    assert len({tuple(in_order), tuple(first), tuple(second)}) == 3
    sizes = {len(batch) for batch in steps.batches}
    assert sizes == {min(batch_size, 1000), 1000 % batch_size or batch_size}


def test_the_order_depends_on_the_seed_and_on_nothing_else():
    orders = []
    for seed, batch_size in (0, 4), (0, 300), (1, 4):
        steps = Recorder()
        records_of(steps, numbered(n_train=1000), seed, batch_size=batch_size)
        orders.append(steps.trained_on)
    assert orders[0] == orders[1] != orders[2]


def test_measured_are_the_held_out_examples_and_one_fixed_subset_as_large():
    measured = []
    for seed in 0, 1:
        steps = Recorder()
        records_of(steps, numbered(n_train=1000, n_held_out=300), seed, epochs=1)
        measured.append(steps.measured)
    before, after = np.split(np.array(measured[0]), 2)
    np.testing.assert_array_equal(before, after)
    assert measured[0] == measured[1], "whatever the seed"
    subset, held_out = np.split(before, 2)
    assert sorted(-held_out) == list(range(1, 301))
    assert len(set(subset)) == 300
    assert subset.min() > 0
    assert not np.array_equal(np.sort(subset), np.arange(1, 301)), "a random subset"


def test_the_whole_training_set_is_measured_where_it_is_the_smaller():
    steps = Recorder()
    records_of(steps, numbered(n_train=3, n_held_out=5), epochs=1)
    assert sorted(steps.measured[:8]) == [-5, -4, -3, -2, -1, 1, 2, 3]


# Steps


def test_steps_are_those_of_the_loop_written_out():
    """Each loss is the batch's mean before its update, that of the short last batch too."""
    dataset = example_dataset()
    network, expected = example_network(dataset), []
    softmax, rng = SoftmaxCrossEntropy(3, np.float64), np.random.default_rng(5)
    for _ in range(2):
        order = rng.permutation(330)
        for start in range(0, 330, 100):
            batch = order[start : start + 100]
            labels = dataset.train[1][batch]
            logits = network.forward(Inputs.dense(dataset.train[0][batch] / 255))
            expected.append(softmax.losses(logits, labels).mean())
            targets = softmax.targets(labels)
            softmax.gradient(logits, targets, out=network.grad_logits)
            network.backward()
            network.params -= 0.1 * network.grads

    trained = example_network(dataset)
    records = records_of(PlainSteps(trained, SGD()), dataset, seed=5, batch_size=100)
    np.testing.assert_allclose(losses_in(records), expected, rtol=1e-12)
    np.testing.assert_allclose(trained.params, network.params, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("hidden_sizes", [[], [20], [20, 10]], ids=str)
@pytest.mark.parametrize("batch_size", [1, 16, 40, 100, 128, 300])
@pytest.mark.parametrize("n_rare", [0, 80], ids=["dense", "sparse"])
def test_looking_ahead_changes_rounding_alone(n_rare, batch_size, hidden_sizes, dtype, tolerance):
    dataset = example_dataset(n_rare)
    assert len(dataset.rare_features()) == n_rare
    found = []
    for kind in PlainSteps, LookaheadSteps:
        network = example_network(dataset, hidden_sizes, dtype)
        records = records_of(
            kind(network, SGD()), dataset, schedule=linear, batch_size=batch_size, dtype=dtype
        )
        assert len(losses_in(records)) == 2 * math.ceil(330 / batch_size)
        found.append((losses_in(records), network.params))
    (plain_losses, plain_params), (losses, params) = found
    np.testing.assert_allclose(losses, plain_losses, rtol=tolerance)
    np.testing.assert_allclose(params, plain_params, rtol=0, atol=tolerance)


@pytest.mark.parametrize("optimizer", [SGD, lambda: SGD(momentum=0.9), Adam])
@pytest.mark.parametrize("batch_size", [1, 16, 100])
def test_rare_features_apart_change_rounding_alone(batch_size, optimizer, monkeypatch):
    """Records, parameters and the optimizer's memory, each in the features' own order."""
    found = []
    for apart in True, False:
        if not apart:
            monkeypatch.setattr(Dataset, "rare_features", lambda self: [])
        dataset = example_dataset(n_rare=80)
        steps = choose_steps(example_network(dataset), optimizer())
        assert len(steps.rare) == 80 * apart
        records = records_of(steps, dataset, lr=0.01, batch_size=batch_size)
        found.append((losses_in(records), [r[3:7] for r in epochs_in(records)], steps.state()))
    (losses, epochs, state), (plain_losses, plain_epochs, plain_state) = found
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-9)
    np.testing.assert_allclose(epochs, plain_epochs, rtol=1e-9)
    assert state.keys() == plain_state.keys()
    for name, array in state.items():
        np.testing.assert_allclose(array, plain_state[name], rtol=0, atol=1e-9)


def test_the_scalar_network_sees_all_features():
    """Also of data whose rare features the other networks take apart."""
    dataset, found = example_dataset(n_rare=80), []
    network = example_network(dataset, [4], activation="sigmoid")
    twin, state = Network(network.sizes), network.state()
    twin.weights = [state[f"weights_{i}"].tolist() for i in range(2)]
    twin.biases = [state[f"bias_{i}"].tolist() for i in range(2)]
    for steps in LookaheadSteps(network, SGD()), ScalarSteps(twin):
        records = records_of(steps, dataset, batch_size=1, epochs=1)
        found.append((losses_in(records), [record[3:7] for record in epochs_in(records)]))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-10)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [PlainSteps, LookaheadSteps])
def test_training_lowers_the_loss_in_either_precision(kind, dtype):
    dataset = example_dataset()
    network = example_network(dataset, dtype=dtype)
    records = records_of(kind(network, SGD()), dataset, epochs=5, batch_size=16, dtype=dtype)
    assert network.params.dtype == dtype
    assert records[-1].train_loss < 0.95 * records[0].train_loss


@pytest.mark.parametrize(
    ("sizes", "optimizer", "expected"),
    [
        ([784, 300, 10], SGD(), LookaheadSteps),
        ([784, 10], SGD(), LookaheadSteps),
        ([2, 300, 2], SGD(), PlainSteps),
        ([784, 300, 10], SGD(momentum=0.9), PlainSteps),
        ([784, 300, 10], SGD(weight_decay=0.1), PlainSteps),
        ([784, 300, 10], Adam(), PlainSteps),
    ],
    ids=["wide", "wide, no hidden layer", "narrow", "momentum", "weight decay", "adam"],
)
def test_looking_ahead_is_chosen_where_it_is_exact_and_pays(sizes, optimizer, expected):
    assert type(choose_steps(MLP(sizes), optimizer)) is expected


# Divergence


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(bad):
    losses = [1, 1, 1, 1, bad, 1]  # the fifth of six steps
    records = records_of(Recorder(losses), numbered())
    assert losses_in(records)[:-1] == [1, 1, 1, 1]
    assert not math.isfinite(losses_in(records)[-1])
    assert not records[-1].is_finite
    assert all(record.is_finite for record in records[:-1])
    assert len(epochs_in(records)) == 2, "epochs 0 and 1"


def test_an_evaluation_that_is_not_finite_ends_the_run_with_its_epoch():
    steps = Recorder(logits=math.nan)
    records = records_of(steps, numbered(n_train=10), batch_size=4)
    assert [type(record) for record in records] == [Epoch, Steps, Steps, Epoch]
    assert not records[-1].is_finite


@pytest.mark.parametrize("kind", [PlainSteps, LookaheadSteps])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_a_huge_learning_rate_diverges_without_an_error_or_a_warning(kind, activation, recwarn):
    dataset = example_dataset()
    network = example_network(dataset, dtype=np.float32, activation=activation)
    records = records_of(kind(network, SGD()), dataset, lr=1e38, dtype="float32")
    assert not records[-1].is_finite
    assert not recwarn.list


def test_train_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    records_of(Recorder(), numbered())
    assert not list(Path.cwd().iterdir())
    assert capsys.readouterr() == ("", "")
