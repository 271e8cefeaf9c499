"""A run's files: numbers read back as they were, and files that are whole at any moment."""

import errno
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import mlp
from mlp.run_folder import RunFolder, read_result
from mlp.training import Epoch, Steps

LOGS = "steps.csv", "epochs.csv"
STEP_7 = {"step": np.array(7)}


def epoch(*values):
    return Epoch(*values, seconds=9.0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_logs_have_the_stated_columns_and_rows(tmp_path):
    with RunFolder(tmp_path / "new" / "folder", {}) as folder:
        folder.open_logs("val", "float32")
        folder.write(epoch(0, 0, 0.1, 2.3, 0.1, 2.4, 0.125))
        folder.write(Steps(1, 1, [2.25, 2.0]))
        folder.write(Steps(1, 3, [1.5]))
        folder.write(epoch(1, 3, 0.1, 2.1, 0.2, 2.2, 0.25))
    assert (folder.path / "steps.csv").read_text() == "step,epoch,loss\n1,1,2.25\n2,1,2\n3,1,1.5\n"
    assert (folder.path / "epochs.csv").read_text() == (
        "epoch,step,lr,train_loss,train_accuracy,val_loss,val_accuracy\n"
        "0,0,0.1,2.3,0.1,2.4,0.125\n1,3,0.1,2.1,0.2,2.2,0.25\n"
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_read_back_as_they_were_written(tmp_path, rng, dtype):
    losses = np.exp(rng.normal(0, 20, 1000)).astype(dtype)
    losses[-2:] = np.inf, np.nan
    row = (0, 1000, *rng.random(5))
    with RunFolder(tmp_path, {}) as folder:
        folder.open_logs("val", dtype)
        folder.write(Steps(1, 1, losses.tolist()))
        folder.write(epoch(*row))
    written = np.genfromtxt(tmp_path / "steps.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(written["loss"].astype(dtype), losses)
    np.testing.assert_array_equal(written["step"], np.arange(1, 1001))
    assert np.genfromtxt(tmp_path / "epochs.csv", delimiter=",", names=True).tolist() == row


def test_logs_can_be_read_after_every_epoch(tmp_path):
    with RunFolder(tmp_path, {}) as folder:
        folder.open_logs("val", "float32")
        for n in 0, 1:
            folder.write(Steps(n, n, [1.0]))
            folder.write(epoch(n, n, 0.1, 1, 1, 1, 1))
            assert len((tmp_path / "steps.csv").read_text().splitlines()) == n + 2
            assert len((tmp_path / "epochs.csv").read_text().splitlines()) == n + 2


def test_a_run_that_starts_afresh_removes_the_files_of_an_earlier_one_alone(tmp_path):
    with RunFolder(tmp_path, {}) as folder:
        folder.open_logs("val", "float32")
        folder.write(Steps(1, 1, [1.0]))
        folder.hold(STEP_7)
        folder.save()
    assert {path.name for path in tmp_path.iterdir()} == {*LOGS, "checkpoint.npz", "result.json"}
    (tmp_path / ".checkpoint.npz.0123456789abcdef").touch()  # a run was killed while writing it
    (tmp_path / "old-steps.csv.bak").write_text("mine")
    with RunFolder(tmp_path, {}, overwrite=True) as folder:
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "old-steps.csv.bak"}
        folder.open_logs("test", "float32")
        folder.write(epoch(0, 0, 0.1, 1, 1, 1, 1))
    assert (tmp_path / "steps.csv").read_text() == "step,epoch,loss\n"
    columns, _ = (tmp_path / "epochs.csv").read_text().splitlines()
    assert columns.endswith("test_loss,test_accuracy")


def test_a_checkpoint_holds_arrays_by_name(tmp_path, rng):
    weights = rng.normal(size=(3, 2)).astype(np.float32)
    state = {"weights_0": weights, "step": np.array(7), "random_state": np.array("text")}
    with RunFolder(tmp_path, {}) as folder:
        folder.open_logs("val", "float32")
        folder.hold(state)
        folder.save()
    with np.load(tmp_path / "checkpoint.npz", allow_pickle=False) as checkpoint:
        assert sorted(checkpoint) == sorted([*state, "logs", "config"])
        for name, array in state.items():
            assert checkpoint[name].dtype == array.dtype
            np.testing.assert_array_equal(checkpoint[name], array)


def write_checkpoints_for_ever(path):
    """Each holds one number throughout, so that a mixture of two would show."""
    with RunFolder(path, {}) as folder:
        folder.open_logs("val", "float32")
        for n in itertools.count():
            state = {"weights_0": np.full(100_000, n), "bias_0": np.full(9, n)}
            folder.hold(state | {"step": np.array(n)})
            folder.save()


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path, rng):
    steps = []
    for delay in rng.uniform(0, 0.03, 15):
        path = tmp_path / str(len(steps))
        process = multiprocessing.get_context("fork").Process(
            target=write_checkpoints_for_ever, args=[path]
        )
        process.start()
        while not (path / "checkpoint.npz").exists():
            assert process.is_alive()
            time.sleep(0.001)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with np.load(path / "checkpoint.npz") as checkpoint:
            step = int(checkpoint["step"])
            assert (checkpoint["weights_0"] == step).all()
            assert (checkpoint["bias_0"] == step).all()
        steps.append(step)
    assert max(steps) > 0, "some were killed later than in the first"


def test_an_error_while_writing_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    with RunFolder(tmp_path, {}) as folder:
        folder.open_logs("val", "float32")
        folder.hold(STEP_7 | {"weights_0": np.ones(3)})
        folder.save()

        def disk_full(descriptor):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(os, "fsync", disk_full)
            folder.hold(STEP_7 | {"weights_0": np.zeros(3)})
            folder.save()
    assert np.load(tmp_path / "checkpoint.npz")["weights_0"].tolist() == [1, 1, 1]


def test_the_result_is_strict_json_with_the_last_epochs_metrics(tmp_path):
    with RunFolder(tmp_path, {"seed": 1}, ["seed=1"]) as folder:
        folder.open_logs("test", "float64")
        folder.write(epoch(0, 0, 0.1, 2.3, 0.1, 2.4, 0.1))
        folder.write(epoch(1, 8, 0.1, float("inf"), 0.1, float("nan"), 0.2))
        folder.end("diverged")
    result = json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)
    assert result == read_result(tmp_path)
    assert result == result | {
        "format": 1,
        "status": "diverged",
        "config": {"seed": 1},
        "overrides": ["seed=1"],
        "examples_per_second": None,
        "metrics": {
            "epoch": 1,
            "step": 8,
            "lr": 0.1,
            "train_loss": None,
            "train_accuracy": 0.1,
            "test_loss": None,
            "test_accuracy": 0.2,
        },
    }
    assert "error" not in result
    assert 0 < result["seconds"] < 60
    environment = result["environment"]
    assert {"python", "numpy", "hydra-core", "blas", "cpu", "git_commit"} <= environment.keys()
    git = ["git", "-C", str(Path(mlp.__file__).parent)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    known = (head.stdout.strip(), changes.stdout != "") if head.returncode == 0 else (None, None)
    assert (environment["git_commit"], environment["git_dirty"]) == known
    assert environment["numpy"] == np.__version__


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), "interrupted", None),
        (ValueError("too bad"), "failed", "ValueError: too bad"),
    ],
    ids=["interrupted", "failed"],
)
def test_the_result_tells_how_a_run_ended_early(tmp_path, error, status, words):
    """The error goes on to whoever started the run. The logs are whole."""
    with pytest.raises(type(error)), RunFolder(tmp_path, {}) as folder:
        folder.open_logs("val", "float64")
        folder.write(Steps(1, 1, [1.0]))
        assert not (tmp_path / "result.json").exists()
        raise error
    result = read_result(tmp_path)
    assert (result["status"], result.get("error"), result["metrics"]) == (status, words, {})
    assert (tmp_path / "steps.csv").read_text() == "step,epoch,loss\n1,1,1\n"
