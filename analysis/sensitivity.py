"""Final metric against a hyperparameter: every seed a dot, their mean and spread a bar.

With one key for x, its values stand across: numbers where they belong, words side by side. Each
combination of the other keys has a colour.
With two keys, a heat map shows the means. Each combination of the other keys has a panel.
With one key and two or more others, the lines would tangle: the first of the others joins x.
"""

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm, Normalize

from . import command, figure
from .runs import label, several
from .statistics import below, mean_and_std, with_std
from .sweep import WrongArgument, check_word, group_runs, rank


def main(argv=None):
    parser = command.Parser(
        "sensitivity",
        "Final metric against one hyperparameter, as dots and a line, or two, as a heat map.",
        "outputs/lr-sweep --x lr --metric val_loss",
    )
    parser.add_choice_of_runs()
    parser.add_final_metric()
    parser.add_argument(
        "--x",
        type=command.words,
        required=True,
        metavar="KEY[,KEY]",
        help="one hyperparameter, with a colour for each value of another; or two, across and up a "
        "heat map; where the runs differ in two more than KEY, the first of these joins it",
    )
    parser.add_no_notes()
    parser.add_argument("--out", help="PNG, PDF or SVG; default: DIR/sensitivity-KEY-METRIC.png")
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        sweep = command.read(args)
        metric = sweep.final_metric(args.metric)
        stem = parser.stem(args, ["sensitivity", "+".join(args.x), metric], ["x", "metric"])
        path = command.out_path(args.out, args.folders[0], stem)
        plot_sensitivity(sweep, args.x, metric, args.notes).savefig(path)
        command.print_findings(sweep)
        print(f"wrote {path}")


def plot_sensitivity(sweep, x, metric=None, notes=True):
    """The Figure of a final metric against x: one of the sweep's keys, or two.

    metric: None for val_accuracy, or else test_accuracy. notes: whether there is text below.
    Raises WrongArgument.
    """
    x, metric = several(x), sweep.final_metric(metric)
    for key in x:
        check_word("x", key, sweep.keys)
    if len(x) > 2:
        raise WrongArgument("x", f" wants one key or two, got {len(x)}")
    rest = [key for key in sweep.keys if key not in x]
    if len(x) == 1 and len(rest) > 1:
        x.append(rest.pop(0))
    plot = plot_lines if len(x) == 1 else plot_heat_maps
    page, words = plot(sweep, x, rest, metric)
    figure.annotate(page, *words[:2], *((words[2], sweep.notes) if notes else ("", [])), *words[3:])
    return page


def final_values(sweep, x, rest, metric):
    """{values of rest: {values of x: (final metric of the runs that count, number of runs found)}},
    both in order.
    """
    tree = {}
    for group in group_runs(sweep.runs, [*rest, *x]):
        values = tuple(group.values.values())
        below = tree.setdefault(values[: len(rest)], {})
        below[values[len(rest) :]] = group.finals(metric), len(group.runs)
    return tree


def plot_lines(sweep, x, rest, metric):
    """The Figure for one hyperparameter, and what to annotate it with."""
    page, (axes,) = figure.panels(1)
    axes.set_xlabel(x[0])
    axes.set_ylabel(figure.with_unit(metric))
    lines = final_values(sweep, x, rest, metric)
    places = set_up_x(axes, in_order(value for line in lines.values() for (value,) in line))
    are_words = set(places.values()) == set(range(len(places)))
    means = [mean_and_std(finals)[0] for line in lines.values() for finals, _ in line.values()]
    if is_log := is_wide(metric, means):
        axes.set_yscale("log")
    looks = figure.looks(sweep.groups, rest, may_dash=False)
    counts, has_crosses = {}, False
    for i, (own, line) in enumerate(lines.items()):
        style = looks.styles[own]
        # Words leave room to stand side by side. A number has one place.
        aside = 0.6 * ((i + 0.5) / len(lines) - 0.5) if are_words else 0
        at = np.array([places[value] + aside for (value,) in line])
        finals = [finals for finals, _ in line.values()]
        counts[own] = [(len(finals), found) for finals, found in line.values()]
        mark = {"color": style["color"], "linestyle": ""}
        if max(map(len, finals)) > 1:
            where = np.repeat(at, [len(several) for several in finals])
            dot = {"marker": "o", "markersize": 2, "markerfacecolor": "white", "zorder": 1.9}
            axes.plot(where, np.concatenate(finals), **mark, **dot, markeredgewidth=0.6)
        means, stds = np.transpose([mean_and_std(several) for several in finals])
        bars = [means - below(means, stds, is_log), stds]
        axes.errorbar(at, means, bars, **style, ls="" if are_words else "-", capsize=2)
        none = [place for place, several in zip(at, finals, strict=True) if not len(several)]
        floor = axes.get_xaxis_transform()
        axes.plot(none, [0.04] * len(none), marker="x", transform=floor, **mark)
        has_crosses |= bool(none)
    axes.margins(x=0.08, y=0.08)
    if are_words:
        axes.set_xlim(-0.5, len(places) - 0.5)
    figure.label_decades(axes.yaxis)
    legend, title, more = looks.explain(page, [axes], counts)
    caption = "Each mark is one run."
    if max(n for several in counts.values() for n, _ in several) > 1:
        bar = "+ 1 sample std, and below by the same factor" if is_log else "± 1 sample std"
        caption = f"{'Mark' if are_words else 'Line'}: mean. Bar: {bar}. Dot: a run."
    caption += " Cross: no run counts." * has_crosses
    return page, (legend, title, caption, more)


def set_up_x(axes, values):
    """Makes the axis fit the values and returns their places on it, {value: x}.

    Numbers stand where they belong. Their axis is logarithmic if they span a factor of ten. Words
    stand side by side.
    """
    numbers = [as_number(value) for value in values]
    if None in numbers:
        numbers = list(range(len(values)))
        figure.thin_ticks(axes.xaxis, list(map(label, values)))
        axes.grid(False, axis="x")
    else:
        if numbers[-1] >= 10 * numbers[0] > 0:
            axes.set_xscale("log")
        if len(values) <= 8:  # more names would not fit
            axes.set_xticks(numbers, map(label, values), minor=False)
            axes.minorticks_off()
    return dict(zip(values, numbers, strict=True))


def as_number(value):
    """The number that a value is, or that a list such as [300] holds; None of anything else."""
    kind, what = rank(value)
    if kind == 1 and len(what) == 1:
        return what[0]
    return what if kind == 0 and not isinstance(what, bool) else None


def is_wide(metric, means):
    """Whether a metric is a loss whose means need a logarithmic scale."""
    return metric.endswith("loss") and np.nanmax(means) > 20 * np.nanmin(means) > 0


def plot_heat_maps(sweep, x, rest, metric):
    """The Figure for two hyperparameters: a cell for each pair, a panel for each of rest."""
    maps = final_values(sweep, x, rest, metric)
    columns, rows = (in_order(pair[i] for cells in maps.values() for pair in cells) for i in (0, 1))
    width, height = matplotlib.rcParams["figure.figsize"]
    size = max(width, 0.55 * len(columns) + 1.1), max(height, 0.4 * len(rows) + 0.6)
    size = tuple(np.minimum(size, figure.WIDEST))
    with matplotlib.rc_context({"figure.figsize": size}):
        page, panels = figure.panels(len(maps))
    grids = np.full((len(maps), len(rows), len(columns)), np.nan)
    for grid, cells in zip(grids, maps.values(), strict=True):
        for (column, row), (finals, _) in cells.items():
            grid[rows.index(row), columns.index(column)] = mean_and_std(finals)[0]
    scale = LogNorm if is_wide(metric, grids) else Normalize
    norm = scale(np.nanmin(grids), np.nanmax(grids))
    counts = {(len(finals), found) for cells in maps.values() for finals, found in cells.values()}
    fits = max(grids.shape[1:]) <= figure.MOST_PANELS
    for axes, grid, (values, cells) in zip(panels, grids, maps.items(), strict=True):
        image = axes.imshow(grid, norm=norm, origin="lower", aspect="auto")
        axes.set_facecolor("0.9")  # where there is no cell
        for (column, row), (finals, found) in cells.items() if fits else ():
            mean, std = mean_and_std(finals)
            text = with_std(mean, std).replace(" ± ", "\n± ")
            if len(counts) > 1:
                text += f"\n{figure.in_words([(len(finals), found)])}"
            axes.text(
                columns.index(column),
                rows.index(row),
                text.strip(),
                color="white" if image.norm(mean) < 0.5 else "black",
                ha="center",
                va="center",
                fontsize=6,
            )
        axes.set_title(", ".join(f"{key}={label(v)}" for key, v in zip(rest, values, strict=True)))
        figure.thin_ticks(axes.xaxis, list(map(label, columns)))
        figure.thin_ticks(axes.yaxis, list(map(label, rows)))
        axes.set_ylabel(x[1])
        axes.grid(False)
    axes.set_xlabel(x[0])
    page.colorbar(image, ax=list(panels), label=figure.with_unit(metric))
    caption = "Cell: mean ± 1 sample std of n runs" if fits else "Cell: mean of n runs"
    caption += f", {figure.in_words(counts)} each." if len(counts) == 1 else "."
    return page, ([], "", caption)


def in_order(values):
    return sorted(set(values), key=rank)


if __name__ == "__main__":
    main()
