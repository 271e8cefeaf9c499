"""analysis.seeds: what is drawn where, its words, its refusals."""

import re

import numpy as np
import pytest
from made_up import error_line, write_run

from analysis import seeds
from analysis.seeds import plot_seeds, sizes_below
from analysis.statistics import wrong_winners
from analysis.sweep import read_sweep


def write_sweep(folder, n=12, lrs=(0.1, 0.2), **config):
    """n seeds of each lr; returns their validation accuracies (lrs, n)."""
    noise = np.random.default_rng(0).standard_normal((len(lrs), n)) / 50
    losses = 0.3 + noise - np.arange(len(lrs))[:, None] / 100
    for lr, own in zip(lrs, losses.tolist(), strict=True):
        for seed, loss in enumerate(own):
            write_run(folder / f"{lr}-{seed}", [2.0] * 3 + [loss], lr=lr, seed=seed, **config)
    return 0.9 - losses


def run(folder, *options):
    """The text in the SVG that the command writes."""
    seeds.main([str(folder), *options, "--out", str(folder / "a.svg")])
    return re.findall(r"<text[^>]*>([^<]*)</text>", (folder / "a.svg").read_text())


def marked(axes):
    """The lines that have marks, two points or more: (x, y) each."""
    lines = [line for line in axes.lines if line.get_marker() not in ("", "None")]
    return [line.get_xydata().T for line in lines]


def test_three_panels_show_runs_means_and_wrong_winners(tmp_path):
    finals = write_sweep(tmp_path)
    page = plot_seeds(read_sweep(tmp_path))
    runs, means, wrong = page.axes
    titles = [axes.get_title() for axes in page.axes]
    assert titles == ["all runs", "means of n seeds", "wrong winner"]
    curves = [line.get_xydata() for line in runs.lines if len(line.get_xdata()) > 2]
    for own, curve, (mean, share) in zip(finals, curves, marked(runs), strict=True):
        np.testing.assert_allclose(curve[1:, 0], np.sort(own))
        np.testing.assert_allclose(curve[1:, 1], np.arange(1, 13) / 12)
        np.testing.assert_allclose([mean[0], share[0]], [own.mean(), np.mean(own <= own.mean())])
    edges = marked(means)
    for own, (n, low), (_, high) in zip(finals, edges[::2], edges[1::2], strict=True):
        assert list(n) == [1, 2, 3]
        np.testing.assert_allclose([low[0], high[0]], [own.min(), own.max()], atol=1e-6)
        assert (np.diff(low) > 0).all() and (np.diff(high) < 0).all()
        assert low[-1] < own.mean() < high[-1]
    for (n, often), is_paired in zip(marked(wrong), (True, False), strict=True):
        wanted = wrong_winners(*finals, n.astype(int), np.random.default_rng(1), is_paired)
        np.testing.assert_allclose(often, wanted, atol=0.03)


def test_its_words(tmp_path):
    write_sweep(tmp_path)
    write_run(tmp_path / "bad", [2.0] * 4, status="diverged", lr=0.2, seed=12)
    text = run(tmp_path)
    assert {"val accuracy", "n", "share of the runs", "0.1 (n=12)", "0.2 (n=12 of 13)"} <= set(text)
    assert {"the same seeds for both", "each its own seeds", "1", "3"} <= set(text)
    note = " ".join(text)
    assert "rank lr=0.2 and lr=0.1 otherwise than those of all 12 shared seeds." in note
    assert "lr=0.2,seed=12: diverged" in note
    assert "diverged" not in " ".join(run(tmp_path, "--no-notes"))


def test_the_picture_is_the_same_every_time(tmp_path):
    write_sweep(tmp_path)
    one, two = (marked(plot_seeds(read_sweep(tmp_path)).axes[2]) for _ in range(2))
    assert np.array_equal(one, two)


def test_one_group_has_no_winner(tmp_path):
    write_sweep(tmp_path, lrs=(0.1,))
    page = plot_seeds(read_sweep(tmp_path), "val_loss")
    assert [axes.get_title() for axes in page.axes] == ["all runs", "means of n seeds"]
    assert "winner" not in page.get_supxlabel()


def test_groups_that_share_few_seeds_or_no_data_have_no_winner(tmp_path):
    write_sweep(tmp_path / "a", lrs=(0.1,))
    for seed in range(5, 17):
        write_run(tmp_path / f"b/{seed}", [2.0] * 4, lr=0.2, seed=seed)
    assert len(plot_seeds(read_sweep(tmp_path)).axes) == 2
    write_sweep(tmp_path / "other", lrs=(0.1,), dataset={"name": "iris"})
    paths = [tmp_path / "a", tmp_path / "other"]
    assert len(plot_seeds(read_sweep(paths)).axes) == 2


def test_the_two_best_of_a_loss_are_the_least(tmp_path):
    write_sweep(tmp_path, lrs=(0.1, 0.2, 0.3))
    note = plot_seeds(read_sweep(tmp_path), "val_loss").get_supxlabel().replace("\n", " ")
    assert "rank lr=0.3 and lr=0.2 otherwise" in note


def test_many_groups_are_lines_without_a_filling(tmp_path):
    write_sweep(tmp_path, n=10, lrs=[(i + 1) / 10 for i in range(9)])
    runs, means, *_ = plot_seeds(read_sweep(tmp_path)).axes
    assert len(marked(runs)) == 0 and len(means.lines) == 27 and not means.collections


def test_sizes_are_up_to_a_fourth_of_the_seeds():
    assert list(sizes_below(10)) == [1, 2]
    assert list(sizes_below(1000)) == [1, 2, 3, 5, 10, 20, 30, 50, 100, 200]


def test_equal_runs_are_drawn(tmp_path):
    for seed in range(10):
        write_run(tmp_path / str(seed), [2.0] * 4, seed=seed)
    assert "n=10" in run(tmp_path)


def test_the_figure_has_a_name_of_its_own(tmp_path, capsys):
    write_sweep(tmp_path)
    seeds.main([str(tmp_path)])
    assert capsys.readouterr().out == f"wrote {tmp_path}/seeds-val_accuracy.png\n"
    assert (tmp_path / "seeds-val_accuracy.png").exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--where", "seed<9"], "lr=0.1: wants at least 10 seeds that count, got 9"),
        (["--by", "batch_size"], "--by: batch_size=16 has several runs of one seed"),
        (["--metric", "loss"], "--metric: unknown 'loss'"),
        (["--out", "a.txt"], "--out a.txt: its ending must be one of"),
    ],
)
def test_refusals_are_one_line(tmp_path, capsys, options, what):
    write_sweep(tmp_path)
    line = error_line(capsys, seeds.main, tmp_path, *options)
    assert line.startswith("python -m analysis.seeds: ")
    assert what in line


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        seeds.main(["--help"])
    assert "\nexample: python -m analysis.seeds outputs/" in capsys.readouterr().out
