"""A sweep's folder as it is found: every damage is named, and spoils no neighbour."""

import json
import os
import shutil

import numpy as np
import pytest
from made_up import CONFIG, write_run

from analysis.runs import label
from analysis.sweep import Finding, read_sweep
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
    """Names of the runs that count, group by group."""
    return [[run.name for run in group.counted] for group in sweep.groups]


def names(sweep):
    return [run.name for run in sweep.runs]


ALL = [[f"lr={lr},seed={seed}" for seed in range(3)] for lr in (0.01, 0.1)]
WITHOUT_ONE = [ALL[0], ["lr=0.1,seed=0", "lr=0.1,seed=2"]]
ONE = "lr=0.1,seed=1"


def test_groups_stand_in_the_order_of_numbers_lists_and_words(tmp_path):
    for i, sizes in enumerate(([300], [1000], [30, 30], [30])):
        write_run(tmp_path / f"sizes-{i}", LOSSES, model={"name": "mlp", "hidden_sizes": sizes})
    for i, seed in enumerate((10, 9, "[a", None)):
        write_run(tmp_path / f"seed-{i}", LOSSES, lr=0.5, seed=seed)
    sizes = read_sweep(tmp_path, where="lr=0.1", by="model.hidden_sizes").groups
    assert [group.values["model.hidden_sizes"] for group in sizes] == [
        *("[30]", "[30,30]", "[300]", "[1000]")
    ]
    seeds = read_sweep(tmp_path, where="lr=0.5", by="seed").groups
    assert [group.values["seed"] for group in seeds] == [9, 10, "[a", None]


def test_groups_are_the_keys_in_which_runs_differ_but_for_the_seed(sweep):
    got = read_sweep(sweep)
    assert got.keys == ["lr"]
    assert got.findings == []
    assert [group.values for group in got.groups] == [{"lr": 0.01}, {"lr": 0.1}]
    assert [group.name for group in got.groups] == ["lr=0.01", "lr=0.1"]
    assert counted(got) == ALL


def test_a_run_and_its_row_of_the_frame_say_what_it_was(sweep):
    got = read_sweep(sweep)
    run = got.runs[-1]
    assert (run.name, run.folder, run.status) == ("lr=0.1,seed=2", sweep / run.name, "finished")
    assert (run.config["lr"], run.config["seed"], run.config["optimizer"]) == (0.1, 2, "sgd")
    assert run.config["model.hidden_sizes"] == "[300,100]"
    assert type(run.config["batch_size"]) is int and run.config["progress"] is True
    assert run.final("val_loss") == LOSSES[-1] + 2 + 0.1
    assert run.version == "1234567"
    frame = got.frame()
    assert list(frame.index) == names(got)
    row = frame.loc[run.name]
    assert (row["status"], row["lr"], row["epoch"]) == ("finished", 0.1, 3)
    assert row["val_loss"] == run.final("val_loss")


# One run that does not count: what is done to it, and the line that says so


def result(path, **values):
    old = json.loads((path / "result.json").read_text())
    (path / "result.json").write_text(json.dumps(old | values))


def metric(path, value):
    result(path, metrics={"epoch": 3, "step": 12, "val_loss": value})


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda path: (path / "result.json").unlink(), "no result.json: running, or killed"),
        (lambda path: result(path, status="diverged"), "diverged"),
        (lambda path: result(path, status="interrupted"), "interrupted"),
        (
            lambda path: result(path, status="failed", error="ValueError: no\ntrace"),
            "failed: ValueError: no",
        ),
        (
            lambda path: result(path, format=2),
            "result.json has format 2; this version of the program reads up to 1",
        ),
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
        (
            lambda path: metric(path, 0.25),
            "epochs.csv ends with val_loss 1.3, result.json says 0.25",
        ),
    ],
)
def test_a_run_that_does_not_count_is_named(sweep, spoil, what):
    spoil(sweep / ONE)
    got = read_sweep(sweep)
    assert got.findings == [Finding(ONE, what)]
    assert counted(got) == WITHOUT_ONE


def test_a_run_without_any_configuration_is_named(sweep):
    (sweep / ONE / "result.json").unlink()
    (sweep / ONE / ".hydra/config.yaml").write_text("lr: [")
    got = read_sweep(sweep)
    assert Finding(ONE, "neither result.json nor .hydra/config.yaml can be read") in got.findings
    assert counted(got) == WITHOUT_ONE


# Which runs are one group


def test_sweeps_of_several_names_are_one(sweep, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_run(other / "a", LOSSES, lr=0.1, seed=3, name="more", threads=2, progress=False)
    got = read_sweep([sweep, other])
    assert got.keys == ["lr"]
    assert [len(group) for group in counted(got)] == [3, 4]
    assert f"{other.name}/a" in names(got)
    assert [Finding("lr=0.01", "no run with seed 3")] == got.findings


def test_by_name_keeps_sweeps_apart(sweep, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_run(other / "a", LOSSES, lr=0.1, seed=0, name="more")
    assert len(read_sweep([sweep, other]).runs) == 6
    got = read_sweep([sweep, other], by=["name", "lr"])
    assert [len(group) for group in counted(got)] == [3, 3, 1]


def test_a_key_that_only_some_runs_have_is_no_difference(tmp_path):
    write_run(tmp_path / "a", LOSSES)
    write_run(tmp_path / "b", LOSSES, optimizer={"name": "adam", "beta1": 0.9})
    assert read_sweep(tmp_path).keys == ["optimizer"]


def test_values_are_sorted_as_numbers_then_words(tmp_path):
    for value in (10, "auto", 9, None, 0.5):
        write_run(tmp_path / str(value), LOSSES, model={"name": "mlp", "width": value})
    got = read_sweep(tmp_path)
    assert [group.values["model.width"] for group in got.groups] == [0.5, 9, 10, "auto", None]


def test_lists_are_sorted_by_their_numbers(tmp_path):
    for i, sizes in enumerate(([1000], [30, 2], [30], [100], [])):
        write_run(tmp_path / str(i), LOSSES, model={"name": "mlp", "hidden_sizes": sizes})
    values = [group.values["model.hidden_sizes"] for group in read_sweep(tmp_path).groups]
    assert values == ["[]", "[30]", "[30,2]", "[100]", "[1000]"]


def test_by_pools_what_it_leaves_out_and_says_so(sweep):
    for seed in range(3):
        config = {"lr": 0.1, "seed": seed, "batch_size": 32}
        write_run(sweep / f"large{seed}", LOSSES, **config)
    assert read_sweep(sweep).keys == ["lr", "batch_size"]
    got = read_sweep(sweep, by=["lr"])
    assert [len(group) for group in counted(got)] == [3, 6]
    assert got.findings == [Finding("lr=0.1", "pools runs that differ in batch_size")]


@pytest.mark.parametrize("condition", ["lr=0.1", "lr=1e-1", "lr=.10"])
def test_where_compares_numbers_as_numbers(sweep, condition):
    got = read_sweep(sweep, where=[condition, "seed=1"])
    assert names(got) == [ONE]
    assert got.keys == []


@pytest.mark.parametrize(
    ("conditions", "seeds"),
    [
        (["seed=0,2"], [0, 2]),
        (["seed!=0,2"], [1]),
        (["seed<1"], [0]),
        (["seed<=1"], [0, 1]),
        (["seed>1"], [2]),
        (["seed>=1", "seed!=2"], [1]),
        (["seed=0,1,seed>0"], [1]),
    ],
)
def test_where_knows_alternatives_orders_and_exceptions(sweep, conditions, seeds):
    got = read_sweep(sweep, where=["lr=0.1", *conditions])
    assert [run.config["seed"] for run in got.runs] == seeds


def test_an_order_is_for_numbers(sweep):
    for name, width in {"a": 5, "b": 50, "c": "auto", "d": None}.items():
        write_run(sweep / name, LOSSES, model={"name": "mlp", "width": width})
    assert names(read_sweep(sweep, where="model.width<20")) == ["a"]
    assert names(read_sweep(sweep, where="model.width!=50,null")) == ["a", "c"]


def test_1_and_1_0_are_one_value_of_one_name(tmp_path):
    for seed, lr in enumerate((1, 1.0, 2)):
        write_run(tmp_path / str(seed), LOSSES, lr=lr, seed=seed)
    (group, _) = read_sweep(tmp_path).groups
    assert (len(group.runs), group.name) == (2, "lr=1")
    assert label(1.0) == "1" and label([300.0, 0.5]) == "[300,0.5]" and label(1e-08) == "1e-08"
    for text in ("lr=1", "lr=1.0", "lr=1e0"):
        assert names(read_sweep(tmp_path, where=text)) == ["0", "1"]


def test_where_compares_lists_and_words(sweep):
    write_run(sweep / "small", LOSSES, model=CONFIG["model"] | {"hidden_sizes": [20]})
    assert names(read_sweep(sweep, where=["model.hidden_sizes=[20]"])) == ["small"]
    others = ["model.hidden_sizes=[300, 100]", "model=mlp", "progress=true"]
    assert len(read_sweep(sweep, where=others).runs) == 6
    assert len(read_sweep(sweep, where="model.hidden_sizes=[300,100],[20],lr=0.1").runs) == 4


def test_of_copies_the_last_finished_counts(tmp_path):
    write_run(tmp_path / "2026-01-01", LOSSES)
    write_run(tmp_path / "2026-01-02", LOSSES)
    write_run(tmp_path / "2026-01-03", LOSSES, status="failed")
    got = read_sweep(tmp_path)
    assert names(got) == ["2026-01-02"]
    what = "same configuration and seed as 2026-01-02"
    assert got.findings == [Finding("2026-01-03", what), Finding("2026-01-01", what)]


def test_a_seed_that_half_of_the_groups_have_is_missed(sweep):
    shutil.rmtree(sweep / ONE)
    got = read_sweep(sweep)
    assert got.findings == [Finding("lr=0.1", "no run with seed 1")]


def test_versions_of_the_code_in_one_group(sweep):
    shutil.rmtree(sweep / ONE)
    write_run(sweep / ONE, LOSSES, lr=0.1, seed=1, commit="abcdef0123")
    got = read_sweep(sweep)
    what = "made by code version abcdef0, its group by 1234567"
    assert got.findings == [Finding(ONE, what)]
    assert counted(got) == ALL


# Finding runs


def test_a_run_can_be_given_itself(sweep):
    assert names(read_sweep([sweep / ONE])) == [ONE]


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
    assert set(names(got)) == {*ALL[0], *ALL[1], "linked", "nested/deep"}
    assert got.findings[0] == Finding("empty", "an empty folder")
    assert {run for run, _ in got.findings[1:]} == {"lr=0.5", "lr=0.7"}  # not all seeds


def test_a_folder_that_cannot_be_read_is_named(sweep, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith(ONE):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    got = read_sweep(sweep)
    assert Finding(ONE, "Permission denied") in got.findings
    assert counted(got) == WITHOUT_ONE


@pytest.mark.parametrize(
    ("folder", "options", "what"),
    [
        ("none", {}, "none: no such folder"),
        ("empty", {}, "no runs under .*empty"),
        (".", {"by": ["learning_rate", "lr"]}, "by: unknown 'learning_rate'; known are name,"),
        (".", {"by": ["batch_sise"]}, "did you mean batch_size"),
        (".", {"where": ["lr"]}, "where wants KEY=VALUE, such as lr=0.01, got 'lr'"),
        (".", {"where": ["ler=1"]}, "did you mean lr"),
        (".", {"where": ["lr<a"]}, "where lr< wants one number, got a"),
        (".", {"where": ["lr<1,2"]}, "where lr< wants one number, got 1,2"),
        (".", {"where": ["0.1,lr=1"]}, "where wants KEY=VALUE, such as lr=0.01, got '0.1,lr=1'"),
        (".", {"where": ["lr>0.1"]}, "where lr>0.1 matches none of 6 runs; lr: 0.01, 0.1"),
        (".", {"where": ["lr=0.2"]}, "where lr=0.2 matches none of 6 runs; lr: 0.01, 0.1"),
        (".", {"where": ["lr=0.1", "seed=7"]}, "matches none of 3 runs; seed: 0, 1, 2"),
    ],
)
def test_what_cannot_be_read_is_said(sweep, folder, options, what):
    (sweep / "empty").mkdir()
    with pytest.raises(UserError, match=what):
        read_sweep([sweep / folder], **options)


@pytest.mark.parametrize("several", [str, lambda path: [path]])
def test_one_value_may_stand_without_a_list(sweep, several):
    got = read_sweep(several(sweep), by="lr", where="seed=1")
    assert names(got) == ["lr=0.01,seed=1", ONE]


def test_no_run_that_counts(tmp_path):
    write_run(tmp_path / "a", LOSSES, status="diverged")
    write_run(tmp_path / "b", LOSSES, status="running", seed=1)
    with pytest.raises(UserError, match=r"^nothing to show: a: diverged \(and 1 more\)$"):
        read_sweep(tmp_path)


def test_a_run_that_does_not_count_can_be_included(tmp_path):
    write_run(tmp_path / "a", LOSSES, status="diverged", seed=3)
    got = read_sweep(tmp_path, include=["diverged"])
    (group,) = got.groups
    assert (group.counted, names(got)) == ([], ["a"])
    assert [run.name for run in group.shown(got.include)] == ["a"]
    with pytest.raises(UserError, match=r"^nothing to show: a: diverged"):
        read_sweep(tmp_path, include=["running"])


def test_notes_name_a_run_by_its_keys_and_seed(sweep):
    (sweep / ONE).rename(sweep / "2026-01-01")
    (sweep / "2026-01-01" / "result.json").unlink()
    (sweep / "empty").mkdir()
    got = read_sweep(sweep)
    assert [run for run, _ in got.findings] == ["empty", "2026-01-01"]
    assert [run for run, _ in got.notes] == ["empty", "lr=0.1,seed=1"]
    assert [run for run, _ in read_sweep(sweep, by="seed").notes][1] == "seed=1"
