"""Whole runs: `python run.py ...` as a user types it, in an empty folder, and what it leaves."""

import contextlib
import json
import math
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from mlp import experiment, make_config
from mlp import run as train
from run import as_yaml, job_folder

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["dataset.num_train=1000", "dataset.num_val=200", "epochs=2"]
SMALL_NAME = "dataset.num_train=1000,dataset.num_val=200,epochs=2"  # in a sweep's folder names


class Run:
    """run.py with its arguments, started in a folder."""

    def __init__(self, folder, *arguments):
        self.cwd = folder
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "run.py", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self):
        """Wait for its end. Sets code, out, err, and the run folders that it named, in order."""
        try:
            self.out, self.err = self.process.communicate(timeout=120)
        finally:
            self.process.kill()
        self.code = self.process.returncode
        label = "run folder: "
        named = [line for line in self.out.splitlines() if line.startswith(label)]
        self.folders = [self.cwd / line.removeprefix(label) for line in named]
        return self


def run(folder, *arguments):
    return Run(folder, *arguments).finish()


def result(folder):
    return json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)


def table(folder, name):
    return np.atleast_1d(np.genfromtxt(folder / f"{name}.csv", delimiter=",", names=True))


def checkpoint(folder):
    with np.load(folder / "checkpoint.npz") as file:
        return {name: file[name] for name in file.files}


# One run


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """The same command twice, started in the same moment."""
    folder = tmp_path_factory.mktemp("twins")
    started = [Run(folder, *SMALL, "seed=3") for _ in range(2)]
    return [one.finish() for one in started]


def test_a_run_says_what_it_trains_on_how_it_ended_where_its_folder_is_and_how_to_see_it(twins):
    for one in twins:
        assert (one.code, one.err) == (0, ""), "no progress bar where there is no terminal"
        data, *epochs, outcome, where, see = one.out.splitlines()
        assert [line.partition(",")[0] for line in epochs] == [f"epoch {n} of 2" for n in range(3)]
        assert data.startswith("synth: 1,000 training and 200 ")
        assert "2 features from -" in data
        metrics = result(one.folders[0])["metrics"]
        assert outcome.startswith("finished: train_loss ")
        assert float(outcome.split()[-1]) == pytest.approx(metrics["val_accuracy"], abs=1e-3)
        folder = one.folders[0].relative_to(one.cwd)
        assert where == f"run folder: {folder}"
        assert see == f"to see it: mlp curves {folder}"


def test_the_loss_of_the_defaults_falls_from_the_first_step_on_and_its_result_is_good():
    done = train(make_config(progress=False))
    falling = [np.mean(done.losses[start : start + 50]) for start in range(0, 250, 50)]
    assert falling == sorted(falling, reverse=True)
    assert max(falling) < done.epochs[0].train_loss
    assert done.metrics["val_accuracy"] >= 0.99


def test_runs_started_at_once_have_folders_of_their_own(twins):
    (first,), (second,) = (one.folders for one in twins)
    assert first != second
    assert first.parent == second.parent == twins[0].cwd / "outputs/synth-mlp"


def test_a_run_folder_holds_what_is_promised(twins):
    (folder,) = twins[0].folders
    assert {path.name for path in folder.iterdir()} == {
        ".hydra",
        "steps.csv",
        "epochs.csv",
        "checkpoint.npz",
        "result.json",
    }
    assert {"config.yaml", "overrides.yaml", "hydra.yaml"} == {
        path.name for path in (folder / ".hydra").iterdir()
    }
    steps, epochs = table(folder, "steps"), table(folder, "epochs")
    per_epoch = math.ceil(1000 / 16)
    assert steps.dtype.names == ("step", "epoch", "loss")
    np.testing.assert_array_equal(steps["step"], np.arange(1, 2 * per_epoch + 1))
    np.testing.assert_array_equal(steps["epoch"], np.repeat([1, 2], per_epoch))
    np.testing.assert_array_equal(epochs["epoch"], [0, 1, 2])
    np.testing.assert_array_equal(epochs["step"], [0, per_epoch, 2 * per_epoch])
    state = checkpoint(folder)
    assert state["weights_0"].shape[0] == 2
    assert state["weights_0"].dtype == np.float32
    assert state["step"] == 2 * per_epoch


def test_a_result_holds_what_is_promised(twins):
    (folder,) = twins[0].folders
    found = result(folder)
    assert (found["format"], found["status"]) == (1, "finished")
    assert "error" not in found
    assert found["config"]["dataset"]["num_train"] == 1000
    assert found["config"]["seed"] == 3
    assert found["overrides"] == [*SMALL, "seed=3"]
    epochs = table(folder, "epochs")
    assert found["metrics"] == {name: epochs[name][-1] for name in epochs.dtype.names}
    assert 0 < found["seconds"] < 60
    assert found["examples_per_second"] > 2000 / found["seconds"], "evaluation is not counted"
    assert found["environment"]["numpy"] == np.__version__
    assert [blas["threads"] for blas in found["environment"]["blas"]] == [1]


def test_the_same_command_gives_the_same_bytes_and_the_same_parameters(twins):
    (first,), (second,) = (one.folders for one in twins)
    for name in "steps.csv", "epochs.csv":
        assert (first / name).read_bytes() == (second / name).read_bytes()
    state = checkpoint(second)
    for name, array in checkpoint(first).items():
        np.testing.assert_array_equal(array, state[name])


def test_the_scalar_network_trains(tmp_path):
    one = run(tmp_path, "model=scalar", *SMALL, "name=by-hand")
    assert (one.code, one.err) == (0, "")
    (folder,) = one.folders
    assert folder.parent == tmp_path / "outputs/by-hand"
    steps, epochs = table(folder, "steps"), table(folder, "epochs")
    np.testing.assert_array_equal(steps["step"], np.arange(1, 2001))
    assert epochs["val_loss"][-1] < epochs["val_loss"][0]
    assert checkpoint(folder)["weights_0"].dtype == np.float64


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ({"seed": 3}, ["seed=3"]),
        ({"model": "scalar"}, ["model=scalar"]),
        (
            {"optimizer": {"name": "adam", "beta1": 0.8}, "schedule": "cosine", "dtype": "float64"},
            ["optimizer=adam", "optimizer.beta1=0.8", "schedule=cosine", "dtype=float64"],
        ),
    ],
    ids=["sgd", "scalar", "adam"],
)
def test_python_gives_the_bytes_of_the_command_line(tmp_path, settings, arguments):
    one = run(tmp_path, *SMALL, *arguments)
    dataset = {"num_train": 1000, "num_val": 200}
    config = make_config(dataset=dataset, epochs=2, **settings)
    here, (there,) = tmp_path / "here", one.folders
    found = experiment.run(config, here)
    for name in "steps.csv", "epochs.csv", "checkpoint.npz":
        assert (here / name).read_bytes() == (there / name).read_bytes()
    for name in "config", "metrics", "status", "format":
        assert result(here)[name] == result(there)[name]
    assert found.metrics == result(there)["metrics"]
    np.testing.assert_allclose(found.losses, table(there, "steps")["loss"], rtol=1e-8)


def test_digits_are_learned(tmp_path):
    choices = ["dataset=digits", "optimizer=adam", "schedule=one_cycle", "lr=0.01"]
    one = run(tmp_path, *choices)
    assert (one.code, one.err) == (0, "")
    epochs = table(one.folders[0], "epochs")
    assert epochs["val_accuracy"][-1] > 0.95
    assert epochs["lr"].argmax() not in (0, 5), "up, then down"


def test_every_group_of_settings_reaches_the_run(tmp_path):
    model = ["model.hidden_sizes=[7,5]", "model.init=normal", "model.init_std=1e-9"]
    others = ["dtype=float64", "optimizer.momentum=0.9", "schedule=linear", "lr=0.2"]
    (folder,) = run(tmp_path, *SMALL, *model, *others).folders
    epochs, state = table(folder, "epochs"), checkpoint(folder)
    shapes = [state[f"weights_{layer}"].shape for layer in range(3)]
    assert shapes == [(2, 7), (7, 5), (5, 2)]
    assert epochs["train_loss"][0] == pytest.approx(math.log(2), abs=1e-6), "weights next to zero"
    np.testing.assert_allclose(epochs["lr"], [0.2, 0.1, 0], atol=0.001)
    assert state["velocity_weights_2"].dtype == np.float64


def test_a_batch_size_beyond_the_training_set_takes_it_whole(tmp_path):
    one = run(tmp_path, *SMALL, "batch_size=1000000000000")
    assert (one.code, one.err) == (0, "")
    np.testing.assert_array_equal(table(one.folders[0], "steps")["step"], [1, 2])
    assert "\nbatch_size is 1000: there are no more training examples\n" in one.out
    assert result(one.folders[0])["batch_size"] == 1000
    assert result(one.folders[0])["config"]["batch_size"] == 1000000000000


def test_a_run_that_ends_no_better_than_untrained_says_so(tmp_path):
    assert "\nno better than untrained, " in run(tmp_path, *SMALL, "lr=1e-30").out
    assert "no better" not in run(tmp_path, *SMALL, "lr=0.01", "optimizer=adam").out


def test_a_run_that_diverges_is_a_result(tmp_path):
    one = run(tmp_path, *SMALL, "lr=1e30", "model.activation=relu")
    assert (one.code, one.err) == (0, "")
    (folder,) = one.folders
    assert result(folder)["status"] == "diverged"
    losses = table(folder, "steps")["loss"]
    assert np.isfinite(losses[:-1]).all()
    assert not np.isfinite(losses[-1])
    line = f"diverged at step {len(losses)} (epoch 1), loss nan"
    assert one.out.splitlines()[-2] == line
    again = run(tmp_path, *SMALL, "lr=1e30", "model.activation=relu", f"hydra.run.dir={folder}")
    assert again.out.startswith("diverged before, left as it is: at step ")


def test_an_interrupted_run_leaves_readable_logs_and_says_so(tmp_path):
    one = Run(tmp_path, *SMALL[:2], "epochs=100000")
    while (
        not (logs := list(tmp_path.glob("outputs/*/*/epochs.csv")))
        or len(logs[0].read_text().splitlines()) < 4
    ):
        assert one.process.poll() is None
        time.sleep(0.02)
    one.process.send_signal(signal.SIGINT)
    one.finish()
    assert (one.code, one.err) == (130, "")
    (folder,) = one.folders
    steps, found = table(folder, "steps"), result(folder)
    assert (folder / "steps.csv").read_text().endswith("\n")
    np.testing.assert_array_equal(steps["step"], np.arange(1, len(steps) + 1))
    assert found["status"] == "interrupted"
    assert found["metrics"]["epoch"] >= 2
    assert found["examples_per_second"] > 0
    assert len(steps) >= found["metrics"]["step"]
    assert checkpoint(folder)["epoch"] >= 1


def test_the_bar_fits_60_columns(tmp_path):
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 60))
    command = [sys.executable, ROOT / "run.py", *SMALL]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=child, stderr=child)
    os.close(child)
    seen = b""
    with contextlib.suppress(OSError):  # its end
        while part := os.read(parent, 10_000):
            seen += part
    assert process.wait(60) == 0
    bars = [bar for bar in re.split(r"[\r\n]+", seen.decode()) if " left" in bar]
    assert max(map(len, bars)) <= 60
    assert re.fullmatch(r"100%\|█+\| 00:00 left, epoch 2 of 2, val_loss 0\.\d+", bars[-1])


def test_help_tells_the_keys(tmp_path):
    one = run(tmp_path, "--help")
    assert (one.code, one.err) == (0, "")
    assert "optimizer.momentum=0.0       a number >= 0 and < 1" in one.out
    assert "optimizer=adam               Adam, with decoupled weight decay\n" in one.out
    for group in "experiment", "launcher", "sweeper":
        names = sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))
        assert re.search(f"^  {group}= +{', '.join(names)}$", one.out, re.M)
    program = os.path.relpath(ROOT / "run.py", tmp_path)
    assert one.out.count(f"\n  python {program} ") == 3, "examples"
    assert not list(tmp_path.iterdir())


# Sweeps


@pytest.mark.slow
def test_a_sweep_gives_each_run_the_same_folder_in_whatever_order_it_is_asked_for(tmp_path):
    asked = ["-m", *SMALL, "name=some", "launcher=serial"]
    one = run(tmp_path, *asked, "lr=0.1,0.01", "seed=0,1")
    assert (one.code, one.err) == (0, "")
    sweep = tmp_path / "outputs/some"
    expected = [f"{SMALL_NAME},lr={lr},seed={seed}" for lr in (0.1, 0.01) for seed in (0, 1)]
    assert one.folders == [sweep / name for name in expected]
    logs = [(folder / "steps.csv").read_bytes() for folder in one.folders]
    assert len(set(logs)) == 4
    assert [result(folder)["config"]["seed"] for folder in one.folders] == [0, 1, 0, 1]

    again = run(tmp_path, "-m", "seed=1,0", "lr=0.01", "overwrite=true", *reversed(asked[1:]))
    assert again.folders == [one.folders[3], one.folders[2]]
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == set(expected)
    assert [(folder / "steps.csv").read_bytes() for folder in one.folders] == logs


def test_a_folder_name_in_a_sweep_is_readable_safe_and_short():
    assert (
        job_folder(["seed=2", "lr=0.01"]) == job_folder(["lr=0.01", "seed=2"]) == "lr=0.01,seed=2"
    )
    assert job_folder(["model.hidden_sizes=[30,20]"]) == "model.hidden_sizes=[30,20]"
    assert job_folder(["name=mine", "progress=false"]) == "defaults"
    names = {job_folder([f"dataset.path={path}"]) for path in ("a b", "a/b", "a:b", "x" * 61)}
    names |= {
        job_folder([f"{group}.{'x' * 50}=1" for group in groups]) for groups in ("abcd", "efgh")
    }
    assert len(names) == 6
    assert all(len(name) <= 200 and name.isascii() for name in names)
    assert not any(character in name for name in names for character in " /:")


def test_threads_are_enforced_and_recorded(tmp_path):
    run(tmp_path, "-m", *SMALL, "threads=1,2")
    for threads in 1, 2:
        folder = tmp_path / f"outputs/synth-mlp/{SMALL_NAME},threads={threads}"
        recorded = result(folder)["environment"]["blas"]
        assert recorded
        assert {blas["threads"] for blas in recorded} == {threads}


def test_a_run_that_fails_leaves_the_others_of_its_sweep_alone(tmp_path):
    x = np.random.default_rng(0).random((20, 3))
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=np.arange(20) % 2)
    paths = "dataset.path=none.npz,mine.npz"
    one = run(tmp_path, "-m", "dataset=npz", paths, "epochs=1", "launcher=serial")
    complaint = "dataset=npz: none.npz does not exist; give your file with dataset.path=FILE"
    assert one.code == 1
    place = "outputs/npz-mlp/dataset.path=none.npz,dataset=npz,epochs=1"
    assert one.err.splitlines()[-1] == f"failed: {place}: {complaint}"
    assert "Traceback" not in one.err
    failed, finished = map(result, one.folders)
    assert (failed["status"], failed["error"]) == ("failed", f"UserError: {complaint}")
    assert finished["status"] == "finished"


def test_values_that_contradict_each_other_in_one_run_of_a_sweep_are_said_in_one_line(tmp_path):
    """Before a sweep, each value is checked with the others' first ones."""
    one = run(tmp_path, "-m", *SMALL, "model=scalar,mlp", "batch_size=1,2")
    assert one.code == 1
    assert "Traceback" not in one.err
    last = one.err.splitlines()[-1]
    assert last.startswith("run.py: model=scalar trains on one example at a time")
    assert last.endswith("batch_size must be 1, got 2")


# What is refused


def assert_refused(one, line):
    assert one.code == 1
    assert one.err.count("\n") == 1
    assert one.err.startswith(f"run.py: {line}")
    assert one.out == ""
    assert not list(one.cwd.rglob("outputs/**/*")), "nothing was written"


WRONG = [
    ("lr=-1", "lr must be a number > 0, got -1"),
    ("epochs=1.5", "epochs must be an integer >= 1, got 1.5"),
    ("lr=[", "can't read 'lr=[': write key=value"),
    ("lrr=0.1", "unknown key lrr; did you mean lr?"),
    ("+lrr=0.1", "unknown key lrr; did you mean lr?"),
    (
        "model.hiden_sizes=[3]",
        "unknown key model.hiden_sizes; did you mean model.hidden_sizes?",
    ),
    ("optimizer.beta1=0.9", "optimizer.beta1 belongs to optimizer=adam"),
    ("optimizer=sgdd", "optimizer must be one of adam, muon, sgd, got 'sgdd'"),
    ("model=null", "a group needs a choice, such as model=mlp"),
    ("name=../elsewhere", "name must be a folder below outputs/"),
    ("experiment=nmist", "experiment must be one of "),
    ("dataset=npz", "dataset.path is missing: it must be text"),
    ("model=scalar batch_size=2", "model=scalar trains on one example at a time"),
    ("-m lr=0.1,-1", "lr must be a number > 0, got -1"),
    ("-m seed=0,1 +lrr=0.1,1", "unknown key lrr; did you mean lr?"),
    (
        "experiment=mnist optimizer=adam",
        "experiment=mnist sets lr=1.0, optimizer=adam lr=0.001: ",
    ),
    ("-m experiment=mnist optimizer=sgd,adam", "experiment=mnist sets lr=1.0, optimizer=adam "),
    ("-m hydra.sweeper.params=3", "hydra.sweeper.params must be key: values, got 3"),
    ("-m hydra.sweeper.params=[lr]", "hydra.sweeper.params must be key: values, got ['lr']"),
    ("-m seed=range(0)", "a sweep of no runs: a list or a range is empty"),
    ("-m hydra.sweeper.batch=2", "Could not override 'hydra.sweeper.batch'"),
    ("-m seed=0,1 optimizer=sgd,sgdd", "optimizer must be one of adam, muon, sgd, got 'sgdd'"),
]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] * (number % 3 > 0))
        for number, case in enumerate(WRONG)  # each starts a program
    ],
)
def test_what_is_wrong_on_the_command_line_is_said_in_one_line(tmp_path, arguments, line):
    assert_refused(run(tmp_path, *arguments.split()), line)


@pytest.mark.parametrize(
    ("yaml", "line"),
    [
        ("lr: 0.1\nmodel: {activation: relu\n", "{path}, line 4: not valid YAML ("),
        ("lrr: 0.1\n", "unknown key lrr; did you mean lr?"),
        ("lr: -1\n", "lr must be a number > 0, got -1"),
        (
            "hydra: {sweeper: {params: {lr: '0.1,1'}}}\n",
            "this experiment is a sweep: add -m",
        ),
    ],
    ids=["not YAML", "unknown key", "out of range", "a sweep without -m"],
)
def test_what_is_wrong_in_a_file_is_said_in_one_line(tmp_path, yaml, line):
    path = tmp_path / "conf/experiment/mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\n{yaml}")
    one = run(tmp_path, "--config-dir", path.parents[1], "experiment=mine")
    assert_refused(one, line.format(path=path))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("lr: 0.1\n", "the experiment's file must begin with # @package _global_"),
        ("", "the experiment's file must begin with # @package _global_"),
        ("# @package _global_\nname: caf\xe9\n", "a YAML file is not text in UTF-8: "),
        ("# @package _global_\nname: \x01\n", "a YAML file is not text in UTF-8: "),
    ],
)
def test_a_file_of_ones_own_that_begins_or_reads_wrongly(tmp_path, text, line):
    path = tmp_path / "conf/experiment/mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    for more in [], ["-m"]:
        one = run(tmp_path, *more, "--config-dir", path.parents[1], "experiment=mine")
        assert_refused(one, line)


@pytest.mark.slow
def test_an_experiments_own_optimizer_keeps_its_lr(tmp_path):
    path = tmp_path / "conf/experiment/mine.yaml"
    path.parent.mkdir(parents=True)
    lines = ["# @package _global_", "defaults: [{override /optimizer: adam}]", "lr: 0.01", ""]
    path.write_text("\n".join(lines))
    for more in [], ["optimizer=sgd"], ["optimizer=adam", "lr=0.02"]:
        one = run(tmp_path, "--config-dir", path.parents[1], "experiment=mine", *SMALL, *more)
        assert (one.code, one.err) == (0, "")


# Real MNIST


def test_an_epoch_on_mnist_and_one_measured_on_its_test_set(tmp_path, mnist):
    asked = ["experiment=mnist", "epochs=1", "dataset.final=false,true", "launcher=serial"]
    one = run(tmp_path, "-m", *asked)
    assert (one.code, one.err) == (0, "")
    for folder, held_out in zip(one.folders, ["val", "test"], strict=True):
        epochs = table(folder, "epochs")
        assert epochs.dtype.names[-2:] == (f"{held_out}_loss", f"{held_out}_accuracy")
        assert epochs[f"{held_out}_accuracy"][-1] > 0.95


@pytest.mark.slow
def test_five_epochs_on_mnist_reach_98_percent(tmp_path, mnist):
    one = run(tmp_path, "experiment=mnist")
    metrics = result(one.folders[0])["metrics"]
    assert metrics["epoch"] == 5
    assert metrics["val_accuracy"] >= 0.98


@pytest.mark.slow
def test_four_learning_rates_and_three_seeds_on_mnist_are_one_sweep(tmp_path, mnist):
    run(tmp_path, "-m", "experiment=mnist_lr", "batch_size=256", "epochs=1")
    results = [result(folder) for folder in tmp_path.glob("outputs/mnist-lr/*")]
    assert len({(found["config"]["lr"], found["config"]["seed"]) for found in results}) == 12
    assert {found["status"] for found in results} == {"finished"}


def test_a_runs_notes_read_as_what_was_written():
    texts = ["1e-3", "1.e3", "1_000", "0x1F", "-.5", "inf", "nan", "true", "null", "~", "", "1:30"]
    texts += ["2026-01-01", "é", "a: b", "- x", " a", "\t", "a\nb", "="]
    tree = {"texts": texts, "numbers": [1, 0.1, None, True], "open": ["${lr}", "???"]}
    assert OmegaConf.to_container(OmegaConf.create(as_yaml(tree))) == tree
