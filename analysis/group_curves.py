"""The curves of one group of runs after the other: joined, smoothed, thinned for drawing.

One group is in memory at a time. We read its runs one after the other and add each to running
moments, which hold every x. Everything else is thinned to what a figure can show.
"""

import csv
import io
from functools import partial
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from mlp.run_folder import Damaged

from .runs import label
from .statistics import RunningMoments, quantiles_of
from .sweep import Group

COLUMNS = 1000  # across a panel: more than print or a screen has to show
FEW = 5  # runs of a group: more lines would cover its mean


class Curves(NamedTuple):
    """One metric of a group. Its lines are (x, y), its areas (x, low, high)."""

    moments: RunningMoments  # of the runs that count
    edges: np.ndarray  # of the band, (2, points) on the x of the moments; NaN where there is none
    mean: tuple  # where all these runs have a value: one over fewer and fewer would jump
    band: tuple
    outlines: list  # a line for each of these runs, where they are FEW
    raw: tuple  # where most losses of single steps lie, before smoothing; mean of the runs
    others: list  # (x, y, status) of the runs that do not count but are to be shown
    start: float  # from this x on, the curve is that of a network in training


class GroupCurves(NamedTuple):
    """The curves of a group's runs: n of them count and could be read."""

    group: Group
    n: int
    windows: list  # how many steps losses are averaged over, for each run
    of: dict  # {metric: Curves}


def read_groups(sweep, metrics, x, band, smooth, log, full=False):
    """Yields the GroupCurves of one group after the other. Arguments as in plot_curves.

    full: the band of quantiles has all x, not as many as a figure shows.
    """
    groups = [(group, group.shown(sweep.include)) for group in sweep.groups]
    with tqdm(
        total=sum(len(runs) for _, runs in groups), desc="reading logs", disable=None, leave=False
    ) as bar:
        for group, runs in groups:
            yield read_group(sweep, group, runs, metrics, x, band, smooth, log, full)
            bar.update(len(runs))


def read_group(sweep, group, runs, metrics, x, band, smooth, log, full):
    """The GroupCurves of these runs of a group. Faults of logs join the sweep's findings."""
    are_few = len(group.counted) <= FEW
    divide = partial(slices, log=log)
    gathered = {metric: Gathered(divide, quantiles_of(band), are_few, full) for metric in metrics}
    most = longest(group.runs) or longest(sweep.runs)
    windows, n = [], 0
    for run in runs:
        try:
            curves = run.curves(metrics, x)
        except Damaged as damage:
            sweep.add_finding(run.name, str(damage))
            continue
        n += run.counts
        for metric, (points, y) in curves.items():
            window = 1
            if metric == "loss":
                window = smooth or usual_window(max(most, len(y)))
                windows.append(window)
            if odd := gathered[metric].add(run, points, y, window):
                sweep.add_finding(run.name, f"{metric} has {odd}")
    of = {metric: own.curves(metric, band, log) for metric, own in gathered.items()}
    return GroupCurves(group, n, windows, of)


def longest(runs):
    """The steps of the longest run that has a result."""
    return max(run.metrics.get("step", 0) for run in runs)


def usual_window(steps):
    """About a hundredth of a run's steps, as a round number: 1, 2, 5, 10, 20, 50 and so on."""
    hundredth = max(1, steps // 100)
    power = 10 ** (len(str(hundredth)) - 1)
    return max(factor * power for factor in (1, 2, 5) if factor * power <= hundredth)


class Gathered:
    """One metric of a group, from its runs one after the other."""

    def __init__(self, divide, quantiles=None, has_lines=True, full=False):
        """divide: where slices of rising x begin, as `slices` tells. quantiles: the two parts of
        the runs for a band of quantiles. has_lines: whether each run is a line. full: see
        `read_groups`.
        """
        self._divide, self._quantiles = divide, quantiles
        self._has_lines, self._full = has_lines, full
        self._n, self._moments, self._outlines, self._others = 0, RunningMoments(), [], []
        self._first, self._samples, self._raw, self._start = None, [], [], np.inf

    def add(self, run, x, y, window):
        """One more curve. Returns what is odd about it, or None."""
        smooth = trailing_mean(y, window)
        line = extremes(x, smooth, self._divide)
        if not run.counts:
            self._others.append((*line, run.status))
            return None
        if self._first is None:
            self._first = run.name, x
            self._at = x if self._full else x[ends_of_slices(x, self._divide)]
            is_per_step = x[0] > 0
            skipped = max(window - 1, len(x) // 50) if is_per_step else 1
            self._start = x[min(skipped, len(x) - 1)]
        self._n += 1
        self._moments.add(x, smooth)
        if self._has_lines:
            self._outlines.append(line)
        if self._quantiles:
            self._samples.append(values_at(self._at, x, smooth))
        name, grid = self._first
        is_equal = np.array_equal(x, grid)
        if window > 1 and is_equal:
            self._raw.append(middle_of_windows(x, y, window))
        if not is_equal:
            what = f"{len(x)} points, not the {len(grid)} of {name}"
            return f"{what}; means are drawn where all have one"

    def curves(self, metric, band, log):
        """The Curves so far. band, log: as in plot_curves."""
        moments, everywhere = self._moments, self._moments.n == self._n
        edges = self._edges(band, "y" in log, 1 if metric.endswith("accuracy") else np.inf)
        mean = area = ()
        if everywhere.any():
            x, y = moments.x[everywhere], moments.mean[everywhere]
            mean = extremes(x, y, self._divide)
        drawn = everywhere & np.isfinite(edges).all(axis=0)
        if drawn.any():
            area = thin(moments.x[drawn], *edges[:, drawn], self._divide)
        raw = tuple(np.mean(self._raw, axis=0)) if self._raw else ()
        return Curves(moments, edges, mean, area, self._outlines, raw, self._others, self._start)

    def _edges(self, band, is_log, greatest):
        """The band at each x of the moments. No metric has values below 0."""
        moments = self._moments
        if band == "none" or self._n < 2:
            return np.full((2, len(moments.x)), np.nan)
        if quantiles_of(band):
            some = np.quantile(self._samples, self._quantiles, axis=0)  # NaN: a run has no value
            edges = [values_at(moments.x, self._at, edge) for edge in some]
        else:
            edges = moments.band(band, is_log)
        return np.clip(edges, 0, greatest)


def trailing_mean(y, n):
    """Mean of each value and the n - 1 before it, or as many as there are: (points,) as y.

    A sum of n values is one to the end of a block of n and one from the start of the next. Sums
    grow, and are never subtracted, so a huge value costs no digits of those after it.
    """
    if n == 1:
        return y
    blocks = np.zeros((2 + (len(y) - 1) // n, n))
    blocks.ravel()[n : n + len(y)] = y
    sums = blocks[1:].cumsum(axis=1)
    sums[:, :-1] += blocks[:-1, ::-1].cumsum(axis=1)[:, -2::-1]
    return sums.ravel()[: len(y)] / np.minimum(np.arange(1, len(y) + 1), n)


def middle_of_windows(x, y, n):
    """(x, low, high): at the end of each window of n values, what 80% of them lie between."""
    windows = len(y) // n
    ordered = np.sort(y[: windows * n].reshape(windows, n))
    low, high = ordered[:, n // 10], ordered[:, -1 - n // 10]
    return x[n - 1 :: n].copy(), low.copy(), high.copy()  # a view would keep all the rest


def values_at(wanted, x, y):
    """y at the wanted x; NaN where there is none. Both x rise."""
    place = np.searchsorted(x, wanted).clip(max=len(x) - 1)
    return np.where(x[place] == wanted, y[place], np.nan)


# Thinning


def slices(x, log, columns=COLUMNS):
    """Where at most so many slices of rising x begin, equally wide on the axis: indices.

    A logarithmic axis has no place for epoch 0, so the first slice begins behind it.
    """
    first = int("x" in log and x[0] <= 0 and len(x) > 1)
    if len(x) - first <= columns:
        return np.arange(first, len(x))
    space = np.geomspace if "x" in log else np.linspace
    edges = space(x[first], x[-1], columns, endpoint=False)
    return np.union1d([first], np.searchsorted(x, edges).clip(min=first))


def ends_of_slices(x, divide):
    return np.append(divide(x)[1:] - 1, len(x) - 1)


def extremes(x, y, divide):
    """A curve's least and greatest point in each slice of x, and its last one: (x, y).

    275,000 points would colour the same pixels, in a hundred times the time and file size. Every
    n-th point would not.
    """
    starts = divide(x)
    if len(starts) == len(x):
        return x, y
    sizes = np.diff(starts, append=len(x))
    of_slice = np.repeat(np.arange(len(starts)), sizes)
    kept = [len(x) - 1]
    for least_or_greatest in np.minimum, np.maximum:
        found = least_or_greatest.reduceat(y, starts)
        (at,) = np.nonzero(y[starts[0] :] == found[of_slice])
        _, first = np.unique(of_slice[at], return_index=True)
        kept = np.union1d(kept, starts[0] + at[first])
    return x[kept], y[kept]


def thin(x, low, high, divide):
    """The outline of an area: (x, low, high), the extremes of each slice where it begins.

    The last x is a slice of its own, so that the area ends where it does.
    """
    starts = np.union1d(divide(x), [len(x) - 1])
    if len(starts) == len(x):
        return x, low, high
    return x[starts], np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)


# The CSV


def written(groups, file, keys, log, full):
    """Writes each GroupCurves to the binary CSV file and passes it on. full: all x, not COLUMNS."""
    file.write(csv_row([*keys, "metric", "x", "mean", "std", "n", "low", "high"]).encode())
    for read in groups:
        for metric, curves in read.of.items():
            smooth = in_words(read.windows) if metric == "loss" else ""
            name = f"{metric}, {smooth}" if smooth else metric
            start = [*map(label, read.group.values.values()), name]
            file.writelines(line.encode() for line in csv_lines(start, curves, log, full))
        yield read


def csv_row(values):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def csv_lines(start, curves, log, full):
    """Rows of the CSV. csv.writer would take twice as long for a million of them."""
    moments = curves.moments
    if not len(moments.x):
        return
    at = slice(None) if full else ends_of_slices(moments.x, partial(slices, log=log))
    x = moments.x.astype(int) if (moments.x % 1 == 0).all() else moments.x
    columns = x, moments.mean, moments.std, moments.n, *curves.edges
    start = csv_row(start).rstrip()
    for row in zip(*(column[at].tolist() for column in columns), strict=True):
        yield ",".join([start, *("" if value != value else str(value) for value in row)]) + "\n"


def in_words(windows):
    """What a loss is that is averaged over so many steps in each of some runs; "" where in none."""
    low, high = min(windows, default=1), max(windows, default=1)
    several = f"{low:,} to {high:,}" if low < high else f"{high:,}"
    return f"mean of the last {several} steps" if high > 1 else ""
