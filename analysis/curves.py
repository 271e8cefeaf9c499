"""Learning curves: mean and spread over seeds, as a figure and as a tidy CSV beside it.

One group is in memory at a time: its runs are read one after the other and added to running
moments, which are written, drawn and forgotten.
"""

import argparse
import csv
import io
from contextlib import contextmanager

import numpy as np
from tqdm import tqdm

from analysis import command, figure
from analysis.runs import METRICS, Damaged, Finding, check_word, label, nothing_to_show
from analysis.statistics import BANDS, RunningMoments
from mlp.errors import UserError

X_LABELS = {"step": "step", "epoch": "epoch", "examples": "examples (step times batch_size)"}
MINI_BATCH = "mini-batch loss"
LINE_STYLES = {"train": "dashed", "val": "solid", "test": "dotted"}
COLUMNS = 1000  # across a panel: more than print or a screen has to show


def main(argv=None):
    parser = command.Parser(
        "curves",
        "Learning curves of a sweep: mean, band and each seed's own line for every group of runs. "
        "Writes a figure and, beside it, a CSV of what it shows.",
        "outputs/lr-sweep --metric train_loss,val_loss --log y",
    )
    parser.add_choice_of_runs()
    parser.add_argument(
        "--metric",
        type=command.words,
        default=["loss"],
        metavar="METRIC,METRIC",
        help=f"of {', '.join(METRICS)}; default: loss, that of mini-batches",
    )
    parser.add_argument("--x", choices=X_LABELS, help="default: step with loss, epoch without")
    parser.add_argument("--band", choices=BANDS, default="std", help="default: std")
    parser.add_argument(
        "--smooth",
        type=positive,
        metavar="N",
        help="replace loss, in each run, by its mean over the last N steps",
    )
    parser.add_argument("--log", choices=["x", "y", "xy"], default="", help="logarithmic axes")
    parser.add_argument("--out", help="PNG, PDF or SVG; default: DIR/curves-METRIC.png")
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        for metric in args.metric:
            check_word("--metric", metric, METRICS)
        if args.smooth and "loss" not in args.metric:
            raise UserError("--smooth is for loss; no other metric is that of a mini-batch")
        args.x = args.x or ("step" if "loss" in args.metric else "epoch")
        path = figure.out_path(args.out, args.folders, f"curves-{'+'.join(args.metric)}")
        if path.stem in ("steps", "epochs"):
            raise UserError(f"--out {path} would write {path.stem}.csv, the name of a run's log")
        sweep = command.read(args)
        plot(sweep, args, path)
        command.print_findings(sweep)
        print(f"wrote {path} and {path.with_suffix('.csv')}")


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def plot(sweep, args, path):
    """Writes the figure and its CSV. What is wrong with runs' logs joins the sweep's findings."""
    canvas, panels = set_up(args)
    groups = sweep.groups()
    total = sum(len(sweep.counted(names)) for _, names in groups)
    bar = tqdm(total=total, desc="reading logs", disable=None, leave=False)
    legend, most = [], 0
    with whole_file(path.with_suffix(".csv")) as file, bar:
        csv.writer(file).writerow([*sweep.keys, "metric", "x", "mean", "std", "n"])
        for (values, names), style in zip(groups, figure.group_styles(len(groups)), strict=True):
            moments, seeds = read_group(sweep, names, args)
            bar.update(len(sweep.counted(names)))
            n = len(seeds[args.metric[0]])
            if not n:
                continue
            for metric, (axes, line_style) in panels.items():
                group = [*map(label, values), metric + smoothing(metric, args)]
                file.writelines(csv_lines(group, moments[metric]))
                draw(axes, moments[metric], seeds[metric], args, style | {"linestyle": line_style})
            count = f"n={n}" if n == len(names) else f"n={n} of {len(names)}"
            legend.append(figure.legend_entry(values, count, style))
            most = max(most, n)
        if not legend:
            raise nothing_to_show(sweep.findings)
        caption = "Each line is one run."
        if most > 1:
            caption = "Line: mean of n runs. Faint: each run."
            caption += f" Band: {BANDS[args.band]}." * (args.band != "none")
        figure.save(canvas, path, legend, ", ".join(sweep.keys), caption, sweep.findings)


@contextmanager
def whole_file(path):
    """A text file that takes its place at path once it is whole, and leaves nothing otherwise."""
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "w", newline="", encoding="utf-8") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def set_up(args):
    """The empty figure, and {metric: (axes, line style)}. Metrics that differ only in the examples
    they were measured on, such as train_loss and val_loss, share their axes.
    """
    shared = {}
    for metric in args.metric:
        on, _, measure = metric.rpartition("_")
        shared.setdefault(measure if on else MINI_BATCH, {})[metric] = on
    canvas, axes = figure.panels(len(shared))
    panels = {}
    for ax, (measure, metrics) in zip(axes, shared.items(), strict=True):
        text = figure.with_unit(measure)
        if len(metrics) > 1:
            text += "\n" + ", ".join(f"{on} {LINE_STYLES[on]}" for on in metrics.values())
        elif measure != MINI_BATCH:
            text = f"{next(iter(metrics.values()))} {text}"
        else:
            text += smoothing("loss", args).replace(", ", ",\n")
        ax.set_ylabel(text)
        for axis in args.log:
            getattr(ax, f"set_{axis}scale")("log")
        for metric, on in metrics.items():
            panels[metric] = ax, LINE_STYLES[on] if len(metrics) > 1 else "solid"
    ax.set_xlabel(X_LABELS[args.x])
    return canvas, panels


def smoothing(metric, args):
    """What a metric's name must say if it was smoothed."""
    return f", mean of the last {args.smooth} steps" * (metric == "loss" and bool(args.smooth))


def read_group(sweep, names, args):
    """{metric: RunningMoments} over a group's runs, and {metric: [each run's (x, y) to draw]}."""
    moments = {metric: RunningMoments() for metric in args.metric}
    seeds = {metric: [] for metric in args.metric}
    grids = {}
    for name in sweep.counted(names):
        try:
            curves = sweep.read_curves(name, args.metric, args.x)
        except Damaged as damage:
            sweep.findings.append(Finding(name, str(damage)))
            continue
        for metric, (x, y) in curves.items():
            if smoothing(metric, args):
                x, y = trailing_mean(x, y, args.smooth)
            first, grid = grids.setdefault(metric, (name, x))
            if not np.array_equal(x, grid):
                what = f"{metric} has {len(x)} points, not the {len(grid)} of {first}"
                sweep.findings.append(Finding(name, f"{what}; means are drawn where all have one"))
            moments[metric].add(x, y)
            seeds[metric].append(outline(*thin(x, y, y, "x" in args.log)))
    return moments, seeds


def csv_lines(group, moments):
    """Rows of the CSV. Formatted here because csv.writer takes twice as long for a million."""
    start = io.StringIO()
    csv.writer(start).writerow(group)
    start = start.getvalue().rstrip()
    x = moments.x.astype(int) if (moments.x % 1 == 0).all() else moments.x
    columns = (column.tolist() for column in (x, moments.mean, moments.std, moments.n))
    for x, mean, std, n in zip(*columns, strict=True):
        yield f"{start},{x},{mean},{std if n > 1 else ''},{n}\n"


def draw(axes, moments, seeds, args, style):
    """One group: mean and band where all its runs have a value, every run to its own end.

    A mean over ever fewer runs would jump where one ends, and look like a change in them.
    """
    everywhere = moments.n == len(seeds)
    x, log_x = moments.x[everywhere], "x" in args.log
    mean = moments.mean[everywhere]
    x_line, y_line = outline(*thin(x, mean, mean, log_x))
    axes.plot(x_line, y_line, **style, markevery=max(1, len(x_line) // 8), zorder=3)
    if len(seeds) == 1:
        return
    faint = style | {"marker": "", "linewidth": 0.5, "alpha": 0.35}
    for curve in seeds:
        axes.plot(*curve, **faint)
    if args.band != "none":
        limits = axes.dataLim.frozen()
        low, high = (edge[everywhere] for edge in moments.band(args.band))
        axes.fill_between(*thin(x, low, high, log_x), color=style["color"], alpha=0.2, linewidth=0)
        if "y" in args.log:  # where an edge near 0 would take up all decades
            axes.dataLim.set(limits)


def trailing_mean(x, y, n):
    """Mean of each n values in a row, at the x of the last of them: (points - n + 1,) each.

    Raises UserError where there are fewer than n.
    """
    if n > len(y):
        raise UserError(f"--smooth {n} wants runs of that many steps; there is one of {len(y)}")
    return x[n - 1 :], np.convolve(y, np.full(n, 1 / n), mode="valid")


def thin(x, low, high, log_x):
    """The outline of a curve or band in at most COLUMNS slices of x: least low, greatest high.

    It is what 275,000 points would colour anyway, for a hundredth of the time and file size. No
    extreme is lost, as it would be in taking every n-th point.
    """
    if log_x:  # which has no place for epoch 0
        keep = x > 0
        x, low, high = x[keep], low[keep], high[keep]
    if len(x) <= COLUMNS:
        return x, low, high
    edges = (np.geomspace if log_x else np.linspace)(x[0], x[-1], COLUMNS, endpoint=False)
    starts = np.unique(np.searchsorted(x, edges))
    return x[starts], np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)


def outline(x, low, high):
    """The (x, y) of a line through low and high at every x."""
    return np.repeat(x, 2), np.column_stack([low, high]).ravel()


if __name__ == "__main__":
    main()
