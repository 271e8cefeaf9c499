"""One run that is stopped, killed or damaged, and goes on: the same bytes, or one clear line."""

import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlp import make_config, run
from mlp.errors import UserError
from mlp.files import PART
from mlp.run_folder import CHECKPOINTS, Damaged, RunFolder, read_checkpoint, read_result

ROOT = Path(__file__).resolve().parents[1]
LOGS = "steps.csv", "epochs.csv"
SMALL = {"dataset": {"num_train": 700, "num_val": 100}, "epochs": 2, "checkpoint_every": 1}


@pytest.fixture(scope="session")
def rare(tmp_path_factory):
    """A dataset whose features are mostly zero: the fast ways take it."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "rare.npz"
    x = rng.random((900, 160)) * (rng.random((900, 160)) < np.where(np.arange(160) < 70, 0.9, 0.05))
    np.savez(path, x_train=x.astype(np.float32), y_train=rng.integers(0, 3, 900))
    return {"name": "npz", "path": str(path), "normalize": "unit"}


def files(folder, names=LOGS):
    return {name: (folder / name).read_bytes() for name in names}


def stop_at(n, monkeypatch):
    """The n-th record that a run writes is torn in the middle, and the run ends there."""
    append, written = RunFolder._append, []

    def torn(self, log, text):
        written.append(text)
        if len(written) > n:
            append(self, log, text[: len(text) // 2])
            raise RuntimeError("stopped")
        append(self, log, text)

    monkeypatch.setattr(RunFolder, "_append", torn)


def assert_goes_on(config, tmp_path, monkeypatch, stops):
    whole = run(config, tmp_path / "whole")
    for n in stops:
        folder = tmp_path / str(n)
        with monkeypatch.context() as patch, pytest.raises(RuntimeError):
            stop_at(n, patch)
            run(config, folder)
        assert read_result(folder)["status"] == "failed"
        again = run(config, folder)
        assert files(folder) == files(tmp_path / "whole")
        assert again.metrics == whole.metrics == read_result(folder)["metrics"]
        assert again.state.keys() == whole.state.keys()
        for name, array in again.state.items():
            assert array.tobytes() == whole.state[name].tobytes()
        assert [epoch[:-1] for epoch in again.epochs] == [epoch[:-1] for epoch in whole.epochs]
        np.testing.assert_allclose(again.losses, whole.losses, rtol=1e-8)


SGD, ADAM = {"name": "sgd"}, {"name": "adam"}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": SGD | {"momentum": 0.9}},
        {"optimizer": SGD | {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}},
        {"optimizer": ADAM | {"weight_decay": 0.01}, "lr": 0.01},
        {"schedule": "linear", "dtype": "float64"},
        {"schedule": "cosine", "optimizer": ADAM, "lr": 0.01, "dtype": "float64"},
        {"schedule": "one_cycle", "batch_size": 7},
        {"model": "scalar", "dataset": {"num_train": 300, "num_val": 50}},
        {"model": {"hidden_sizes": [5, 4], "activation": "relu", "fast": False}},
    ],
    ids=str,
)
def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(settings, tmp_path, monkeypatch):
    config = make_config(**SMALL | settings)
    assert_goes_on(config, tmp_path, monkeypatch, [1, 4, 12])


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("optimizer", [SGD, SGD | {"momentum": 0.5}, ADAM], ids=str)
def test_the_fast_ways_go_on_to_the_same_bytes(optimizer, fast, rare, tmp_path, monkeypatch):
    own = {"dataset": rare, "optimizer": optimizer, "model": {"fast": fast}, "lr": 0.05}
    assert_goes_on(make_config(**SMALL | own), tmp_path, monkeypatch, [2, 4, 12])


@pytest.mark.parametrize("every", [None, 1, 16, 30, 10**9])
def test_checkpoints_are_as_frequent_as_asked(every, tmp_path, monkeypatch):
    steps, write = [], RunFolder.hold
    monkeypatch.setattr(
        RunFolder,
        "hold",
        lambda self, state: (steps.append(int(state["step"])), write(self, state)),
    )
    run(make_config(**SMALL | {"checkpoint_every": every}), tmp_path)
    ends = [0, 44, 88]  # of the epochs
    blocks = {1: [8, 16, 24], 16: [16, 32, 60, 76], 30: [32, 64 + 12]}.get(every, [])
    assert [step for step in ends + blocks if step not in steps] == []
    assert every == 1 or steps == sorted(ends + blocks)


# Which run a folder holds


def test_a_finished_run_is_left_as_it_is(tmp_path):
    config, said = make_config(**SMALL), []
    first = run(config, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    same = make_config(**SMALL | {"name": "other", "progress": False, "checkpoint_every": 7})
    again = run(same, tmp_path, say=said.append)
    assert said[0].startswith("finished before, left as it is: train_loss ")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert (again.status, again.metrics) == ("finished", first.metrics)
    assert again.state.keys() - {"logs", "config"} == first.state.keys()
    assert len(again.losses) == len(first.losses)


def test_a_diverged_run_is_left_as_it_is(tmp_path):
    config = make_config(**SMALL | {"lr": 1e30, "model": {"activation": "relu"}})
    assert run(config, tmp_path).status == "diverged"
    before = files(tmp_path, [*LOGS, "result.json", "checkpoint.npz"])
    again = run(config, tmp_path)
    assert again.status == "diverged" and not np.isfinite(again.losses[-1])
    assert files(tmp_path, before) == before


@pytest.mark.parametrize("ended", [True, False])
def test_another_configuration_is_refused_before_anything_is_written(ended, tmp_path):
    run(make_config(**SMALL), tmp_path)
    if not ended:
        (tmp_path / "result.json").unlink()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"another configuration: lr is 0.05 there, 0.1 here; "):
        run(make_config(**SMALL, lr=0.1), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    (tmp_path / "result.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match=r"has format 99.*overwrite=true"):
        run(make_config(**SMALL), tmp_path)


def test_overwrite_says_what_it_deletes_and_deletes_nothing_else(tmp_path):
    run(make_config(**SMALL), tmp_path)
    mine = ["old-steps.csv.bak", "my-result.json", ".checkpoint.npz.mine", ".hydra/mine.yaml"]
    (tmp_path / ".hydra").mkdir()
    for name in mine:
        (tmp_path / name).write_text("mine")
    part = ".checkpoint.npz.0123456789abcdef"
    (tmp_path / part).touch()  # a kill left it
    said = []
    run(make_config(**SMALL, lr=0.1), tmp_path, say=said.append, overwrite=True)
    assert said[0].startswith("overwrite=true deletes result.json, checkpoint.npz, steps.csv, ")
    assert read_result(tmp_path)["config"]["lr"] == 0.1
    assert all((tmp_path / name).read_text() == "mine" for name in mine)
    assert not list(tmp_path.glob(PART))


def test_what_failed_before_is_not_told_of_this_attempt(tmp_path, monkeypatch):
    config = make_config(**SMALL)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        stop_at(3, patch)
        run(config, tmp_path)
    failed = read_result(tmp_path)
    assert failed["error"] == "RuntimeError: stopped"
    assert failed["traceback"].startswith("Traceback ") and "in torn" in failed["traceback"]
    seen = []
    monkeypatch.setattr(
        type(config.dataset), "load", lambda self: seen.append(os.listdir(tmp_path))
    )
    with pytest.raises(AttributeError):
        run(config, tmp_path)
    assert "result.json" not in seen[0] and ".lock" in seen[0]


def test_nothing_is_written_into_the_logs_before_the_data_stand(rare, tmp_path):
    config = make_config(**SMALL | {"dataset": {"name": "npz", "path": "none.npz"}})
    with pytest.raises(UserError):
        run(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert "traceback" not in read_result(tmp_path)


# Damage


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """(its configuration, its folder, the logs of the whole run): a run that has not ended."""
    config = make_config(**SMALL)
    run(config, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        stop_at(9, patch)
        run(config, tmp_path / "part")
    return config, tmp_path / "part", files(tmp_path / "whole")


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(stopped):
    config, folder, whole = stopped
    newest, before = (read_checkpoint(folder, name)["step"] for name in CHECKPOINTS)
    assert newest > before > 0
    path = folder / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-1])
    said = []
    run(config, folder, say=said.append)
    assert said[0] == "checkpoint.npz can't be read (ValueError): it is not used"
    assert said[1] == f"going on after step {before}"
    assert files(folder) == whole
    assert not (folder / CHECKPOINTS[1]).exists(), "a finished run needs it no more"


def test_without_a_checkpoint_a_run_starts_over(stopped):
    config, folder, whole = stopped
    for name in CHECKPOINTS:
        (folder / name).write_bytes(b"damaged")
    said = []
    run(config, folder, say=said.append)
    said = [line.split()[0] for line in said if not line.startswith(("epoch", "no better"))]
    assert said == [*CHECKPOINTS, "synth:", "finished:", "run"]
    assert files(folder) == whole


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("spoil", ["torn", "longer", "lost", "zeros", "gone"])
def test_logs_that_are_not_the_checkpoints(stopped, log, spoil):
    config, folder, whole = stopped
    path = folder / log
    data = path.read_bytes()
    changed = {"torn": data[:-3], "longer": data + b"9,9,9\n", "lost": data[:40]}
    changed["zeros"] = data[:-60] + bytes(60)
    if spoil == "gone":
        path.unlink()
    else:
        path.write_bytes(changed[spoil])
    run(config, folder)
    assert files(folder) == whole


def test_a_checkpoint_of_another_configuration_is_never_used(stopped):
    config, folder, whole = stopped
    other = folder.parent / "other"
    run(make_config(**SMALL, seed=1), other)
    for name in [*LOGS, "checkpoint.npz"]:
        (folder / name).write_bytes((other / name).read_bytes())
    (folder / CHECKPOINTS[1]).unlink()
    run(config, folder)
    assert files(folder) == whole


@pytest.mark.parametrize("kind", ["pickle", "object array"])
def test_a_checkpoint_runs_no_code(stopped, kind, tmp_path):
    import hashlib
    import io
    import pickle

    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "evil",)

    config, folder, whole = stopped
    if kind == "pickle":
        data = pickle.dumps(Evil())
    else:
        evil = np.array([Evil()], object)
        np.savez(file := io.BytesIO(), step=evil, x_train=evil, y_train=evil)
        data = file.getvalue()[:-2] + b"\x20\0"
        data += hashlib.sha256(data).digest()
    (folder / "checkpoint.npz").write_bytes(data)
    with pytest.raises(Damaged):
        read_checkpoint(folder)
    run(config, folder)
    assert files(folder) == whole
    assert not (tmp_path / "evil").exists()
    (tmp_path / "evil.npz").write_bytes(data)
    with pytest.raises(UserError, match=r"is not a \.npz file of plain arrays"):
        run(make_config(dataset={"name": "npz", "path": str(tmp_path / "evil.npz")}))
    assert not (tmp_path / "evil").exists()


# One owner


def own(path, results, go):
    go.wait()
    said = []
    try:
        run(make_config(**SMALL | {"epochs": 60, "checkpoint_every": None}), path, say=said.append)
        results.put("trained" if said[0].startswith("synth") else "finished before")
    except UserError as error:
        results.put(str(error))


def test_a_folder_has_one_owner(tmp_path):
    context = multiprocessing.get_context("fork")
    results, go = context.Queue(), context.Event()
    started = [context.Process(target=own, args=(tmp_path, results, go)) for _ in range(16)]
    for process in started:
        process.start()
    go.set()
    said = [results.get(timeout=60) for _ in started]
    for process in started:
        process.join()
    refused = f"{os.path.relpath(tmp_path)} is in use: another process runs this run"
    assert said.count("trained") == 1
    assert set(said) <= {"trained", "finished before", refused}
    assert read_result(tmp_path)["status"] == "finished"
    assert not (tmp_path / ".lock").exists()


def test_to_ask_whether_a_folder_is_in_use_does_not_stop_its_owner(tmp_path):
    with open(tmp_path / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        pid = os.fork()
        if pid == 0:
            time.sleep(0.05)
            os._exit(0)  # the lock goes with the last that holds it
    run(make_config(**SMALL), tmp_path)
    os.waitpid(pid, 0)


# From the command line


class Command:
    def __init__(self, folder, *arguments, **options):
        self.folder = folder
        arguments = [sys.executable, ROOT / "run.py", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(arguments, cwd=folder, text=True, **pipes, **options)

    def finish(self):
        self.out, self.err = self.process.communicate(timeout=120)
        self.code = self.process.returncode
        return self

    def until(self, text):
        """Waits until steps.csv of the only run is there and holds text."""
        for _ in range(3000):
            for path in self.folder.glob("outputs/*/*/steps.csv"):
                if text in path.read_text():
                    return path.parent
            time.sleep(0.01)
        raise AssertionError(self.process.communicate())


LONG = ["dataset.num_train=20000", "dataset.num_val=100", "model.hidden_sizes=[30]", "epochs=20"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_the_state_and_resume_goes_on(number, code, tmp_path):
    one = Command(tmp_path, *LONG, 'name="it\'s=here"')
    folder = one.until("\n2000,2,")
    one.process.send_signal(number)
    one.finish()
    assert (one.code, one.err) == (code, "")
    assert one.out.splitlines()[-2].startswith("interrupted: train_loss ")
    assert read_result(folder)["status"] == "interrupted"
    step = int(read_checkpoint(folder)["step"])
    assert (folder / "steps.csv").read_text().splitlines()[-1].startswith(f"{step},")
    refused = Command(tmp_path, f"resume={folder.relative_to(tmp_path)}", "lr=0.1").finish()
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "holds another configuration: lr is 0.05 there, 0.1 here; " in refused.err
    again = Command(tmp_path, f"resume={folder.relative_to(tmp_path)}", "progress=false").finish()
    assert (again.code, again.err) == (0, "")
    assert again.out.startswith(f"going on after step {step}\n")
    whole = make_config(
        dataset={"num_train": 20000, "num_val": 100}, model={"hidden_sizes": [30]}, epochs=20
    )
    run(whole, tmp_path / "whole")
    assert files(folder) == files(tmp_path / "whole")


def test_a_second_signal_stops_at_once_and_an_ignored_one_is_ignored(tmp_path, monkeypatch):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        one = Command(tmp_path, *LONG)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    one.until("\n1000,")
    one.process.send_signal(signal.SIGINT)
    one.until("\n5000,")
    one.process.send_signal(signal.SIGTERM)
    assert one.finish().code == 143
    handlers = []

    def twice(self, record):
        os.kill(os.getpid(), signal.SIGTERM)
        handlers.append(len(handlers))
        os.kill(os.getpid(), signal.SIGTERM)
        handlers.append("not reached")

    monkeypatch.setattr(RunFolder, "write", twice)
    with pytest.raises(KeyboardInterrupt) as stop:
        run(make_config(**SMALL), tmp_path / "twice")
    assert stop.value.args == (signal.SIGTERM,)
    assert handlers == [0]
    assert read_result(tmp_path / "twice")["status"] == "interrupted"


@pytest.mark.parametrize("name", ["dry_run", "fail_fast"])
def test_switches_of_sweeps_are_refused_in_a_single_run(name, tmp_path):
    one = Command(tmp_path, f"{name}=true").finish()
    assert (one.code, one.out) == (1, "")
    assert one.err == f"run.py: {name}=true is for sweeps: add -m\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_folder_that_is_named_is_a_run_to_go_on_with(tmp_path):
    small = ["dataset.num_train=500", "dataset.num_val=100", "epochs=1", "hydra.run.dir=here"]
    first = Command(tmp_path, *small).finish()
    assert (first.code, first.err) == (0, "")
    again = Command(tmp_path, *small).finish()
    assert (again.code, again.out.split(":")[0]) == (0, "finished before, left as it is")
    hydra = files(tmp_path / "here/.hydra", ["config.yaml", "overrides.yaml"])
    other = Command(tmp_path, *small, "seed=1").finish()
    assert (other.code, other.err.count("\n")) == (1, 1)
    assert files(tmp_path / "here/.hydra", hydra) == hydra
    afresh = Command(tmp_path, *small, "seed=1", "overwrite=true").finish()
    assert (afresh.code, afresh.err) == (0, "")
    assert afresh.out.startswith("overwrite=true deletes result.json, ")
    assert json.loads((tmp_path / "here/result.json").read_text())["config"]["seed"] == 1
    none = Command(tmp_path, "resume=nowhere").finish()
    assert (none.code, none.err) == (1, "run.py: resume=nowhere: no run has begun there\n")
