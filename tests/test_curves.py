"""analysis.curves from the command line: the CSV's numbers, the figure's words, its refusals."""

import io
import re
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import error_line, write_run

from analysis import curves, figure
from analysis.curves import plot_curves
from analysis.sweep import Finding, Sweep, read_sweep

N_STEPS, LRS, N_SEEDS = 40, (0.01, 0.1, 1.0), 3
RAW = np.random.default_rng(0).gamma(2, 0.5, (len(LRS), N_SEEDS, N_STEPS))


@pytest.fixture
def sweep(tmp_path):
    """Three learning rates of three seeds each, with the losses of RAW."""
    for lr, runs in zip(LRS, RAW, strict=True):
        for seed, losses in enumerate(runs):
            write_run(tmp_path / f"lr={lr},seed={seed}", losses, lr=lr, seed=seed)
    return tmp_path


def run(sweep, *options, stem="curves-loss"):
    """The CSV that the command writes."""
    curves.main([str(sweep), *map(str, options)])
    return pd.read_csv(sweep / f"{stem}.csv")


def words(path):
    """The text in an SVG."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())


def note(page):
    """The text below a figure, in one line."""
    return " ".join(page.get_supxlabel().split())


def test_mean_std_and_n_are_numpys_on_the_raw_values(sweep, capsys):
    table = run(sweep)
    assert list(table) == ["lr", "metric", "x", "mean", "std", "n"]
    assert np.array_equal(table["lr"], np.repeat(LRS, N_STEPS))
    assert np.array_equal(table["x"], np.tile(np.arange(1, N_STEPS + 1), len(LRS)))
    assert np.array_equal(table["mean"], RAW.mean(axis=1).ravel())
    np.testing.assert_allclose(table["std"], RAW.std(axis=1, ddof=1).ravel(), rtol=2e-15)
    assert set(table["n"]) == {3} and set(table["metric"]) == {"loss"}
    out, err = capsys.readouterr()
    assert out == f"wrote {sweep}/curves-loss.png and {sweep}/curves-loss.csv\n"
    assert err == ""


def test_what_does_not_count_is_named_and_spoils_nothing_else(sweep, capsys):
    shutil.rmtree(sweep / "lr=0.01,seed=1")
    write_run(sweep / "again", RAW[0, 2], lr=0.01, seed=2)
    for seed, status in enumerate(["running", "diverged", "failed"]):
        shutil.rmtree(sweep / f"lr=1.0,seed={seed}")
        write_run(sweep / f"lr=1.0,seed={seed}", RAW[2, seed], status=status, lr=1.0, seed=seed)
    torn = sweep / "lr=0.1,seed=0" / "steps.csv"
    torn.write_text(torn.read_text()[:-4])
    table = run(sweep)
    assert set(table["lr"]) == {0.01, 0.1}
    for lr, raw in {0.01: RAW[0, [0, 2]], 0.1: RAW[1, 1:]}.items():
        group = table[table["lr"] == lr]
        assert np.array_equal(group["mean"], raw.mean(axis=0))
        np.testing.assert_allclose(group["std"], raw.std(axis=0, ddof=1), rtol=2e-15)
        assert set(group["n"]) == {2}
    assert capsys.readouterr().err.splitlines() == [
        "note: again: same configuration and seed as lr=0.01,seed=2",
        "note: lr=1.0,seed=0: no result.json: running, or killed",
        "note: lr=1.0,seed=1: diverged",
        "note: lr=1.0,seed=2: failed",
        "note: lr=0.01: no run with seed 1",
        "note: lr=0.1,seed=0: steps.csv: the last line is torn",
    ]


def test_the_figure_says_what_it_shows(sweep):
    shutil.rmtree(sweep / "lr=0.1,seed=2")
    write_run(sweep / "lr=0.1,seed=2", RAW[1, 2], status="diverged", lr=0.1, seed=2)
    curves.main([str(sweep), "--out", str(sweep / "a.svg")])
    text = words(sweep / "a.svg")
    assert {"lr", "0.01 (n=3)", "0.1 (n=2 of 3)", "1.0 (n=3)", "step"} <= set(text)
    assert "mini-batch loss (nats)" in text
    assert "Line: mean of n runs. Faint: each run. Band: ± 1 sample std." in text
    assert "lr=0.1,seed=2: diverged" in text


def test_many_findings_are_counted_below_the_figure_and_listed_on_the_terminal(sweep, capsys):
    for number in range(20):
        write_run(
            sweep / f"bad{number}", RAW[0, 0], status="failed", error=str(number), lr=2.0 + number
        )
    curves.main([str(sweep), "--out", str(sweep / "a.svg")])
    failed = [line for line in capsys.readouterr().err.splitlines() if "failed" in line]
    assert len(failed) == 20
    text = words(sweep / "a.svg")
    assert sum("failed" in line for line in text) < figure.LONGEST_NOTE
    assert any(
        re.fullmatch(r"\.\.\. \d\d notes in all, listed on the terminal", line) for line in text
    )


def test_runs_with_the_same_finding_share_a_line():
    findings = [Finding(str(number), "diverged") for number in range(5)]
    lines = figure.note("Caption.", [*findings, Finding("9", "failed")], 80)
    assert lines == ["Caption.", "0, 1, 2 and 2 more: diverged", "9: failed"]


def test_a_single_run_has_no_band_and_no_std(tmp_path):
    write_run(tmp_path / "2026-01-01_00-00-00", RAW[0, 0])
    table = run(tmp_path)
    assert list(table) == ["metric", "x", "mean", "std", "n"]
    assert table["std"].isna().all()
    assert (tmp_path / "curves-loss.csv").read_text().splitlines()[1].split(",")[3] == ""
    assert np.array_equal(table["mean"], RAW[0, 0])
    page = plot_curves(read_sweep(tmp_path))
    assert len(page.axes[0].lines) == 1 and not page.axes[0].collections
    assert note(page) == "Each line is one run."


def test_groups_of_unequal_length_end_where_they_end(tmp_path):
    for epochs, length in ((5, 20), (10, 40)):
        for seed in range(2):
            write_run(tmp_path / f"{epochs}{seed}", RAW[0, seed, :length], epochs=epochs, seed=seed)
    table = run(tmp_path)
    assert list(table.groupby("epochs")["x"].max()) == [20, 40]
    assert len(table) == 60 and set(table["n"]) == {2}


def test_runs_of_unequal_length_in_a_group(tmp_path, capsys):
    write_run(tmp_path / "short", RAW[0, 0, :20], epochs=5)
    write_run(tmp_path / "long", RAW[0, 1], epochs=10, seed=1)
    table = run(tmp_path, "--by", "lr")
    assert list(table["n"]) == [2] * 20 + [1] * 20
    assert np.array_equal(table["mean"][:20], RAW[0, :2, :20].mean(axis=0))
    assert np.array_equal(table["mean"][20:], RAW[0, 1, 20:])
    assert table["std"][20:].isna().all()
    (axes,) = plot_curves(read_sweep(tmp_path, by="lr")).axes
    mean, *seeds = axes.lines
    assert mean.get_xdata().max() == 20  # drawn no further than both reach
    assert {line.get_xdata().max() for line in seeds} == {20, 40}
    assert axes.collections[0].get_datalim(mean.axes.transData).x1 == 20
    what = "loss has 20 points, not the 40 of long; means are drawn where all have one"
    assert f"note: short: {what}" in capsys.readouterr().err


def test_smoothing_is_each_runs_own_before_the_average(sweep):
    table = run(sweep, "--smooth", 5, "--out", sweep / "a.svg", stem="a")
    windows = np.lib.stride_tricks.sliding_window_view(RAW, 5, axis=2).mean(axis=3)
    assert set(table["x"]) == set(range(5, N_STEPS + 1))
    np.testing.assert_allclose(table["mean"], windows.mean(axis=1).ravel(), rtol=1e-13)
    np.testing.assert_allclose(table["std"], windows.std(axis=1, ddof=1).ravel(), rtol=1e-11)
    assert set(table["metric"]) == {"loss, mean of the last 5 steps"}
    assert "mean of the last 5 steps" in words(sweep / "a.svg")


def test_a_second_look_finds_nothing_twice(sweep):
    (sweep / "lr=0.1,seed=0" / "steps.csv").write_text("")
    got = read_sweep(sweep)
    first, second = plot_curves(got), plot_curves(got)
    assert len(got.findings) == 1
    assert note(first) == note(second)


def test_several_metrics_are_panels_and_training_shares_that_of_validation(sweep):
    metrics = "loss,train_loss,val_loss,val_accuracy"
    table = run(sweep, "--metric", metrics, stem=f"curves-{metrics.replace(',', '+')}")
    assert list(table.drop_duplicates("metric")["metric"]) == metrics.split(",")
    ends = RAW[:, :, [0, *range(3, N_STEPS, 4)]]
    for metric, values in {"val_loss": ends + 0.1, "train_loss": ends}.items():
        rows = table[table["metric"] == metric]
        assert np.array_equal(rows["mean"], values.mean(axis=1).ravel())
        assert set(rows["x"]) == set(range(0, N_STEPS + 1, 4))
    panels = plot_curves(read_sweep(sweep), metrics.split(",")).axes
    assert [panel.get_ylabel() for panel in panels] == [
        "mini-batch loss (nats)",
        "loss (nats)\ntrain dashed, val solid",
        "val accuracy",
    ]
    assert {line.get_linestyle() for line in panels[1].lines} == {"--", "-"}
    assert {line.get_linestyle() for line in panels[2].lines} == {"-"}


@pytest.mark.parametrize(("x", "last"), [("epoch", 10), ("step", 40), ("examples", 640)])
def test_every_x_joins_loss_per_step_and_per_epoch(sweep, x, last):
    options = ["--metric", "loss,val_loss", "--x", x, "--out", sweep / "a.png"]
    table = run(sweep, *options, stem="a")
    assert list(table.groupby("metric")["x"].max()) == [last, last]


def test_examples_are_steps_times_the_batch_size_of_each_run(tmp_path):
    for size in 16, 32:
        write_run(tmp_path / str(size), RAW[0, 0], batch_size=size)
    table = run(tmp_path, "--x", "examples")
    assert dict(table.groupby("batch_size")["x"].max()) == {16: 640, 32: 1280}


def test_without_loss_x_is_the_epoch(sweep):
    assert run(sweep, "--metric", "val_accuracy", stem="curves-val_accuracy")["x"].max() == 10


@pytest.mark.parametrize(
    ("band", "text"),
    [
        ("se", "± 1 standard error."),
        ("ci95", "95% Student t interval of the mean"),
        ("minmax", "least to greatest."),
    ],
)
def test_the_band_that_is_drawn_is_the_one_that_is_named(sweep, band, text):
    page = plot_curves(read_sweep(sweep, where="lr=0.1"), band=band)
    assert text in note(page)
    (area,) = page.axes[0].collections
    edges = {"minmax": [RAW[1].min(axis=0), RAW[1].max(axis=0)]}
    se = RAW[1].std(axis=0, ddof=1) / np.sqrt(3)
    for name, factor in {"se": 1, "ci95": 4.302652729696142}.items():  # t(0.975, 2)
        edges[name] = RAW[1].mean(axis=0) + factor * np.array([-se, se])
    box = area.get_datalim(page.axes[0].transData)
    np.testing.assert_allclose([box.y0, box.y1], [edges[band][0].min(), edges[band][1].max()])


def test_no_band_where_none_is_wanted(sweep):
    page = plot_curves(read_sweep(sweep), band="none")
    assert not page.axes[0].collections
    assert "Band" not in note(page)


@pytest.mark.parametrize(("log", "scales"), [("x", "log linear"), ("xy", "log log")])
def test_logarithmic_axes(sweep, log, scales):
    (panel,) = plot_curves(read_sweep(sweep), "val_loss", log=log).axes
    assert f"{panel.get_xscale()} {panel.get_yscale()}" == scales
    assert min(line.get_xdata().min() for line in panel.lines) == 1  # no epoch 0


def test_a_band_near_0_does_not_stretch_a_logarithmic_axis(tmp_path):
    for seed in range(2):
        write_run(tmp_path / str(seed), np.full(8, 1 + 0.17 * seed), seed=seed)
    (axes,) = plot_curves(read_sweep(tmp_path), band="ci95", log="y").axes
    assert axes.get_ylim()[0] > 0.9


@pytest.mark.parametrize("n", [curves.FEW, curves.FEW + 1])
def test_single_runs_are_drawn_while_they_are_few(tmp_path, n):
    for seed in range(n):
        write_run(tmp_path / str(seed), RAW[0, 0, :8] + seed, seed=seed)
    write_run(tmp_path / "alone", RAW[0, 0, :8], lr=1.0)
    page = plot_curves(read_sweep(tmp_path))
    assert len(page.axes[0].lines) == 1 + 1 + (n if n <= curves.FEW else 0)
    assert page.axes[0].lines[0].get_ydata()[0] == pytest.approx(RAW[0, 0, 0] + (n - 1) / 2)
    text = "Faint: each run." if n == curves.FEW else f"Faint: each run, where n <= {curves.FEW}."
    assert text in note(page)


def test_a_figure_of_400_groups_is_no_longer_than_a_page(tmp_path):
    for i in range(400):
        write_run(tmp_path / str(i), RAW[0, 0, :8], lr=(i + 1) / 1000)
    page = plot_curves(read_sweep(tmp_path))
    assert page.get_size_inches()[1] < 11
    (legend,) = page.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert len(names) == figure.MOST_ENTRIES
    assert (names[0], names[-1]) == ("0.001 (n=1)", "0.4 (n=1)")
    assert "The legend has 40 of 400 groups." in note(page)


def test_huge_losses_are_drawn_without_a_warning(tmp_path, recwarn):
    for seed, size in enumerate([1e200, 2e200, 3e200]):
        write_run(tmp_path / str(seed), RAW[0, 0, :8] * size, seed=seed)
    table = run(tmp_path)
    np.testing.assert_allclose(table["mean"], RAW[0, 0, :8] * 2e200)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_formats(sweep, ending, start):
    path = sweep / f"figure.{ending}"
    curves.main([str(sweep), "--out", str(path)])
    assert path.read_bytes().startswith(start)
    assert path.with_suffix(".csv").exists()


def test_more_groups_than_colours_are_in_the_order_of_a_colour_map():
    few, many = figure.group_styles(7), figure.group_styles(12)
    assert len({style["color"] for style in few}) == 7
    light = [np.dot(style["color"][:3], [0.2, 0.7, 0.1]) for style in many]
    assert light == sorted(light)


@pytest.mark.parametrize("log_x", [False, True])
def test_thinning_keeps_every_extreme_and_the_ends(log_x):
    x, y = np.arange(1.0, 20_001), np.random.default_rng(1).standard_normal(20_000)
    y[[777, 15_000]] = 9, -9
    got_x, low, high = curves.thin(x, y, y, log_x)
    assert curves.COLUMNS / 3 < len(got_x) <= curves.COLUMNS
    assert low.min() == -9 and high.max() == 9
    starts = np.searchsorted(x, got_x)
    assert starts[0] == 0
    assert np.array_equal(low, [part.min() for part in np.split(y, starts[1:])])
    assert np.array_equal(high, [part.max() for part in np.split(y, starts[1:])])


def test_short_curves_are_drawn_point_by_point():
    x, y = np.arange(5.0), np.arange(5.0) ** 2
    assert np.array_equal(curves.thin(x, y, y, False), [x, y, y])


def test_memory_does_not_follow_the_number_of_runs(tmp_path):
    n_steps = 20_000
    for seed in range(12):
        write_run(tmp_path / str(seed), np.ones(n_steps), seed=seed, epochs=n_steps // 4)
    (group,) = read_sweep(tmp_path).groups
    peaks = {}
    for n_runs in (2, 2, 12):  # twice, so that the first fills caches
        tracemalloc.start()
        part = Sweep(group.runs[:n_runs], [], [])
        for _ in curves.written(curves.read_groups(part), io.StringIO(), []):
            pass
        peaks[n_runs] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[12] - peaks[2] < 5 * n_steps * 8  # half a column for each of ten runs more


# Refusals


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--metric", "los"], "--metric: unknown 'los'; did you mean loss?"),
        (["--metric", "loss,cost"], "--metric: unknown 'cost'"),
        (["--by", "learning"], "--by: unknown 'learning'"),
        (["--where", "lr=7"], "--where lr=7 matches none of 9 runs; lr: 0.01, 0.1, 1.0"),
        (["--out", "a.gif"], "--out a.gif: its ending must be one of png, pdf, svg"),
        (["--out", "a\nb.gif"], "--out a b.gif: its ending must be"),
        (["--out", "/nowhere/a.png"], "--out /nowhere/a.png: /nowhere is no folder"),
        (["--out", "steps.png"], "--out steps.png would write steps.csv, the name of a run's log"),
        (["--smooth", "0"], "--smooth: must be at least 1"),
        (["--smooth", "41"], "--smooth 41 wants runs of that many steps; there is one of 40"),
        (["--smooth", "2", "--metric", "val_loss"], "--smooth is for loss"),
        (["--band", "sd"], "--band: invalid choice: 'sd'"),
        (["--metric", "test_loss"], "nothing to show: lr=0.01,seed=0: epochs.csv has no column"),
    ],
)
def test_refusals_are_one_line(sweep, capsys, options, what):
    line = error_line(capsys, curves.main, sweep, *options)
    assert line.startswith("python -m analysis.curves: ")
    assert what in line
    assert not list(sweep.glob("*.*g")) + list(sweep.glob("*.csv"))


def test_folders_without_runs_and_outputs_that_cannot_be_written(sweep, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken.png").mkdir()
    (tmp_path / "a.csv").mkdir()
    for arguments, what in {
        (tmp_path / "none",): "none: no such folder",
        (tmp_path / "empty",): "no runs under",
        (sweep, "--out", tmp_path / "taken.png"): "Is a directory",
        (sweep, "--out", tmp_path / "a.png"): "Is a directory",
    }.items():
        assert what in error_line(capsys, curves.main, *arguments)


def test_every_log_is_damaged(tmp_path, capsys):
    path = write_run(tmp_path / "a", RAW[0, 0])
    (path / "steps.csv").unlink()
    line = error_line(capsys, curves.main, tmp_path)
    assert "nothing to show: a: steps.csv is missing" in line
    assert list(tmp_path.iterdir()) == [path]


def test_help_has_an_example_and_the_command_runs_as_a_module():
    command = [sys.executable, "-m", "analysis.curves", "--help"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "example: python -m analysis.curves outputs/" in done.stdout
