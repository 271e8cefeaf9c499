"""Commands in odd surroundings: places, readers, terminals, names, variables."""

import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from analysis import figure
from analysis.sweep import Finding
from mlp import run_folder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
SMALL = ["dataset.num_train=200", "dataset.num_val=50", "epochs=1", "model.hidden_sizes=[3]"]
NOT_UTF8 = os.fsdecode(b"caf\xe9")
ASCII = {"PYTHONIOENCODING": "ascii"}
C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def python(cwd, *command, environment=None, **options):
    """A command of Python's, run to its end."""
    kinds = {"capture_output": True} if "stdout" not in options else {}
    variables = {k: v for k, v in (os.environ | (environment or {})).items() if v is not None}
    command = [sys.executable, *command]
    return subprocess.run(command, cwd=cwd, text=True, env=variables, **kinds, **options)


def run_py(cwd, *arguments, **options):
    return python(cwd, ROOT / "run.py", *arguments, **options)


def analysis(name, *arguments, **options):
    return python(ROOT, "-m", f"analysis.{name}", *arguments, **options)


def results(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("result.json"))]


def assert_refused(one, *words):
    assert (one.returncode, one.stderr.count("\n")) == (1, 1), one.stderr
    assert one.stderr.startswith("run.py: ")
    for word in words:
        assert word in one.stderr


# Places


@pytest.mark.parametrize("is_sweep", [False, True], ids=["run", "sweep"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.symlink_to("/gone/for/good"), ["outputs"]),
        (lambda path: path.touch(), ["outputs/", "Not a directory"]),
    ],
    ids=["a dangling link", "a file"],
)
def test_outputs_that_are_no_folder(make, words, is_sweep, tmp_path):
    make(tmp_path / "outputs")
    asked = ["-m", "seed=0,1"] if is_sweep else []
    assert_refused(run_py(tmp_path, *asked, *SMALL, timeout=60), *words)


@pytest.mark.parametrize("arguments", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_a_name_that_no_file_system_takes(arguments, tmp_path):
    one = run_py(tmp_path, *arguments, *SMALL, f"name={'x' * 300}")
    assert_refused(one, "outputs/xxx", "File name too long")


def test_a_disk_without_room_for_another_folder(tmp_path, monkeypatch, capsys):
    """As root may write anywhere, the call fails by itself."""
    import run

    def full(*_, **__):
        raise OSError(28, "No space left on device", "outputs")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OSError, match="No space") as caught:
        run.new_folder(tmp_path / "outputs")
    assert run.explain(caught.value) == "outputs: No space left on device"


def test_a_file_that_belongs_to_a_folder_that_was_named(tmp_path):
    (tmp_path / "old-steps.csv.bak").write_text("mine")
    (tmp_path / ".steps.csv.tmp").write_text("mine")
    for more in [], ["overwrite=true"]:
        assert run_py(tmp_path, *SMALL, "hydra.run.dir=.", *more).returncode == 0
    assert (tmp_path / "old-steps.csv.bak").read_text() == "mine"
    assert (tmp_path / ".steps.csv.tmp").read_text() == "mine"


def test_what_is_wrong_takes_one_line_in_a_named_folder_too(tmp_path):
    assert_refused(run_py(tmp_path, "hydra.run.dir=x", "lr=-1"), "lr must be a number > 0, got -1")
    assert not any((tmp_path / "x").iterdir())


def test_memory_that_a_limit_refuses_is_one_line(tmp_path):
    one = run_py(
        tmp_path,
        "dataset.num_train=32000000",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)),
    )
    assert (one.returncode, one.stderr.count("\n")) == (1, 1), one.stderr
    assert "there is too little memory: Unable to allocate" in one.stderr
    (result,) = results(tmp_path)
    assert result["status"] == "failed" and result["error"].startswith("MemoryError")


def test_relative_paths_are_those_of_the_command_line(tmp_path):
    np.savez(tmp_path / "my.npz", x_train=np.eye(20), y_train=np.arange(20) % 2)
    asked = ["dataset=npz", "dataset.path=my.npz", "epochs=1", "hydra.job.chdir=true"]
    for more in [], ["hydra.run.dir=here"], ["-m", "seed=0,1"], ["-m", "launcher=serial", "name=a"]:
        one = run_py(tmp_path, *more, *asked)
        assert one.returncode == 0, one.stderr
    assert len(results(tmp_path)) == 5
    assert len(results(tmp_path / "outputs")) == 4


# Readers that go away


@pytest.mark.parametrize(
    ("arguments", "n_runs"), [([], 1), (["-m", "seed=0,1,2", "launcher=serial"], 3)]
)
def test_a_reader_that_goes_away_stops_nothing(arguments, n_runs, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    one = run_py(tmp_path, *arguments, *SMALL, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (one.returncode, one.stderr) == (0, "")
    assert [result["status"] for result in results(tmp_path)] == ["finished"] * n_runs


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_help_page_may_be_cut_off(tmp_path):
    command = f"{sys.executable} {ROOT / 'run.py'} --help | head -1"
    one = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert one.stdout.startswith("Train a multilayer perceptron") and one.stderr == ""


def test_a_log_on_a_full_disk_stops_nothing(tmp_path):
    with open("/dev/full", "w") as full:
        assert run_py(tmp_path, *SMALL, stdout=full).returncode == 0


@pytest.mark.parametrize("arguments", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_streams_that_are_closed_from_the_start(arguments, tmp_path):
    command = [sys.executable, ROOT / "run.py", *arguments, *SMALL]
    closed = subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command], cwd=tmp_path)
    assert closed.returncode == 0
    assert {result["status"] for result in results(tmp_path)} == {"finished"}


@pytest.mark.parametrize("ignores", [False, True], ids=["hung up", "ignoring it"])
@pytest.mark.parametrize("arguments", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_a_terminal_that_closes(arguments, ignores, tmp_path):
    """The runs save their state and can go on; or, as under nohup, they go on at once."""
    epochs = 100 if ignores else 10_000
    asked = ["dataset.num_train=2000", "dataset.num_val=50", f"epochs={epochs}"]
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(tmp_path)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignores else signal.SIG_DFL)
        os.execv(sys.executable, [sys.executable, ROOT / "run.py", *arguments, *asked])
    began = time.monotonic()
    n_runs = 2 if arguments else 1
    while len([log for log in tmp_path.rglob("epochs.csv") if log.stat().st_size > 200]) < n_runs:
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    os.close(terminal)
    os.waitpid(pid, 0)
    status = "finished" if ignores else "interrupted"
    assert [result["status"] for result in results(tmp_path)] == [status] * n_runs


def test_a_log_grows_by_a_line_an_epoch(tmp_path):
    asked = [*SMALL, "dataset.num_train=20000", "epochs=1000"]
    with open(tmp_path / "log", "w") as log:
        both = {"stdout": log, "stderr": log}
        process = subprocess.Popen([sys.executable, ROOT / "run.py", *asked], cwd=tmp_path, **both)
    began = time.monotonic()
    while "epoch 2 of 1000, val_loss " not in (text := (tmp_path / "log").read_text()):
        assert time.monotonic() - began < 60 and process.poll() is None, text
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert text.splitlines()[1].startswith("epoch 0 of 1000, val_loss ")
    quiet = run_py(tmp_path, *SMALL, "progress=false")
    assert "epoch" not in quiet.stdout


# Terminals


def in_terminal(cwd, columns, *command):
    """What a command writes to a terminal of so many columns, split where a line is drawn anew."""
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, columns))
    ends = dict.fromkeys(["stdin", "stdout", "stderr"], child)
    process = subprocess.Popen([sys.executable, *command], cwd=cwd, **ends)
    os.close(child)
    seen = b""
    try:
        while part := os.read(parent, 10_000):
            seen += part
    except OSError:  # its end
        pass
    assert process.wait(60) == 0
    return seen.decode().replace("\r", "\n").splitlines()


def test_a_narrow_terminal_shows_tables_that_do_not_wrap(tmp_path):
    asked = [*SMALL, "lr=0.1,0.2", "seed=0,1", "hydra.sweep.dir=runs"]
    assert run_py(tmp_path, "-m", *asked).returncode == 0
    table = ["-m", "analysis.table", tmp_path / "runs"]
    lines = in_terminal(ROOT, 60, *table)
    lines = [line for line in lines if not line.startswith("reading")]
    assert max(map(len, lines)) <= 60
    assert sum(line.startswith("lr ") for line in lines) > 1, "each part begins with the keys"
    wide = python(ROOT, *table).stdout.splitlines()
    assert len(wide[0]) > 60, "a file has one part"
    words = {word for line in wide for word in line.split()}
    assert words == {word for line in lines for word in line.split()}


COMMANDS = ["curves", "dataset", "seeds", "sensitivity", "table", "verify", "worked_example"]


@pytest.mark.parametrize("environment", [ASCII, C], ids=["ascii", "C"])
def test_a_terminal_that_is_not_utf_8(environment, tmp_path):
    for name in COMMANDS:
        one = analysis(name, "--help", environment=environment)
        assert (one.returncode, one.stderr) == (0, ""), name
    assert run_py(tmp_path, "--help", environment=environment).returncode == 0
    for seed in 0, 1:
        named = [f"hydra.run.dir={tmp_path}/{seed}", f"seed={seed}"]
        assert run_py(tmp_path, *SMALL, *named, environment=environment).returncode == 0
    table = analysis("table", tmp_path, environment=environment)
    assert table.returncode == 0
    assert r" \xb1 " in table.stdout


def test_names_that_are_not_utf_8(tmp_path):
    folder = tmp_path / NOT_UTF8
    folder.mkdir()
    np.savez(
        folder / "my.npz", x_train=np.random.default_rng(0).random((20, 2)), y_train=[0, 1] * 10
    )
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    asked = ["dataset=npz", f"dataset.path='{NOT_UTF8}/my.npz',other.npz", "epochs=1"]
    shutil.copy(folder / "my.npz", tmp_path / "other.npz")
    where = [f"hydra.sweep.dir='{NOT_UTF8}'", "launcher=serial"]
    one = run_py(tmp_path, "-m", *asked, *where, environment=strict)
    assert (one.returncode, one.stderr) == (0, "")
    assert len(results(folder)) == 2
    for name, *arguments in (
        ["curves", folder],
        ["table", folder],
        ["sensitivity", folder, "--x", "dataset.path"],
        ["dataset", folder / "my.npz", "--out", tmp_path / "my.png"],
    ):
        one = analysis(name, *arguments, environment=strict)
        assert one.returncode == 0, one.stderr
    assert r"caf\udce9/my.npz" in (folder / "curves-loss.csv").read_text()


# Text in figures


@pytest.mark.parametrize("text", ["a$b", "a$b$c", r"q$\frac$", "x_1^2", r"\alpha", NOT_UTF8])
def test_a_persons_text_stands_in_a_figure_as_it_is(text, tmp_path):
    page, (axes,) = figure.panels(1)
    style = figure.group_styles(1)[0]
    axes.plot([1, 1000], [1, 1000])
    axes.set(xscale="log", xlabel=text, title=text)
    axes.set_yticks([1, 1000], [figure.printable(text), "other"])  # as all values of runs
    legend = [figure.legend_entry([text], "n=1", style)]
    figure.annotate(page, legend, text, text, [Finding(text, text)])
    page.savefig(tmp_path / "figure.png")
    assert imread(tmp_path / "figure.png").std() > 0
    shown = figure.printable(text)
    drawn = [one for one in page.findobj(Text) if shown in one.get_text()]
    assert len(drawn) >= 6, "label, title, tick, legend's title and entry, note"
    assert not any(one.get_parse_math() for one in drawn)
    powers = [one for one in axes.get_xticklabels() if "10^" in one.get_text()]
    assert powers and all(one.get_parse_math() for one in powers)


# Variables


def test_git_variables_of_a_hook_are_not_the_programs(tmp_path, monkeypatch):
    here = run_folder.git_state.__wrapped__()
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    me = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    commit = ["git", "-C", tmp_path, *me, "commit", "-q", "--allow-empty", "-m", "mine"]
    subprocess.run(commit, check=True)
    for name in "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE":
        monkeypatch.setenv(name, str(tmp_path / ".git"))
    assert run_folder.git_state.__wrapped__() == here


VARIABLES = {
    "PYTHONSAFEPATH": "1",
    "PYTHONPATH": str(ROOT),
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "2",
}
VARIABLES |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "7", "PYTHONNOUSERSITE": "1"}


def test_variables_of_python_and_a_home_that_is_missing_change_nothing(tmp_path):
    plain = run_py(tmp_path, *SMALL, "hydra.run.dir=plain")
    assert plain.returncode == 0
    odd = run_py(tmp_path, *SMALL, "hydra.run.dir=odd", environment={**VARIABLES, "HOME": None})
    assert (odd.returncode, odd.stderr) == (0, "")
    steps = [(tmp_path / name / "steps.csv").read_bytes() for name in ("plain", "odd")]
    assert steps[0] == steps[1]
    sweep = run_py(tmp_path, "-m", *SMALL, "seed=0,1", environment={**VARIABLES, "HOME": None})
    assert (sweep.returncode, sweep.stderr) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"plain", "odd", "outputs"}
