"""Command lines at random, of legal and slightly illegal values: one line, never a traceback.

Each one is a fork of this process, which has imported what run.py takes longest to import.
"""

import contextlib
import os
import random
import runpy
import signal
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from mlp import experiment, settings  # noqa: F401
from mlp.config import Config
from mlp_sweeps import launcher  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
LEGAL = {
    "name": ["some", "'a b'", "a/b", "x$y", "ä", "'it\\'s=here'"],
    "seed": ["0", "7", "4294967296"],
    "lr": ["0.1", "1e-3", "1", "1e30"],
    "batch_size": ["1", "7", "1000000"],
    "epochs": ["1", "2"],
    "dtype": ["float32", "float64"],
    "threads": ["1", "2"],
    "checkpoint_every": ["null", "1"],
    "progress": ["true", "false"],
    "dataset.num_train": ["20", "33"],
    "dataset.num_val": ["5", "1"],
    "dataset.normalize": ["none", "unit", "standard"],
    "dataset.path": ["my.npz", "'my.npz'", "not.npz", "gone.npz", "."],
    "model.hidden_sizes": ["[]", "[3]", "[4,2]"],
    "model.init_std": ["null", "0.5"],
    "hydra.run.dir": ["here", ".", "file/below", "link", "'${name}'", "./"],
    "hydra.sweep.dir": ["there", ".", "file"],
    "hydra.job.chdir": ["true", "false"],
    "hydra.sweeper.params": ["{seed:'0,1'}", "{}", "null", "3", "[lr]", "'lr=1'"],
    "experiment": ["synth_scalar", "nothing"],
    "overwrite": ["true"],
    "fail_fast": ["true"],
    "dry_run": ["true"],
}
ODD = ["", "-1", "0", "1.5", "nan", "-inf", "1e400", "null", "true", "[]", "[1]", "[-1]", "[[2]]"]
ODD += ["{}", "{a:1}", "x", "'", '"a b"', "a b", "é", "$", "${lr}", "${nope}", "${nope:1}", "${"]
ODD += [
    "${oc.env:NOPE}",
    "${hydra:job.num}",
    "${hydra:runtime.cwd}",
    "???",
    "1,2",
    "0.1,x",
    "[1",
    "=",
]
ODD += [
    "range(2)",
    "range(0)",
    "choice(1,2)",
    "interval(0.1,1)",
    "glob(*)",
    "\\",
    "x" * 300,
    "@",
    ",",
]
GROUPS = {
    "dataset": ["synth", "npz", "digits"],
    "model": ["mlp", "scalar"],
    "optimizer": ["sgd", "adam"],
    "schedule": ["constant", "linear", "cosine", "one_cycle"],
}
SMALL = ["dataset.num_train=30", "dataset.num_val=10", "epochs=1", "model.hidden_sizes=[3]"]


def command_line(draw):
    """A list of arguments; most of them are legal."""
    known = {key: spec for key, spec, _ in settings.all_settings(Config)}
    keys = [*LEGAL, *(key for key in known if key not in LEGAL)]
    chosen = {group: draw.choice(names) for group, names in GROUPS.items() if draw.random() < 0.2}
    arguments = [f"{group}={name}" for group, name in chosen.items()]
    is_sweep = draw.random() < 0.4
    for key in draw.sample(keys, draw.randint(0, 3)):
        limits = known[key].metadata if key in known else {}
        legal = LEGAL.get(key) or limits.get("choices") or ["0.5", "true", "1e-8"]
        value = draw.choice(ODD if draw.random() < 0.4 else legal)
        if is_sweep and draw.random() < 0.4:
            value += "," + draw.choice(legal)
        sign = draw.choice(["+", "++", "~"]) if draw.random() < 0.05 else ""
        arguments.append(f"{sign}{key}={value}")
    if draw.random() < 0.1:
        arguments.append(
            draw.choice([*ODD, "lrr=1", "~model", "--cfg", "resume=here", "model.x=1"])
        )
    draw.shuffle(arguments)
    small = SMALL if chosen.get("dataset", "synth") == "synth" else SMALL[2:]
    if is_sweep:
        small = ["-m", "launcher=serial", *small]
        if draw.random() < 0.2:
            small += ["sweeper=optuna", "hydra.sweeper.n_trials=2"]
    return [*small, *arguments]


def run_py(folder, arguments):
    """(exit code, stdout, stderr) of run.py in a folder, in a fork of this process."""
    pid = os.fork()
    if not pid:
        code = 1
        with contextlib.suppress(BaseException):
            signal.alarm(60)
            os.chdir(folder)
            for number, name in enumerate(["out", "err"], 1):
                os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
            sys.stdin, sys.stdout, sys.stderr = map(open, [0, 1, 2], "rww")
            sys.argv = ["run.py", *arguments]
            OmegaConf.clear_resolvers()
            GlobalHydra.instance().clear()
            code = ended_with()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    texts = ((folder / name).read_text() for name in ("out", "err"))
    return code, *texts


def ended_with():
    try:
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return 1 if isinstance(end.code, str) else int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_25_command_lines(seed, tmp_path):
    draw = random.Random(seed)
    for n in range(25):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "file").touch()
        (folder / "link").symlink_to("/gone/for/good")
        (folder / "not.npz").write_text("x_train,y_train\n1,2\n")
        x = np.arange(40.0).reshape(20, 2)
        np.savez(folder / "my.npz", x_train=x, y_train=np.arange(20) % 2)
        arguments = command_line(draw)
        code, out, err = run_py(folder, arguments)
        told = f"{arguments}\n{code}\n{out}\n{err}"
        assert code in (0, 1, 2), told
        assert "Traceback" not in err and "Warning" not in err, told
        if code == 0:
            assert err == "", told
        elif code == 1:
            *before, last = err.splitlines()
            assert last.startswith(("run.py: ", "failed: ")), told
            assert "-m" in arguments or not before, told
        for path in folder.rglob("result.json"):
            assert '"traceback"' not in path.read_text(), told
