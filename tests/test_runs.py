"""A sweep's folder as it is found: every damage is named, and spoils no neighbour."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from made_up import CONFIG, write_run

from analysis.runs import Damaged, Finding, read_log, read_sweep
from mlp.errors import UserError

LOSSES = np.linspace(2, 0.2, 12)


@pytest.fixture
def sweep(tmp_path):
    """Two learning rates of three seeds each, all as they should be."""
    for lr in (0.1, 0.01):
        for seed in range(3):
            write_run(tmp_path / f"lr={lr},seed={seed}", LOSSES + seed, lr=lr, seed=seed)
    return tmp_path


def counted(sweep):
    return [sweep.counted(names) for _, names in sweep.groups()]


ALL = [[f"lr={lr},seed={seed}" for seed in range(3)] for lr in (0.01, 0.1)]
WITHOUT_ONE = [ALL[0], ["lr=0.1,seed=0", "lr=0.1,seed=2"]]
ONE = "lr=0.1,seed=1"


def test_groups_are_the_keys_in_which_runs_differ_but_for_the_seed(sweep):
    got = read_sweep([sweep])
    assert got.keys == ["lr"]
    assert got.findings == []
    assert [values for values, _ in got.groups()] == [(0.01,), (0.1,)]
    assert counted(got) == ALL
    assert got.describe((0.01,)) == "lr=0.01"


def test_tables_have_a_row_per_run(sweep):
    got = read_sweep([sweep])
    assert list(got.config.index) == list(got.runs.index) == list(got.metrics.index)
    row = got.config.loc["lr=0.1,seed=2"]
    assert (row["lr"], row["seed"], row["optimizer"]) == (0.1, 2, "sgd")
    assert row["model.hidden_sizes"] == "[300,100]"
    assert got.metrics.at["lr=0.1,seed=2", "val_loss"] == LOSSES[-1] + 2 + 0.1
    assert got.runs.at["lr=0.1,seed=2", "version"] == "1234567"


# One run that does not count: what is done to it, and the line that says so


def status(path, status, error=None):
    result = json.loads((path / "result.json").read_text())
    result |= {"status": status} | ({"error": error} if error else {})
    (path / "result.json").write_text(json.dumps(result))


def metric(path, value):
    result = json.loads((path / "result.json").read_text())
    result["metrics"]["val_loss"] = value
    (path / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda path: (path / "result.json").unlink(), "no result.json: running, or killed"),
        (lambda path: status(path, "diverged"), "diverged"),
        (lambda path: status(path, "interrupted"), "interrupted"),
        (lambda path: status(path, "failed", "ValueError: no\ntrace"), "failed: ValueError: no"),
        (lambda path: metric(path, float("nan")), "result.json: val_loss is nan"),
        (lambda path: metric(path, None), "result.json: val_loss is None"),
        (
            lambda path: (path / "result.json").write_text('{"status": "fini'),
            "result.json is not what a run writes",
        ),
        (
            lambda path: (path / "result.json").write_text("[1, 2]"),
            "result.json is not what a run writes",
        ),
        (
            lambda path: (path / "result.json").write_bytes(b"\xff\x00"),
            "result.json is not what a run writes",
        ),
    ],
)
def test_a_run_that_does_not_count_is_named(sweep, spoil, what):
    spoil(sweep / ONE)
    got = read_sweep([sweep])
    assert got.findings == [Finding(ONE, what)]
    assert counted(got) == WITHOUT_ONE


def test_a_run_without_any_configuration_is_named(sweep):
    (sweep / ONE / "result.json").unlink()
    (sweep / ONE / ".hydra/config.yaml").write_text("lr: [")
    got = read_sweep([sweep])
    assert Finding(ONE, "neither result.json nor .hydra/config.yaml can be read") in got.findings
    assert counted(got) == WITHOUT_ONE


# Logs: what read_curves makes of them


def replace_line(number, text):
    """Puts text in the place of a line of steps.csv; 1 is the header."""

    def spoil(path):
        lines = (path / "steps.csv").read_text().splitlines(keepends=True)
        lines[number - 1] = text
        (path / "steps.csv").write_text("".join(lines))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (replace_line(13, "12,3,0.1"), "steps.csv: the last line is torn"),
        (replace_line(13, "12,3\n"), "steps.csv, line 13: 12,3"),
        (replace_line(13, ""), "steps.csv: 11 rows, not one for each step 1 to 12"),
        (replace_line(5, ""), "steps.csv: 11 rows, not one for each step 1 to 12"),
        (replace_line(5, "3,1,0.5\n"), "steps.csv: 12 rows, not one for each step 1 to 12"),
        (replace_line(5, "\n"), "steps.csv, line 5: "),
        (replace_line(5, "4,1,nan\n"), "steps.csv, line 5: 4,1,nan"),
        (replace_line(5, "4,1,-inf\n"), "steps.csv, line 5: 4,1,-inf"),
        (replace_line(5, "4,1,0.5e\n"), "steps.csv, line 5: 4,1,0.5e"),
        (replace_line(5, "4,1,0.5,7\n"), "Expected 3 fields in line 5, saw 4"),
        (replace_line(5, "\x00\x01,\n"), "steps.csv, line 5: "),
        (replace_line(1, "step,epoch,cost\n"), "steps.csv has no column loss"),
        (replace_line(1, "a,b,c\n"), "steps.csv has the columns a,b,c"),
        (lambda path: (path / "steps.csv").unlink(), "steps.csv is missing"),
        (lambda path: (path / "steps.csv").write_text(""), "steps.csv: "),
        (lambda path: (path / "steps.csv").write_text("step,epoch,loss\n"), "steps.csv: 0 rows"),
        (lambda path: (path / "steps.csv").write_bytes(b"\xff\xfe\n\xff\n"), "steps.csv: "),
    ],
)
def test_a_damaged_log_is_refused_with_its_place(sweep, spoil, what):
    spoil(sweep / ONE)
    got = read_sweep([sweep])
    with pytest.raises(Damaged) as damage:
        got.read_curves(ONE, ["loss"], "step")
    assert what in str(damage.value)
    assert "\n" not in str(damage.value)
    got.read_curves(ONE, ["val_loss"], "step")  # the other log is as good as before


def test_epochs_that_stop_early_are_refused(sweep):
    path = sweep / ONE / "epochs.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(Damaged, match=r"epochs.csv: 3 rows, not one for each epoch 0 to 3"):
        read_sweep([sweep]).read_curves(ONE, ["val_loss"], "epoch")


def test_rows_with_a_field_too_many_each_are_refused(sweep):
    path = sweep / ONE / "steps.csv"
    rows = "".join(f"{step},1,0.5,9\n" for step in range(1, 13))
    path.write_text("step,epoch,loss\n" + rows)
    with pytest.raises(Damaged):  # pandas would take the first field for a name
        read_log(path, "step", 12)


def test_numbers_are_read_to_the_last_bit(tmp_path):
    random = np.random.default_rng(0)
    any_bits = random.integers(0, 2**64, 20_000, dtype=np.uint64).view(float)
    losses = np.concatenate([any_bits[np.isfinite(any_bits)], random.random(20_000)])
    path = write_run(tmp_path / "run", losses)
    texts = [line.split(",")[2] for line in (path / "steps.csv").read_text().split()[1:]]
    got = read_log(path / "steps.csv", "step", len(losses))["loss"]
    assert np.array_equal(got, [float(text) for text in texts])
    assert np.array_equal(got, losses)


@pytest.mark.parametrize(
    ("x", "steps", "epochs"),
    [
        ("step", np.arange(1, 13), [0, 4, 8, 12]),
        ("epoch", np.arange(1, 13) / 4, [0, 1, 2, 3]),
        ("examples", np.arange(1, 13) * 16, [0, 64, 128, 192]),
    ],
)
def test_curves_over_steps_epochs_and_examples(sweep, x, steps, epochs):
    curves = read_sweep([sweep]).read_curves("lr=0.1,seed=0", ["loss", "val_loss"], x)
    assert np.array_equal(curves["loss"], [steps, LOSSES])
    assert np.array_equal(curves["val_loss"], [epochs, LOSSES[[0, 3, 7, 11]] + 0.1])


# Which runs are one group


def test_sweeps_of_several_names_are_one(sweep, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_run(other / "a", LOSSES, lr=0.1, seed=3, name="more", threads=2, progress=False)
    got = read_sweep([sweep, other])
    assert got.keys == ["lr"]
    assert [len(names) for names in counted(got)] == [3, 4]
    assert f"{other.name}/a" in got.runs.index
    assert [Finding("lr=0.01", "no run with seed 3")] == got.findings


def test_by_name_keeps_sweeps_apart(sweep, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_run(other / "a", LOSSES, lr=0.1, seed=0, name="more")
    assert len(read_sweep([sweep, other]).runs) == 6
    got = read_sweep([sweep, other], by=["name", "lr"])
    assert [len(names) for names in counted(got)] == [3, 3, 1]


def test_a_key_that_only_some_runs_have_is_no_difference(tmp_path):
    write_run(tmp_path / "a", LOSSES)
    write_run(tmp_path / "b", LOSSES, optimizer={"name": "adam", "beta1": 0.9})
    assert read_sweep([tmp_path]).keys == ["optimizer"]


def test_values_are_sorted_as_numbers_then_words(tmp_path):
    for value in (10, "auto", 9, None, 0.5):
        write_run(tmp_path / str(value), LOSSES, model={"name": "mlp", "width": value})
    got = read_sweep([tmp_path])
    assert [value for (value,), _ in got.groups()] == [0.5, 9, 10, "auto", None]


def test_by_pools_what_it_leaves_out_and_says_so(sweep):
    for seed in range(3):
        config = {"lr": 0.1, "seed": seed, "batch_size": 32}
        write_run(sweep / f"large{seed}", LOSSES, **config)
    assert read_sweep([sweep]).keys == ["lr", "batch_size"]
    got = read_sweep([sweep], by=["lr"])
    assert [len(names) for names in counted(got)] == [3, 6]
    assert got.findings == [Finding("lr=0.1", "pools runs that differ in batch_size")]


@pytest.mark.parametrize("condition", ["lr=0.1", "lr=1e-1", "lr=.10"])
def test_where_compares_numbers_as_numbers(sweep, condition):
    got = read_sweep([sweep], where=[condition, "seed=1"])
    assert list(got.runs.index) == [ONE]
    assert got.keys == []


def test_where_compares_lists_and_words(sweep):
    write_run(sweep / "small", LOSSES, model=CONFIG["model"] | {"hidden_sizes": [20]})
    assert list(read_sweep([sweep], where=["model.hidden_sizes=[20]"]).runs.index) == ["small"]
    others = ["model.hidden_sizes=[300, 100]", "model=mlp", "progress=true"]
    assert len(read_sweep([sweep], where=others).runs) == 6


def test_of_copies_the_last_finished_counts(tmp_path):
    write_run(tmp_path / "2026-01-01", LOSSES)
    write_run(tmp_path / "2026-01-02", LOSSES)
    write_run(tmp_path / "2026-01-03", LOSSES, status="failed")
    got = read_sweep([tmp_path])
    assert list(got.runs.index) == ["2026-01-02"]
    what = "same configuration and seed as 2026-01-02"
    assert got.findings == [Finding("2026-01-03", what), Finding("2026-01-01", what)]


def test_a_seed_that_half_of_the_groups_have_is_missed(sweep):
    shutil.rmtree(sweep / ONE)
    got = read_sweep([sweep])
    assert got.findings == [Finding("lr=0.1", "no run with seed 1")]


def test_versions_of_the_code_in_one_group(sweep):
    shutil.rmtree(sweep / ONE)
    write_run(sweep / ONE, LOSSES, lr=0.1, seed=1, commit="abcdef0123")
    got = read_sweep([sweep])
    what = "made by code version abcdef0, its group by 1234567"
    assert got.findings == [Finding(ONE, what)]
    assert counted(got) == ALL


# Finding runs


def test_a_run_can_be_given_itself(sweep):
    assert list(read_sweep([sweep / ONE]).runs.index) == [ONE]


def test_nothing_is_found_twice_or_overlooked(sweep, tmp_path_factory):
    (sweep / "nested").mkdir()
    write_run(sweep / "nested" / "deep", LOSSES, lr=0.5)
    elsewhere = write_run(tmp_path_factory.mktemp("elsewhere") / "run", LOSSES, lr=0.7)
    os.symlink(elsewhere, sweep / "linked")
    os.symlink(sweep / ONE, sweep / "nested" / "latest")
    os.symlink(sweep, sweep / "nested" / "loop")
    (sweep / ".submitit" / "log").mkdir(parents=True)
    (sweep / ONE / "notes").mkdir()
    (sweep / "empty").mkdir()
    got = read_sweep([sweep, sweep / "nested"])
    assert set(got.runs.index) == {*ALL[0], *ALL[1], "linked", "nested/deep"}
    assert got.findings[0] == Finding("empty", "an empty folder")
    assert {run for run, _ in got.findings[1:]} == {"lr=0.5", "lr=0.7"}  # not all seeds


def test_a_folder_that_cannot_be_read_is_named(sweep, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith(ONE):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    got = read_sweep([sweep])
    assert Finding(ONE, "Permission denied") in got.findings
    assert counted(got) == WITHOUT_ONE


@pytest.mark.parametrize(
    ("folder", "options", "what"),
    [
        ("none", {}, "none: no such folder"),
        ("empty", {}, "no runs under .*empty"),
        (".", {"by": ["learning_rate", "lr"]}, "--by: unknown 'learning_rate'; known are name,"),
        (".", {"by": ["batch_sise"]}, "did you mean batch_size"),
        (".", {"where": ["lr"]}, "--where wants KEY=VALUE, such as lr=0.01, got 'lr'"),
        (".", {"where": ["ler=1"]}, "did you mean lr"),
        (".", {"where": ["lr=0.2"]}, "--where lr=0.2 matches none of 6 runs; lr: 0.01, 0.1"),
        (".", {"where": ["lr=0.1", "seed=7"]}, "matches none of 3 runs; seed: 0, 1, 2"),
    ],
)
def test_what_cannot_be_read_is_said(sweep, folder, options, what):
    (sweep / "empty").mkdir()
    with pytest.raises(UserError, match=what):
        read_sweep([sweep / folder], **options)


def test_no_run_that_counts(tmp_path):
    write_run(tmp_path / "a", LOSSES, status="diverged")
    write_run(tmp_path / "b", LOSSES, status="running", seed=1)
    with pytest.raises(UserError, match=r"^nothing to show: a: diverged \(and 1 more\)$"):
        read_sweep([tmp_path])


def test_hyperparameters_keep_their_types(sweep):
    config = read_sweep([sweep]).config
    assert isinstance(config, pd.DataFrame)
    assert {type(value) for value in config["batch_size"]} == {int}
    assert {type(value) for value in config["progress"]} == {bool}
