"""analysis.curves from the command line: the CSV's numbers, the figure's words, its refusals."""

import io
import re
import shutil
import subprocess
import sys
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import error_line, write_run

from analysis import curves, figure
from analysis.curves import plot_curves
from analysis.group_curves import (
    COLUMNS,
    FEW,
    read_groups,
    slices,
    thin,
    trailing_mean,
    usual_window,
    written,
)
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


def entries(legend):
    """The texts of a legend and the lines beside them."""
    return zip(legend.get_texts(), legend.get_lines(), strict=True)


def labels(legend):
    return [text.get_text() for text, _ in entries(legend) if text.get_text()]


def test_mean_std_and_n_are_numpys_on_the_raw_values(sweep, capsys):
    table = run(sweep)
    assert list(table) == ["lr", "metric", "x", "mean", "std", "n", "low", "high"]
    assert np.array_equal(table["lr"], np.repeat(LRS, N_STEPS))
    assert np.array_equal(table["x"], np.tile(np.arange(1, N_STEPS + 1), len(LRS)))
    assert np.array_equal(table["mean"], RAW.mean(axis=1).ravel())
    np.testing.assert_allclose(table["std"], RAW.std(axis=1, ddof=1).ravel(), rtol=2e-15)
    assert set(table["n"]) == {3} and set(table["metric"]) == {"loss"}
    np.testing.assert_allclose(table["low"], (table["mean"] - table["std"]).clip(lower=0))
    np.testing.assert_allclose(table["high"], table["mean"] + table["std"])
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
    assert {"lr", "0.01 (n=3)", "0.1 (n=2 of 3)", "1 (n=3)", "step"} <= set(text)
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
    assert list(table) == ["metric", "x", "mean", "std", "n", "low", "high"]
    assert table[["std", "low", "high"]].isna().all(axis=None)
    assert (tmp_path / "curves-loss.csv").read_text().splitlines()[1].split(",")[3] == ""
    assert np.array_equal(table["mean"], RAW[0, 0])
    page = plot_curves(read_sweep(tmp_path))
    assert len(page.axes[0].lines) == 1 and not page.axes[0].collections and not page.legends
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
    table = run(tmp_path, "--by", "lr", stem="curves-loss,by=lr")
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


def windows_of(raw, n):
    """Mean of each value and those up to n - 1 places before it, run by run."""
    padded = np.concatenate([np.zeros((*raw.shape[:-1], n)), raw.cumsum(axis=-1)], axis=-1)
    sums = padded[..., n:] - padded[..., : raw.shape[-1]]
    return sums / np.minimum(np.arange(1, raw.shape[-1] + 1), n)


def test_smoothing_is_each_runs_own_before_the_average(sweep):
    table = run(sweep, "--smooth", 5, "--out", sweep / "a.svg", stem="a")
    windows = windows_of(RAW, 5)
    assert np.array_equal(table["x"], np.tile(np.arange(1, N_STEPS + 1), len(LRS)))
    np.testing.assert_allclose(table["mean"], windows.mean(axis=1).ravel(), rtol=1e-13)
    np.testing.assert_allclose(table["std"], windows.std(axis=1, ddof=1).ravel(), rtol=1e-11)
    assert set(table["metric"]) == {"loss, mean of the last 5 steps"}
    assert "mean of the last 5 steps" in words(sweep / "a.svg")


@pytest.mark.parametrize("n", [1, 2, 7, 40, 41, 1000])
def test_a_trailing_mean_is_that_of_as_many_values_as_there_are(n):
    y = RAW[0, 0]
    wanted = [y[max(0, i + 1 - n) : i + 1].mean() for i in range(len(y))]
    np.testing.assert_allclose(trailing_mean(y, n), wanted, rtol=1e-14)


def test_a_huge_loss_costs_no_digits_of_the_losses_after_it():
    y = np.full(100, 0.1)
    y[20] = 1e30
    np.testing.assert_allclose(trailing_mean(y, 7)[27:], 0.1, rtol=1e-15)


def test_a_long_run_is_smoothed_by_itself_over_its_single_steps(tmp_path):
    raw = np.random.default_rng(3).gamma(0.5, 1, (2, 1300))
    for seed, losses in enumerate(raw):
        write_run(tmp_path / str(seed), losses, seed=seed, epochs=325)
    page = plot_curves(read_sweep(tmp_path))
    (axes,) = page.axes
    assert axes.get_ylabel() == "mini-batch loss (nats),\nmean of the last 10 steps"
    mean = axes.lines[0].get_ydata()
    assert mean.max() == pytest.approx(windows_of(raw, 10).mean(axis=0).max())
    pale = min(axes.collections, key=lambda area: area.get_alpha()).get_datalim(axes.transData)
    tenths = [np.sort(run[:1300].reshape(-1, 10))[:, [1, 8]] for run in raw]
    edges = np.mean(tenths, axis=0)
    np.testing.assert_allclose([pale.y0, pale.y1], [edges[:, 0].min(), edges[:, 1].max()])
    assert "Pale: middle 80% of single steps." in note(page)
    as_it_is = plot_curves(read_sweep(tmp_path), smooth=1).axes[0]
    assert as_it_is.get_ylabel() == "mini-batch loss (nats)"
    assert as_it_is.lines[0].get_ydata().max() == raw.mean(axis=0).max()
    assert [usual_window(steps) for steps in (40, 250, 999, 2580, 275_000)] == [1, 2, 5, 20, 2000]


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
        "loss (nats)",
        "val accuracy",
    ]
    (legend,) = plot_curves(read_sweep(sweep), metrics.split(",")).legends
    styles = {text.get_text(): line.get_linestyle() for text, line in entries(legend)}
    assert (styles["train"], styles["val"]) == ("--", "-")
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
    table = run(tmp_path, "--x", "examples", stem="curves-loss,x=examples")
    assert dict(table.groupby("batch_size")["x"].max()) == {16: 640, 32: 1280}


def test_without_loss_x_is_the_epoch(sweep):
    assert run(sweep, "--metric", "val_accuracy", stem="curves-val_accuracy")["x"].max() == 10


@pytest.mark.parametrize(
    ("band", "text"),
    [
        ("se", "± 1 standard error."),
        ("ci95", "95% Student t interval of the mean"),
        ("minmax", "least to greatest."),
        ("q50", "middle 50% of the runs."),
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
        edges[name][0] = np.maximum(edges[name][0], 0)  # a loss has none below
    edges["q50"] = np.quantile(RAW[1], [0.25, 0.75], axis=0)
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


@pytest.mark.parametrize("band", ["std", "se", "ci95"])
def test_a_band_on_a_logarithmic_axis_is_as_wide_below_as_above(tmp_path, band):
    for seed, loss in enumerate((0.1, 0.1, 2.0)):  # mean less std is below 0
        write_run(tmp_path / str(seed), np.full(8, loss), seed=seed)
    page = plot_curves(read_sweep(tmp_path), band=band, log="y")
    box = page.axes[0].collections[0].get_datalim(page.axes[0].transData)
    mean = (0.1 + 0.1 + 2.0) / 3
    np.testing.assert_allclose(box.y1 / mean, mean / box.y0)
    wanted = {"std": 1, "se": 3**-0.5, "ci95": 4.302652729696142 * 3**-0.5}[band]
    np.testing.assert_allclose(box.y1, mean + wanted * np.std([0.1, 0.1, 2.0], ddof=1))
    assert "below by the same factor" in note(page) or band == "ci95"


@pytest.mark.parametrize("n", [FEW, FEW + 1])
def test_single_runs_are_drawn_while_they_are_few(tmp_path, n):
    for seed in range(n):
        write_run(tmp_path / str(seed), RAW[0, 0, :8] + seed, seed=seed)
    for seed in range(2):
        write_run(tmp_path / f"two{seed}", RAW[0, 0, :8] + seed, lr=1.0, seed=seed)
    page = plot_curves(read_sweep(tmp_path))
    assert len(page.axes[0].lines) == 2 + 2 + (n if n <= FEW else 0)
    assert page.axes[0].lines[0].get_ydata()[0] == pytest.approx(RAW[0, 0, 0] + (n - 1) / 2)
    text = "Faint: each run." if n == FEW else f"Faint: each run, where n <= {FEW}."
    assert text in note(page)


@pytest.mark.slow
def test_a_figure_of_400_groups_is_no_longer_than_a_page(tmp_path):
    for i in range(400):
        write_run(
            tmp_path / str(i),
            RAW[0, 0, :8],
            optimizer={"name": "sgd", "momentum": i / 400},
            lr=i + 1,
        )
    page = plot_curves(read_sweep(tmp_path))
    assert page.get_size_inches()[1] < 5
    assert labels(page.legends[0])[-1] == "396 others"
    assert len(page.axes[0].lines) == 400


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
    got_x, low, high = thin(x, y, y, partial(slices, log="x" * log_x))
    assert COLUMNS / 3 < len(got_x) <= COLUMNS + 1 and got_x[-1] == x[-1]
    assert low.min() == -9 and high.max() == 9
    starts = np.searchsorted(x, got_x)
    assert starts[0] == 0
    assert np.array_equal(low, [part.min() for part in np.split(y, starts[1:])])
    assert np.array_equal(high, [part.max() for part in np.split(y, starts[1:])])


def test_short_curves_are_drawn_point_by_point():
    x, y = np.arange(5.0), np.arange(5.0) ** 2
    assert np.array_equal(thin(x, y, y, partial(slices, log="")), [x, y, y])


@pytest.mark.slow
def test_memory_does_not_follow_the_number_of_runs(tmp_path):
    n_steps = 20_000
    for seed in range(12):
        write_run(tmp_path / str(seed), np.ones(n_steps), seed=seed, epochs=n_steps // 4)
    (group,) = read_sweep(tmp_path).groups
    peaks = {}
    for n_runs in (2, 2, 12):  # twice, so that the first fills caches
        tracemalloc.start()
        part = Sweep(group.runs[:n_runs], [], [])
        read = read_groups(part, ["loss"], "step", "q90", None, "")
        for _ in written(read, io.BytesIO(), [], "", True):
            pass
        peaks[n_runs] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[12] - peaks[2] < 5 * n_steps * 8  # half a column for each of ten runs more


def test_the_csv_is_thinned_as_the_figure_is_unless_it_is_to_be_full(tmp_path):
    losses = np.random.default_rng(2).random(5000)
    write_run(tmp_path / "0", losses, epochs=1250)
    table = run(tmp_path, "--smooth", 1, stem="curves-loss,smooth=1")
    assert COLUMNS / 2 < len(table) <= COLUMNS
    assert table["x"].iloc[-1] == 5000  # where a run ends is not left out
    assert np.array_equal(table["mean"], losses[table["x"] - 1])
    table = run(tmp_path, "--smooth", 1, "--full-csv", stem="curves-loss,smooth=1,full=true")
    assert np.array_equal(table["mean"], losses)


def test_quantiles_of_a_long_run_are_exact_where_the_csv_has_them(tmp_path):
    raw = np.random.default_rng(5).random((4, 3000))
    for seed, losses in enumerate(raw):
        write_run(tmp_path / str(seed), losses, seed=seed, epochs=750)
    options = ["--smooth", 1, "--band", "q50"]
    table = run(tmp_path, *options, stem="curves-loss,band=q50,smooth=1")
    assert len(table) < 1500
    wanted = np.quantile(raw, [0.25, 0.75], axis=0)[:, table["x"] - 1]
    np.testing.assert_allclose(table[["low", "high"]].T, wanted)


# What the eye gets


def test_the_frame_leaves_out_the_untrained_network_where_it_would_squeeze_the_rest(tmp_path):
    for seed in range(2):
        losses = np.repeat([2.0, 0.5, 0.3, 0.2, 0.15], [1, 3, 4, 4, 4]) + seed / 100
        write_run(tmp_path / str(seed), losses, seed=seed)
    (axes,) = (page := plot_curves(read_sweep(tmp_path), "val_loss")).axes
    low, high = axes.get_ylim()
    assert low < 0.25 and 0.6 < high < 0.8  # from epoch 1 on; epoch 0 is at 2.1
    assert 0 < axes.get_xlim()[0] < 1
    assert "The start of training lies outside the frame." in note(page)
    assert axes.lines[0].get_ydata().max() == pytest.approx(2.105)  # drawn, beyond the frame
    (axes,) = (page := plot_curves(read_sweep(tmp_path), "val_loss", log="y")).axes
    assert axes.get_ylim()[1] > 2.1 and "start" not in note(page)
    (axes,) = plot_curves(read_sweep(tmp_path), "val_loss", ylim=(0, 3), xlim=(0, None)).axes
    assert axes.get_ylim() == (0, 3) and axes.get_xlim()[0] == 0


def test_the_frame_keeps_the_untrained_network_where_there_is_room(sweep):
    (axes,) = (page := plot_curves(read_sweep(sweep), "val_loss")).axes
    assert axes.get_xlim()[0] < 0 and "start" not in note(page)


def test_training_and_validation_of_one_group_have_two_colours(sweep):
    metrics = ["train_loss", "val_loss"]
    page = plot_curves(read_sweep(sweep, where="lr=0.1"), metrics)
    (legend,) = page.legends
    assert legend.get_title().get_text() == "n=3"
    looks = {t.get_text(): (line.get_color(), line.get_linestyle()) for t, line in entries(legend)}
    assert looks.keys() == {"train", "val"}
    assert looks["train"][0] != looks["val"][0] and looks["train"][1] != looks["val"][1]
    means = page.axes[0].lines[0], page.axes[0].lines[4]  # each before its three runs
    assert [(line.get_color(), line.get_linestyle()) for line in means] == list(looks.values())


def test_a_band_is_drawn_for_each_mean_unless_they_are_a_crowd(sweep, tmp_path_factory):
    page = plot_curves(read_sweep(sweep), ["train_loss", "val_loss"])
    assert len(page.axes[0].collections) == 6 and "Band: ± 1" in note(page)
    crowd = tmp_path_factory.mktemp("crowd")
    for i in range(16):
        write_run(crowd / str(i), RAW[0, 0] + i, lr=1 + i // 2, seed=i % 2)
    page = plot_curves(read_sweep(crowd))
    assert len(page.axes[0].lines) == 8 and not page.axes[0].collections
    assert note(page) == "Line: mean of n runs. There are too many lines for bands."


def grid(folder, **keys):
    """A run for each combination of the values of two keys."""
    (one, ones), (two, twos) = keys.items()
    for a in ones:
        for b in twos:
            write_run(folder / f"{a},{b}", RAW[0, 0] + float(a), **{one: a, two: b})
    return read_sweep(folder)


def test_two_keys_of_few_groups_are_colour_and_dash(tmp_path):
    page = plot_curves(grid(tmp_path, lr=[0.1, 0.2, 0.3], batch_size=[16, 32]))
    (axes,), (legend,) = page.axes, page.legends
    assert legend.get_title().get_text() == "lr (n=1 each)"
    assert labels(legend) == ["0.1", "0.2", "0.3", "batch_size=16", "batch_size=32"]
    looks = [(line.get_color(), line.get_linestyle()) for line in axes.lines]
    assert len(set(looks)) == 6 and len({colour for colour, _ in looks}) == 3


def test_two_keys_of_many_groups_are_colours_and_panels(tmp_path):
    got = grid(tmp_path, lr=[0.1, 0.2, 0.3, 0.4, 0.5], batch_size=[16, 32, 64, 128])
    page = plot_curves(got)
    titles = [axes.get_title() for axes in page.axes]
    assert titles == [f"batch_size={size}" for size in (16, 32, 64, 128)]
    assert [len(axes.lines) for axes in page.axes] == [5] * 4
    assert len({axes.get_ylim() for axes in page.axes}) == 1
    assert [axes.get_xlabel() for axes in page.axes] == ["", "", "step", "step"]
    assert [axes.get_title() for axes in plot_curves(got, facet="lr").axes] == [
        f"lr={lr}" for lr in (0.1, 0.2, 0.3, 0.4, 0.5)
    ]
    one, *bar = plot_curves(got, facet="none").axes
    assert len(one.lines) == 20 and not bar


def test_two_datasets_are_two_panels(tmp_path):
    for name in ("synth", "digits"):
        write_run(tmp_path / name, RAW[0, 0], dataset={"name": name})
    titles = [axes.get_title() for axes in plot_curves(read_sweep(tmp_path)).axes]
    assert titles == ["dataset=digits", "dataset=synth"]


def test_many_values_of_a_number_are_explained_by_a_colour_bar(tmp_path):
    for lr in np.geomspace(0.01, 10, 12).tolist():
        write_run(tmp_path / str(lr), RAW[0, 0] * lr, lr=lr)
    page = plot_curves(read_sweep(tmp_path))
    axes, bar = page.axes
    assert bar.get_ylabel() == "lr (n=1 each)" and bar.get_yscale() == "log" and not page.legends
    assert [text.get_text() for text in bar.get_yticklabels()][::11] == ["0.01", "10"]
    light = [np.dot(line.get_color()[:3], [0.2, 0.7, 0.1]) for line in axes.lines]
    assert light == sorted(light) and len(light) == 12


def test_of_many_groups_that_no_key_tells_apart_the_best_have_colours(tmp_path):
    for i in range(10):
        momentum = {"name": "sgd", "momentum": i / 20}
        write_run(tmp_path / str(i), [1.0] * 3 + [1 + i], lr=i + 1, optimizer=momentum)
    page = plot_curves(read_sweep(tmp_path), "val_loss")
    (legend,) = page.legends
    assert labels(legend) == ["1, 0", "2, 0.05", "3, 0.1", "4, 0.15", "6 others"]
    colours = [line.get_color() for line in page.axes[0].lines]
    assert colours[4:] == ["0.75"] * 6 and len(set(colours[:4])) == 4
    assert "Grey: ends worse in val_loss." in note(page)


def test_runs_that_do_not_count_are_drawn_by_themselves_and_marked(tmp_path):
    for seed in range(2):
        write_run(tmp_path / str(seed), RAW[0, seed], seed=seed)
    running = write_run(tmp_path / "2", RAW[0, 2], seed=2, status="running")
    with open(running / "steps.csv", "a") as file:
        file.write("41,11,0.5\n42,11,0.")  # it is writing
    exploding = [*RAW[1, 0, :20], 1e3, 1e30]
    diverged = write_run(tmp_path / "3", exploding, seed=3, status="diverged")
    with open(diverged / "steps.csv", "a") as file:
        file.write("23,6,nan\n")
    two = read_sweep(tmp_path)
    got = read_sweep(tmp_path, include=["running", "diverged"])
    table = run(tmp_path, "--include", "running,diverged", "--out", tmp_path / "a.png", stem="a")
    assert np.array_equal(table["mean"], RAW[0, :2].mean(axis=0))  # of those that count
    (axes,) = (page := plot_curves(got)).axes
    assert axes.get_ylim() == plot_curves(two).axes[0].get_ylim()
    marks = {line.get_marker(): line for line in axes.lines if line.get_linestyle() == "None"}
    assert marks[">"].get_xdata() == [41] and marks[">"].get_ydata() == [0.5]
    assert marks["x"].get_xdata() == [21]  # where it leaves the frame
    assert marks["x"].get_ydata() == [axes.get_ylim()[1]]
    assert labels(page.legends[0]) == ["n=2 of 4", "diverged", "running"]
    assert "seed=3: diverged" in note(page) and "seed=2: no result.json" in note(page)


def test_a_sweep_of_which_no_run_has_ended_can_be_looked_at(tmp_path):
    write_run(tmp_path / "a", RAW[0, 0], status="running")
    (axes,) = plot_curves(read_sweep(tmp_path, include="running")).axes
    line, mark = axes.lines
    assert np.array_equal(line.get_ydata(), RAW[0, 0])
    assert axes.get_ylim()[1] > RAW[0, 0].max() and mark.get_marker() == ">"


def test_notes_name_runs_by_what_differs_and_break_no_name(tmp_path):
    for seed, lr in enumerate((0.01, 0.1)):
        name = f"batch_size=16,dataset=synth,epochs=3,experiment=long_name,lr={lr},seed={seed}"
        write_run(tmp_path / name, RAW[0, 0], lr=lr, seed=seed)
    write_run(tmp_path / "a", RAW[0, 0], lr=0.1, seed=2, status="diverged")
    page = plot_curves(read_sweep(tmp_path))
    assert "lr=0.1,seed=2: diverged" in page.get_supxlabel().split("\n")
    name = ",".join(f"key_number_{i}=value" for i in range(9))
    lines = figure.note("", [Finding(name, "diverged")], 40)
    assert len(lines) == 5 and all(len(line) <= 40 for line in lines)
    assert re.findall(r"key_number_\d=value", " ".join(lines)) == name.split(",")
    assert plot_curves(read_sweep(tmp_path), notes=False).get_supxlabel() == ""


def test_options_are_in_the_name_of_the_file(sweep, capsys, tmp_path_factory):
    names = {
        (): "curves-loss",
        ("--metric", "val_loss", "--log", "y"): "curves-val_loss,log=y",
        ("--band", "q90", "--ylim", "0,2"): "curves-loss,band=q90,ylim=0+2",
        ("--where", "lr=0.1,1", "--no-notes"): "curves-loss,where=lr=0.1,1,notes=false",
    }
    for options, name in names.items():
        run(sweep, *options, stem=name)
        assert (sweep / f"{name}.png").exists()
    capsys.readouterr()
    for sign in "<>":  # they are no letters for a file's name: a digest tells the two apart
        curves.main([str(sweep), "--where", f"lr{sign}0.1"])
    out = capsys.readouterr().out.splitlines()
    assert len(set(out)) == 2 and all("curves-loss,where=lr_0.1-" in line for line in out)
    other = tmp_path_factory.mktemp("other")
    write_run(other / "a", RAW[0, 0], lr=7.0)
    curves.main([str(sweep), str(other)])
    assert f"curves-loss,with={other.name}.png" in capsys.readouterr().out


# Refusals


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--metric", "los"], "--metric: unknown 'los'; did you mean loss?"),
        (["--metric", "loss,cost"], "--metric: unknown 'cost'"),
        (["--by", "learning"], "--by: unknown 'learning'"),
        (["--where", "lr=7"], "--where lr=7 matches none of 9 runs; lr: 0.01, 0.1, 1"),
        (["--out", "a.gif"], "--out a.gif: its ending must be one of png, pdf, svg"),
        (["--out", "a\nb.gif"], "--out a b.gif: its ending must be"),
        (["--out", "/nowhere/a.png"], "--out /nowhere/a.png: /nowhere is no folder"),
        (["--out", "steps.png"], "--out steps.png would write steps.csv, the name of a run's log"),
        (["--smooth", "0"], "--smooth: must be at least 1"),
        (["--smooth", "2", "--metric", "val_loss"], "--smooth is for loss"),
        (["--band", "sd"], "--band: unknown 'sd'; did you mean std?"),
        (["--band", "q0"], "--band: unknown 'q0'"),
        (["--facet", "seed"], "--facet: unknown 'seed'; known are lr"),
        (["--include", "broken"], "--include: unknown 'broken'; known are diverged, interrupted"),
        (["--ylim", "1"], "--ylim: wants A,B or A, or ,B; got '1'"),
        (["--ylim", "0,1", "--metric", "loss,val_accuracy"], "--ylim is for one panel"),
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
