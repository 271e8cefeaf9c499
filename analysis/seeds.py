"""How far to trust a mean of n seeds, told by a sweep of many.

One panel shows the final metric of every run, one the means of n seeds, and one how often such
means name the wrong winner of the two best groups.
"""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from mlp.errors import UserError

from . import command, figure
from .curves import best_first
from .statistics import mean_and_std, means_of_n, wrong_winners
from .table import by_dataset

FEWEST = 10  # seeds of a group
FILLED = 3  # groups whose bands are filled; those of more would be mud
WAYS = {True: ("solid", "the same seeds for both"), False: ("dotted", "each its own seeds")}


def main(argv=None):
    parser = command.Parser(
        "seeds",
        "How far to trust a mean of n seeds: the final metric of every run of a sweep of many "
        "seeds, the means of n, and how often these name the wrong winner.",
        "outputs/seeds --metric val_loss",
    )
    parser.add_choice_of_runs()
    parser.add_final_metric()
    parser.add_no_notes()
    parser.add_argument("--out", help="PNG, PDF or SVG; default: DIR/seeds-METRIC.png")
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        sweep = command.read(args)
        metric = sweep.final_metric(args.metric)
        stem = parser.stem(args, ["seeds", metric], ["metric"])
        path = command.out_path(args.out, args.folders[0], stem)
        plot_seeds(sweep, metric, args.notes).savefig(path)
        command.print_findings(sweep)
        print(f"wrote {path}")


def plot_seeds(sweep, metric=None, notes=True):
    """The Figure of a final metric over seeds, and of what means of n seeds would have said.

    metric: None for val_accuracy, or else test_accuracy. notes: whether there is text below.
    Raises UserError where a group has fewer than FEWEST seeds, or several runs of one.
    """
    metric = sweep.final_metric(metric)
    finals = {group.name: group.by_seed(metric).dropna() for group in sweep.groups}
    for name, values in finals.items():
        if len(values) < FEWEST:
            raise UserError(f"{name}: wants at least {FEWEST} seeds that count, got {len(values)}")
    best = best_first(sweep, metric)
    names = [group.name for group in best[:2]]
    pairs = pd.concat([finals[name] for name in names], axis=1, keys=names).dropna()
    has_winner = len(names) == 2 and len(by_dataset(sweep)) == 1 and len(pairs) >= FEWEST

    width, height = matplotlib.rcParams["figure.figsize"]
    page = Figure(figsize=(figure.WIDEST if has_winner else 1.4 * width, height))
    runs, means, *more = page.subplots(1, 2 + has_winner)
    runs.set(title="all runs", xlabel=figure.with_unit(metric), ylabel="share of the runs")
    runs.yaxis.set_major_formatter(PercentFormatter(1))
    means.set_ylabel(figure.with_unit(metric))
    looks = figure.looks(sweep.groups, sweep.keys, may_dash=False, best_first=best)
    random, counts = np.random.default_rng(0), {}
    for group in sweep.groups:
        values, style = finals[group.name].to_numpy(), looks.of(group)
        draw_runs(runs, values, style)
        draw_means(means, values, style, random, is_filled=len(finals) <= FILLED)
        counts[figure.values_of(group, looks.keys)] = [(len(values), len(group.runs))]
    ways = draw_wrong(*more, pairs, random) if has_winner else []
    ticks = sizes_below(max(map(len, finals.values())))[::2]  # 1, 3, 10 and so on
    for axes, title in zip((means, *more), ("means of n seeds", "wrong winner"), strict=False):
        axes.set(title=title, xlabel="n", xscale="log")
        axes.set_xticks(ticks, ticks)
        axes.minorticks_off()
    caption = (
        "All runs: the share of them at or below a value. Thin line: mean. "
        "Means of n seeds: 95% of ten thousand draws without replacement lie between the two lines."
    )
    if has_winner:
        caption += (
            f" Wrong winner: how often means of n rank {' and '.join(names)} otherwise than those "
            f"of all {len(pairs)} shared seeds."
        )
    legend, title, _ = looks.explain(page, page.axes, counts)
    figure.annotate(page, legend, title, *(caption, sweep.notes) if notes else ("", []), ways)
    return page


def draw_runs(axes, values, style):
    """The values (n,) as a distribution, and their mean."""
    mean, _ = mean_and_std(values)
    axes.ecdf(values, **style | {"marker": ""})
    axes.axvline(mean, color=style["color"], linewidth=0.6)
    axes.plot(mean, np.mean(values <= mean), **style)


def draw_means(axes, values, style, random, is_filled):
    """The band that holds 95% of the means of n of the values, around the mean of all."""
    sizes = sizes_below(len(values))
    band = np.quantile(means_of_n(values, sizes, random), (0.025, 0.975), axis=0)
    axes.plot(sizes, band.T, **style)
    if is_filled:
        axes.fill_between(sizes, *band, color=style["color"], alpha=0.12, linewidth=0)
    axes.axhline(mean_and_std(values)[0], color=style["color"], linewidth=0.6)


def draw_wrong(axes, pairs, random):
    """How often means of n seeds name the wrong one of two groups. Returns what the lines mean.

    pairs: the groups' values on the same seeds (n, 2), in a DataFrame.
    """
    sizes, lines = sizes_below(len(pairs)), []
    for is_paired, (dash, label) in WAYS.items():
        often = wrong_winners(*pairs.to_numpy().T, sizes, random, is_paired)
        look = {"color": "black", "linestyle": dash, "marker": ".", "label": label}
        axes.plot(sizes, often, **look)
        lines.append(Line2D([], [], **look))
    axes.set_ylim(0, max(0.5, axes.get_ylim()[1]))  # half: as good as a coin
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return lines


def sizes_below(n):
    """1, 2, 3, 5, 10, 20 and so on, up to a fourth of n seeds.

    Larger draws would have too much in common: without replacement, their means hardly differ.
    """
    sizes = np.outer(10 ** np.arange(9), (1, 2, 3, 5)).ravel()
    return sizes[sizes <= n / 4]


if __name__ == "__main__":
    main()
