"""Runs that are trained together have the bytes that each has alone, whatever ends one of them."""

import multiprocessing
import os
import resource
import signal
import time

import numpy as np
import pytest

from mlp import make_config, run
from mlp.data import DATASETS
from mlp.errors import UserError
from mlp.fast import rare_features
from mlp.files import lock
from mlp.run_folder import RunFolder, read_checkpoint, read_result
from mlp.settings import tree_of
from mlp.stack import Stack, in_rows, likeness, stacks
from mlp.together import most_together, run_together, sizes_of

SYNTH = {"dataset": {"num_train": 203, "num_val": 300}, "model": {"hidden_sizes": [5]}, "epochs": 2}
DIGITS = {"dataset": "digits", "model": {"hidden_sizes": [7, 6]}, "epochs": 1}
LOGS = "steps.csv", "epochs.csv"


@pytest.fixture(scope="session")
def rare(tmp_path_factory):
    """A dataset whose features are mostly zero: the fast ways take it.

    Some are zero in about seven of eight examples. Another validation fifth makes others rare.
    """
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "rare.npz"
    densities = np.repeat([0.9, 0.125, 0.05], [70, 20, 70])
    x = rng.random((700, 160)) * (rng.random((700, 160)) < densities)
    np.savez(path, x_train=x.astype(np.float32), y_train=rng.integers(0, 3, 700))
    return {"name": "npz", "path": str(path), "normalize": "unit"}


def configs(common, **axes):
    """All combinations of the axes' values."""
    found = [{}]
    for key, values in axes.items():
        found = [one | {key: value} for one in found for value in values]
    return [make_config(**common | one) for one in found]


def together(some, folder):
    folders = [folder / f"together-{i}" for i in range(len(some))]
    return run_together([(one, here, [], {}) for one, here in zip(some, folders, strict=True)])


def assert_equal_bytes(some, folder):
    """Each of the runs together is what it is alone."""
    for i, config in enumerate(some):
        alone, here = folder / f"alone-{i}", folder / f"together-{i}"
        run(config, alone)
        one, two = read_result(alone), read_result(here)
        for key in "status", "config", "metrics", "error", "batch_size":
            assert one.get(key) == two.get(key)
        for name in LOGS:
            assert (alone / name).read_bytes() == (here / name).read_bytes()
        one, two = read_checkpoint(alone), read_checkpoint(here)
        assert list(one) == list(two)
        assert all(one[name].tobytes() == two[name].tobytes() for name in one)
        names = [{p.name for p in folder.iterdir()} - {".lock"} for folder in (alone, here)]
        assert names[0] == names[1]  # a kill just behind result.json leaves a lock of nobody's


def adam(beta1, weight_decay=0.0):
    return {"name": "adam", "beta1": beta1, "weight_decay": weight_decay}


NESTEROV = {"name": "sgd", "momentum": 0.9, "nesterov": True}
CASES = {
    "seeds and lr": (SYNTH, {"seed": range(3), "lr": [0.1, 0.5]}),
    "batch size 1": (SYNTH | {"batch_size": 1}, {"seed": range(2), "lr": [0.1, 0.5]}),
    "one seed": (SYNTH, {"lr": [0.1, 0.2, 0.5]}),
    "seeds alone": (DIGITS, {"seed": range(3)}),
    "the plain way": (DIGITS | {"model": {"fast": False}}, {"seed": range(2), "lr": [0.1, 0.5]}),
    "float64": (DIGITS | {"dtype": "float64", "batch_size": 50}, {"seed": range(2)}),
    "schedules": (SYNTH, {"seed": [0, 1], "schedule": ["cosine", "linear", "constant"]}),
    "initial weights": (
        SYNTH,
        {"model": [{"init": "he"}, {"init": "normal", "init_std": 0.3}], "seed": [4, 5]},
    ),
    "data": (SYNTH, {"dataset": [SYNTH["dataset"] | {"seed": i} for i in (1, 2)], "seed": [1, 2]}),
    "digits' fifths": (
        DIGITS,
        {"dataset": [{"name": "digits", "seed": i} for i in (0, 1)], "lr": [0.1, 0.5]},
    ),
    "standardised fifths": (
        DIGITS,
        {"dataset": [{"name": "digits", "seed": i, "normalize": "standard"} for i in (0, 1)]},
    ),
    "adam": (SYNTH | {"lr": 0.01}, {"seed": [0, 1], "optimizer": [adam(0.9), adam(0.8)]}),
    "weight decay": (SYNTH, {"optimizer": [adam(0.9, 0.1), adam(0.9, 0.01)], "seed": [0, 1]}),
    "momentum": (SYNTH, {"seed": [0, 1], "optimizer": [NESTEROV, NESTEROV | {"momentum": 0.5}]}),
    "muon": (DIGITS, {"optimizer": [{"name": "muon", "momentum": m} for m in (0.9, 0.5)]}),
}


@pytest.mark.parametrize("case", CASES)
def test_together_each_run_has_its_bytes(case, tmp_path):
    common, axes = CASES[case]
    some = configs(common, **axes)
    assert len({likeness(tree_of(one)) for one in some}) == 1, "they are one stack"
    assert together(some, tmp_path) == [None] * len(some)
    assert_equal_bytes(some, tmp_path)


@pytest.mark.parametrize("optimizer", [{}, {"momentum": 0.9}], ids=["looking ahead", "rare apart"])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_fast_ways_have_them_too(optimizer, batch_size, rare, tmp_path):
    common = {"dataset": rare, "optimizer": optimizer, "epochs": 1, "batch_size": batch_size}
    some = configs(common, seed=range(2), lr=[0.01, 0.05, 0.1])
    assert together(some, tmp_path) == [None] * 6
    assert_equal_bytes(some, tmp_path)


def test_data_that_differ_in_what_is_rare_are_not_one_stack(rare, tmp_path):
    some = configs({"epochs": 1}, dataset=[rare | {"seed": i} for i in (0, 1)], lr=[0.01, 0.1])
    one, other = (rare_features(config.dataset.load()).tolist() for config in some[1:3])
    assert min(map(len, (one, other))) > 64 and one != other
    assert together(some, tmp_path) == [None] * 4
    assert_equal_bytes(some, tmp_path)


def test_a_step_too_large_for_the_fast_way_leaves_it_to_the_others(rare, tmp_path):
    some = configs({"dataset": rare, "epochs": 1}, lr=[0.01, 1e37], seed=[0, 1])
    assert together(some, tmp_path) == [None] * 4
    assert_equal_bytes(some, tmp_path)


def test_one_that_diverges_ends_alone(tmp_path):
    some = configs(SYNTH | {"epochs": 3}, seed=range(2), lr=[0.1, 1e5, 1e38])
    assert together(some, tmp_path) == [None] * 6
    words = [read_result(tmp_path / f"together-{i}")["status"] for i in range(6)]
    assert {"finished", "diverged"} == set(words)
    assert_equal_bytes(some, tmp_path)


def test_all_may_diverge(tmp_path):
    some = configs(SYNTH, seed=range(2), lr=[1e37, 1e38])
    assert together(some, tmp_path) == [None] * 4
    assert_equal_bytes(some, tmp_path)


def test_one_that_fails_leaves_the_others_alone(tmp_path):
    some = configs(SYNTH, lr=[0.1, 0.2, 0.3, 0.4, 0.5])
    (tmp_path / "together-0").write_text("no folder")
    run(make_config(**SYNTH, lr=7), tmp_path / "together-1")
    (tmp_path / "together-2").mkdir()
    with lock(tmp_path / "together-2/.lock"):
        run(some[3], tmp_path / "together-3")
        before = (tmp_path / "together-3/result.json").stat().st_mtime_ns
        errors = together(some, tmp_path)
    assert isinstance(errors[0], FileExistsError)
    assert "holds another configuration: lr is 7.0 there" in str(errors[1])
    assert "is in use" in str(errors[2])
    assert errors[3:] == [None, None]
    assert (tmp_path / "together-3/result.json").stat().st_mtime_ns == before, "it was done"
    assert read_result(tmp_path / "together-4")["status"] == "finished"


def test_data_that_cannot_be_had_fail_their_own_runs(tmp_path):
    some = [make_config(**SYNTH)] * 1 + configs({}, dataset=[{"name": "npz", "path": "gone.npz"}])
    errors = together(some, tmp_path)
    assert errors[0] is None and isinstance(errors[1], UserError)
    assert read_result(tmp_path / "together-1")["status"] == "failed"


def torn(monkeypatch, n, is_torn=lambda path: True):
    """The n-th record that a run of these writes is torn in the middle, and the run fails."""
    append, written = RunFolder._append, {}

    def tearing(self, log, text):
        written[self.path] = written.get(self.path, 0) + 1
        if written[self.path] > n and is_torn(self.path):
            append(self, log, text[: len(text) // 2])
            raise RuntimeError("torn")
        append(self, log, text)

    monkeypatch.setattr(RunFolder, "_append", tearing)


@pytest.mark.parametrize("n", [0, 1, 4, 9])
def test_a_member_that_fails_and_goes_on(n, tmp_path, monkeypatch):
    some = configs(SYNTH | {"epochs": 3, "checkpoint_every": 1}, seed=[0, 1], lr=[0.1, 0.5])
    with monkeypatch.context() as patch:
        torn(patch, n, lambda path: path.name == "together-2")
        errors = together(some, tmp_path)
    assert [str(error) for error in errors if error] == ["torn"]
    assert together(some, tmp_path) == [None] * 4
    assert_equal_bytes(some, tmp_path)


def test_runs_that_were_stopped_go_on_together_or_alone(tmp_path, monkeypatch):
    common = SYNTH | {"epochs": 3, "checkpoint_every": 1}
    some = configs(common, optimizer=[adam(0.9), adam(0.8)], lr=[0.01, 0.02], seed=[0, 1])
    with monkeypatch.context() as patch:
        torn(patch, 7)  # all at the same step
        assert None not in together(some, tmp_path)
    run(some[1], tmp_path / "together-1")  # alone
    with monkeypatch.context() as patch:
        torn(patch, 3, lambda path: path.name[-1] in "024")  # some come further than others
        together(some, tmp_path)
    assert together(some, tmp_path) == [None] * 8
    assert_equal_bytes(some, tmp_path)


def test_an_epoch_that_has_no_figures_yet_gets_them(tmp_path, monkeypatch):
    """Two runs at the same step, one of which has been measured there."""
    some = configs(SYNTH | {"checkpoint_every": 1}, seed=[0, 1])
    with monkeypatch.context() as patch:
        patch.setattr("mlp.together.PAUSE", 0)
        torn(patch, 5, lambda path: path.name == "together-0")  # its epoch's row
        torn(patch, 6, lambda path: path.name == "together-1")
        assert None not in together(some, tmp_path)
    states = [read_checkpoint(tmp_path / f"together-{i}") for i in range(2)]
    assert [(int(one["step"]), int(one["epoch"])) for one in states] == [(13, 0), (13, 1)]
    assert together(some, tmp_path) == [None] * 2
    assert_equal_bytes(some, tmp_path)


def test_a_signal_saves_every_run(tmp_path, monkeypatch):
    some = configs(SYNTH | {"epochs": 3}, seed=[0, 1], lr=[0.1, 0.5])
    records, n = Stack.records, 5

    def interrupted(self, _):
        for number, record in enumerate(records(self)):
            if number == n:
                signal.raise_signal(signal.SIGTERM)
            yield record

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Stack, "records", interrupted)
        patch.setattr(signal, "raise_signal", signal.raise_signal)
        before = signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        try:
            together(some, tmp_path)
        finally:
            signal.signal(signal.SIGTERM, before)
    for i in range(4):
        assert read_result(tmp_path / f"together-{i}")["status"] == "interrupted"
        assert read_checkpoint(tmp_path / f"together-{i}")["step"] > 0
    assert together(some, tmp_path) == [None] * 4
    assert_equal_bytes(some, tmp_path)


def test_a_result_is_told_once_what_it_tells_of_is_on_the_disk(tmp_path, monkeypatch):
    some, there = configs(SYNTH, seed=[0, 1]), []
    monkeypatch.setattr(os, "sync", lambda: there.extend(p.name for p in tmp_path.rglob("*.*")))
    assert together(some, tmp_path) == [None] * 2
    assert there.count("checkpoint.npz") == there.count("steps.csv") == 2
    assert "result.json" not in there


def test_a_kill_at_any_moment_loses_none(tmp_path):
    common = SYNTH | {"epochs": 3, "checkpoint_every": 1}
    some = configs(common, seed=[0, 1, 2], lr=[0.1, 0.5])
    rng = np.random.default_rng(0)
    for _ in range(6):
        process = multiprocessing.get_context("fork").Process(
            target=together, args=[some, tmp_path]
        )
        process.start()
        time.sleep(rng.uniform(0, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert together(some, tmp_path) == [None] * 6
    assert_equal_bytes(some, tmp_path)


# Which runs go together


def trees(common, **axes):
    return [tree_of(config) for config in configs(common, **axes)]


@pytest.mark.parametrize(
    ("n_seeds", "n_lrs", "n_parts", "most"),
    [(40, 4, 2, 32), (3, 4, 2, 12), (1, 9, 2, 128), (50, 1, 3, 7), (2, 40, 1, 12), (1, 1, 2, 9)],
)
def test_each_run_is_in_one_stack_of_a_good_size(n_seeds, n_lrs, n_parts, most):
    some = trees({}, lr=np.linspace(0.1, 1, n_lrs).tolist(), seed=range(n_seeds))
    found = stacks(some, n_parts, lambda tree: most)
    assert sorted(i for stack in found for i in stack) == list(range(len(some)))
    assert max(map(len, found)) <= max(most, 1)
    assert len(found) >= min(n_parts, len(some))
    assert len(found) <= max(n_parts, 2 * len(some) / most + 1)
    for stack in found:
        assert len(in_rows([some[i] for i in stack])) == 1, "it has full rows"


def test_runs_of_other_shapes_stay_apart():
    axes = {
        "batch_size": [4, 8],
        "dtype": ["float32", "float64"],
        "optimizer": [{}, {"momentum": 0.9}, "adam"],
        "model": [{}, {"hidden_sizes": [3]}, {"activation": "tanh"}],
        "seed": [0, 1],
    }
    some = trees({}, **axes)
    found = stacks(some, 1, lambda tree: 128)
    assert len(found) == 36 and set(map(len, found)) == {2}
    assert stacks(some, 1, lambda tree: 1) == [[i] for i in range(72)]
    scalar = trees({"model": "scalar", "lr": 0.1}, seed=range(3))
    assert stacks(scalar, 1, lambda tree: 128) == [[0], [1], [2]]


def test_a_large_network_runs_alone():
    small, large = ({"model": {"hidden_sizes": [n]}, "dataset": "digits"} for n in (8, 20_000))
    assert most_together(tree_of(make_config(**small))) > 100
    assert most_together(tree_of(make_config(**large))) == 1
    gone = {"dataset": {"name": "npz", "path": "gone.npz"}}
    assert most_together(tree_of(make_config(**gone))) == 1


def test_a_stack_opens_no_more_files_than_the_machine_allows():
    small = tree_of(make_config(dataset="digits"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (130, hard))
        assert most_together(small) == 10
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        assert most_together(small) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("name", ["synth", "digits", "iris", "wine", "breast_cancer"])
def test_sizes_that_are_known_are_those_of_the_data(name):
    (source,) = (cls for cls in DATASETS if cls.name == name)
    assert source.sizes == sizes_of(make_config(dataset=name).dataset.load())


def test_the_sizes_of_images_are_known():
    config = make_config(dataset="mnist")
    if "MLP_DATA_DIR" not in os.environ:
        pytest.skip("MLP_DATA_DIR is not set")
    assert config.dataset.sizes == sizes_of(config.dataset.load())
