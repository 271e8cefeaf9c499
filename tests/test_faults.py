"""Faults, injected: kills at any moment, disks that fail at every call, damage at every byte.

The runs are forks of this process, so that hundreds of them fit into minutes.
"""

import builtins
import contextlib
import errno
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
from tqdm import tqdm

from mlp import make_config, run
from mlp.run_folder import (
    CHECKPOINTS,
    DONE,
    LOGS,
    Damaged,
    RunFolder,
    read_checkpoint,
    read_config,
    read_result,
)

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
TINY = {"dataset": {"num_train": 300, "num_val": 20}, "epochs": 2, "checkpoint_every": 1}
TINY |= {"model": {"hidden_sizes": [2]}, "batch_size": 8, "lr": 0.1}
NOTES = {".hydra/config.yaml": "{}", ".hydra/overrides.yaml": "[]", ".hydra/hydra.yaml": "{}"}


def forked(action, *arguments):
    """The process id of a fork that does this; its exit code is 0, or 1 where it raised."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        action(*arguments)
        code = 0
    except BaseException:
        with contextlib.suppress(OSError):
            traceback.print_exc()
    finally:
        os._exit(code)


def status_of(pid):
    """0, an exit code, or minus a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def arrays(folder):
    """The parameters and all that goes with them in the checkpoint, as bytes."""
    state = read_checkpoint(folder)
    return {name: array.tobytes() for name, array in state.items() if name != "config"}


def contents(folder):
    return {name: (folder / name).read_bytes() for name in LOGS} | arrays(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(a configuration, what its uninterrupted run leaves)."""
    folder = tmp_path_factory.mktemp("whole")
    config = make_config(**TINY)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore that forks share, killed ones too
    run(config, folder)
    return config, contents(folder)


def assert_readable(folder):
    """Nothing in the folder is half a file, and nothing claims more than it holds."""
    for name in CHECKPOINTS:
        if (folder / name).exists():
            read_checkpoint(folder, name)
    with contextlib.suppress(FileNotFoundError):
        if read_result(folder)["status"] in DONE:
            assert read_checkpoint(folder)["epoch"] == 2
    if (folder / ".hydra/config.yaml").exists():
        with contextlib.suppress(Damaged):
            read_config(folder)


def assert_goes_on(whole, folder):
    config, expected = whole
    run(config, folder, notes=NOTES_OF(config))
    assert contents(folder) == expected
    assert read_result(folder)["status"] == "finished"
    names = {path.name for path in folder.iterdir()}
    assert names - {".lock"} == {*LOGS, "checkpoint.npz", "result.json", ".hydra"}


def NOTES_OF(config):
    from mlp.settings import tree_of

    return NOTES | {".hydra/config.yaml": json.dumps(tree_of(config))}  # JSON is YAML


# Kills


def test_a_kill_at_200_random_moments(whole, tmp_path):
    config, _ = whole
    began = time.perf_counter()
    run(config, tmp_path / "timed", notes=NOTES_OF(config))
    lasts = time.perf_counter() - began
    moments, killed, n = random.Random(0), 0, 0
    while killed < 200:  # some have ended before
        n += 1
        folder = tmp_path / str(n)
        for _ in range(2):  # the one that goes on is killed too
            pid = forked(run, config, folder, (), lambda line: None, False, NOTES_OF(config))
            time.sleep(moments.uniform(0, lasts))
            os.kill(pid, signal.SIGKILL)
            killed += status_of(pid) == -signal.SIGKILL
        if folder.exists():
            assert_readable(folder)
        assert_goes_on(whole, folder)
    print(f"{killed} kills of {n} runs")


class Faulty:
    """Counts the calls that change files, and does `act` instead of the k-th.

    A write that is hit has written half of its bytes.
    """

    def __init__(self, folder, k, act, kinds=("open", "write", "fsync", "rename", "unlink")):
        self.folder, self.k, self.act, self.kinds, self.calls = str(folder), k, act, kinds, 0

    def hit(self, kind):
        if kind not in self.kinds:
            return False
        self.calls += 1
        return self.calls == self.k

    def install(self):
        faulty, real_open = self, io.open

        class Raw(io.FileIO):
            def write(self, data):
                if faulty.hit("write"):
                    super().write(bytes(data)[: len(data) // 2])
                    faulty.act(None)
                return super().write(data)

        def open_(path, mode="r", *arguments, **options):
            if not str(path).startswith(faulty.folder) or mode.startswith("r"):
                return real_open(path, mode, *arguments, **options)
            if faulty.hit("open"):
                faulty.act(str(path))
            return io.BufferedWriter(Raw(path, mode.replace("b", "")))

        def wrapped(function, kind):
            def call(*arguments, **options):
                if faulty.hit(kind):
                    faulty.act(None if kind == "fsync" else str(arguments[0]))
                return function(*arguments, **options)

            return call

        builtins.open = io.open = open_
        os.fsync = wrapped(os.fsync, "fsync")
        for name in ("rename", "replace", "link"):
            setattr(os, name, wrapped(getattr(os, name), "rename"))
        os.unlink = wrapped(os.unlink, "unlink")


def run_faulty(config, folder, k, act, report=None):
    faulty = Faulty(folder, k, act)
    faulty.install()
    run(config, folder, notes=NOTES_OF(config))
    if report:
        os.write(report, str(faulty.calls).encode())


def count_calls(config, folder):
    reader, writer = os.pipe()
    assert status_of(forked(run_faulty, config, folder, 0, None, writer)) == 0
    return int(os.read(reader, 99))


def test_a_kill_at_every_call_that_changes_a_file(whole, tmp_path):
    config, _ = whole
    n = count_calls(config, tmp_path / "counted")
    assert n > 100

    def kill(path):
        os.kill(os.getpid(), signal.SIGKILL)

    for k in range(1, n + 1):
        folder = tmp_path / str(k)
        assert status_of(forked(run_faulty, config, folder, k, kill)) == -signal.SIGKILL
        assert_readable(folder)
        assert_goes_on(whole, folder)
    print(f"{n} kills")


# Errors


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_every_call_that_changes_a_file_fails(number, whole, tmp_path, capfd):
    config, _ = whole
    n = count_calls(config, tmp_path / "counted")

    def fail(path):
        raise OSError(number, os.strerror(number), path)

    harmless = 0
    for k in range(1, n + 1):
        folder = tmp_path / str(k)
        code = status_of(forked(run_faulty, config, folder, k, fail))
        said = capfd.readouterr().err
        if code == 0:  # it was a link to the checkpoint before, or the removal of such
            harmless += 1
            assert contents(folder) == whole[1], k
        else:
            last = said.splitlines()[-1]
            assert os.strerror(number) in last and str(folder) in last, (k, said)
            with contextlib.suppress(FileNotFoundError):
                result = read_result(folder)
                # Where the very last fsync fails, of the folder, the result stands already
                assert result["status"] == "failed" or contents(folder) == whole[1]
        assert_readable(folder)
        assert_goes_on(whole, folder)
    assert harmless < n / 5
    print(f"{n} calls, {harmless} harmless")


def test_a_disk_stays_full(whole, tmp_path, capfd):
    """From the k-th call on all of them fail, also those that would tell of it."""
    config, _ = whole
    n = count_calls(config, tmp_path / "counted")

    class Full(Faulty):
        def hit(self, kind):
            self.calls += kind != "unlink"
            return kind != "unlink" and self.calls >= self.k

    def run_full(folder, k):
        def fail(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

        Full(folder, k, fail).install()
        run(config, folder, notes=NOTES_OF(config))

    tried = 0
    for k in range(1, n, 5):
        folder = tmp_path / str(k)
        code = status_of(forked(run_full, folder, k))
        said = capfd.readouterr().err
        if code == 0:
            continue
        tried += 1
        assert "No space left on device" in said.splitlines()[-1]
        assert not (folder / "result.json").exists()
        assert_readable(folder)
        assert_goes_on(whole, folder)
    assert tried > n / 10


@pytest.fixture
def tmpfs(tmp_path):
    """A file system of 64 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
        reason = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        reason = str(error)
    if reason:
        pytest.skip(f"can't mount a small file system: {reason}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def run_py(cwd, *arguments):
    command = [sys.executable, ROOT / "run.py", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


SMALL = ["dataset.num_train=2000", "dataset.num_val=50", "model.hidden_sizes=[4]"]


def test_a_real_disk_that_is_full(tmpfs, tmp_path):
    asked = [*SMALL, "epochs=20", "hydra.run.dir=small/run"]
    one = run_py(tmp_path, *asked)
    assert one.returncode == 1
    assert one.stderr.count("\n") == 1
    assert "small/run" in one.stderr and "No space left on device" in one.stderr
    folder = tmpfs / "run"
    assert read_checkpoint(folder)["epoch"] > 0, "the last good state"
    with contextlib.suppress(FileNotFoundError):
        assert read_result(folder)["status"] == "failed"
    again = run_py(tmp_path, *asked)
    assert again.returncode == 1 and "going on after step" in again.stdout
    subprocess.run(["mount", "-o", "remount,size=1m", str(tmpfs)], check=True)
    assert run_py(tmp_path, *asked).returncode == 0
    run_py(tmp_path, *asked[:-1], "hydra.run.dir=whole")
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    one = run_py(tmp_path, *SMALL, "hydra.run.dir=file/run")
    assert one.returncode == 1
    assert "Traceback" not in one.stderr and "file/run" in one.stderr
    (tmp_path / "closed/run").mkdir(parents=True)
    place, options = str(tmp_path / "closed"), {"capture_output": True}
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", place], **options).returncode:
        pytest.skip("can't mount a read-only file system")
    try:
        one = run_py(tmp_path, *SMALL, "hydra.run.dir=closed")
        assert (one.returncode, one.stderr.count("\n")) == (1, 1)
        assert "closed/.lock: Read-only file system" in one.stderr
    finally:
        subprocess.run(["umount", place], check=True)


# Damage


@pytest.fixture
def stopped(whole, tmp_path, monkeypatch):
    """The folder of a run that was stopped after its first epoch."""
    folder, written = tmp_path / "stopped", []
    append = RunFolder._append

    def stop(self, log, text):
        written.append(text)
        if len(written) > 9:
            raise KeyboardInterrupt
        append(self, log, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "_append", stop)
        run(whole[0], folder)
    return folder


def test_a_checkpoint_cut_at_every_byte_or_with_any_bit_flipped(stopped):
    path = stopped / "checkpoint.npz"
    data, seen = path.read_bytes(), 0
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(Damaged):
            read_checkpoint(stopped)
        seen += 1
    flipped = bytearray(data)
    file = open(path, "r+b", buffering=0)  # noqa: SIM115
    for bit in range(8 * len(data)):
        flipped[bit // 8] ^= 1 << bit % 8
        file.seek(bit // 8)
        file.write(flipped[bit // 8 : bit // 8 + 1])
        with pytest.raises(Damaged):
            read_checkpoint(stopped)
        flipped[bit // 8] ^= 1 << bit % 8
        file.seek(bit // 8)
        file.write(flipped[bit // 8 : bit // 8 + 1])
        seen += 1
    file.close()
    read_checkpoint(stopped)
    print(f"{seen} damaged checkpoints")


@pytest.mark.parametrize("log", LOGS)
def test_a_log_cut_at_every_byte(log, whole, stopped, tmp_path):
    config, expected = whole
    kept = {path.name: path.read_bytes() for path in stopped.iterdir()}
    for size in range(len(kept[log])):
        for name, data in kept.items():
            (stopped / name).write_bytes(data)
        (stopped / log).write_bytes(kept[log][:size])
        run(config, stopped)
        assert contents(stopped) == expected, size
        (stopped / "result.json").unlink()
    print(f"{size + 1} cuts")


# Many at once


def test_32_processes_on_one_folder(tmp_path):
    asked = [*SMALL, "epochs=300", "hydra.run.dir=run"]
    command = [sys.executable, ROOT / "run.py", *asked]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) for _ in range(32)]
    said = [process.communicate() for process in started]
    codes = [process.returncode for process in started]
    trained = [out for out, _ in said if out.startswith("synth: ")]
    assert len(trained) == 1
    for code, (out, err) in zip(codes, said, strict=True):
        if out in trained or out.startswith("finished before"):
            assert (code, err) == (0, "")
        else:
            assert (code, err) == (1, "run.py: run is in use: another process runs this run\n")
    assert read_result(tmp_path / "run")["status"] == "finished"


def test_50_runs_and_sweeps_started_at_once_share_no_run(tmp_path):
    single = [sys.executable, ROOT / "run.py", *SMALL, "epochs=1"]
    sweep = [*single[:2], "-m", *single[2:], "seed=0,1,2", "launcher=serial"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [
        subprocess.Popen(command, cwd=tmp_path, text=True, **pipes)
        for command in [single, sweep] * 25
    ]
    said = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0] * 50, said
    folders = [path.parent for path in tmp_path.rglob("result.json")]
    assert len(folders) == 25 + 3
    assert all(read_result(folder)["status"] == "finished" for folder in folders)
    # Each run of the sweeps was run by one of them
    lines = [line for out, _ in said[1::2] for line in out.splitlines()]
    assert sum("] finished: " in line for line in lines) >= 3
    assert len({(folder / "steps.csv").read_bytes() for folder in folders}) == 3


@pytest.mark.parametrize(
    "name",
    [
        "../out",
        "a/../../out",
        "/tmp/out",
        "a\nb",
        "50%_$x^2$\\input{x}#&~",
        "~/out",
        "-rf",
        "a b",
        " ",
        "a/b",
    ],
)
@pytest.mark.parametrize("sweep", [(), ("-m", "seed=0,1")])
def test_no_name_writes_outside_the_output_root(name, sweep, tmp_path):
    cwd = tmp_path / "x/y"
    cwd.mkdir(parents=True)
    quoted = "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
    one = run_py(cwd, *sweep, *SMALL, "epochs=1", f"name={quoted}")
    assert "Traceback" not in one.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(cwd / "outputs") for path in written)
    assert bool(written) == (one.returncode == 0)
    assert not Path("/tmp/out").exists()


def test_a_run_that_calls_sys_exit_has_failed(tmp_path, monkeypatch):
    config = make_config(**TINY)

    def leave(self):
        sys.exit(0)

    monkeypatch.setattr(type(config.dataset), "load", leave)
    with pytest.raises(SystemExit):
        run(config, tmp_path)
    assert read_result(tmp_path)["status"] == "failed"
    program = (
        "import runpy, sys\nfrom mlp.data import Synth\nSynth.load = lambda self: sys.exit(0)\n"
    )
    program += f"sys.argv = ['run.py', 'hydra.run.dir={tmp_path}/cli']\n"
    program += "runpy.run_path('run.py', run_name='__main__')"
    one = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (one.returncode, one.stderr) == (1, "run.py: the run called sys.exit(0)\n")
