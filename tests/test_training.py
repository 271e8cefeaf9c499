"""Training: what it yields, the order of the examples, each step by hand, and how it goes on."""

import math
from pathlib import Path

import numpy as np
import pytest
from examples import (
    OPTIMIZERS,
    PLAIN_SGD,
    SCHEDULES,
    epochs_in,
    example_dataset,
    example_learner,
    example_network,
    figures_in,
    losses_in,
    records_of,
    training_of,
)

from mlp.data import Batches, Dataset
from mlp.fast import LookaheadLearner, SplitLearner, fastest
from mlp.network import SoftmaxCrossEntropy
from mlp.run_folder import RunFolder
from mlp.scalar import Network
from mlp.training import Epoch, Learner, ScalarLearner, Steps


class Recorder:
    """Stands in for a learner: takes no step, keeps what it gets, gives stated losses."""

    def __init__(self, losses=(), logits=0.0):
        self.losses, self.value, self.clock = list(losses), logits, 0.0
        self.trained_on, self.measured, self.batches, self.lrs = [], [], [], []
        self.loss = SoftmaxCrossEntropy(np.empty((1, 2)))

    def read(self, dataset, examples):
        return Batches(dataset, examples, np.float64)

    def steps(self, x, labels, lrs):
        self.clock += 1
        examples = x[:, 0].tolist()
        self.trained_on += examples
        self.batches += np.split(np.array(examples), len(lrs))
        self.lrs += lrs.tolist()
        given, self.losses = self.losses[: len(lrs)], self.losses[len(lrs) :]
        return np.array(given or [1.0] * len(lrs))

    def logits(self, x):
        self.clock += 100
        self.measured += x[:, 0].tolist()
        return np.full((len(x), 2), self.value)


def numbered(n_train=10, n_held_out=4):
    """A dataset whose only feature is the example's number: 1, 2, ... and -1, -2, ..."""
    train, held_out = np.arange(1, n_train + 1.0), -np.arange(1, n_held_out + 1.0)
    return Dataset(
        (train[:, None], np.arange(n_train) % 2), (held_out[:, None], np.zeros(n_held_out, int)), 2
    )


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
    epochs = [(record.epoch, record.step) for record in epochs_in(records)]
    assert epochs == [(0, 0), (1, 3), (2, 6)]
    assert isinstance(records[0], Epoch)
    assert isinstance(records[-1], Epoch)


def test_an_epoch_knows_the_names_of_its_columns():
    record = Epoch(1, 8, 0.1, 2.0, 0.5, 3.0, 0.25, seconds=9.0)
    assert record.named("test") == {
        "epoch": 1,
        "step": 8,
        "lr": 0.1,
        "train_loss": 2.0,
        "train_accuracy": 0.5,
        "test_loss": 3.0,
        "test_accuracy": 0.25,
    }


def test_epoch_0_is_the_untrained_network():
    dataset = example_dataset()
    x, y = dataset.held_out
    logits = example_network(dataset).forward(x / 255)
    loss = SoftmaxCrossEntropy(logits).losses(logits, y).mean()
    accuracy = (logits.argmax(axis=1) == y).mean()

    record = records_of(example_learner(dataset), dataset)[0]
    assert record.held_out_loss == pytest.approx(loss, rel=1e-12)
    assert record.held_out_accuracy == accuracy
    assert record.seconds == 0


def test_a_step_takes_the_schedule_at_its_middle():
    learner = Recorder()
    records = records_of(learner, numbered(), schedule=SCHEDULES["linear"], lr=0.6)
    np.testing.assert_allclose(learner.lrs, [0.55, 0.45, 0.35, 0.25, 0.15, 0.05], rtol=1e-12)
    lrs = [record.lr for record in epochs_in(records)]  # epoch 0 tells the first one to come
    np.testing.assert_allclose(lrs, [0.55, 0.35, 0.05], rtol=1e-12)


def test_seconds_are_those_of_training_alone(monkeypatch):
    learner, seconds = Recorder(), []
    monkeypatch.setattr("mlp.training.time.perf_counter", lambda: learner.clock)
    for record in training_of(learner, numbered(n_train=1000), batch_size=500).records():
        learner.clock += 1000  # the caller's own work
        seconds += [record.seconds] if isinstance(record, Epoch) else []
    assert seconds == [0, 2, 2]


# Examples


@pytest.mark.parametrize("batch_size", [1, 4, 7, 300, 10**12])
def test_every_example_is_used_once_an_epoch_in_fresh_order(batch_size):
    learner = Recorder()
    records_of(learner, numbered(n_train=1000), batch_size=batch_size)
    first, second = learner.trained_on[:1000], learner.trained_on[1000:]
    in_order = list(range(1, 1001))
    assert sorted(first) == sorted(second) == in_order
    assert len({tuple(in_order), tuple(first), tuple(second)}) == 3
    sizes = {len(batch) for batch in learner.batches}
    assert sizes == {min(batch_size, 1000), 1000 % batch_size or batch_size}


def test_the_order_depends_on_the_seed_and_on_nothing_else():
    orders = []
    for seed, batch_size in (0, 4), (0, 300), (1, 4):
        learner = Recorder()
        records_of(learner, numbered(n_train=1000), seed, batch_size=batch_size)
        orders.append(learner.trained_on)
    assert orders[0] == orders[1] != orders[2]


def test_measured_are_the_held_out_examples_and_one_fixed_subset_as_large():
    measured = []
    for seed in 0, 1:
        learner = Recorder()
        records_of(learner, numbered(n_train=1000, n_held_out=300), seed, epochs=1)
        measured.append(learner.measured)
    before, after = np.split(np.array(measured[0]), 2)
    np.testing.assert_array_equal(before, after)
    assert measured[0] == measured[1], "whatever the seed"
    subset, held_out = np.split(before, 2)
    assert sorted(-held_out) == list(range(1, 301))
    assert len(set(subset)) == 300
    assert subset.min() > 0
    assert not np.array_equal(np.sort(subset), np.arange(1, 301)), "a random subset"


def test_the_whole_training_set_is_measured_where_it_is_the_smaller():
    learner = Recorder()
    records_of(learner, numbered(n_train=3, n_held_out=5), epochs=1)
    assert sorted(learner.measured[:8]) == [-5, -4, -3, -2, -1, 1, 2, 3]


# Steps


def test_steps_are_those_of_the_loop_written_out():
    """Each loss is the batch's mean before its update, that of the short last batch too."""
    dataset = example_dataset()
    network, expected = example_network(dataset), []
    softmax, rng = SoftmaxCrossEntropy(np.empty((1, 3))), np.random.default_rng(5)
    for _ in range(2):
        order = rng.permutation(330)
        for start in range(0, 330, 100):
            batch = order[start : start + 100]
            labels = dataset.train[1][batch]
            logits = network.forward(dataset.train[0][batch] / 255)
            expected.append(softmax.losses(logits, labels).mean())
            network.backward(softmax.gradient(logits, softmax.targets(labels)))
            network.params -= 0.1 * network.grads

    learner = example_learner(dataset)
    records = records_of(learner, dataset, seed=5, batch_size=100)
    np.testing.assert_allclose(losses_in(records), expected, rtol=1e-12)
    np.testing.assert_allclose(learner.network.params, network.params, rtol=1e-11, atol=1e-14)


def test_a_mini_batch_loss_is_a_mean_in_float64():
    """So that it does not lose what float32 losses hold."""
    dataset = example_dataset()
    learner, (x, labels) = example_learner(dataset, dtype="float32"), dataset.train
    x = dataset.normalised(x, np.float32)
    losses = learner.loss.losses(learner.logits(x), labels)
    assert losses.dtype == np.float32
    (found,) = learner.steps(x, labels, np.array([0.1]))
    assert found == losses.mean(dtype=np.float64) != losses.mean()


def scalar_learner(dataset, seed=1):
    """The plain-Python network with the weights of example_network."""
    network = example_network(dataset, [4], seed=seed)
    learner = ScalarLearner(Network(network.sizes))
    learner.load_state(network.named(network.params))
    return learner


def test_the_scalar_network_sees_all_features():
    """Also of data whose rare features the other networks take apart."""
    dataset, found = example_dataset(n_rare=80), []
    plain = example_learner(dataset, hidden_sizes=[4], activation="sigmoid")
    for learner in fastest(plain, dataset), scalar_learner(dataset):
        records = records_of(learner, dataset, batch_size=1, epochs=1)
        found.append((losses_in(records), figures_in(records)))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-10)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-10)


WAYS = pytest.mark.parametrize("way", [Learner, LookaheadLearner])


def learner_of(way, dataset, **options):
    """The plain way or the fast one, with plain SGD."""
    learner = example_learner(dataset, **options)
    learner = learner if way is Learner else fastest(learner, dataset)
    assert type(learner) is way
    return learner


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@WAYS
def test_training_lowers_the_loss_in_either_precision(way, dtype):
    dataset = example_dataset(n_frequent=80)
    learner = learner_of(way, dataset, dtype=dtype)
    records = records_of(learner, dataset, epochs=5, batch_size=16)
    assert learner.network.params.dtype == dtype
    assert records[-1].train_loss < 0.95 * records[0].train_loss


# Divergence


@pytest.mark.parametrize("step", [4, 5, 6])  # the first and the second of a block, and a short one
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(bad, step):
    losses = [1] * 6
    losses[step - 1] = bad
    training = training_of(Recorder(losses), numbered())
    records = list(training.records())
    assert losses_in(records)[:-1] == [1] * (step - 1)
    assert not math.isfinite(losses_in(records)[-1])
    assert not records[-1].is_finite
    assert all(record.is_finite for record in records[:-1])
    assert len(epochs_in(records)) == 2, "epochs 0 and 1"
    assert (training.epoch, training.step) == (1, step)


@pytest.mark.parametrize("when", [0, 1])
@pytest.mark.parametrize("where", ["train_loss", "held_out_loss"])
def test_an_evaluation_that_is_not_finite_ends_the_run_with_its_epoch(when, where):
    learner = Recorder()

    def logits(x):
        bad = learner.trained_on or not when
        is_there = bad and (x[0, 0] < 0) == (where == "held_out_loss")  # held-out numbers are < 0
        return np.full((len(x), 2), math.nan if is_there else 0.0)

    learner.logits = logits
    records = records_of(learner, numbered(n_train=10), batch_size=4)
    assert [type(record) for record in records] == [Epoch, Steps, Steps, Epoch][: 1 + 3 * when]
    assert not math.isfinite(getattr(records[-1], where))
    assert not records[-1].is_finite


def test_learning_rates_take_no_memory_for_epochs_to_come():
    n = 10**15
    training = training_of(Recorder(), numbered(), schedule=SCHEDULES["linear"], epochs=n)
    assert training.n_steps == 3 * n
    np.testing.assert_allclose(training.lrs(n // 2), 0.05, rtol=1e-12)
    assert [type(record) for record, _ in zip(training.records(), "abcd", strict=False)] == [
        *[Epoch, Steps, Steps, Epoch]
    ]


@WAYS
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_a_huge_learning_rate_diverges_without_an_error_or_a_warning(way, activation, recwarn):
    dataset = example_dataset(n_frequent=80)
    learner = learner_of(way, dataset, dtype="float32", activation=activation)
    records = records_of(learner, dataset, lr=1e38)
    assert not records[-1].is_finite
    assert not recwarn.list


# Stop and go on


def without_seconds(records):
    return [record[:7] if isinstance(record, Epoch) else record for record in records]


def assert_equal_states(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def check_going_on(make, dataset, **options):
    """After each record of one training, another takes over, which had other weights and order.

    make: a seed for the initial weights -> learner. Before the first step, to go on is to begin.
    """
    training = training_of(make(1), dataset, seed=5, **options)
    records, states = [], []
    for record in training.records():
        records.append(record)
        states.append(training.state())
    assert len({record.epoch for record in records}) == options["epochs"] + 1
    assert sum(isinstance(record, Steps) for record in records) > options["epochs"], "mid-epoch"
    for done, state in enumerate(states, 1):
        other = training_of(make(2), dataset, seed=6, **options)
        other.load_state(state)
        assert_equal_states(other.state(), state)
        to_come = records[done:] if state["step"] else records
        assert without_seconds(other.records()) == without_seconds(to_come)
        assert_equal_states(other.state(), states[-1])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
def test_training_goes_on_where_another_stopped(fast, optimizer, schedule):
    dataset = example_dataset(n_rare=80)

    def make(seed):
        learner = example_learner(dataset, OPTIMIZERS[optimizer], dtype="float32", seed=seed)
        return fastest(learner, dataset) if fast else learner

    options = {"schedule": SCHEDULES[schedule], "batch_size": 16, "epochs": 2, "lr": 0.05}
    check_going_on(make, dataset, **options)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_scalar_network_goes_on_where_another_stopped(schedule):
    dataset = example_dataset(n_frequent=3, n_train=150)
    options = {"schedule": SCHEDULES[schedule], "batch_size": 1, "epochs": 2}
    check_going_on(lambda seed: scalar_learner(dataset, seed), dataset, **options)


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
def test_training_goes_on_from_a_checkpoint_taken_with_the_other_way(tmp_path, fast):
    """A file knows nothing of ways: parameters and memory stand in the features' own order."""
    dataset, optimizer = example_dataset(n_rare=80), OPTIMIZERS["momentum"]
    learners = [example_learner(dataset, optimizer, seed=seed) for seed in (1, 2)]
    learners[fast] = fastest(learners[fast], dataset)
    assert {type(learner) for learner in learners} == {Learner, SplitLearner}
    first, second = (training_of(learner, dataset, batch_size=100) for learner in learners)
    records = first.records()
    before = [next(records) for _ in range(3)]
    with RunFolder(tmp_path, {}) as folder:
        folder.open_logs("val", "float64")
        folder.hold(first.state())
        folder.save()
    with np.load(tmp_path / "checkpoint.npz", allow_pickle=False) as state:
        second.load_state(state)
    assert losses_in(before), "mid-epoch"
    expected, found = list(records), list(second.records())
    np.testing.assert_allclose(losses_in(found), losses_in(expected), rtol=1e-9)
    np.testing.assert_allclose(figures_in(found), figures_in(expected), rtol=1e-9)


def test_a_learners_state_holds_copies_by_name_and_layer():
    dataset = example_dataset()
    for optimizer, vectors in ("sgd", []), ("momentum", ["velocity"]), ("adam", ["sum"]):
        learner = example_learner(dataset, OPTIMIZERS[optimizer])
        records_of(learner, dataset, epochs=1)
        state = learner.state()
        before = {name: array.copy() for name, array in state.items()}
        parts = ["weights_0", "bias_0", "weights_1", "bias_1"]
        names = parts + [f"{vector}_{part}" for vector in vectors for part in parts]
        if optimizer == "adam":
            names += [f"sum_of_squares_{part}" for part in parts] + ["updates"]
            assert state["updates"] == math.ceil(330 / 4)
        assert sorted(state) == sorted(names)
        assert state["weights_0"].shape == (40, 20)
        records_of(learner, dataset, epochs=1)
        for name, array in learner.state().items():
            np.testing.assert_array_equal(state[name], before[name])
            assert (array != state[name]).any()


def test_training_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    records_of(example_learner(example_dataset(), PLAIN_SGD), example_dataset())
    assert not list(Path.cwd().iterdir())
    assert capsys.readouterr() == ("", "")
