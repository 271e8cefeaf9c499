"""The command `mlp`, started as `python -m analysis`, which is the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.__main__ import COMMANDS
from mlp_sweeps import how_to_start

ROOT = Path(__file__).resolve().parents[1]


def mlp(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "analysis", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_every_program_of_the_analysis_is_a_command():
    programs = {
        path.stem
        for path in ROOT.glob("analysis/[!_]*.py")
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    }
    packages = {path.parent.name for path in ROOT.glob("analysis/*/__main__.py")}
    assert programs | packages - {"report"} == COMMANDS.keys() - {"run"}


@pytest.mark.slow
def test_a_sweep_and_its_curves_need_no_checkout_around_them(tmp_path):
    asked = ["dataset.num_train=100", "epochs=1", "seed=0,1", "name=some"]
    done = mlp(tmp_path, "run", "-m", *asked)
    assert (done.returncode, done.stderr) == (0, "")
    *_, summary, see = done.stdout.splitlines()
    assert summary.startswith("sweep: 2 finished; ")
    assert see == "to see it: mlp curves outputs/some"
    done = mlp(tmp_path, *see.split()[4:])
    assert done.stdout.startswith("wrote outputs/some/curves-")
    assert done.returncode == 0


@pytest.mark.slow
def test_each_command_calls_itself_by_the_name_that_was_typed(tmp_path):
    assert mlp(tmp_path, "run", "lrr=1").stderr.startswith("mlp run: unknown key lrr")
    assert "\n  mlp run lr=0.3 " in mlp(tmp_path, "run", "--help").stdout
    assert mlp(tmp_path, "curves", "none").stderr == "mlp curves: none: no such folder\n"
    assert "\nexample: mlp table " in mlp(tmp_path, "table", "--help").stdout


def test_without_a_command_all_are_listed(tmp_path):
    told = mlp(tmp_path)
    assert told.returncode == 0
    assert all(f"\n  {name} " in told.stdout for name in COMMANDS)
    unknown = mlp(tmp_path, "curve")
    assert unknown.returncode == 1
    assert unknown.stderr == f"mlp: no command is named curve\n\n{told.stdout}"


@pytest.mark.parametrize(
    ("program", "run", "curves"),
    [
        ("run.py", "python run.py", "python -m analysis.curves"),
        ("../some/run.py", "python ../some/run.py", "mlp curves"),
        ("mlp run", "mlp run", "mlp curves"),
    ],
)
def test_what_to_type_next_fits_what_was_typed(monkeypatch, program, run, curves):
    monkeypatch.setattr(sys, "argv", [program])
    assert (how_to_start("run"), how_to_start("curves")) == (run, curves)
