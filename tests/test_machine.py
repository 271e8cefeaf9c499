"""What a run may take of the machine: one line where it is not there, before anything is made."""

import os

import pytest

from mlp import experiment, machine, make_config, run
from mlp.errors import UserError
from mlp.experiment import start
from mlp.machine import cores, require_memory
from mlp.run_folder import read_result

SMALL = {"num_train": 300, "num_val": 50}


def test_what_is_there_can_be_taken():
    require_memory(2**20, "a network")
    with pytest.raises(
        UserError, match=r"^a network would take 1,048,576 GiB of memory; this mach"
    ):
        require_memory(2**50, "a network")


@pytest.mark.parametrize("n", [10**12, 10**25])
def test_more_points_than_fit_are_refused(n):
    with pytest.raises(UserError, match=r"^dataset.num_train: [\d,]+ points would take"):
        make_config(dataset={"num_train": n}).dataset.load()


@pytest.mark.parametrize(
    "settings",
    [
        {"model": {"hidden_sizes": [10**6, 10**6]}},
        {"model": {"hidden_sizes": [10**25]}},
        {"model": {"name": "scalar", "hidden_sizes": [10**6, 10**6]}},
    ],
    ids=str,
)
def test_a_network_that_does_not_fit_is_refused(settings):
    config = make_config(dataset=SMALL, **settings)
    with pytest.raises(UserError, match=r"^model.hidden_sizes: [\d,]+ parameters at batch size"):
        start(config, config.dataset.load())


def test_batches_that_do_not_fit_are_refused(monkeypatch):
    asked = []
    monkeypatch.setattr(experiment, "require_memory", lambda n_bytes, what: asked.append(n_bytes))
    for batch_size in 1, 100, 10**12:
        config = make_config(dataset=SMALL, batch_size=batch_size, model={"hidden_sizes": [8]})
        start(config, config.dataset.load())
    assert asked == [4 * 4 * (42 + rows * 12) for rows in (1, 100, 300)]


def test_a_run_takes_no_more_threads_than_it_has_processors(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "cores", lambda: 2)
    for asked, taken in (1, 1), (2, 2), (64, 2):
        lines = []
        run(
            make_config(dataset=SMALL, epochs=1, threads=asked),
            tmp_path / str(asked),
            say=lines.append,
        )
        recorded = read_result(tmp_path / str(asked))
        assert recorded["config"]["threads"] == asked
        assert {blas["threads"] for blas in recorded["environment"]["blas"]} == {taken}
        said = [line for line in lines if line.startswith("threads")]
        assert said == ["threads is 2: there are no more processors"] * (asked > 2)
    logs = [(tmp_path / name / "steps.csv").read_bytes() for name in ("2", "64")]
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    ("quota", "n"), [("max 100000", 4), ("800000 100000", 4), ("250000 100000", 2), ("5 100", 1)]
)
def test_a_control_group_may_have_less_than_the_affinity(quota, n, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(machine.Path, "read_text", lambda path: quota)
    assert cores() == n


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone has an affinity")
def test_processors_are_those_that_the_process_may_use():
    own = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, [min(own)])
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, own)
    assert 1 <= cores() <= len(own)
