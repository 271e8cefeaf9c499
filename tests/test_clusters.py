"""Sweeps on a real Slurm and a real Ray, each of one node, which this file starts and stops."""

import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_sweeps import (  # noqa: F401  (toy and started are fixtures)
    PROGRAM,
    ROOT,
    SMALL,
    Sweep,
    assert_gone,
    has_begun,
    result,
    run_py,
    started,
    toy,
    wait_for,
)

from mlp.errors import UserError
from mlp_sweeps import slurm as slurm_room
from mlp_sweeps.jobs import Job

on_slurm, on_ray = pytest.mark.slurm, pytest.mark.ray
# A run that is interrupted once; started again, it goes on to its end
CHECKPOINTS = """
    if cfg.does == "long":
        (folder / "checkpoint.npz").touch()
        with open(folder / "starts", "a") as file:
            file.write(f"{os.environ['SLURM_JOB_ID']}\\n")
        wait_for(lambda: len((folder / "starts").read_text().split()) == 2)
"""


def need(*programs):
    """Skip where one is missing, but fail in CI."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", str(Path(sys.executable).parent)])
    missing = [name for name in programs if not shutil.which(name, path=path)]
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI needs {', '.join(missing)}")
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed here")


def need_module(name):
    if os.environ.get("CI"):
        importlib.import_module(name)
    pytest.importorskip(name)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A Slurm of one node with four processors; commands find it through SLURM_CONF."""
    need("slurmctld", "slurmd", "munged")
    need_module("submitit")
    folder = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        script = ["bash", ROOT / "tests/slurm_up.sh", folder]
        try:
            # No pipe: a daemon would hold it open
            subprocess.run(script, check=True, timeout=60, stdout=subprocess.DEVNULL)
            yield
        finally:
            subprocess.run([*script, "stop"], timeout=60, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def ray(tmp_path_factory):
    """A Ray of this machine alone, with three processors; sweeps find it through RAY_ADDRESS."""
    need("ray")
    program = Path(sys.executable).with_name("ray")
    program = program if program.exists() else "ray"
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    folder = Path("/tmp", f"ray-{port}")  # a short path: it will hold sockets
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        options = [f"--port={port}", f"--temp-dir={folder}", "--num-cpus=3"]
        options += ["--include-dashboard=false", "--disable-usage-stats"]
        options += ["--object-store-memory=100000000"]
        with subprocess.Popen(
            [program, "start", "--head", "--block", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as head:
            try:
                wait_for(lambda: listens(port), 60)
                yield
            finally:
                head.terminate()
                head.wait(30)
                shutil.rmtree(folder, ignore_errors=True)


def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(params=[pytest.param("slurm", marks=on_slurm), pytest.param("ray", marks=on_ray)])
def cluster(request):
    request.getfixturevalue(request.param)
    return request.param


def in_queue():
    return [
        number for number, (state, *_) in slurm_room.look().items() if state in slurm_room.RUNNING
    ]


# On both


def test_the_same_bytes_as_one_after_the_other(cluster, tmp_path):
    asked = [*SMALL, "lr=0.1,0.2", "seed=range(3)"]
    for launcher in cluster, "serial":
        one = run_py(tmp_path, *asked, f"name={launcher}", f"launcher={launcher}")
        assert (one.code, one.err) == (0, "")
        assert one.last == "sweep: 6 finished"
    for one in tmp_path.glob("outputs/serial/*"):
        other = tmp_path / f"outputs/{cluster}" / one.name
        for name in "steps.csv", "epochs.csv", "checkpoint.npz":
            assert (other / name).read_bytes() == (one / name).read_bytes()
        ours, theirs = (result(folder)["environment"]["blas"] for folder in (other, one))
        assert ours == theirs
    assert not (tmp_path / f"outputs/{cluster}/.slurm").exists(), "it is cleared away"
    again = run_py(tmp_path, *asked, f"name={cluster}", f"launcher={cluster}")
    assert again.out.splitlines()[0] == "sweep of 6: 6 finished already, skipped"


def test_a_job_that_dies_hard_leaves_the_others_alone(started, cluster):  # noqa: F811
    one = started("does=finish,exit,kill,bug,warn", f"launcher={cluster}").finish()
    assert one.code == 1
    assert one.last == "sweep: 2 finished, 3 failed"
    how = {
        "slurm": ("(FAILED, exit code 3)", "(FAILED, signal 9)"),
        "ray": ("worker died (WorkerCrashedError)",) * 2,
    }[cluster]
    failures = dict(line.split(": ", 2)[1:] for line in one.err.splitlines() if "failed:" in line)
    assert failures.pop("out/toy/does=exit").endswith(how[0])
    assert failures.pop("out/toy/does=kill").endswith(how[1])
    assert failures == {"out/toy/does=bug": "LookupError: before it could tell"}
    assert one.err.count("mind the gap") == 1
    assert "said on stdout" not in one.out
    assert "raylet" not in one.out


def test_ctrl_c_lets_the_running_jobs_save_their_state(started, cluster, tmp_path):  # noqa: F811
    cap = {"slurm": "parallel", "ray": "workers"}[cluster]
    asked = ["does=wait", "seed=range(4)", f"launcher={cluster}", f"hydra.launcher.{cap}=2"]
    one = started(*asked)
    wait_for(has_begun(tmp_path, 2))
    one.process.send_signal(signal.SIGINT)
    one.finish()
    assert (one.code, one.err) == (130, "")
    assert one.last == "sweep: 2 interrupted, 2 not started"
    (tmp_path / "go").touch()
    again = started(*asked).finish()
    assert again.out.splitlines()[0] == "sweep of 4: 2 to go on, 2 new"
    assert again.last == "sweep: 4 finished"


# On Slurm


@on_slurm
def test_arrays_and_a_cap_on_parallel_jobs(started, slurm, tmp_path):  # noqa: F811
    """Three arrays of two, of which two jobs may run at a time though there is room for four."""
    some = ["hydra.launcher.parallel=2", "hydra.launcher.array_size=2"]
    one = started("does=note", "seed=range(6)", "launcher=slurm", *some)
    assert one.finish().last == "sweep: 6 finished"
    spans = [json.loads(path.read_text()) for path in tmp_path.glob("out/toy/*/span.json")]
    assert [sum(a["begin"] <= b["begin"] < a["end"] for a in spans) for b in spans].count(3) == 0
    assert {span["array"] for span in spans} == {span["array"] for span in spans} - {None}
    assert len({span["array"] for span in spans}) == 3


@on_slurm
def test_a_job_near_its_limit_is_queued_again_and_goes_on(started, slurm, tmp_path):  # noqa: F811
    """Slurm warns of a limit of one minute up to a minute ahead."""
    toy_py = tmp_path / "toy.py"
    toy_py.write_text(
        PROGRAM.replace("def act(cfg, folder):", f"def act(cfg, folder):{CHECKPOINTS}")
    )
    limit = ["hydra.launcher.time=1", "+hydra.launcher.sbatch.signal=TERM@59"]
    one = started("does=finish,long", "seed=0,1", "launcher=slurm", *limit)
    one.process.wait(120)
    one.finish()
    assert (one.code, one.err) == (0, ""), one.out
    assert one.last == "sweep: 4 finished"
    for folder in tmp_path.glob("out/toy/does=long*"):
        first, second = (folder / "starts").read_text().split()
        assert first == second, "one and the same job"


@on_slurm
def test_jobs_outlive_their_sweep_and_the_same_command_watches_them(started, slurm, tmp_path):  # noqa: F811
    asked = ["does=wait", "seed=range(3)", "launcher=slurm"]
    one = started(*asked, "hydra.launcher.parallel=2")
    wait_for(has_begun(tmp_path, 2))
    one.process.send_signal(signal.SIGHUP)
    assert one.process.wait(30) == -signal.SIGHUP
    refused = started(*asked, "overwrite=true").finish()
    assert "is in the cluster's queue (and 2 more)" in refused.err
    again = started("does=wait", "seed=range(4)", "launcher=slurm")
    assert (
        again.process.stdout.readline() == "sweep of 4: 3 in the cluster's queue already, 1 new\n"
    )
    wait_for(has_begun(tmp_path, 3))
    (tmp_path / "go").touch()
    assert again.finish().last == "sweep: 4 finished"


@on_slurm
def test_scancel_ends_a_job_for_good(started, slurm, tmp_path):  # noqa: F811
    one = started("does=wait", "seed=0,1", "launcher=slurm")
    wait_for(has_begun(tmp_path, 2))
    subprocess.run(["scancel", in_queue()[0]], check=True)
    wait_for(lambda: len(in_queue()) == 1)
    (tmp_path / "go").touch()
    assert one.finish().code == 1
    assert one.last == "sweep: 1 finished, 1 interrupted"


@on_slurm
def test_a_second_ctrl_c_cancels_all(started, slurm, tmp_path):  # noqa: F811
    one = started("does=insist", "seed=0", "launcher=slurm")
    wait_for(has_begun(tmp_path, 1))
    one.process.send_signal(signal.SIGINT)
    time.sleep(3)
    one.process.send_signal(signal.SIGINT)
    assert one.finish().code == 130
    wait_for(lambda: not in_queue())


@on_slurm
def test_what_sbatch_refuses_is_said(started, slurm):  # noqa: F811
    one = started("seed=0,1", "launcher=slurm", "hydra.launcher.partition=none").finish()
    assert one.code == 1
    assert one.err.startswith("toy: sbatch: error: ")
    assert "Invalid partition name" in one.err
    assert one.err.count("\n") == 1


@on_slurm
@pytest.mark.parametrize(
    ("says", "hears"),
    [
        ({"7_0": ("TIMEOUT", 0, "")}, "Slurm job 7_0 died (TIMEOUT, exit code 0)"),
        ({"7_0": ("NODE_FAIL", 1 << 8, "")}, "Slurm job 7_0 died (NODE_FAIL, exit code 1)"),
        ({"7_0": ("OUT_OF_MEMORY", 9, "")}, "Slurm job 7_0 died (OUT_OF_MEMORY, signal 9)"),
        ({"7": ("CANCELLED", 0, "")}, signal.SIGINT),  # before it began
        ({"8_0": ("RUNNING", 0, "")}, "Slurm job 7_0 died (UNKNOWN, exit code 0)"),
        ({"7_0": ("COMPLETED", 0, "")}, None),  # its file may still come
        ({"7_0": ("REQUEUED", 0, "")}, None),
        (None, None),
    ],
)
def test_how_a_job_ended_is_read_from_the_queue(monkeypatch, tmp_path, says, hears):
    need_module("submitit")
    monkeypatch.setattr(slurm_room, "look", lambda: says)
    monkeypatch.setattr(slurm_room, "LOOKS", (0, 0))
    job = Job([], 0, str(tmp_path / "run"), {}, {})
    found = {job.folder: slurm_room.Queued("7_0", {job.folder: {}}, tmp_path)}
    engine = slurm_room.Slurm(None, 1, found, None, None, 1000, 20, {})
    engine.submit([job])
    found = [(one, outcome.error or outcome.signal) for one, outcome in engine.ended()]
    assert found == ([(job, hears)] if hears else [])
    assert engine.waiting + engine.running == (not hears)


@on_slurm
def test_slurm_writes_an_exit_status_in_two_ways():
    assert [slurm_room._status(text) for text in ("0", "9", "768")] == [0, 9, 768]
    assert [slurm_room._status(text) for text in ("0:0", "0:9", "3:0")] == [0, 9, 768]


@on_slurm
def test_what_slurm_has_no_room_for_is_sent_when_others_have_ended(monkeypatch, tmp_path):
    need_module("submitit")
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError

    sent = []

    def refuse(*_):
        sent.append(1)
        raise FailedJobError("sbatch: error: first\nsbatch: error: a limit of submitted jobs")

    says = {"7_0": ("RUNNING", 0, "")}
    monkeypatch.setattr(slurm_room, "look", lambda: says)
    monkeypatch.setattr(slurm_room, "LOOKS", (0, 0))
    monkeypatch.setattr(SlurmExecutor, "affinity", lambda _: 2)
    monkeypatch.setattr(SlurmExecutor, "map_array", refuse)
    jobs = [Job([], n, str(tmp_path / f"{n}"), {}, {}) for n in range(3)]
    found = {jobs[0].folder: slurm_room.Queued("7_0", {jobs[0].folder: {}}, tmp_path)}
    engine = slurm_room.Slurm(lambda job: job, 1, found, None, None, 1000, 20, {})
    for job in jobs:
        engine.submit([job])
    assert not engine.ended()
    assert not engine.ended()
    assert len(sent) == 1, "it does not ask again and again"
    assert (engine.waiting, engine.running) == (2, 1)
    says["7_0"] = ("TIMEOUT", 0, "")
    assert len(engine.ended()) == 1
    with pytest.raises(UserError, match=r"^sbatch: error: a limit of submitted jobs$"):
        engine.ended()
    assert not (tmp_path / ".slurm").exists()


# On Ray


@on_ray
def test_a_worker_that_is_killed_takes_its_own_job_alone(started, ray, tmp_path):  # noqa: F811
    one = started("does=wait", "seed=range(4)", "launcher=ray", "hydra.launcher.workers=2")
    wait_for(has_begun(tmp_path, 2))
    folder = next(tmp_path.glob("out/toy/*/steps.csv")).parent
    os.kill(int((folder / "steps.csv").read_text()), signal.SIGKILL)
    (tmp_path / "go").touch()
    assert one.finish().code == 1
    assert one.last == "sweep: 3 finished, 1 failed"
    assert one.runs()[folder.name] == "killed", "nobody ran it again"
    again = started("does=wait", "seed=range(4)", "launcher=ray").finish()
    assert again.out.splitlines()[0] == "sweep of 4: 3 finished already, skipped, 1 to go on"
    assert again.last == "sweep: 1 finished, 3 skipped"


@on_ray
def test_tasks_end_when_their_sweep_is_killed(started, ray, tmp_path):  # noqa: F811
    one = started("does=wait", "seed=0,1", "launcher=ray")
    wait_for(has_begun(tmp_path, 2))
    pids = [int(path.read_text()) for path in tmp_path.glob("out/toy/*/steps.csv")]
    one.process.kill()
    for pid in pids:
        assert_gone(pid)


@on_ray
def test_no_cluster_is_said_at_once(started, ray, tmp_path):  # noqa: F811
    one = started("seed=0", "launcher=ray", "hydra.launcher.address=127.0.0.1:1").finish()
    assert one.code == 1
    assert one.err.startswith("toy: launcher=ray: no Ray cluster at 127.0.0.1:1; run ray start")
    assert not (tmp_path / "out").exists()
