"""Final metric against a hyperparameter: every seed a dot, their mean and spread a bar.

With one key for x, its values stand across. Each combination of the other keys has a colour.
With two keys, a heat map shows the means. Each combination of the other keys has a panel.
With one key and two or more others, the lines would tangle: the first of the others joins x.
"""

import numpy as np
from matplotlib.transforms import ScaledTranslation

from . import command, figure
from .runs import label, several
from .statistics import mean_and_std, with_std
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
    parser.add_argument("--out", help="PNG, PDF or SVG; default: DIR/sensitivity-KEY-METRIC.png")
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        sweep = command.read(args)
        metric = sweep.final_metric(args.metric)
        stem = f"sensitivity-{'+'.join(args.x)}-{metric}"
        path = command.out_path(args.out, args.folders[0], stem)
        plot_sensitivity(sweep, args.x, metric).savefig(path)
        command.print_findings(sweep)
        print(f"wrote {path}")


def plot_sensitivity(sweep, x, metric=None):
    """The Figure of a final metric against x: one of the sweep's keys, or two.

    metric: None for val_accuracy, or else test_accuracy. Raises WrongArgument.
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
    return plot(sweep, x, rest, metric)


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
    """The Figure for one hyperparameter."""
    page, (axes,) = figure.panels(1)
    axes.set_xlabel(x[0])
    axes.set_ylabel(figure.with_unit(metric))
    lines = final_values(sweep, x, rest, metric)
    places = set_up_x(axes, in_order(value for line in lines.values() for (value,) in line))
    axes.margins(x=0.1)
    apart = min(10, 40 / len(lines))

    def move(artists, points):
        """To the side, by points on paper: groups and their dots stand apart on any axis."""
        for artist in artists:
            aside = ScaledTranslation(points / 72, 0, page.dpi_scale_trans)
            artist.set_transform(artist.get_transform() + aside)

    legend = []
    for i, (values, style) in enumerate(zip(lines, figure.group_styles(len(lines)), strict=True)):
        line = {places[value]: finals for (value,), (finals, _) in lines[values].items()}
        means, stds = np.transpose([mean_and_std(finals) for finals in line.values()])
        bars = axes.errorbar(list(line), means, stds, **style, capsize=2).get_children()
        counts = [len(finals) for finals in line.values()]
        mark = {"color": style["color"], "linestyle": ""}
        where = np.repeat(list(line), counts)
        dots = axes.plot(where, np.concatenate(list(line.values())), marker=".", **mark)
        none = [place for place, count in zip(line, counts, strict=True) if not count]
        floor = axes.get_xaxis_transform()
        crosses = axes.plot(none, [0.04] * len(none), marker="x", transform=floor, **mark)
        at = apart * (i - (len(lines) - 1) / 2)
        move([*bars, *crosses], at)
        move(dots, at + apart / 3)
        count = f"n={min(counts)}" + f"-{max(counts)}" * (min(counts) < max(counts))
        legend.append(figure.legend_entry(values, count, style))
    caption = "Line: mean. Bar: ± 1 sample std. Dot: a run. Cross: no run counts."
    figure.annotate(page, legend, ", ".join(rest), caption, sweep.findings)
    return page


def set_up_x(axes, values):
    """Makes the axis fit the values and returns their places on it, {value: x}.

    Numbers stand where they belong. Their axis is logarithmic if they span a factor of ten. Words
    stand side by side.
    """
    if not all(type(value) in (int, float) for value in values):
        figure.thin_ticks(axes.xaxis, list(map(label, values)))
        return {value: i for i, value in enumerate(values)}
    if values[-1] >= 10 * values[0] > 0:
        axes.set_xscale("log")
    if len(values) <= 8:  # more names would not fit
        axes.set_xticks(values, map(label, values), minor=False)
        axes.minorticks_off()
    return {value: value for value in values}


def plot_heat_maps(sweep, x, rest, metric):
    """The Figure for two hyperparameters: a cell for each pair, a panel for each of rest."""
    maps = final_values(sweep, x, rest, metric)
    columns, rows = (in_order(pair[i] for cells in maps.values() for pair in cells) for i in (0, 1))
    page, panels = figure.panels(len(maps))
    grids = np.full((len(maps), len(rows), len(columns)), np.nan)
    for grid, cells in zip(grids, maps.values(), strict=True):
        for (column, row), (finals, _) in cells.items():
            grid[rows.index(row), columns.index(column)] = mean_and_std(finals)[0]
    fits = max(grids.shape[1:]) <= figure.MOST_PANELS
    for axes, grid, (values, cells) in zip(panels, grids, maps.items(), strict=True):
        image = axes.imshow(
            grid, vmin=np.nanmin(grids), vmax=np.nanmax(grids), origin="lower", aspect="auto"
        )
        for (column, row), (finals, found) in cells.items() if fits else ():
            mean, std = mean_and_std(finals)
            text = with_std(mean, std).replace(" ± ", "\n± ")
            if len(finals) < found:
                text += f"\nn={len(finals)} of {found}"
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
    caption = "Cell: mean ± 1 sample std of the runs of all seeds."
    if not fits:
        caption = "Cell: mean of the runs of all seeds; there are too many to write it."
    figure.annotate(page, [], "", caption, sweep.findings)
    return page


def in_order(values):
    return sorted(set(values), key=rank)


if __name__ == "__main__":
    main()
