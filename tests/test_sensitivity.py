"""analysis.sensitivity: what is drawn where, its words, its refusals."""

import re

import numpy as np
import pytest
from made_up import CONFIG, error_line, write_run

from analysis import sensitivity
from analysis.runs import label
from analysis.sensitivity import plot_sensitivity
from analysis.sweep import read_sweep

LRS = (0.01, 0.03, 0.1)


def write_sweep(folder, **values):
    """Three seeds of each lr and of each combination with one more key's values."""
    for lr in LRS:
        for name, config in values.items():
            for seed in range(3):
                path = folder / f"{lr}-{name}-{seed}"
                write_run(path, [2.0] * 3 + [lr + seed / 10], lr=lr, seed=seed, **config)


def run(folder, *options):
    """The text in the SVG that the command writes."""
    sensitivity.main([str(folder), *options, "--out", str(folder / "a.svg")])
    return re.findall(r"<text[^>]*>([^<]*)</text>", (folder / "a.svg").read_text())


def draw(folder, *options):
    """The axes of the figure, without the command."""
    return plot_sensitivity(read_sweep(folder), *options).axes


def test_dots_are_seeds_and_bars_mean_and_std(tmp_path):
    write_sweep(tmp_path, only={})
    text = run(tmp_path, "--x", "lr", "--metric", "val_loss")
    assert {"lr", "val loss (nats)", "n=3", "0.01", "0.03", "0.1"} <= set(text)
    (axes,) = draw(tmp_path, "lr", "val_loss")
    assert axes.get_xscale() == "log"
    (bars,) = axes.containers
    finals = np.array(LRS)[:, None] + np.arange(3) / 10 + 0.1
    assert np.array_equal(bars.lines[0].get_xdata(), LRS)
    np.testing.assert_allclose(bars.lines[0].get_ydata(), finals.mean(axis=1))
    ends = np.array(bars.lines[2][0].get_segments())[:, :, 1]
    std = finals.std(axis=1, ddof=1)
    np.testing.assert_allclose(ends.T, [finals.mean(axis=1) - std, finals.mean(axis=1) + std])
    (dots,) = (line for line in axes.lines if line.get_markerfacecolor() == "white")
    np.testing.assert_allclose(dots.get_xdata(), np.repeat(LRS, 3))
    np.testing.assert_allclose(dots.get_ydata(), finals.ravel())


def test_a_second_hyperparameter_is_colour(tmp_path):
    write_sweep(tmp_path, small={"batch_size": 16}, large={"batch_size": 32})
    text = run(tmp_path, "--x", "lr")
    assert {"batch_size (n=3 each)", "16", "32"} <= set(text)
    colours = {bars.lines[0].get_color() for bars in draw(tmp_path, "lr")[0].containers}
    assert len(colours) == 2


def test_words_stand_side_by_side(tmp_path):
    models = {name: {"model": CONFIG["model"] | {"activation": name}} for name in ("relu", "tanh")}
    write_sweep(tmp_path, **models)
    assert {"relu", "tanh"} <= set(run(tmp_path, "--x", "model.activation"))
    assert list(draw(tmp_path, "model.activation")[0].get_xticks()) == [0, 1]


def test_numbers_have_one_place_and_words_stand_side_by_side(tmp_path):
    models = {name: {"model": CONFIG["model"] | {"activation": name}} for name in ("relu", "tanh")}
    write_sweep(tmp_path, **models)
    (axes,) = draw(tmp_path, "lr")
    for bars in axes.containers:
        line, _, (stds,) = bars.lines
        assert line.get_linestyle() == "-"
        assert np.array_equal(line.get_xdata(), LRS)  # at its lr, whatever its colour
        assert line.get_transform() == axes.transData
        assert np.array_equal([segment[:, 0].mean() for segment in stds.get_segments()], LRS)


def test_words_are_not_joined_and_single_runs_are_dots(tmp_path):
    for activation in ("relu", "tanh", "sigmoid"):
        for lr in (0.1, 0.2):
            model = CONFIG["model"] | {"activation": activation}
            write_run(tmp_path / f"{activation}{lr}", [2.0] * 4, model=model, lr=lr)
    (axes,) = (page := plot_sensitivity(read_sweep(tmp_path), "model.activation")).axes
    assert [bars.lines[0].get_linestyle() for bars in axes.containers] == ["None", "None"]
    left, right = (bars.lines[0].get_xdata() for bars in axes.containers)
    np.testing.assert_allclose(right - left, 0.3)
    np.testing.assert_allclose((left + right) / 2, [0, 1, 2])
    assert axes.get_xlim() == (-0.5, 2.5)
    assert not [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert page.get_supxlabel() == "Each mark is one run."


def test_lists_of_one_number_stand_where_the_number_belongs(tmp_path):
    for size in (1000, 30, 100):
        model = CONFIG["model"] | {"hidden_sizes": [size]}
        write_run(tmp_path / str(size), [2.0] * 3 + [size / 1000], model=model)
    (axes,) = draw(tmp_path, "model.hidden_sizes")
    assert axes.get_xscale() == "log" and list(axes.get_xticks()) == [30, 100, 1000]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["[30]", "[100]", "[1000]"]
    np.testing.assert_allclose(axes.containers[0].lines[0].get_ydata(), [0.87, 0.8, -0.1])


def test_nothing_lies_outside_the_frame_of_losses_of_all_sizes(tmp_path):
    for lr, loss in {0.1: 0.02, 0.2: 1.0, 0.4: 50.0}.items():
        for seed in range(3):
            path = tmp_path / f"{lr}-{seed}"
            write_run(path, [2.0] * 3 + [loss * (1 + 4 * seed**2)], lr=lr, seed=seed)
    (axes,) = (page := plot_sensitivity(read_sweep(tmp_path), "lr", "val_loss")).axes
    assert axes.get_yscale() == "log"
    assert "below by the same factor" in page.get_supxlabel().replace("\n", " ")
    low, high = axes.get_ylim()
    (bars,) = axes.containers
    ends = np.array(bars.lines[2][0].get_segments())[:, :, 1]
    dots = np.concatenate([line.get_ydata() for line in axes.lines if line.get_marker() == "o"])
    assert low < min(ends.min(), dots.min()) and max(ends.max(), dots.max()) < high
    means = bars.lines[0].get_ydata()
    np.testing.assert_allclose(ends[:, 1] / means, means / ends[:, 0])


def test_a_value_of_which_no_run_counts_is_a_cross_and_a_gap(tmp_path):
    write_sweep(tmp_path, only={})
    write_run(tmp_path / "bad", [2.0] * 4, status="diverged", lr=1.0)
    text = run(tmp_path, "--x", "lr")
    assert "n=0-3" in text and "lr=1,seed=0: diverged" in text
    (axes,) = draw(tmp_path, "lr")
    (cross,) = (line for line in axes.lines if line.get_marker() == "x")
    assert list(cross.get_xdata()) == [1.0]
    assert axes.get_xlim()[1] > 1
    assert np.isnan(axes.containers[0].lines[0].get_ydata()[-1])


def test_two_hyperparameters_are_a_heat_map(tmp_path):
    write_sweep(tmp_path, small={"batch_size": 16}, large={"batch_size": 32})
    write_run(tmp_path / "bad", [2.0] * 4, status="failed", lr=0.1, batch_size=32, seed=3)
    write_run(tmp_path / "worse", [2.0] * 4, status="failed", lr=9.0, batch_size=16)
    text = run(tmp_path, "--x", "lr,batch_size")
    axes = draw(tmp_path, ["lr", "batch_size"])[0]
    grid = axes.images[0].get_array()
    assert grid.shape == (2, 4)
    np.testing.assert_allclose(grid[:, :3], np.tile(0.8 - np.array(LRS), (2, 1)))
    assert np.ma.getmaskarray(grid)[:, 3].all() or np.isnan(grid[:, 3]).all()
    assert text.count("± 0.10") == 6
    assert {"n=3", "n=3 of 4", "n=0 of 1", "val accuracy", "lr", "batch_size"} <= set(text)


def test_a_heat_map_of_equal_counts_says_them_once(tmp_path):
    write_sweep(tmp_path, small={"batch_size": 16}, large={"batch_size": 32})
    text = run(tmp_path, "--x", "lr,batch_size")
    assert "Cell: mean ± 1 sample std of n runs, n=3 each." in text
    assert not [words for words in text if words.startswith("n=")]


@pytest.mark.parametrize("x", ["lr", "lr,batch_size"])
def test_a_third_hyperparameter_makes_panels_of_heat_maps(tmp_path, x):
    values = {
        f"{size}{epochs}": {"batch_size": size, "epochs": epochs}
        for size in (16, 32)
        for epochs in (1, 2)
    }
    write_sweep(tmp_path, **values)
    text = run(tmp_path, "--x", x)
    assert {"epochs=1", "epochs=2"} <= set(text)
    assert [len(axes.images) for axes in draw(tmp_path, x.split(","))[:2]] == [1, 1]


def test_a_cell_is_the_mean_and_not_the_median(tmp_path):
    for size in 16, 32:
        for seed, final in enumerate([0.1, 0.2, 0.9]):
            path = tmp_path / f"{size}-{seed}"
            write_run(path, [2.0] * 3 + [final], batch_size=size, lr=size / 100, seed=seed)
    axes = draw(tmp_path, ["lr", "batch_size"], "train_loss")[0]
    np.testing.assert_allclose(np.diag(axes.images[0].get_array()), 0.4)
    assert {text.get_text() for text in axes.texts} == {"0.40\n± 0.44"}


def test_many_values_have_thin_ticks_and_no_text_in_their_cells(tmp_path):
    for i in range(60):
        model = CONFIG["model"] | {"hidden_sizes": [i + 1, 2]}
        write_run(tmp_path / str(i), [2.0] * 4, lr=(i + 1) / 10, model=model)
    axes = draw(tmp_path, ["lr", "model.hidden_sizes"])[0]
    names = [text.get_text() for text in axes.get_xticklabels()]
    assert names == [label((i + 1) / 10) for i in range(0, 60, 3)]
    assert len(axes.get_yticklabels()) == 20
    assert not axes.texts
    words = read_sweep(tmp_path, by="model.hidden_sizes")
    assert len(plot_sensitivity(words, "model.hidden_sizes").axes[0].get_xticks()) == 20


def test_more_panels_than_a_figure_holds_are_refused(tmp_path, capsys):
    for i in range(84):
        options = {"lr": 0.1 + i % 2, "batch_size": 1 + i // 2 % 2, "epochs": 1 + i // 4}
        write_run(tmp_path / str(i), [2.0] * 4, **options)
    line = error_line(capsys, sensitivity.main, tmp_path, "--x", "lr")
    assert "21 panels are too many for a figure; choose some with --where" in line
    assert len(draw(tmp_path, "epochs")) == 3, "two panels and a colour bar"


def test_the_figure_has_a_name_of_its_own(tmp_path, capsys):
    write_sweep(tmp_path, only={})
    sensitivity.main([str(tmp_path), "--x", "lr"])
    assert capsys.readouterr().out == f"wrote {tmp_path}/sensitivity-lr-val_accuracy.png\n"
    assert (tmp_path / "sensitivity-lr-val_accuracy.png").exists()
    sensitivity.main([str(tmp_path), "--x", "lr", "--where", "lr=0.01,0.03", "--no-notes"])
    assert "-lr-val_accuracy,where=lr=0.01,0.03,notes=false.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ([], "the following arguments are required: --x"),
        (["--x", "batch_size"], "--x: unknown 'batch_size'; known are lr"),
        (["--x", "lr,lr,lr"], "--x wants one key or two, got 3"),
        (["--x", "lr", "--metric", "loss"], "--metric: unknown 'loss'"),
        (["--x", "lr", "--out", "a.txt"], "--out a.txt: its ending must be one of"),
    ],
)
def test_refusals_are_one_line(tmp_path, capsys, options, what):
    write_sweep(tmp_path, only={})
    line = error_line(capsys, sensitivity.main, tmp_path, *options)
    assert line.startswith("python -m analysis.sensitivity: ")
    assert what in line


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        sensitivity.main(["--help"])
    assert "\nexample: python -m analysis.sensitivity outputs/" in capsys.readouterr().out
