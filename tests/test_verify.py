"""analysis.verify: equal runs are equal, and the first byte that isn't is named."""

import json

import numpy as np
import pytest
from made_up import error_line, write_run

from analysis import verify
from mlp import make_config, run
from mlp.run_folder import read_checkpoint

SMALL = {"name": "synth", "num_train": 64, "num_val": 32}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The files of one small run, by name."""
    folder = tmp_path_factory.mktemp("run")
    run(make_config(dataset=SMALL, epochs=2, optimizer="adam", progress=False), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def sweep(trained, tmp_path):
    """A folder of five equal runs, 0 to 4."""
    for n in range(5):
        (tmp_path / str(n)).mkdir()
        for name, content in trained.items():
            (tmp_path / str(n) / name).write_bytes(content)
    return tmp_path


def change(path, old, new):
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new, 1))


def printed(capsys, *arguments):
    """(exit code, lines on stdout, stderr) of the command."""
    with pytest.raises(SystemExit) as stop:
        verify.main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return int(stop.value.code), out.splitlines(), err


def test_equal_runs_spread_over_the_sweep(sweep, capsys):
    code, lines, err = printed(capsys, sweep)
    assert (code, err) == (0, "")
    assert lines == [
        "equal: 0",
        "equal: 2",
        "equal: 4",
        "3 of 3 runs are equal, byte for byte; 5 have ended",
    ]
    assert [one.name for one in verify.verify(sweep, runs=None)] == list("01234")


def test_one_run_s_folder(sweep, capsys):
    assert printed(capsys, sweep / "3")[:2] == (
        0,
        ["equal: 3", "1 of 1 runs are equal, byte for byte; 1 have ended"],
    )


def test_a_diverged_run_is_verified_too(tmp_path):
    settings = {"lr": 1e30, "model": {"activation": "relu"}, "progress": False}
    run(make_config(dataset=SMALL, **settings), tmp_path / "run")
    assert json.loads((tmp_path / "run/result.json").read_text())["status"] == "diverged"
    assert [one.difference for one in verify.verify(tmp_path)] == [None]


def test_a_changed_byte_is_named_with_its_line_and_both_values(sweep, trained, capsys):
    line = trained["steps.csv"].decode().splitlines()[2]
    change(sweep / "2/steps.csv", line.encode(), b"2,1,0.5")
    code, lines, _ = printed(capsys, sweep)
    assert code == 1
    assert lines == [
        "equal: 0",
        f"differs: 2: steps.csv, line 3: 2,1,0.5 there, {line} now",
        "  result.json tells of no difference in the environment",
        "equal: 4",
        "2 of 3 runs are equal, byte for byte; 5 have ended",
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"step,epoch,loss\n", b"step,epoch,loss\r\n", r"line 1: 'step,epoch,loss\r\n' there"),
        (b"1,1,", b"1,1,\xff", r"line 2: 1,1,\xff"),
        (b"8,2,", b"8,2,0\n9,2,", "line 9: 8,2,0 there"),
    ],
)
def test_any_byte_counts(sweep, old, new, words):
    change(sweep / "0/steps.csv", old, new)
    (verdict,) = verify.verify(sweep / "0")
    assert words in verdict.difference


def test_a_log_that_ends_early(sweep, trained):
    lines = trained["epochs.csv"].decode().splitlines(keepends=True)
    (sweep / "0/epochs.csv").write_text("".join(lines[:-1]))
    (verdict,) = verify.verify(sweep / "0")
    assert verdict.difference == f"epochs.csv, line 4: nothing there, {lines[-1].strip()} now"


@pytest.mark.parametrize("towards", [-9, 9])
def test_a_parameter_s_bit_counts(sweep, towards):
    arrays = read_checkpoint(sweep / "0")
    value = arrays["weights_0"][1, 2]
    other = np.nextafter(value, np.float32(towards))
    arrays["weights_0"][1, 2] = other
    np.savez(sweep / "0/checkpoint.npz", **arrays)
    (verdict,) = verify.verify(sweep / "0")
    assert verdict.difference == f"checkpoint.npz, weights_0[1, 2]: {other} there, {value} now"


def test_missing_files_and_arrays(sweep):
    (sweep / "0/epochs.csv").unlink()
    (sweep / "2/checkpoint.npz").unlink()
    arrays = read_checkpoint(sweep / "4")
    del arrays["bias_1"]
    np.savez(sweep / "4/checkpoint.npz", **arrays)
    one, two, three = (verdict.difference for verdict in verify.verify(sweep))
    assert one.startswith("epochs.csv, missing: ")
    assert two == "checkpoint.npz is missing"
    assert three == "checkpoint.npz, bias_1: only now"


def test_another_environment_is_named(sweep, capsys):
    result = json.loads((sweep / "0/result.json").read_text())
    now = result["environment"]
    blas = [{"name": "other 1.0", "threads": 4, "architecture": "Abacus"}]
    result["environment"] = {**now, "numpy": "1.0", "blas": blas}
    del result["environment"]["cpu"]
    (sweep / "0/result.json").write_text(json.dumps(result))
    assert verify.verify(sweep / "0")[0].is_equal, "bytes decide"
    change(sweep / "0/epochs.csv", b"epoch", b"Epoch")
    _, lines, _ = printed(capsys, sweep / "0")
    assert set(lines[1:-1]) == {
        f"  numpy: 1.0 there, {now['numpy']} now",
        f"  blas: other 1.0, threads 4, architecture Abacus there, "
        f"{verify.in_text(now['blas'])} now",
        f"  cpu: not told there, {now['cpu']} now",
    }


def test_a_configuration_that_this_program_refuses(sweep):
    change(sweep / "0/result.json", b'"lr": 0.', b'"lr": -0.')
    (verdict,) = verify.verify(sweep / "0")
    assert verdict.difference.startswith("can't be run again: lr must be a number > 0")


def test_unfinished_runs_are_named(sweep, capsys):
    write_run(sweep / "5", [1.0] * 4, status="interrupted")
    write_run(sweep / "6", [1.0] * 4, status="running")
    (sweep / "4/result.json").write_text("{")
    code, lines, err = printed(capsys, sweep, "--runs", "1")
    assert code == 0
    assert lines == ["equal: 0", "1 of 1 runs are equal, byte for byte; 4 have ended"]
    assert err.splitlines() == [
        "note: 4: result.json is not what a run writes",
        "note: 5: interrupted",
        "note: 6: no result.json: running, or killed",
    ]


def test_refusals_take_one_line(sweep, capsys, tmp_path):
    write_run(tmp_path / "none/run", [1.0] * 4, status="failed")
    line = error_line(capsys, verify.main, tmp_path / "none")
    assert line.endswith(f"no run under {tmp_path}/none has finished: run: failed\n")
    assert "no such folder" in error_line(capsys, verify.main, tmp_path / "nowhere")
    assert "must be a number >= 1, or all; got '0'" in error_line(
        capsys, verify.main, sweep, "--runs", "0"
    )
