"""Training from Python: make_config composes what Hydra does, and run needs no folder."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import run as program
from mlp import make_config, run
from mlp.config import Config
from mlp.data import Dataset
from mlp.errors import UserError
from mlp.experiment import start
from mlp.fast import LookaheadLearner, SplitLearner
from mlp.run_folder import read_result
from mlp.settings import all_settings, tree_of
from mlp.training import Learner, ScalarLearner, Training

CONF = Path(__file__).resolve().parents[1] / "conf"
SMALL = {"num_train": 300, "num_val": 50}


@functools.cache
def by_hydra(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        tree = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
        return program.checked(tree, overrides)


# The configuration

CHOICES = {
    f"{group}={name}"
    for key, _, names in all_settings(Config)
    for name in names
    for group in [key.split(".")[0]]
    if name not in ("npz", "csv")  # which have no path yet
}


@pytest.mark.parametrize(
    ("settings", "overrides"),
    [
        ({}, []),
        *(
            ({group: name}, [f"{group}={name}"])
            for group, name in map(lambda c: c.split("="), sorted(CHOICES))
        ),
        ({"schedule": "linear"}, ["schedule=linear"]),
        ({"name": "mine", "progress": False, "seed": 3}, ["name=mine", "progress=false", "seed=3"]),
        ({"model": {"hidden_sizes": []}}, ["model.hidden_sizes=[]"]),
        (
            {"model": {"name": "scalar", "hidden_sizes": [4]}},
            ["model=scalar", "model.hidden_sizes=[4]"],
        ),
        ({"optimizer": "adam", "lr": 0.3}, ["optimizer=adam", "lr=0.3"]),
        ({"optimizer": {"name": "adam", "beta1": 0.8}}, ["optimizer=adam", "optimizer.beta1=0.8"]),
        ({"optimizer": {"momentum": 0.9}}, ["optimizer.momentum=0.9"]),
        ({"dataset": {"name": "npz", "path": "a.npz"}}, ["dataset=npz", "dataset.path=a.npz"]),
        ({"dataset": "mnist", "model": "mlp", "epochs": 1}, ["dataset=mnist", "epochs=1"]),
    ],
    ids=str,
)
def test_make_config_composes_what_hydra_does(settings, overrides):
    before = repr(settings)
    config = make_config(**settings)
    assert config == by_hydra(*overrides)
    assert repr(tree_of(config)) == repr(tree_of(by_hydra(*overrides)))  # 1 and 1.0 differ here
    assert repr(settings) == before


def complaint(composed):
    """The one line that the person at the command line, or in Python, reads."""
    with pytest.raises(Exception) as caught:
        composed()
    assert "\n" not in program.explain(caught.value)
    return caught.value, program.explain(caught.value)


@pytest.mark.parametrize(
    ("settings", "overrides"),
    [
        ({"lrr": 0.1}, ["lrr=0.1"]),
        ({"lr": -1}, ["lr=-1"]),
        ({"lr": "0.1"}, ["lr='0.1'"]),
        ({"name": 3}, ["name=3"]),
        ({"name": "../x"}, ["name=../x"]),
        ({"optimizer": "sgdd"}, ["optimizer=sgdd"]),
        ({"optimizer": {"name": "sgdd"}}, ["optimizer=sgdd"]),
        ({"optimizer": {"beta1": 0.9}}, ["optimizer.beta1=0.9"]),
        ({"optimizer": {"nesterov": True}}, ["optimizer.nesterov=true"]),
        ({"model": {"hiden_sizes": [3]}}, ["model.hiden_sizes=[3]"]),
        ({"dataset": "npz"}, ["dataset=npz"]),
        ({"model": "scalar", "batch_size": 2}, ["model=scalar", "batch_size=2"]),
        (
            {"schedule": {"name": "one_cycle", "warm_up": 1}},
            ["schedule=one_cycle", "schedule.warm_up=1"],
        ),
    ],
    ids=str,
)
def test_make_config_says_what_the_command_line_says(settings, overrides):
    error, line = complaint(lambda: make_config(**settings))
    assert type(error) is UserError
    assert line == complaint(lambda: by_hydra(*overrides))[1]


def test_a_group_without_a_choice_and_an_experiment_are_refused():
    assert (
        "optimizer must be one of adam, muon, sgd, got None"
        in complaint(lambda: make_config(optimizer=None))[1]
    )
    assert complaint(lambda: make_config(experiment="mnist"))[1].startswith(
        "unknown key experiment"
    )


# How a run learns


def data(n_rare):
    """100 features, of which n_rare are always 0; two classes."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(1, 256, (60, 100), np.uint8), rng.integers(0, 2, 60)
    x[:, 100 - n_rare :] = 0
    return Dataset((x[:40], y[:40]), (x[40:], y[40:]), 2, scale=1 / 255)


@pytest.mark.parametrize(
    ("n_rare", "settings", "expected"),
    [
        (80, {}, LookaheadLearner),
        (0, {}, LookaheadLearner),
        (80, {"optimizer": "adam"}, SplitLearner),
        (80, {"optimizer": {"momentum": 0.9}}, SplitLearner),
        (0, {"optimizer": "adam"}, Learner),
        (80, {"model": {"fast": False}}, Learner),
        (0, {"model": {"fast": False}}, Learner),
        (80, {"model": {"fast": False}, "optimizer": "adam"}, Learner),
        (80, {"model": "scalar"}, ScalarLearner),
    ],
    ids=str,
)
def test_a_run_takes_the_fastest_exact_way_or_the_plain_one_if_asked(n_rare, settings, expected):
    """The results are the same either way; only the learner's type shows the way."""
    learner = start(make_config(**settings), data(n_rare)).learner
    assert type(learner) is expected
    if n_rare and isinstance(learner, SplitLearner):
        assert learner.rare.tolist() == list(range(20, 100))


def test_every_setting_reaches_the_training():
    config = make_config(
        lr=0.3,
        batch_size=7,
        epochs=3,
        dtype="float64",
        model={"hidden_sizes": [4, 3], "activation": "relu", "init": "normal", "init_std": 1e-9},
        optimizer={"momentum": 0.5},
        schedule="linear",
    )
    training = start(config, data(0))
    network, n_steps = training.learner.network, 3 * 6
    assert network.sizes == [100, 4, 3, 2]
    assert network.params.dtype == np.float64
    assert 0 < np.abs(network.params).max() < 1e-7
    assert network.layers[1].forward(np.array([[-1.0]])) == 0
    assert training.learner.optimizer is config.optimizer
    assert (training.batch_size, training.epochs) == (7, 3)
    lrs = np.concatenate([training.lrs(epoch) for epoch in range(3)])
    np.testing.assert_allclose(lrs, 0.3 * (1 - (np.arange(n_steps) + 0.5) / n_steps))


@pytest.mark.parametrize("model", ["mlp", "scalar"])
def test_the_seed_draws_the_weights_and_the_order_apart(model):
    def drawn(seed, hidden_sizes):
        training = start(
            make_config(seed=seed, model={"name": model, "hidden_sizes": hidden_sizes}), data(0)
        )
        return training.learner.state()["weights_0"], training.rng.permutation(100)

    weights, order = drawn(0, [3])
    np.testing.assert_array_equal(drawn(0, [3])[0], weights)
    np.testing.assert_array_equal(drawn(0, [4])[1], order, "whatever the network")
    other_weights, other_order = drawn(1, [3])
    assert (other_weights != weights).all()
    assert (other_order != order).any()


def test_the_two_streams_of_the_seed_are_not_one():
    """A generator that starts where the weights' does would draw them again."""
    training = start(make_config(model={"init": "normal", "init_std": 0.5}), data(0))
    weights = training.learner.state()["weights_0"]
    again = training.rng.normal(0, 0.5, weights.shape)
    assert abs(np.corrcoef(weights.ravel(), again.ravel())[0, 1]) < 0.1


# Runs


def test_a_run_without_a_folder_writes_nothing_and_gives_the_same(tmp_path, monkeypatch, capsys):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    config = make_config(dataset=SMALL, epochs=2)
    alone, written = run(config), run(config, tmp_path / "folder")
    assert not list(Path.cwd().iterdir())
    assert capsys.readouterr() == ("", "")
    assert (alone.status, len(alone.losses), len(alone.epochs)) == ("finished", 38, 3)
    assert alone.losses == written.losses
    assert [epoch[:7] for epoch in alone.epochs] == [epoch[:7] for epoch in written.epochs]
    assert alone.metrics == written.metrics == read_result(tmp_path / "folder")["metrics"]
    for name, array in alone.state.items():
        np.testing.assert_array_equal(array, written.state[name])


def test_a_run_says_what_it_trains_on():
    lines = []
    run(make_config(dataset=SMALL, epochs=1), say=lines.append)
    line, *epochs = lines
    assert [epoch.partition(",")[0] for epoch in epochs] == ["epoch 0 of 1", "epoch 1 of 1"]
    assert line.startswith("synth: 300 training and 50 validation examples, 2 features from -")
    assert line.endswith(", 2 classes")


@pytest.mark.parametrize("fast", [True, False])
def test_a_run_that_diverges_says_so(tmp_path, fast):
    model = {"activation": "relu", "fast": fast}
    found = run(make_config(dataset=SMALL, lr=1e30, model=model), tmp_path)
    assert found.status == read_result(tmp_path)["status"] == "diverged"
    assert np.isfinite(found.losses[:-1]).all()
    assert not np.isfinite(found.losses[-1])


@pytest.mark.parametrize("fast", [True, False])
def test_a_run_whose_first_loss_is_not_finite_has_diverged(tmp_path, fast, recwarn):
    """The inputs have a float32, the first layer's outputs have none; or only of held-out data."""
    x, y = np.random.default_rng(0).random((40, 100)) * 3e38, np.arange(40) % 2
    for n, (train, held_out) in enumerate([(x, x), (x / 3e38, x)]):
        np.savez(tmp_path / "my.npz", x_train=train, y_train=y, x_val=held_out, y_val=y)
        dataset = {"name": "npz", "path": str(tmp_path / "my.npz"), "normalize": "none"}
        config = make_config(dataset=dataset, model={"activation": "relu", "fast": fast})
        for _ in range(2):  # the second finds the first and leaves it
            found = run(config, tmp_path / str(n))
            assert found.status == read_result(tmp_path / str(n))["status"] == "diverged"
            assert (found.losses, len(found.epochs)) == ([], 1)
            assert not np.isfinite(found.metrics["val_loss"] or np.nan)
            assert np.isfinite(found.state["weights_0"]).all()
        text = (tmp_path / str(n) / "result.json").read_text()
        told = json.loads(text, parse_constant=pytest.fail)  # JSON knows no NaN
        assert told["metrics"]["val_loss"] is None
    assert not recwarn.list


@pytest.mark.parametrize("where", ["x_train", "x_val"])
def test_inputs_beyond_the_type_are_said_before_training(tmp_path, where, recwarn):
    arrays = {"x_train": np.ones((9, 2)), "x_val": np.ones((9, 2))}
    arrays[where] = arrays[where] * 1e39
    labels = {name: np.arange(9) % 2 for name in ("y_train", "y_val")}
    np.savez(tmp_path / "my.npz", **arrays, **labels)
    dataset = {"name": "npz", "path": str(tmp_path / "my.npz"), "normalize": "none"}
    with pytest.raises(UserError, match=r"^the normalised inputs go beyond float32: scale"):
        run(make_config(dataset=dataset))
    assert run(make_config(dataset=dataset, dtype="float64", epochs=1)).status == "finished"
    assert not recwarn.list


def test_a_run_that_fails_raises_and_tells_its_folder(tmp_path):
    config = make_config(dataset={"name": "npz", "path": "none.npz"})
    with pytest.raises(UserError, match=r"none\.npz does not exist"):
        run(config, tmp_path, ["dataset=npz"])
    result = read_result(tmp_path)
    assert (result["status"], result["overrides"]) == ("failed", ["dataset=npz"])
    assert result["error"].startswith("UserError: dataset=npz: none.npz does not exist")


def test_an_interrupted_run_tells_how_far_it_came(tmp_path, monkeypatch):
    records = Training.records

    def interrupted(training):
        for record in records(training):
            yield record
            if record.epoch == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(Training, "records", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(make_config(dataset=SMALL, epochs=3), tmp_path)
    result = read_result(tmp_path)
    assert (result["status"], result["metrics"]["epoch"]) == ("interrupted", 1)
    assert result["examples_per_second"] > 0
    with np.load(tmp_path / "checkpoint.npz") as checkpoint:
        assert (checkpoint["epoch"], checkpoint["step"]) == (1, 19)


def test_the_speed_is_that_of_the_last_attempt(tmp_path, monkeypatch):
    records, config = Training.records, make_config(dataset=SMALL, epochs=3)

    def interrupted(training):
        for record in records(training):
            if record.epoch == 3:
                raise KeyboardInterrupt
            yield record

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Training, "records", interrupted)
        run(config, tmp_path)
    found = run(config, tmp_path)
    speed = 300 / found.epochs[-1].seconds  # of one epoch
    assert read_result(tmp_path)["examples_per_second"] == pytest.approx(speed)


def test_a_checkpoint_goes_back_into_a_training(tmp_path):
    config = make_config(dataset=SMALL, epochs=1)
    found = run(config, tmp_path)
    training = start(make_config(dataset=SMALL, epochs=2, seed=1), config.dataset.load())
    with np.load(tmp_path / "checkpoint.npz", allow_pickle=False) as state:
        training.load_state(state)
    for name, array in training.learner.state().items():
        np.testing.assert_array_equal(array, found.state[name])
    assert (training.epoch, training.step) == (1, 19)
    assert [record.epoch for record in training.records()] == [
        2
    ] * 5  # three blocks, a short one, the epoch
