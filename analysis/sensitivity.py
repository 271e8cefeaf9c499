"""Final metric against a hyperparameter: every seed a dot, their mean and spread a bar.

--x with one key: its values across, and a colour for every combination of what else differs.
--x with two keys: a heat map of the means, and a panel for every combination of what else differs.
With one key and two more that differ, a line for every combination would be a tangle: the first of
them becomes the second of --x.
"""

from dataclasses import replace

import numpy as np
from matplotlib.transforms import ScaledTranslation

from analysis import command, figure
from analysis.runs import check_word, label, rank
from analysis.statistics import mean_and_std, with_std
from mlp.errors import UserError


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
        help="one hyperparameter, what else differs being colour; or two, across and up a heat map "
        "(also where two more than KEY differ)",
    )
    parser.add_argument("--out", help="PNG, PDF or SVG; default: DIR/sensitivity-KEY-METRIC.png")
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        x = args.x
        sweep = command.read(args)
        metric = command.final_metric(sweep, args.metric)
        path = figure.out_path(args.out, args.folders, f"sensitivity-{'+'.join(x)}-{metric}")
        for key in x:
            check_word("--x", key, sweep.keys)
        if len(x) > 2:
            raise UserError(f"--x wants one key or two, got {len(x)}")
        rest = [key for key in sweep.keys if key not in x]
        if len(x) == 1 and len(rest) > 1:
            x.append(rest.pop(0))
        plot = plot_lines if len(x) == 1 else plot_heat_maps
        plot(sweep, x, rest, metric, path)
        command.print_findings(sweep)
        print(f"wrote {path}")


def final_values(sweep, x, rest, metric):
    """{values of rest: {values of x: (final metric of the runs that count, number of runs found)}},
    both in order.
    """
    tree = {}
    for values, names in replace(sweep, keys=[*rest, *x]).groups():
        finals = sweep.metrics.loc[sweep.counted(names), metric].to_numpy(float)
        below = tree.setdefault(values[: len(rest)], {})
        below[values[len(rest) :]] = finals, len(names)
    return tree


def plot_lines(sweep, x, rest, metric, path):
    """The figure for one hyperparameter."""
    canvas, (axes,) = figure.panels(1)
    axes.set_xlabel(x[0])
    axes.set_ylabel(figure.with_unit(metric))
    lines = final_values(sweep, x, rest, metric)
    places = set_up_x(axes, in_order(value for line in lines.values() for (value,) in line))
    axes.margins(x=0.1)
    apart = min(10, 40 / len(lines))

    def move(artists, points):
        """Aside on paper, so that groups and their dots stand side by side on any axis."""
        for artist in artists:
            aside = ScaledTranslation(points / 72, 0, canvas.dpi_scale_trans)
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
    figure.save(canvas, path, legend, ", ".join(rest), caption, sweep.findings)


def set_up_x(axes, values):
    """Makes the axis fit the values and returns their places on it, {value: x}.

    Numbers stand where they belong, on a logarithmic axis if they span a factor of ten; anything
    else stands side by side.
    """
    if not all(type(value) in (int, float) for value in values):
        axes.set_xticks(range(len(values)), map(label, values))
        return {value: i for i, value in enumerate(values)}
    if values[-1] >= 10 * values[0] > 0:
        axes.set_xscale("log")
    if len(values) <= 8:  # as many as there is room to name
        axes.set_xticks(values, map(label, values), minor=False)
        axes.minorticks_off()
    return {value: value for value in values}


def plot_heat_maps(sweep, x, rest, metric, path):
    """The figure for two hyperparameters: a cell for each pair of values, a panel for each of
    rest."""
    maps = final_values(sweep, x, rest, metric)
    columns, rows = (in_order(pair[i] for cells in maps.values() for pair in cells) for i in (0, 1))
    canvas, panels = figure.panels(len(maps))
    grids = np.full((len(maps), len(rows), len(columns)), np.nan)
    for grid, cells in zip(grids, maps.values(), strict=True):
        for (column, row), (finals, _) in cells.items():
            grid[rows.index(row), columns.index(column)] = mean_and_std(finals)[0]
    for axes, grid, (values, cells) in zip(panels, grids, maps.items(), strict=True):
        image = axes.imshow(
            grid, vmin=np.nanmin(grids), vmax=np.nanmax(grids), origin="lower", aspect="auto"
        )
        for (column, row), (finals, found) in cells.items():
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
        axes.set_xticks(range(len(columns)), map(label, columns))
        axes.set_yticks(range(len(rows)), map(label, rows))
        axes.set_ylabel(x[1])
        axes.grid(False)
    axes.set_xlabel(x[0])
    canvas.colorbar(image, ax=list(panels), label=figure.with_unit(metric))
    caption = "Cell: mean ± 1 sample std of the runs of all seeds."
    figure.save(canvas, path, [], "", caption, sweep.findings)


def in_order(values):
    return sorted(set(values), key=rank)


if __name__ == "__main__":
    main()
