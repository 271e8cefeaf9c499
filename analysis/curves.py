"""Learning curves: mean and spread over seeds, as a figure and as a tidy CSV beside it.

One group is in memory at a time. We read its runs one after the other and add each to running
moments. The command writes these moments, draws them and forgets them.
"""

import argparse
import csv
import io
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from mlp.run_folder import Damaged

from . import command, figure
from .runs import METRICS, label, several
from .statistics import BANDS, RunningMoments
from .sweep import Group, WrongArgument, check_word, nothing_to_show

X_LABELS = {"step": "step", "epoch": "epoch", "examples": "examples (step times batch_size)"}
MINI_BATCH = "mini-batch loss"
LINE_STYLES = {"train": "dashed", "val": "solid", "test": "dotted"}
COLUMNS = 1000  # across a panel: more than print or a screen has to show
FEW = 30  # runs of a group: more lines would cover its mean


def main(argv=None):
    parser = command.Parser(
        "curves",
        "Draws the learning curves of a sweep: mean, band and each seed's own line for every group "
        "of runs. Writes a figure and, beside it, a CSV of what it shows.",
        "outputs/lr-sweep --metric train_loss,val_loss --log y",
    )
    parser.add_choice_of_runs()
    parser.add_argument(
        "--metric",
        dest="metrics",
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
        check(args.metrics, args.x, args.smooth)
        path = command.out_path(args.out, args.folders[0], f"curves-{'+'.join(args.metrics)}")
        if path.stem in ("steps", "epochs"):
            text = f" {path} would write {path.stem}.csv, the name of a run's log"
            raise WrongArgument("out", text)
        sweep = command.read(args)
        options = {key: getattr(args, key) for key in ("metrics", "x", "smooth", "log")}
        groups = read_groups(sweep, **options)
        with whole_file(path.with_suffix(".csv")) as file:
            groups = written(groups, file, sweep.keys)
            plot_curves(sweep, **options, band=args.band, groups=groups).savefig(path)
        command.print_findings(sweep)
        print(f"wrote {path} and {path.with_suffix('.csv')}")


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def check(metrics, x, smooth):
    """The metrics as a list, and x or its default. Raises WrongArgument."""
    metrics = several(metrics)
    x = x or ("step" if "loss" in metrics else "epoch")
    for metric in metrics:
        check_word("metrics", metric, METRICS)
    check_word("x", x, X_LABELS)
    if smooth and "loss" not in metrics:
        raise WrongArgument("smooth", " is for loss; no other metric is that of a mini-batch")
    return metrics, x


def plot_curves(sweep, metrics="loss", x=None, band="std", smooth=None, log="", groups=None):
    """The Figure of a sweep's learning curves. Raises UserError.

    metrics: one of METRICS, or several. x: "step", "epoch" or "examples"; None for step with loss,
    epoch without. band: a key of BANDS. smooth: steps that each loss is averaged over. log: "x",
    "y" or "xy". groups: what read_groups yields, for a caller that uses it too. Faults of the runs'
    logs join the sweep's findings.
    """
    metrics, x = check(metrics, x, smooth)
    check_word("band", band, BANDS)
    groups = groups or read_groups(sweep, metrics, x, smooth, log)
    page, panels = set_up(metrics, x, smooth, log)
    legend, counts = [], []
    for curves, style in zip(groups, figure.group_styles(len(sweep.groups)), strict=True):
        group, n = curves.group, curves.n
        if not n:
            continue
        for metric, (axes, line_style) in panels.items():
            shown = style | {"linestyle": line_style}
            draw(axes, curves, metric, band, log, shown)
        count = f"n={n}" if n == len(group.runs) else f"n={n} of {len(group.runs)}"
        legend.append(figure.legend_entry(group.values.values(), count, style))
        counts.append(n)
    if not legend:
        raise nothing_to_show(sweep.findings)
    caption = "Each line is one run."
    if max(counts) > 1:
        caption = "Line: mean of n runs."
        if min(counts) <= FEW:
            caption += " Faint: each run" + f", where n <= {FEW}" * (max(counts) > FEW) + "."
        caption += f" Band: {BANDS[band]}." * (band != "none")
    figure.annotate(page, legend, ", ".join(sweep.keys), caption, sweep.findings)
    return page


class GroupCurves(NamedTuple):
    """The curves of a group's runs: n of them could be read."""

    group: Group
    n: int
    smooth: int | None
    moments: dict  # {metric: RunningMoments}
    outlines: dict  # {metric: [(x, y) to draw, for each run, if these are FEW]}


def read_groups(sweep, metrics="loss", x=None, smooth=None, log=""):
    """Yields the GroupCurves of one group after the other. Arguments as in plot_curves."""
    metrics, x = check(metrics, x, smooth)
    groups = sweep.groups
    total = sum(len(group.counted) for group in groups)
    with tqdm(total=total, desc="reading logs", disable=None, leave=False) as bar:
        for group in groups:
            yield read_group(sweep, group, metrics, x, smooth, "x" in log)
            bar.update(len(group.counted))


def read_group(sweep, group, metrics, x, smooth, log_x):
    """The GroupCurves of one group. Faults of its logs join the sweep's findings."""
    moments = {metric: RunningMoments() for metric in metrics}
    outlines = {metric: [] for metric in metrics}
    grids, n = {}, 0
    for run in group.counted:
        try:
            curves = run.curves(metrics, x)
        except Damaged as damage:
            sweep.add_finding(run.name, str(damage))
            continue
        n += 1
        for metric, (points, y) in curves.items():
            if smoothing(metric, smooth):
                points, y = trailing_mean(points, y, smooth)
            first, grid = grids.setdefault(metric, (run.name, points))
            if not np.array_equal(points, grid):
                what = f"{metric} has {len(points)} points, not the {len(grid)} of {first}"
                sweep.add_finding(run.name, f"{what}; means are drawn where all have one")
            moments[metric].add(points, y)
            if len(group.counted) <= FEW:
                outlines[metric].append(outline(*thin(points, y, y, log_x)))
    return GroupCurves(group, n, smooth, moments, outlines)


def written(groups, file, keys):
    """Writes each GroupCurves to the CSV file and passes it on."""
    csv.writer(file).writerow([*keys, "metric", "x", "mean", "std", "n"])
    for curves in groups:
        for metric, moments in curves.moments.items():
            values = map(label, curves.group.values.values())
            start = [*values, metric + smoothing(metric, curves.smooth)]
            file.writelines(csv_lines(start, moments))
        yield curves


@contextmanager
def whole_file(path):
    """A text file that appears at path once it is whole. An error leaves nothing."""
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "w", newline="", encoding="utf-8") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def set_up(metrics, x, smooth, log):
    """The empty figure, and {metric: (axes, line style)}.

    Metrics of one kind, such as train_loss and val_loss, share their axes.
    """
    shared = {}
    for metric in metrics:
        on, _, measure = metric.rpartition("_")
        shared.setdefault(measure if on else MINI_BATCH, {})[metric] = on
    page, axes = figure.panels(len(shared))
    panels = {}
    for ax, (measure, of_kind) in zip(axes, shared.items(), strict=True):
        text = figure.with_unit(measure)
        if len(of_kind) > 1:
            text += "\n" + ", ".join(f"{on} {LINE_STYLES[on]}" for on in of_kind.values())
        elif measure != MINI_BATCH:
            text = f"{next(iter(of_kind.values()))} {text}"
        else:
            text += smoothing("loss", smooth).replace(", ", ",\n")
        ax.set_ylabel(text)
        for axis in log:
            getattr(ax, f"set_{axis}scale")("log")
        for metric, on in of_kind.items():
            panels[metric] = ax, LINE_STYLES[on] if len(of_kind) > 1 else "solid"
    ax.set_xlabel(X_LABELS[x])
    return page, panels


def smoothing(metric, smooth):
    """What a metric's name must say if it is smoothed."""
    return f", mean of the last {smooth} steps" * (metric == "loss" and bool(smooth))


def csv_lines(group, moments):
    """Rows of the CSV. csv.writer would take twice as long for a million of them."""
    start = io.StringIO()
    csv.writer(start).writerow(group)
    start = start.getvalue().rstrip()
    x = moments.x.astype(int) if (moments.x % 1 == 0).all() else moments.x
    columns = (column.tolist() for column in (x, moments.mean, moments.std, moments.n))
    for x, mean, std, n in zip(*columns, strict=True):
        yield f"{start},{x},{mean},{std if n > 1 else ''},{n}\n"


def draw(axes, curves, metric, band, log, style):
    """One group: mean and band where all its runs have a value, every run to its own end.

    A mean over fewer and fewer runs would jump where one of them ends.
    """
    moments = curves.moments[metric]
    everywhere = moments.n == curves.n
    x, log_x = moments.x[everywhere], "x" in log
    mean = moments.mean[everywhere]
    x_line, y_line = outline(*thin(x, mean, mean, log_x))
    axes.plot(x_line, y_line, **style, markevery=max(1, len(x_line) // 8), zorder=3)
    if curves.n == 1:
        return
    faint = style | {"marker": "", "linewidth": 0.5, "alpha": 0.35}
    for curve in curves.outlines[metric]:
        axes.plot(*curve, **faint)
    if band != "none":
        limits = axes.dataLim.frozen()
        low, high = (edge[everywhere] for edge in moments.band(band))
        axes.fill_between(*thin(x, low, high, log_x), color=style["color"], alpha=0.2, linewidth=0)
        if "y" in log:  # an edge near 0 would take up all decades
            axes.dataLim.set(limits)


def trailing_mean(x, y, n):
    """Mean of each n values in a row, at the x of the last of them: (points - n + 1,) each.

    Raises WrongArgument where there are fewer than n.
    """
    if n > len(y):
        text = f" {n} wants runs of that many steps; there is one of {len(y)}"
        raise WrongArgument("smooth", text)
    return x[n - 1 :], np.convolve(y, np.full(n, 1 / n), mode="valid")


def thin(x, low, high, log_x):
    """The outline of a curve or band in at most COLUMNS slices of x: least low, greatest high.

    275,000 points would colour the same pixels, in a hundred times the time and file size. The
    outline keeps every extreme. Every n-th point would not.
    """
    if log_x:  # a logarithmic axis has no place for epoch 0
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
