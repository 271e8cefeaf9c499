"""One run's folder: its curves, and every damage with its place."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_up import CONFIG, write_run

from analysis.runs import parse, read_run
from mlp.run_folder import (
    FORMAT,
    Damaged,
    read_checkpoint,
    read_config,
    read_log,
    read_result,
)

LOSSES = np.linspace(2, 0.2, 12)


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", LOSSES)


# Configuration, result and checkpoint


def test_the_configuration_is_that_of_the_result_or_else_hydras(run):
    (run / ".hydra/config.yaml").write_text("seed: 1")
    assert read_config(run) == CONFIG
    for content in ("{", "[]", '{"config": {}}', json.dumps({"format": FORMAT + 1})):
        (run / "result.json").write_text(content)
        assert read_config(run) == {"seed": 1}
    (run / "result.json").unlink()
    assert read_config(run) == {"seed": 1}
    (run / ".hydra/config.yaml").write_text("just text")
    with pytest.raises(Damaged, match=r"neither result.json nor .hydra/config.yaml can be read"):
        read_config(run)


def test_a_result_of_a_later_format_is_refused(run):
    result = read_result(run)
    for number in range(FORMAT + 1):
        (run / "result.json").write_text(json.dumps(result | {"format": number}))
        assert read_result(run)["status"] == "finished"
    (run / "result.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(Damaged, match=r"has format 2; this version of the program reads up to 1"):
        read_result(run)
    (run / "result.json").unlink()
    with pytest.raises(FileNotFoundError):
        read_result(run)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_checkpoint_that_cannot_be_read(run, content):
    if content is not None:
        (run / "checkpoint.npz").write_bytes(content)
    with pytest.raises(Damaged, match=r"checkpoint.npz "):
        read_checkpoint(run)


def test_a_checkpoint_is_its_arrays_and_holds_no_code(run):
    np.savez(run / "checkpoint.npz", weights_0=np.eye(2), step=7)
    got = read_checkpoint(run)
    assert got.keys() == {"weights_0", "step"} and got["weights_0"].tolist() == [[1, 0], [0, 1]]
    np.savez(run / "checkpoint.npz", weights_0=np.array([print]))
    with pytest.raises(Damaged):
        read_checkpoint(run)


# Logs and curves


def replace_line(number, text):
    """Puts text in the place of a line of steps.csv; 1 is the header."""

    def spoil(path):
        lines = (path / "steps.csv").read_text().splitlines(keepends=True)
        lines[number - 1] = text
        (path / "steps.csv").write_text("".join(lines))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (replace_line(13, "12,3,0.1"), "steps.csv: the last line is torn"),
        (replace_line(13, "12,3\n"), "steps.csv, line 13: 12,3"),
        (replace_line(13, ""), "steps.csv: 11 rows, not one for each step 1 to 12"),
        (replace_line(5, ""), "steps.csv: 11 rows, not one for each step 1 to 12"),
        (replace_line(5, "3,1,0.5\n"), "steps.csv: 12 rows, not one for each step 1 to 12"),
        (replace_line(2, "0,1,0.5\n"), "steps.csv: 12 rows, not one for each step 1 to 12"),
        (replace_line(5, "\n"), "steps.csv, line 5: "),
        (replace_line(5, "4,1,nan\n"), "steps.csv, line 5: 4,1,nan"),
        (replace_line(5, "4,1,-inf\n"), "steps.csv, line 5: 4,1,-inf"),
        (replace_line(5, "4,1,0.5e\n"), "steps.csv, line 5: 4,1,0.5e"),
        (replace_line(5, "4,1,0.5,7\n"), "Expected 3 fields in line 5, saw 4"),
        (replace_line(5, "\x00\x01,\n"), "steps.csv, line 5: "),
        (replace_line(1, "step,epoch,cost\n"), "steps.csv has no column loss"),
        (replace_line(1, "a,b,c\n"), "steps.csv has the columns a,b,c"),
        (lambda path: (path / "steps.csv").unlink(), "steps.csv is missing"),
        (lambda path: (path / "steps.csv").write_text(""), "steps.csv: "),
        (lambda path: (path / "steps.csv").write_text("step,epoch,loss\n"), "steps.csv: 0 rows"),
        (lambda path: (path / "steps.csv").write_bytes(b"\xff\xfe\n\xff\n"), "steps.csv: "),
    ],
)
def test_a_damaged_log_is_refused_with_its_place(run, spoil, what):
    spoil(run)
    got = read_run(run, "run")
    with pytest.raises(Damaged) as damage:
        got.curves(["loss"], "step")
    assert what in str(damage.value)
    assert "\n" not in str(damage.value)
    got.curves(["val_loss"], "step")  # the other log is as good as before


def test_epochs_that_stop_early_are_refused(run):
    path = run / "epochs.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(Damaged, match=r"epochs.csv: 3 rows, not one for each epoch 0 to 3"):
        read_run(run, "run").curves(["val_loss"], "epoch")


def test_rows_with_a_field_too_many_each_are_refused(run):
    rows = "".join(f"{step},1,0.5,9\n" for step in range(1, 13))
    (run / "steps.csv").write_text("step,epoch,loss\n" + rows)
    with pytest.raises(Damaged):  # pandas would take the first field for a name
        read_log(run, "step", 12, parse)


def test_numbers_are_read_to_the_last_bit(tmp_path):
    random = np.random.default_rng(0)
    any_bits = random.integers(0, 2**64, 20_000, dtype=np.uint64).view(float)
    losses = np.concatenate([any_bits[np.isfinite(any_bits)], random.random(20_000)])
    path = write_run(tmp_path / "run", losses)
    texts = [line.split(",")[2] for line in (path / "steps.csv").read_text().split()[1:]]
    got = read_log(path, "step", len(losses), parse)["loss"]
    assert np.array_equal(got, [float(text) for text in texts])
    assert np.array_equal(got, losses)


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("step,epoch,loss\n1,1,0.5\n2,1,0.25\n3,1,0.12", 2),  # it is writing the last one
        ("step,epoch,loss\n1,1,0.5\n2,1,inf\n3,1,nan\n", 1),
        ("step,epoch,loss\n1,1,0.5\n2,1,\n3,1,0.5\n", 1),
    ],
)
def test_a_run_that_has_not_ended_has_the_curves_of_its_sound_rows(run, text, n):
    (run / "result.json").unlink()
    (run / "steps.csv").write_text(text)
    x, y = read_run(run, "run").curves("loss")["loss"]
    assert np.array_equal(x, np.arange(1, n + 1)) and np.array_equal(y, [0.5, 0.25][:n])


@pytest.mark.parametrize(
    "text", [None, "", "step,epoch,loss\n", "step,epoch,loss\n1,1,nan\n", "a,b\n1,2\n", "\xff\n"]
)
def test_a_run_that_has_not_ended_may_have_no_sound_row(run, text):
    (run / "result.json").unlink()
    (run / "steps.csv").unlink()
    if text is not None:
        (run / "steps.csv").write_text(text)
    with pytest.raises(Damaged, match=r"steps\.csv"):
        read_run(run, "run").curves("loss")


def test_rows_out_of_order_are_no_curve(run):
    (run / "result.json").unlink()
    replace_line(5, "3,1,0.5\n")(run)
    with pytest.raises(Damaged, match=r"steps.csv: no rows yet, or not one for each step"):
        read_run(run, "run").curves("loss")


@pytest.mark.parametrize(
    ("x", "steps", "epochs"),
    [
        ("step", np.arange(1, 13), [0, 4, 8, 12]),
        ("epoch", np.arange(1, 13) / 4, [0, 1, 2, 3]),
        ("examples", np.arange(1, 13) * 16, [0, 64, 128, 192]),
    ],
)
def test_curves_over_steps_epochs_and_examples(run, x, steps, epochs):
    curves = read_run(run, "run").curves(["loss", "val_loss"], x)
    assert np.array_equal(curves["loss"], [steps, LOSSES])
    assert np.array_equal(curves["val_loss"], [epochs, LOSSES[[0, 3, 7, 11]] + 0.1])


def test_examples_are_those_of_the_batches_that_were_used(run):
    (run / "result.json").write_text(json.dumps(read_result(run) | {"batch_size": 10}))
    examples, _ = read_run(run, "run").curves("loss", "examples")["loss"]
    assert np.array_equal(examples, np.arange(1, 13) * 10)


# The package


@pytest.mark.parametrize("module", ["analysis", "analysis.worked_example"])
def test_what_needs_no_tables_imports_no_pandas(module):
    code = f"import sys, {module}; print({{'pandas', 'matplotlib'}} & set(sys.modules))"
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_the_package_hands_out_what_a_notebook_needs():
    import analysis

    for name in analysis.__all__:
        assert callable(getattr(analysis, name))
    with pytest.raises(AttributeError, match="no attribute 'plot_everything'"):
        _ = analysis.plot_everything
