"""A run's files: numbers read back as they were, and files that are whole at any moment."""

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from mlp.run_folder import RunFolder

LOGS = "steps.csv", "epochs.csv"


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_logs_have_the_stated_columns_and_rows(tmp_path):
    with RunFolder(tmp_path / "new" / "folder", "val", "float32") as folder:
        folder.write_epoch(0, 0, 0.1, 2.3, 0.1, 2.4, 0.125)
        folder.write_steps(1, 1, [2.25, 2.0])
        folder.write_steps(1, 3, [1.5])
        folder.write_epoch(1, 3, 0.1, 2.1, 0.2, 2.2, 0.25)
    assert (folder.path / "steps.csv").read_text() == "step,epoch,loss\n1,1,2.25\n2,1,2\n3,1,1.5\n"
    assert (folder.path / "epochs.csv").read_text() == (
        "epoch,step,lr,train_loss,train_accuracy,val_loss,val_accuracy\n"
        "0,0,0.1,2.3,0.1,2.4,0.125\n1,3,0.1,2.1,0.2,2.2,0.25\n"
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_read_back_as_they_were_written(tmp_path, rng, dtype):
    losses = np.exp(rng.normal(0, 20, 1000)).astype(dtype)
    losses[-2:] = np.inf, np.nan
    row = (1, 1000, *rng.random(5))
    with RunFolder(tmp_path, "val", dtype) as folder:
        folder.write_steps(1, 1, losses.tolist())
        folder.write_epoch(*row)
    written = np.genfromtxt(tmp_path / "steps.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(written["loss"].astype(dtype), losses)
    np.testing.assert_array_equal(written["step"], np.arange(1, 1001))
    assert np.genfromtxt(tmp_path / "epochs.csv", delimiter=",", names=True).tolist() == row


def test_logs_can_be_read_after_every_epoch(tmp_path):
    with RunFolder(tmp_path, "val", "float32") as folder:
        folder.write_steps(1, 1, [1.0])
        folder.write_epoch(1, 1, 0.1, 1, 1, 1, 1)
        assert (tmp_path / "steps.csv").read_text().splitlines()[1:] == ["1,1,1"]
        assert len((tmp_path / "epochs.csv").read_text().splitlines()) == 2


def test_a_run_removes_the_files_of_an_earlier_one_at_its_start(tmp_path, rng):
    with RunFolder(tmp_path, "val", "float32") as folder:
        folder.write_steps(1, 1, [1.0])
        folder.write_checkpoint({}, rng)
        folder.write_result("finished")
    (tmp_path / ".checkpoint.npz.0123456789abcdef").touch()  # a run was killed while writing it
    (tmp_path / "notes.txt").write_text("mine")
    with RunFolder(tmp_path, "test", "float32"):
        assert {path.name for path in tmp_path.iterdir()} == {*LOGS, "notes.txt"}
    assert (tmp_path / "steps.csv").read_text() == "step,epoch,loss\n"
    assert (tmp_path / "epochs.csv").read_text().endswith("test_loss,test_accuracy\n")


def test_a_checkpoint_holds_arrays_numbers_and_a_random_state_to_go_on_from(tmp_path, rng):
    weights = rng.normal(size=(3, 2)).astype(np.float32)
    with RunFolder(tmp_path, "val", "float32") as folder:
        folder.write_checkpoint({"weights_0": weights}, rng, epoch=1, step=7)
    with np.load(tmp_path / "checkpoint.npz") as checkpoint:
        assert checkpoint["weights_0"].dtype == np.float32
        np.testing.assert_array_equal(checkpoint["weights_0"], weights)
        assert (checkpoint["epoch"], checkpoint["step"]) == (1, 7)
        again = np.random.default_rng(99)
        again.bit_generator.state = json.loads(str(checkpoint["random_state"]))
    np.testing.assert_array_equal(again.permutation(100), rng.permutation(100))


def write_checkpoints_for_ever(path):
    """Each holds one number throughout, so that a mixture of two would show."""
    with RunFolder(path, "val", "float32") as folder:
        n = 0
        while True:
            folder.write_checkpoint(
                {"weights_0": np.full(100_000, n), "bias_0": np.full(9, n)},
                np.random.default_rng(0),
                step=n,
            )
            n += 1


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path, rng):
    steps = []
    for delay in rng.uniform(0, 0.03, 15):
        path = tmp_path / str(len(steps))
        process = multiprocessing.get_context("fork").Process(
            target=write_checkpoints_for_ever, args=[path]
        )
        process.start()
        while not (path / "checkpoint.npz").exists():
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


def test_an_error_while_writing_leaves_the_old_checkpoint(tmp_path, rng, monkeypatch):
    with RunFolder(tmp_path, "val", "float32") as folder:
        folder.write_checkpoint({"weights_0": np.ones(3)}, rng)

        def disk_full(descriptor):
            raise OSError("No space left on device")

        monkeypatch.setattr(os, "fsync", disk_full)
        with pytest.raises(OSError, match="No space"):
            folder.write_checkpoint({"weights_0": np.zeros(3)}, rng)
    assert np.load(tmp_path / "checkpoint.npz")["weights_0"].tolist() == [1, 1, 1]
    assert {path.name for path in tmp_path.iterdir()} == {*LOGS, "checkpoint.npz"}


def test_the_result_is_strict_json_with_the_last_epochs_metrics(tmp_path):
    with RunFolder(tmp_path, "test", "float64") as folder:
        folder.write_epoch(0, 0, 0.1, 2.3, 0.1, 2.4, 0.1)
        folder.write_epoch(1, 8, 0.1, float("inf"), 0.1, float("nan"), 0.2)
        folder.write_result("diverged", config={"seed": 1}, overrides=["seed=1"], seconds=1.5)
    result = json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)
    assert result == result | {
        "status": "diverged",
        "config": {"seed": 1},
        "overrides": ["seed=1"],
        "seconds": 1.5,
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
    environment = result["environment"]
    assert {"python", "numpy", "hydra-core", "blas", "cpu", "git_commit"} <= environment.keys()
    assert environment["numpy"] == np.__version__
