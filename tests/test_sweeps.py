"""Sweeps: what runs, what is skipped or refused, what survives; on a toy program and on run.py."""

import contextlib
import json
import os
import pickle
import pty
import random
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy
import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

import run
from mlp.config import difference
from mlp.errors import UserError
from mlp.run_folder import NOTES
from mlp_sweeps import jobs, state, worker

ROOT = Path(__file__).resolve().parents[1]
CONFIG = f"""
defaults:
  - _self_
  - launcher: local
  - override hydra/launcher: null
  - override hydra/job_logging: none
name: toy
does: finish
size: 1
seed: 0
dry_run: false
overwrite: false
fail_fast: false
stack: false
hydra:
  searchpath: ["file://{ROOT}/conf"]
  sweep: {{dir: "out/${{name}}", subdir: "${{joined:${{hydra.overrides.task}}}}"}}
  sweeper: {{_target_: hydra_plugins.mlp_sweeps.GridSweeper}}
"""
PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from mlp.errors import UserError
from mlp.config import APART
from mlp_sweeps import checked_by, stacked_by

def joined(overrides):
    return ",".join(sorted(o for o in overrides if o.split("=")[0] not in APART))

OmegaConf.register_new_resolver("joined", joined)

def check(tree, overrides):
    if tree["size"] < 0:
        raise UserError(f"size must be >= 0, got {tree['size']}")
    return {key: tree[key] for key in ("name", "does", "size", "seed")}

def stacks(configs, n_parts):
    parts = [list(range(n, len(configs), n_parts)) for n in range(n_parts)]
    return [part for part in parts if part]

def together(jobs):
    return [error_of(*job) for job in jobs]

def error_of(config, folder, overrides, notes):
    Path(folder).mkdir(exist_ok=True)
    cfg, facts = OmegaConf.create(config), {"pid": os.getpid(), "notes": len(notes)}
    try:
        act(cfg, Path(folder))
        tell(cfg, Path(folder), "finished", **facts)
    except Exception as error:
        tell(cfg, Path(folder), "failed", error=str(error))
        return error

@hydra.main(version_base="1.3", config_path=".", config_name="config")
@checked_by(check)
@stacked_by(stacks, together)
def job(cfg):
    folder = Path(HydraConfig.get().runtime.output_dir)
    (folder / "result.json").unlink(missing_ok=True)
    (folder / "steps.csv").write_text(f"{os.getpid()}\\n")
    print("said on stdout")
    facts = {"pid": os.getpid(), "threads": os.environ.get("OPENBLAS_NUM_THREADS")}
    try:
        act(cfg, folder)
        tell(cfg, folder, "finished", **facts)
    except KeyboardInterrupt:
        tell(cfg, folder, "interrupted")
        raise
    except ValueError as error:
        tell(cfg, folder, "failed", error=f"{type(error).__name__}: {error}")
        raise

def tell(cfg, folder, status, **facts):
    result = {"status": status, "config": check(cfg, []), "metrics": {"val_loss": 0.5}}
    result |= {"environment": {}, **facts}
    (folder / "result.json").write_text(json.dumps(result))

def act(cfg, folder):
    if cfg.does == "raise":
        raise ValueError("it went wrong\\nand more")
    if cfg.does == "exit":
        os._exit(3)
    if cfg.does == "sys.exit":
        sys.exit(4)
    if cfg.does == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.does == "warn":
        print("mind the gap", file=sys.stderr)
    if cfg.does == "meet":  # ends when as many runs as `size` are running
        here = Path("meeting")
        here.mkdir(exist_ok=True)
        (here / f"{cfg.seed}").touch()
        wait_for(lambda: len(list(here.iterdir())) >= cfg.size)
    if cfg.does == "note":
        begin = time.time()
        time.sleep(0.5)
        span = {"begin": begin, "end": time.time(), "array": os.environ.get("SLURM_ARRAY_JOB_ID")}
        (folder / "span.json").write_text(json.dumps(span))
    if cfg.does == "insist":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        wait_for(lambda: False)
    if cfg.does == "bug":
        raise LookupError("before it could tell")
    if cfg.does == "wait":
        wait_for(lambda: Path("go").exists())

def wait_for(condition):
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > 60:
            raise TimeoutError
        time.sleep(0.01)

if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        job()
    except UserError as error:
        sys.exit(f"toy: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
"""


class Sweep:
    """The toy program, or run.py, with -m and its arguments, started in a folder."""

    def __init__(self, folder, *arguments, program="toy.py", **options):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", folder / program, "-m", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def finish(self):
        try:
            self.out, self.err = self.process.communicate(timeout=60)
        finally:
            self.process.kill()
        self.code = self.process.returncode
        return self

    def lines(self, word):
        """The lines about runs that ended so."""
        return [line for line in self.out.splitlines() if f"] {word}: " in line]

    @property
    def last(self):
        """How many runs ended how."""
        return [x for x in self.out.splitlines() if x.startswith("sweep: ")][-1].split(";")[0]

    def runs(self):
        """What every folder tells, by its name."""
        found = self.folder.glob("out/*/*/")
        return {path.name: state.read_state(path).word for path in sorted(found)}


@pytest.fixture
def toy(tmp_path):
    """Runs a sweep of the toy program to its end, on that many workers, or in its own process."""
    (tmp_path / "toy.py").write_text(PROGRAM)
    (tmp_path / "config.yaml").write_text(CONFIG)

    def run_toy(*arguments, workers=0):
        where = [f"hydra.launcher.workers={workers}"] if workers else ["launcher=serial"]
        return Sweep(tmp_path, *arguments, *where).finish()

    return run_toy


@pytest.fixture
def started(toy, tmp_path):
    """Starts a sweep of the toy program, and ends it with the test."""
    sweeps = []

    def start(*arguments, **options):
        sweeps.append(Sweep(tmp_path, *arguments, **options))
        return sweeps[-1]

    yield start
    for sweep in sweeps:
        sweep.process.kill()


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def has_begun(folder, n):
    return lambda: sum(path.stat().st_size > 0 for path in folder.glob("out/*/*/steps.csv")) >= n


def result(folder):
    return json.loads((folder / "result.json").read_text())


def assert_gone(pid):
    def gone():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z"
        return True

    wait_for(gone)


# What runs where


def test_as_many_runs_at_a_time_as_there_are_workers(toy, tmp_path):
    one = toy("does=meet", "size=3", "seed=range(3)", workers=3)
    assert (one.code, one.err) == (0, "")
    results = [result(path) for path in tmp_path.glob("out/toy/*")]
    assert len({found["pid"] for found in results}) == 3
    assert {found["threads"] for found in results} == {"1"}, "known before NumPy is loaded"


def test_workers_are_used_again(toy, tmp_path):
    toy("seed=range(6)", workers=2)
    results = [result(path) for path in tmp_path.glob("out/toy/*")]
    assert len(results) == 6
    assert len({found["pid"] for found in results}) <= 2


def test_serial_runs_one_after_the_other_in_this_process(started, tmp_path):
    one = started("launcher=serial", "seed=2,1,0").finish()
    assert one.code == 0
    assert [line.split("=")[1][0] for line in one.lines("finished")] == ["2", "1", "0"]
    assert one.out.count("said on stdout") == 3
    assert {result(path)["pid"] for path in tmp_path.glob("out/toy/*")} == {one.process.pid}


def test_a_run_that_fails_in_any_way_leaves_the_others_alone(toy, tmp_path):
    ways = "does=finish,raise,exit,sys.exit,kill,warn,bug"
    one = toy(ways, "seed=0,1", workers=2)
    assert one.code == 1
    assert one.last == "sweep: 4 finished, 10 failed"
    failures = dict(line.split(": ", 2)[1:] for line in one.err.splitlines() if "failed:" in line)
    assert failures == {
        f"out/toy/does={way},seed={seed}": line
        for seed in (0, 1)
        for way, line in {
            "raise": "ValueError: it went wrong",
            "exit": "worker died (exit code 3)",
            "sys.exit": "it called sys.exit(4)",
            "kill": "worker died (signal 9)",
            "bug": "LookupError: before it could tell",
        }.items()
    }
    assert one.err.count("mind the gap") == 2
    assert one.err.count("Traceback") == 4, "where its folder does not tell: exit, bug"
    assert "said on stdout" not in one.out
    again = toy("does=finish,raise", "seed=0,1")
    assert again.out.splitlines()[0] == (
        "sweep of 4: 2 finished already, skipped, 2 to run again after they failed"
    )


def test_serial_survives_what_raises_and_what_exits(toy):
    one = toy("does=raise,sys.exit,finish")
    assert one.code == 1
    assert one.last == "sweep: 1 finished, 2 failed"


@pytest.mark.slow
def test_fail_fast_stops_after_the_first_failure(toy):
    one = toy("does=raise", "seed=range(5)", "fail_fast=true")
    assert one.code == 1
    assert one.last == "sweep: 1 failed, 4 not started"
    one = toy("does=wait,raise", "fail_fast=true", "name=two", workers=2)
    assert one.code == 1
    assert one.last == "sweep: 1 failed, 1 interrupted", "what runs saves its state"


# What is skipped, goes on, or is refused


def test_the_same_command_runs_what_is_not_done(toy):
    first = toy("seed=0,1", "size=2,3")
    assert first.last == "sweep: 4 finished"
    again = toy("size=3,2", "seed=1,0")
    assert again.code == 0
    assert again.out.splitlines()[0] == "sweep of 4: 4 finished already, skipped"
    larger = toy("size=2,3", "seed=range(3)", workers=2)
    assert larger.last == "sweep: 2 finished, 4 skipped"


@pytest.mark.slow
def test_the_same_command_goes_on_after_ctrl_c(started, toy, tmp_path):
    one = started("does=wait", "seed=range(4)", "hydra.launcher.workers=2")
    wait_for(has_begun(tmp_path, 2))
    one.process.send_signal(signal.SIGINT)
    one.finish()
    assert (one.code, one.err) == (130, "")
    assert one.last == "sweep: 2 interrupted, 2 not started"
    assert sorted(one.runs().values()) == ["interrupted"] * 2
    (tmp_path / "go").touch()
    again = toy("does=wait", "seed=range(4)")
    assert again.out.splitlines()[0] == "sweep of 4: 2 to go on, 2 new"
    assert set(again.runs().values()) == {"finished"}


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow)])
def test_other_ways_to_ask_a_sweep_to_stop(started, tmp_path, name):
    one = started("does=wait", "seed=0,1,2", "hydra.launcher.workers=1")
    wait_for(has_begun(tmp_path, 1))
    number = getattr(signal, name)
    one.process.send_signal(number)
    assert one.finish().code == 128 + number
    assert one.last == "sweep: 1 interrupted, 2 not started"


@pytest.mark.slow
def test_ctrl_c_before_any_run_has_begun_is_quiet(started):
    one = started("does=wait", "seed=range(4)", "hydra.launcher.workers=2")
    assert one.process.stdout.readline().startswith("sweep of 4")
    one.process.send_signal(signal.SIGINT)
    one.finish()
    assert (one.code, one.err) == (130, "")


def test_ctrl_c_in_serial_ends_the_sweep_too(started, tmp_path):
    one = started("does=wait", "seed=range(4)", "launcher=serial")
    wait_for(has_begun(tmp_path, 1))
    one.process.send_signal(signal.SIGINT)
    one.finish()
    assert (one.code, one.err) == (130, "")
    assert one.last == "sweep: 1 interrupted, 3 not started"


def test_a_second_ctrl_c_stops_at_once(started, tmp_path):
    one = started("does=insist", "seed=0", "hydra.launcher.workers=1")
    wait_for(has_begun(tmp_path, 1))
    pid = int((tmp_path / "out/toy/does=insist,seed=0/steps.csv").read_text())
    one.process.send_signal(signal.SIGINT)
    while "stopping" not in one.process.stdout.readline():
        pass
    one.process.send_signal(signal.SIGINT)
    assert one.finish().code == 130
    assert_gone(pid)


def test_workers_end_when_their_sweep_is_killed(started, toy, tmp_path):
    one = started("does=wait", "seed=0,1", "hydra.launcher.workers=2")
    wait_for(has_begun(tmp_path, 2))
    pids = [int(path.read_text()) for path in tmp_path.glob("out/toy/*/steps.csv")]
    one.process.kill()
    for pid in pids:
        assert_gone(pid)
    (tmp_path / "go").touch()
    again = toy("does=wait", "seed=0,1")
    assert again.out.splitlines()[0] == "sweep of 2: 2 to go on"
    assert again.last == "sweep: 2 finished"


def test_a_dry_run_tells_and_writes_nothing(toy, tmp_path):
    toy("does=finish,raise", "seed=0")
    (tmp_path / "config.yaml").write_text(CONFIG.replace("size: 1", "size: 2"))
    before = sorted(tmp_path.rglob("*"))
    one = toy("seed=0,1", "does=finish,raise", "dry_run=true")
    assert one.code == 1
    differs = "holds another configuration: size is 1 there, 2 here"
    assert one.out.splitlines()[1:] == [
        f"refuse: out/toy/does=finish,seed=0 {differs}",
        f"refuse: out/toy/does=raise,seed=0 {differs}",
        "run: out/toy/does=finish,seed=1",
        "run: out/toy/does=raise,seed=1",
    ]
    assert sorted(tmp_path.rglob("*")) == before


def test_another_configuration_is_refused_before_anything_runs(toy, tmp_path):
    toy("seed=0,1")
    (tmp_path / "config.yaml").write_text(CONFIG.replace("size: 1", "size: 2"))
    one = toy("seed=2,1,0")
    assert one.code == 1
    assert one.err == (
        "toy: out/toy/seed=1 holds another configuration: size is 1 there, 2 here "
        "(and 1 more); choose another name=, or add overwrite=true\n"
    )
    assert set(one.runs()) == {"seed=0", "seed=1"}
    afresh = toy("seed=2,1,0", "overwrite=true")
    assert afresh.code == 0
    assert "overwrite=true deletes the results of 2 runs: 2 finished" in afresh.out
    assert [result(path)["config"]["size"] for path in tmp_path.glob("out/toy/*")] == [2, 2, 2]


def test_overwrite_removes_the_program_s_own_files_alone(toy, tmp_path):
    toy("seed=0")
    mine = tmp_path / "out/toy/seed=0/old-steps.csv.bak"
    mine.write_text("mine")
    toy("seed=0", "overwrite=true")
    assert mine.read_text() == "mine"


def test_runs_that_would_share_a_folder_are_refused_and_repeated_ones_run_once(toy):
    one = toy("seed=0,1", "hydra.sweep.subdir=same")
    assert one.err == (
        "toy: seed=0 launcher=serial and seed=1 launcher=serial would share the folder "
        "out/toy/same\n"
    )
    assert toy("seed=1,1,0").last == "sweep: 2 finished"


@pytest.mark.slow
def test_a_run_that_another_process_owns_is_left_to_it(toy, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    folder = tmp_path / "out/toy/seed=0"
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        one = toy("seed=0,1")
        assert one.out.splitlines()[0] == "sweep of 2: 1 running elsewhere, 1 new"
        refused = toy("seed=0", "overwrite=true")
        assert "is running in another process" in refused.err
    assert toy("seed=0,1").last == "sweep: 1 finished, 1 skipped"


def test_a_place_that_cannot_be_written_to_is_said_once(toy, tmp_path):
    (tmp_path / "out").touch()
    assert toy("seed=0,1").err == f"toy: can't make out/toy: Not a directory: {tmp_path}/out/toy\n"


@pytest.mark.slow
def test_switches_hold_for_a_whole_sweep(toy):
    one = toy("fail_fast=true,false")
    assert one.err == "toy: fail_fast holds for a whole sweep: give it one value\n"
    assert toy("dry_run=1").err == "toy: dry_run must be true or false, got 1\n"
    one = toy("seed=0", workers=-1)
    assert one.err == "toy: hydra.launcher.workers must be null or >= 1, got -1\n"


# What is said


def test_a_reader_that_goes_away_does_not_stop_a_sweep(started):
    one = started("seed=range(3)")
    one.process.stdout.readline()
    one.process.stdout.close()
    assert one.process.wait(60) == 0
    assert one.process.stderr.read() == ""
    assert set(one.runs().values()) == {"finished"}


def test_a_terminal_shows_one_bar_for_the_whole_sweep(started):
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 100))
    one = started("seed=range(4)", "does=finish,raise", stdout=child, stderr=child)
    os.close(child)
    seen = b""
    with contextlib.suppress(OSError):  # its end
        while part := os.read(parent, 10_000):
            seen += part
    assert one.process.wait(60) == 1
    text = seen.decode().replace("\r", "\n")
    assert "8 of 8|" in text
    assert " running" in text
    assert ", 4 failed" in text
    lines = [line for line in text.splitlines() if line.startswith("[") and "finished: " in line]
    assert len(lines) == 4


# Composition


@pytest.fixture
def loader():
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def master_of(loader, *overrides):
    return loader.load_configuration("config", list(overrides), run_mode=RunMode.MULTIRUN)


@pytest.mark.parametrize(
    "overrides",
    [
        "lr=0.1 seed=1",
        "lr=0.3 optimizer=adam",
        "optimizer=adam lr=0.3",
        "experiment=mnist model.hidden_sizes=[3,4] optimizer.momentum=0.1",
        "+model.x=3 lr=1",
        "model={init:he} lr=2",
        "dataset=npz dataset.path='a=b'",
        "lr=1e-3 ~schedule",
        "",
    ],
)
def test_a_job_is_composed_as_hydra_composes_it(loader, overrides):
    overrides = overrides.split()
    master = master_of(loader, "lr=1,2")
    theirs = loader.load_sweep_config(master, overrides)
    theirs.hydra.job.num, theirs.hydra.job.id = 7, "7"
    job = jobs.Job(overrides, 7, "", {}, {})
    ours = jobs.Jobs(loader, master, None).compose(job)
    assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(theirs)


def test_files_are_read_once_for_each_combination_of_choices(loader, monkeypatch):
    composed = []
    master = master_of(loader)
    load = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *a: composed.append(a) or load(*a))
    overrides = [
        [f"optimizer={name}", f"seed={seed}"] for name in ("sgd", "adam") for seed in range(10)
    ]
    some = jobs.Jobs(loader, master, lambda tree, overrides: tree)
    found = some.check(overrides, 0)
    assert len(composed) == 2
    assert [job.config["seed"] for job in found] == [*range(10), *range(10)]
    assert [job.config["lr"] for job in found[9:11]] == [0.05, 0.001]


KEYS = ("seed", "lr", "name", "dtype", "progress", "model.activation", "model.hidden_sizes")
VALUES = [
    *("1", "1.0", "1e-5", "-.inf", "nan", "true", "null", "tanh", "[]", "[3,4]", "''", "'1'"),
    *("a$b", "'???'", "'$${seed}'", "'\\${seed}'", "${seed}", "x${lr}-${model.name}", "${model}"),
    *("'${progress}!'", "['${seed}',{a:'${lr}'}]", "'its ${model.hidden_sizes}'", "'${.seed}'"),
    *("${dataset.path}", "'${kept:${seed}}'", "'${hydra:job.num}'", "'${hydra:overrides.task}'"),
]
RARE = ["+model.x=${lr}", "~schedule", "model={init:he}", "++lr=3", "seed={a:1}"]
WRONG = ["lrr=1", "lr.x=1", "seed='${'", "seed=${missing}", "seed='${hydra.job.num}'"]


def random_job(rng):
    """Overrides of all kinds, many of which can't be composed, or not resolved."""
    choices = {"optimizer": ["sgd", "adam"], "dataset": ["synth", "npz"]}
    some = [f"{key}={rng.choice(names)}" for key, names in choices.items() if rng.random() < 0.3]
    some += [f"{key}={rng.choice(VALUES)}" for key in rng.sample(KEYS, rng.randrange(4))]
    some += [rng.choice(RARE + WRONG)] * (rng.random() < 0.1)
    return rng.sample(some, len(some))


def flags(cfg):
    nodes = cfg, cfg.hydra, cfg.hydra.job, cfg.hydra.overrides.task
    return [(OmegaConf.is_struct(node), OmegaConf.is_readonly(node)) for node in nodes]


def as_hydra_does(loader, master, overrides, number):
    """The configuration, its flags, all its values but Hydra's own, and the folder of a job."""
    cfg = loader.load_sweep_config(master, overrides)
    cfg.hydra.job.num, cfg.hydra.job.id = number, str(number)
    composed = OmegaConf.to_yaml(cfg), flags(cfg)
    HydraConfig.instance().set_config(cfg)
    own = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    tree = OmegaConf.to_container(own, resolve=True)
    parts = [str(OmegaConf.select(cfg, f"hydra.sweep.{key}")) for key in ("dir", "subdir")]
    return *composed, tree, os.path.abspath(os.path.join(*parts))


def as_sweeps_do(some, overrides, number):
    (job,) = some.check([overrides], number)
    cfg = some.compose(job)
    return OmegaConf.to_yaml(cfg), flags(cfg), job.tree, job.folder


def outcome(function, *arguments):
    try:
        return repr(function(*arguments))
    except Exception as error:
        return type(error).__name__, str(error)


def test_random_jobs_are_what_hydra_makes_of_them(loader):
    run.register("kept", lambda value: str(value), use_cache=True, replace=True)
    master, rng = master_of(loader), random.Random(0)
    some = jobs.Jobs(loader, master, lambda tree, overrides: tree)
    some_of_all = [random_job(rng) for _ in range(10)]
    some_of_all += [[f"seed={seed}", "name='${kept:${seed}}'"] for seed in range(2)]
    some_of_all += [["seed='???'", "name=x${seed}"]]
    for number, overrides in enumerate(some_of_all):
        theirs = outcome(as_hydra_does, loader, master, overrides, number)
        assert outcome(as_sweeps_do, some, overrides, number) == theirs, overrides


def test_notes_are_what_a_run_writes(loader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noted = "+hydra.job.env_set.NOTED='${hydra:job.num}, ${hydra:runtime.output_dir}'"
    master = master_of(loader, "hydra.mode=MULTIRUN", noted)
    HydraConfig.instance().set_config(master)  # as Hydra does ahead of a sweep
    small = ["dataset.num_train=50", "dataset.num_val=20", "epochs=1", "progress=false"]
    some = jobs.Jobs(loader, master, run.job.check)
    own = ["seed=1"], ["name='s-${seed}'", "optimizer=adam"], ["++model.fast=false"]
    found = some.check([small + overrides for overrides in own], 3)
    notes = [some.notes(job) for job in found]
    context = HydraContext(loader, Callbacks())
    for job, note in zip(found, notes, strict=True):
        task = worker.Task(run.__file__, "job", str(tmp_path), some.compose(job), context)
        assert not worker.run(task)[0].error
        texts = [Path(job.folder, name).read_text() for name in NOTES]
        assert [run.as_yaml(part) for part in note] == texts


def test_notes_of_many_jobs_pickle_small(loader):
    some = jobs.Jobs(loader, master_of(loader), run.job.check)
    notes = [some.notes(job) for job in some.check([[f"seed={n}"] for n in range(100)], 0)]
    assert len(pickle.dumps(notes)) < 15 * len(pickle.dumps(notes[0]))


# Jobs that run together

TOGETHER = ["stack=true", "hydra.output_subdir=null"]


def test_jobs_that_go_together_share_a_process(toy, tmp_path):
    one = toy("does=finish,raise", "seed=range(6)", *TOGETHER, workers=2)
    assert (one.code, one.last) == (1, "sweep: 6 finished, 6 failed")
    assert ": it went wrong, " in one.lines("failed")[0]
    told = [result(folder) for folder in tmp_path.glob("out/toy/*finish*")]
    assert {one["notes"] for one in told} == {3}
    assert len({one["pid"] for one in told}) == 2, "a stack for each worker"
    again = toy("does=finish,raise", "seed=range(6)", *TOGETHER, workers=2)
    assert again.last == "sweep: 6 failed, 6 skipped"


@pytest.mark.slow
def test_one_that_takes_its_process_along_leaves_the_others_alone(toy):
    one = toy("seed=range(3)", "does=finish,kill,exit", *TOGETHER, workers=2)
    assert (one.code, one.last) == (1, "sweep: 3 finished, 6 failed")
    assert sum("worker died (signal 9)" in line for line in one.lines("failed")) == 3
    assert sum("worker died (exit code 3)" in line for line in one.lines("failed")) == 3


@pytest.mark.parametrize(
    "own",
    [
        "+hydra.job.env_set.A=1",
        pytest.param("hydra.output_subdir=.own", marks=pytest.mark.slow),
        pytest.param("stack=false", marks=pytest.mark.slow),
    ],
)
def test_a_job_with_something_of_hydras_own_runs_alone(toy, tmp_path, own):
    others = [one for one in TOGETHER if one.split("=")[0] != own.split("=")[0]]
    one = toy("seed=range(3)", own, *others, workers=2)
    assert one.last == "sweep: 3 finished"
    assert not any("notes" in result(folder) for folder in tmp_path.glob("out/toy/*/"))


def test_serial_runs_are_never_a_stack(toy, tmp_path):
    assert toy("seed=range(3)", *TOGETHER).last == "sweep: 3 finished"
    assert not any("notes" in result(folder) for folder in tmp_path.glob("out/toy/*/"))


def test_a_sweep_in_stacks_gives_the_bytes_of_one_without(tmp_path):
    asked = [*SMALL, "lr=0.1,0.2,1e30", "seed=range(4)"]
    for name in "true", "false":
        one = run_py(tmp_path, *asked, f"name={name}-", f"stack={name}", "hydra.launcher.workers=2")
        assert (one.code, one.err, one.last.count("finished")) == (0, "", 1)
    folders = sorted(tmp_path.glob("outputs/true-/*/"))
    assert len(folders) == 12
    for ours in folders:
        theirs = tmp_path / "outputs/false-" / ours.name
        for name in "steps.csv", "epochs.csv", "checkpoint.npz":
            assert (ours / name).read_bytes() == (theirs / name).read_bytes()
        other = [path.name for path in sorted(theirs.rglob("*"))]
        assert [path.name for path in sorted(ours.rglob("*"))] == other
        for name in NOTES:
            text, expected = ((folder / name).read_text() for folder in (ours, theirs))
            changed = expected.replace("stack=False", "stack=True").replace("false", "true")
            assert text.replace("false", "true") == changed.replace(
                "/outputs/false-/", "/outputs/true-/"
            )


# States


def test_what_a_folder_says(tmp_path):
    def word(folder=tmp_path):
        return state.read_state(folder).word

    assert word(tmp_path / "none") == "absent"
    assert word() == "absent"
    (tmp_path / "steps.csv").touch()
    assert word() == "killed"
    told = {"config": {}, "metrics": {}, "environment": {}}
    for status in state.ENDED:
        (tmp_path / "result.json").write_text(json.dumps({"status": status, **told}))
        assert word() == status
    wrong = {
        "{": "not what a run writes",
        json.dumps({"status": "odd", **told}): "unknown here",
        '{"status": "finished", "format": 99}': "has format 99",
    }
    for text, line in wrong.items():
        (tmp_path / "result.json").write_text(text)
        with pytest.raises(UserError, match=line):
            word()


def test_differences_between_configurations():
    there = {"lr": 1, "name": "a", "model": {"sizes": [3], "init": "he"}, "progress": True}
    assert difference(there, {**there, "lr": 1.0, "name": "b", "progress": False}) == ""
    here = {"lr": 1, "model": {"sizes": [3, 4], "act": "relu"}}
    assert difference(there, here) == (
        "model.sizes is [3] there, [3, 4] here, model.init is he there, nothing here, "
        "model.act is nothing there, relu here"
    )


# run.py


SMALL = ["dataset.num_train=500", "dataset.num_val=100", "epochs=1"]


def run_py(folder, *arguments):
    return Sweep(folder, *arguments, program=ROOT / "run.py").finish()


def test_the_same_bytes_whichever_launcher_ran_it(tmp_path):
    for launcher in "local", "serial":
        one = run_py(tmp_path, *SMALL, "lr=0.1,0.2", f"name={launcher}", f"launcher={launcher}")
        assert (one.code, one.err) == (0, "")
    for one in tmp_path.glob("outputs/local/*"):
        other = tmp_path / "outputs/serial" / one.name
        for name in "steps.csv", "epochs.csv":
            assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("hydra.sweep.dir=out lr=0.1,-1", "lr must be a number > 0, got -1"),
        ("experiment=mnist_lr lr=-1", "lr must be a number > 0, got -1"),
        ("model=mlp,scalar batch_size=2", "model=scalar trains on one example at a time"),
        ("name=../a,b", "name must be a folder below outputs/"),
        ("launcher=lokal seed=1", "launcher must be one of local, "),
    ],
)
def test_all_values_are_checked_before_the_first_run(tmp_path, arguments, line):
    one = run_py(tmp_path, *arguments.split())
    assert one.code == 1
    assert one.err.startswith(f"run.py: {line}")
    assert one.err.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing was written"


def test_what_hydra_can_say_in_a_sweep_is_understood(tmp_path):
    one = run_py(tmp_path, *SMALL, "optimizer=glob(*)", "name=${hydra:runtime.choices.optimizer}")
    assert (one.code, one.err) == (0, "")
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("outputs/*/*")}
    assert len(found) == 3
    assert {path.split("/")[1] for path in found} == {"adam", "muon", "sgd"}


@pytest.mark.slow
def test_another_config_name_is_the_one_that_is_checked(tmp_path):
    text = (ROOT / "conf/config.yaml").read_text()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/other.yaml").write_text(text.replace("lr: 0.05", "lr: -1"))
    (tmp_path / "conf/good.yaml").write_text(text.replace("lr: 0.05", "lr: 0.25"))
    where = ["--config-dir", tmp_path / "conf"]
    one = run_py(tmp_path, *where, "--config-name", "other", "seed=0,1")
    assert one.err == "run.py: lr must be a number > 0, got -1\n"
    one = run_py(tmp_path, *where, "--config-name", "good", *SMALL, "seed=0,1", "name=some")
    assert one.code == 0
    configs = [result(path)["config"] for path in tmp_path.glob("outputs/some/*")]
    assert [config["lr"] for config in configs] == [0.25, 0.25]


@pytest.mark.slow
def test_the_table_says_how_many_runs_are_still_to_come(tmp_path):
    asked = [*SMALL, "epochs=20", "seed=range(6)", "name=some", "launcher=serial"]
    one = Sweep(tmp_path, *asked, program=ROOT / "run.py")
    wait_for(lambda: list(tmp_path.glob("outputs/some/*/result.json")))
    one.process.kill()
    one.finish()
    command = [sys.executable, "-m", "analysis.table", tmp_path / "outputs/some"]

    def table():
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    n_begun = len(list(tmp_path.glob("outputs/some/*/")))
    assert f"note: some: {6 - n_begun} of its 6 runs are still to come\n" in table().stderr
    assert run_py(tmp_path, *asked, "seed=5").code == 0  # a smaller grid, of the last
    assert "of its 6 runs are still to come\n" in table().stderr
    assert run_py(tmp_path, *asked).code == 0
    assert table().stderr == ""
    assert not list(tmp_path.glob("outputs/some/.*"))


@pytest.mark.slow
def test_a_sweep_that_is_killed_at_any_moment_is_finished_by_the_same_command(tmp_path):
    """3 of its 20 runs fail. It leaves in the end what a sweep leaves that nobody killed."""
    x = numpy.random.default_rng(0).random((200, 3))
    names = [f"good-{i}.npz" for i in range(17)] + [f"none-{i}.npz" for i in range(3)]
    for name in names[:17]:
        numpy.savez(tmp_path / name, x_train=x, y_train=numpy.arange(200) % 2)
    asked = ["dataset=npz", f"dataset.path={','.join(names)}", "epochs=30"]
    whole = run_py(tmp_path, *asked, "name=whole", "launcher=serial")
    assert whole.last == "sweep: 17 finished, 3 failed"
    expected = table_of(tmp_path / "outputs/whole")
    for moment in numpy.linspace(0.5, 3.2, 10).round(1):
        one = Sweep(tmp_path, *asked, f"name=at-{moment}", program=ROOT / "run.py")
        time.sleep(moment)
        one.process.kill()
        one.finish()
        again = run_py(tmp_path, *asked, f"name=at-{moment}")
        assert (again.code, again.err.count("failed: ")) == (1, 3)
        folders = sorted(tmp_path.glob("outputs/whole/*"))
        assert len(folders) == 20
        for folder in folders:
            other = tmp_path / f"outputs/at-{moment}" / folder.name
            assert result(other)["status"] == result(folder)["status"]
            for log in folder.glob("*.csv"):
                assert (other / log.name).read_bytes() == log.read_bytes()
        assert table_of(tmp_path / f"outputs/at-{moment}") == expected


def table_of(folder):
    """What analysis.table prints."""
    command = [sys.executable, "-m", "analysis.table", folder, "--format", "csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 21
    return done.stdout


@pytest.mark.slow
def test_a_finished_sweep_of_1000_runs_is_recognised_in_seconds(toy, tmp_path):
    for seed in range(1000):
        folder = tmp_path / f"out/toy/seed={seed}"
        folder.mkdir(parents=True)
        config = {"name": "toy", "does": "finish", "size": 1, "seed": seed}
        text = json.dumps(
            {"status": "finished", "config": config, "metrics": {}, "environment": {}}
        )
        (folder / "result.json").write_text(text)
    began = time.monotonic()
    one = toy("seed=range(1000)")
    assert one.out.splitlines()[0] == "sweep of 1000: 1000 finished already, skipped"
    assert time.monotonic() - began < 15
