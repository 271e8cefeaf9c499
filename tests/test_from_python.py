"""A run in Python's hands: raw inputs to classes, a sweep to a frame, one's own numbers."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up import write_run
from test_old_runs import FORMAT_0

from analysis import load_run, read_sweep
from analysis.dataset import run_settings
from analysis.runs import EPOCH_METRICS
from mlp import make_config, run
from mlp.config import Config
from mlp.errors import UserError
from mlp.experiment import start
from mlp.run_folder import read_checkpoint
from mlp.settings import all_settings
from mlp.training import Epoch, Steps

SCALAR = {"model": "scalar", "batch_size": 1, "dtype": "float64"}
LOSSES = np.linspace(2, 0.2, 12)


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    """A file of 2 x 3 pixels from 40 to 140, whose class is the brightest of the first three."""
    rng = np.random.default_rng(0)
    x = rng.integers(40, 141, (400, 2, 3), dtype=np.uint8)
    y = x[:, 0].argmax(axis=1)
    path = tmp_path_factory.mktemp("data") / "pixels.npz"
    np.savez(path, x_train=x[:300], y_train=y[:300], x_val=x[300:], y_val=y[300:])
    return path


# Predictions

KNOWN = "offset", "scale", "classes"  # what a checkpoint tells of the data


@pytest.mark.parametrize("settings", [{"lr": 0.1, "epochs": 3}, {"epochs": 3} | SCALAR])
@pytest.mark.parametrize("normalize", ["none", "unit", "standard"])
def test_a_run_predicts_from_raw_inputs_what_it_measured(tmp_path, pixels, settings, normalize):
    data = {"name": "npz", "path": str(pixels), "normalize": normalize}
    result = run(make_config(dataset=data, **settings), tmp_path / "run")
    x, y = (np.load(pixels)[name] for name in ("x_val", "y_val"))
    loaded = load_run(tmp_path / "run")
    assert np.mean(loaded.predict(x) == y) == result.metrics["val_accuracy"]
    p = loaded.probabilities(x)
    assert p.shape == (100, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    loss = np.mean(-np.log(p[np.arange(100), y]))
    assert loss == pytest.approx(result.metrics["val_loss"], rel=1e-5)


def test_the_folder_alone_predicts_however_inputs_come(tmp_path, pixels):
    own = str(shutil.copy(pixels, tmp_path / "own.npz"))
    data = {"name": "npz", "path": own, "normalize": "standard"}
    run(make_config(dataset=data, epochs=1), tmp_path / "run")
    Path(own).unlink()  # what it takes to normalise stands in the checkpoint
    loaded, x = load_run(tmp_path / "run"), np.load(pixels)["x_val"]
    p = loaded.probabilities(x)
    for same in (x.reshape(100, 6), x.tolist(), x.astype(float), np.asfortranarray(x)):
        np.testing.assert_allclose(loaded.probabilities(same), p, rtol=1e-5)
    np.testing.assert_allclose(loaded.probabilities(x[:1]), p[:1], rtol=1e-5)
    assert loaded.predict(x[:0]).shape == (0,)
    many = np.concatenate([x] * 11)
    assert (loaded.predict(many) == np.tile(loaded.predict(x), 11)).all()


@pytest.mark.parametrize(
    ("named", "kind"),
    [(np.array(["left", "mid", "right"]), "U"), (np.array([-1, 2, 10]), "i")],
)
def test_a_run_predicts_what_the_data_calls_its_classes(tmp_path, pixels, named, kind):
    arrays = np.load(pixels)
    y_train, y_val = named[arrays["y_train"]], named[arrays["y_val"]]
    path = tmp_path / "named.npz"
    np.savez(path, x_train=arrays["x_train"], y_train=y_train, x_val=arrays["x_val"], y_val=y_val)
    data = {"name": "npz", "path": str(path), "normalize": "standard"}
    result = run(make_config(dataset=data, lr=0.5, epochs=10), tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    assert loaded.classes.dtype.kind == kind and loaded.classes.tolist() == named.tolist()
    accuracy = np.mean(loaded.predict(arrays["x_val"]) == y_val)
    assert accuracy == result.metrics["val_accuracy"] > 0.8


@pytest.mark.parametrize("name", ["sgd", "adam", "scalar"])
def test_a_run_of_an_older_version_predicts(name):
    assert "classes" not in read_checkpoint(FORMAT_0 / name)
    loaded = load_run(FORMAT_0 / name)
    x, y = run_settings("synth", FORMAT_0 / name).load().held_out
    assert np.mean(loaded.predict(x) == y) == loaded.final("val_accuracy")


def test_a_run_of_an_older_version_loads_its_data_to_normalise(tmp_path, pixels, monkeypatch):
    data = {"name": "npz", "path": str(pixels), "normalize": "standard"}
    x = np.load(pixels)["x_val"]
    run(make_config(dataset=data, epochs=1), tmp_path)
    p = load_run(tmp_path).probabilities(x)

    def without(folder):
        state = read_checkpoint(folder)
        return {name: state[name] for name in state if name not in KNOWN}

    monkeypatch.setattr("analysis.runs.read_checkpoint", without)
    np.testing.assert_array_equal(load_run(tmp_path).probabilities(x), p)


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        (np.zeros(2), "real numbers of shape (n, 2), got float64 (2,)"),
        (np.zeros((3, 3)), "real numbers of shape (n, 2), got float64 (3, 3)"),
        (np.zeros((2, 3, 2)), "real numbers of shape (n, 2), got float64 (2, 3, 2)"),
        (np.zeros((3, 2), complex), "real numbers of shape (n, 2), got complex128 (3, 2)"),
        (np.full((3, 2), None), "real numbers of shape (n, 2), got object (3, 2)"),
        (np.full((1, 2), np.nan), "finite numbers, got float64 (1, 2) with others"),
    ],
)
def test_inputs_that_do_not_fit(inputs, what):
    with pytest.raises(UserError) as refused:
        load_run(FORMAT_0 / "sgd").predict(inputs)
    assert str(refused.value) == f"{FORMAT_0 / 'sgd'} predicts from {what}"


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("running", "no result.json: running, or killed"),
        ("interrupted", "interrupted"),
        ("diverged", "diverged"),
    ],
)
def test_a_run_that_has_not_finished_predicts_nothing(tmp_path, status, why):
    path = write_run(tmp_path / "run", LOSSES, status)
    with pytest.raises(UserError) as refused:
        load_run(path).predict(np.zeros((1, 2)))
    assert str(refused.value) == f"{path} can't predict: {why}"


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(UserError, match=r"none: neither result\.json nor .* can be read"):
        load_run(tmp_path / "none")


def test_a_loaded_run_tells_what_it_was(tmp_path):
    loaded = load_run(str(write_run(tmp_path / "mine", LOSSES, lr=0.5)))
    assert (loaded.name, loaded.status, loaded.config["lr"]) == ("mine", "finished", 0.5)
    np.testing.assert_array_equal(loaded.curves("loss")["loss"][1], LOSSES)


# The frame of a sweep


@pytest.fixture
def frame(tmp_path):
    """Of four runs that differ in what they have and how they ended."""
    write_run(tmp_path / "sgd", LOSSES, lr=1.0, optimizer={"name": "sgd", "nesterov": True})
    write_run(tmp_path / "adam", LOSSES, optimizer={"name": "adam", "beta1": 0.9, "every": 3})
    write_run(tmp_path / "gone", LOSSES, "running", seed=1)
    write_run(tmp_path / "worse", LOSSES, "failed", error="OSError: full", seed=2)
    return read_sweep(tmp_path).frame()


def test_a_frame_has_a_row_a_run_whatever_became_of_it(frame):
    assert frame.index.name == "run"
    assert frame["status"].to_dict() == {
        "adam": "finished",
        "gone": "running",
        "sgd": "finished",
        "worse": "failed",
    }
    assert frame["val_loss"].isna().tolist() == [False, True, False, False]
    assert frame.loc["sgd", ["lr", "epochs", "epoch", "step", "seconds"]].tolist() == [
        1.0,
        3,
        3,
        12,
        1.0,
    ]


def test_numbers_stay_numbers_where_a_run_lacks_them(frame):
    kinds = {key: str(frame[key].dtype) for key in frame}
    expected = {"lr": "float64", "batch_size": "int64", "progress": "bool", "dataset": "str"}
    expected |= {"optimizer.beta1": "float64", "val_loss": "float64", "seconds": "float64"}
    expected |= {"optimizer.every": "Int64", "optimizer.nesterov": "boolean"}
    expected |= {"epoch": "Int64", "step": "Int64"}
    assert {key: kinds[key] for key in expected} == expected
    assert frame["optimizer.every"].sum() == 3


def test_no_column_has_a_hyperparameters_name(frame, tmp_path):
    """Else one would replace the other in silence."""
    own = {"run", "status", "seconds", "epoch", "step"} | set(EPOCH_METRICS)
    known = {key for run in read_sweep(tmp_path).runs for key in run.config}
    assert set(frame) - own == known
    assert not own & (known | {key for key, *_ in all_settings(Config)})


# Records as they come


def test_records_come_while_the_network_learns_and_a_number_of_ones_own_goes_with_them():
    config = make_config(dataset={"num_train": 300, "num_val": 50}, epochs=2)
    training = start(config, config.dataset.load())
    steps, norms = 0, []
    for record in training.records():
        if isinstance(record, Steps):
            steps += len(record.losses)
            assert training.step == steps
        else:
            assert isinstance(record, Epoch)
            norms.append(float(np.linalg.norm(training.learner.network.params)))
    assert len(norms) == 3 and len(set(norms)) == 3
    state = run(config).state
    params = [state[name].ravel() for name in state if name.startswith(("weights_", "bias_"))]
    assert norms[-1] == pytest.approx(np.linalg.norm(np.concatenate(params)), rel=1e-6)
