"""Learning curves: mean and spread over seeds, as a figure and as a tidy CSV beside it.

group_curves.py reads and thins one group after the other. Here it is drawn. Panels draw at the end,
when all groups are known.
"""

import argparse
from collections import defaultdict

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from mlp.files import whole_file

from . import command, figure
from .group_curves import COLUMNS, FEW, in_words, read_groups, written
from .runs import METRICS, label, several
from .statistics import BANDS, mean_and_std, quantiles_of
from .sweep import WrongArgument, check_word, nothing_to_show

X_LABELS = {"step": "step", "epoch": "epoch", "examples": "examples (step times batch_size)"}
MINI_BATCH = "mini-batch loss"
LINE_STYLES = {"train": "dashed", "val": "solid", "test": "dotted"}
MARKS = {"diverged": "x", "interrupted": "|", "running": ">", "failed": "+", "damaged": "*"}
CROWD = 14  # curves of a panel that may have bands
PALE = 4  # curves of a panel whose single steps are shown too; those of more would be mud


def main(argv=None):
    parser = command.Parser(
        "curves",
        "Draws the learning curves of a sweep: for every group of runs the mean, a band and, while "
        "they are few, each seed's own line. Writes a figure and, beside it, a CSV of what it "
        "shows.",
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
    parser.add_argument(
        "--band", default="std", help=f"of {', '.join(BANDS)}, q50 and the like; default: std"
    )
    parser.add_argument(
        "--smooth",
        type=positive,
        metavar="N",
        help="replace loss, in each run, by its mean over the last N steps; 1 leaves it as it is; "
        "default: about a hundredth of the steps",
    )
    parser.add_argument("--log", choices=["x", "y", "xy"], default="", help="logarithmic axes")
    parser.add_argument("--xlim", type=limits, metavar="A,B", help="the axis from A to B; or A,")
    parser.add_argument("--ylim", type=limits, metavar="A,B", help="the same for the other axis")
    parser.add_argument(
        "--facet",
        metavar="KEY",
        help="a panel for each value of KEY; none for one panel; default: a key that helps, where "
        "there are many groups",
    )
    parser.add_argument(
        "--include",
        type=command.words,
        default=[],
        metavar="STATUS,STATUS",
        help=f"draw runs that do not count too, each by itself: {', '.join(MARKS)}",
    )
    parser.add_no_notes()
    parser.add_argument(
        "--full-csv", dest="full", action="store_true", help=f"every step in the CSV, not {COLUMNS}"
    )
    parser.add_argument(
        "--out",
        help="PNG, PDF or SVG; default: DIR/curves-METRIC.png, with other options in its name",
    )
    args = parser.parse_args(argv)
    with parser.errors_in_one_line():
        for_reading = {key: getattr(args, key) for key in ("metrics", "x", "band", "smooth", "log")}
        for_reading["metrics"], for_reading["x"] = check(**for_reading)
        for status in args.include:
            check_word("include", status, MARKS)
        stem = parser.stem(args, ["curves", "+".join(args.metrics)], ["metrics"])
        path = command.out_path(args.out, args.folders[0], stem)
        if path.stem in ("steps", "epochs"):
            text = f" {path} would write {path.stem}.csv, the name of a run's log"
            raise WrongArgument("out", text)
        sweep = command.read(args)
        for_drawing = {key: getattr(args, key) for key in ("facet", "xlim", "ylim", "notes")}
        groups = read_groups(sweep, **for_reading, full=args.full)
        with whole_file(path.with_suffix(".csv"), durable=False) as file:
            groups = written(groups, file, sweep.keys, args.log, args.full)
            plot_curves(sweep, **for_reading, **for_drawing, groups=groups).savefig(path)
        command.print_findings(sweep)
        print(f"wrote {path} and {path.with_suffix('.csv')}")


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def limits(text):
    """(0.9, 1.0) from "0.9,1", (0.9, None) from "0.9,"."""
    try:
        low, high = (float(end) if end else None for end in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"wants A,B or A, or ,B; got {text!r}") from None
    return low, high


def check(metrics, x, band, smooth, log):
    """The metrics as a list, and x or its default. Raises WrongArgument."""
    metrics = several(metrics)
    x = x or ("step" if "loss" in metrics else "epoch")
    for metric in metrics:
        check_word("metrics", metric, METRICS)
    check_word("x", x, X_LABELS)
    check_word("log", log, ["", "x", "y", "xy"])
    if not quantiles_of(band):
        check_word("band", band, BANDS)
    if smooth and "loss" not in metrics:
        raise WrongArgument("smooth", " is for loss; no other metric is that of a mini-batch")
    return metrics, x


def plot_curves(
    sweep,
    metrics="loss",
    x=None,
    band="std",
    smooth=None,
    log="",
    facet=None,
    xlim=None,
    ylim=None,
    notes=True,
    groups=None,
):
    """The Figure of a sweep's learning curves. Raises UserError.

    metrics: one of METRICS, or several. x: "step", "epoch" or "examples"; None for step with loss,
    epoch without. band: a key of BANDS, or q50 and the like. smooth: steps that each loss is
    averaged over; 1 for none, None for about a hundredth of the run's. log: "x", "y" or "xy".
    facet: the key whose values have a panel each; "none" for no key, None for one that helps where
    there are many groups. xlim, ylim: (low, high), None for an end as it comes. notes: whether
    there is text below. groups: what read_groups yields, for a caller that uses it too. Faults of
    the runs' logs join the sweep's findings.
    """
    metrics, x = check(metrics, x, band, smooth, log)
    measures = by_measure(metrics)
    if ylim and len(measures) > 1:
        raise WrongArgument("ylim", f" is for one panel; draw {' and '.join(measures)} apart")
    found = sweep.groups
    if facet not in (None, "none"):
        check_word("facet", facet, sweep.keys)
    facet = None if facet == "none" else facet or figure.facet_key(found, sweep.keys)
    keys = [key for key in sweep.keys if key != facet]
    judge = next((m for m in (*metrics, "val_accuracy", "train_loss") if m in sweep.metrics), None)
    looks = figure.looks(found, keys, len(measures) == len(metrics), best_first(sweep, judge))
    of_metrics = metric_looks(measures, are_colours_free=len(looks.styles) == 1)
    page, panels = set_up(measures, x, log, facet, found)

    counts, windows = defaultdict(list), []
    for read in groups or read_groups(sweep, metrics, x, band, smooth, log):
        if not any(curves.mean or curves.others for curves in read.of.values()):
            continue
        windows += read.windows
        counts[figure.values_of(read.group, looks.keys)].append((read.n, len(read.group.runs)))
        for metric, curves in read.of.items():
            style = looks.of(read.group) | of_metrics.get(metric, {})
            panels[metric, read.group.values.get(facet)].add(curves, style)
    if not counts:
        raise nothing_to_show(sweep.findings)

    all_panels = list(dict.fromkeys(panels.values()))
    drawn = set().union(*(panel.draw() for panel in all_panels))
    if "y" not in log and leave_out_the_start(all_panels):
        drawn.add("start")
    for panel in all_panels:
        panel.frame(xlim, ylim)
    drawn |= set().union(*(panel.draw_beyond() for panel in all_panels))
    if MINI_BATCH in measures and (text := in_words(windows)):
        axes = panels["loss", next(iter(panels))[1]].axes
        axes.set_ylabel(f"{axes.get_ylabel()},\n{text}")
    if figure.OTHERS in looks.styles.values():
        drawn.add("others")
    is_alone = bool(of_metrics) and len(looks.styles) == 1
    axes = [panel.axes for panel in all_panels]
    legend, title, more = looks.explain(page, axes, counts, is_alone)
    for metric, style in of_metrics.items():
        text = metric.partition("_")[0]
        more.append(Line2D([], [], **{"color": "black"} | style, label=text))
    for status, mark in MARKS.items():
        if status in drawn:
            more.append(Line2D([], [], color="black", linestyle="", marker=mark, label=status))
    most = max(n for several in counts.values() for n, _ in several)
    text, findings = (caption(most, drawn, band, log, judge), sweep.notes) if notes else ("", [])
    figure.annotate(page, legend, title, text, findings, more)
    return page


def by_measure(metrics):
    """{measure: its metrics}. Those of one kind, such as train_loss and val_loss, share panels."""
    measures = {}
    for metric in metrics:
        on, _, measure = metric.rpartition("_")
        measures.setdefault(measure if on else MINI_BATCH, []).append(metric)
    return measures


def metric_looks(measures, are_colours_free):
    """{metric: what tells it from the others of its panel}; nothing where it is alone."""
    looks = {}
    for metrics in measures.values():
        styles = figure.group_styles(len(metrics)) if are_colours_free else [{}] * len(metrics)
        for metric, style in zip(metrics, styles, strict=True):
            if len(metrics) > 1:
                looks[metric] = style | {"linestyle": LINE_STYLES[metric.partition("_")[0]]}
    return looks


def best_first(sweep, metric):
    """The groups, best first in a final metric, if there is one."""
    means = [mean_and_std(group.finals(metric))[0] for group in sweep.groups] if metric else []
    sign = 1 if metric and metric.endswith("loss") else -1
    return [sweep.groups[i] for i in np.argsort(sign * np.array(means))]  # NaN come last


def set_up(measures, x, log, facet, groups):
    """The empty figure, and {(metric, value of facet): its Panel}."""
    values = figure.values_in(groups, facet) if facet else [None]
    page, axes = figure.panels(len(measures), len(values))
    panels, axes = {}, iter(axes)
    for measure, metrics in measures.items():
        for value in values:
            panel = Panel(next(axes), measure)
            panels |= {(metric, value): panel for metric in metrics}
            for axis in log:
                getattr(panel.axes, f"set_{axis}scale")("log")
            if facet:
                panel.axes.set_title(f"{facet}={label(value)}")
            if value == values[0]:
                name = metrics[0] if len(metrics) == 1 and measure != MINI_BATCH else measure
                panel.axes.set_ylabel(figure.with_unit(name))
            if "x" not in log:
                panel.axes.xaxis.set_major_locator(
                    MaxNLocator(6 if x == "epoch" else 5, integer=True, steps=[1, 2, 5, 10])
                )
                panel.axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    figure.label_x([panel.axes for panel in panels.values()], X_LABELS[x])
    return page, panels


class Panel:
    """A pair of axes, and the curves to draw there once all groups are known."""

    def __init__(self, axes, measure):
        self.axes, self.measure = axes, measure
        self.start = np.inf
        self._curves = []  # (Curves without moments, style)
        self.all_y, self.late_y = [], []  # what the frame must hold; without the curves' starts

    def add(self, curves, style):
        self._curves.append((curves._replace(moments=None), style))

    def draw(self):
        """Draws means, bands and runs. Returns the words for what there is, for the caption."""
        drawn, n = set(), len(self._curves)
        if not any(curves.mean for curves, _ in self._curves):
            for x, y, _ in (other for curves, _ in self._curves for other in curves.others):
                self.axes.update_datalim(np.column_stack([x, y]))  # else they set no limits
        is_crowded = len({str(style["color"]) for _, style in self._curves}) > len(figure.COLOURS)
        for i, (curves, style) in enumerate(self._curves):
            if not curves.mean:
                continue
            x, y = curves.mean
            every = max(1, len(x) // 8)
            marks = {"markevery": (i * every // n, every), "zorder": 3}
            self.axes.plot(x, y, **marks | style)
            self._hold(curves, x, y)
            if is_crowded or n > CROWD:  # more would hide the means
                drawn |= {"crowd"} if curves.band else set()
                continue
            if len(curves.outlines) > 1:
                drawn.add("runs")
                faint = style | {"marker": "", "linewidth": 0.5, "alpha": 0.35}
                for x, y in curves.outlines:
                    self.axes.plot(x, y, **faint)
                    self._hold(curves, x, y)
            if curves.band:
                drawn.add("band")
                x, low, high = curves.band
                self.axes.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)
                self._hold(curves, x, low)
                self._hold(curves, x, high)
        return drawn

    def _hold(self, curves, x, y):
        self.all_y.append(y)
        self.late_y.append(y[x >= curves.start])
        self.start = min(self.start, curves.start)

    def frame(self, xlim, ylim):
        """Fixes the limits as they are, or as they are wished. A loss has none below 0."""
        self.axes.autoscale_view()
        for axis, wish in {"x": xlim, "y": ylim}.items():
            low, high = getattr(self.axes, f"get_{axis}lim")()
            if axis == "y" and self.all_y and min(map(np.min, self.all_y)) >= 0:
                low = max(low, 0.0)
            getattr(self.axes, f"set_{axis}lim")(low, high)
            getattr(self.axes, f"set_{axis}lim")(*(wish or ()))
            figure.label_decades(getattr(self.axes, f"{axis}axis"))

    def draw_beyond(self):
        """Draws what the frame may cut. Returns the words for what there is, for the caption."""
        drawn = set()
        (left, right), (bottom, top) = self.axes.get_xlim(), self.axes.get_ylim()
        for curves, style in self._curves:
            colour = {"color": style["color"], "linestyle": style.get("linestyle", "solid")}
            if curves.raw and len(self._curves) <= PALE:
                drawn.add("raw")
                self.axes.fill_between(*curves.raw, color=style["color"], alpha=0.08, linewidth=0)
            for x, y, status in curves.others:
                drawn.add(status)
                self.axes.plot(x, y, **colour, linewidth=0.7)
                inside = np.flatnonzero((y <= top) & (y >= bottom) & (x <= right))
                end = min(inside[-1] + 1, len(x) - 1) if len(inside) else 0
                place = [np.clip(x[end], left, right)], [np.clip(y[end], bottom, top)]
                mark = {"marker": MARKS[status], "markersize": 6, "markeredgewidth": 1.5}
                mark |= {"linestyle": "", "clip_on": False, "zorder": 4}
                self.axes.plot(*place, color=style["color"], **mark)
        return drawn


def leave_out_the_start(panels):
    """Lets the frames begin where training has, if that gives the rest a quarter more room.

    Returns whether any does. Panels of one measure do it together: they share their y axis.
    """
    left_out = []
    for measure in {panel.measure for panel in panels}:
        alike = [panel for panel in panels if panel.measure == measure]
        late, whole = (
            np.concatenate([y for panel in alike for y in getattr(panel, of)] or [[]])
            for of in ("late_y", "all_y")
        )
        if len(late) and np.ptp(whole) > 1.25 * np.ptp(late) > 0:
            left_out += alike
            for panel in alike:
                panel.axes.dataLim.intervaly = late.min(), late.max()
    if len(left_out) == len(panels):
        for panel in panels:
            panel.axes.dataLim.x0 = min(other.start for other in panels)
    return bool(left_out)


def caption(most, drawn, band, log, judge):
    """What the lines and areas of a figure are.

    most: runs in a group. judge: the metric by which the best groups were chosen.
    """
    if most < 2:
        words = "Each line is one run."
    else:
        words = "Line: mean of n runs."
        if "runs" in drawn:
            words += " Faint: each run" + f", where n <= {FEW}" * (most > FEW) + "."
    if "band" in drawn:
        what = BANDS.get(band) or f"middle {band[1:]}% of the runs"
        if "y" in log and what.startswith("±"):
            what = what.replace("±", "+") + ", and below by the same factor"
        words += f" Band: {what}."
    if "crowd" in drawn:
        words += " There are too many lines for bands."
    if "raw" in drawn:
        words += " Pale: middle 80% of single steps."
    if "others" in drawn:
        words += f" Grey: ends worse in {judge}."
    if "start" in drawn:
        words += " The start of training lies outside the frame."
    return words


if __name__ == "__main__":
    main()
