"""The curves of a page: each group's at several smoothings, with every band.

They are worked out here, by what draws the figures. A browser only picks.
"""

from functools import partial

import numpy as np
from tqdm import tqdm

from mlp.run_folder import Damaged

from ..curves import X_LABELS
from ..group_curves import Gathered, in_words, longest, slices, usual_window
from ..runs import METRICS
from ..statistics import BANDS, quantiles_of
from ..sweep import differing_keys

SMOOTHINGS = 0, 0.1, 1, 10  # times the usual window; 0 for single steps
MANY = 200  # runs: more of them have single steps and the usual window alone
NUMBERS = 1_000_000  # in all curves of a page, about: four bytes each, or 5.3 in base64
FEWEST, MOST = 40, 800  # slices of a curve
QUANTILES = "q90"


def read_curves(sweep, places, arrays):
    """What a reader can choose, and for each of the sweep's groups its curves: packed, see Reading.

    places: {a run's name: its place on the page}. arrays: an Arrays. Faults of logs join the
    sweep's findings. One group is in memory at a time.
    """
    groups, n_runs = sweep.groups, len(sweep.runs)
    factors = SMOOTHINGS if n_runs <= MANY else (0, 1)
    each = len(factors) * (22 * len(groups) + 4 * n_runs)  # numbers a slice, about
    divide = partial(both_ways, columns=int(np.clip(NUMBERS / each, FEWEST, MOST)))
    found, windows = [], [[] for _ in factors]
    with tqdm(total=n_runs, desc="reading logs", disable=None, leave=False) as bar:
        for group in groups:
            reading = Reading(sweep, group, factors, divide)
            found.append(reading.packed(places, arrays))
            for of_all, own in zip(windows, reading.windows, strict=True):
                of_all += own
            bar.update(len(group.runs))
    smoothings = {}  # of runs that are short, several are the same
    for place, own in enumerate(windows):
        smoothings.setdefault(in_words(own) or "single steps", place)
    usual = in_words(windows[factors.index(1)]) or "single steps"
    metrics = [metric for metric in METRICS if any(metric in own["curves"] for own in found)]
    return {"metrics": metrics, "smoothings": smoothings, "usual": smoothings[usual]}, found


def both_ways(x, columns):
    """Where slices begin: equally wide, but at first no wider than on a logarithmic axis."""
    if len(x) <= columns:
        return np.arange(len(x))
    few = columns // 4
    equal, growing = slices(x, "", columns - few), slices(x, "x", few)
    first = max(x[0], x[1] - x[0])
    meet = (x[-1] - x[0]) / len(equal) / ((x[-1] / first) ** (1 / few) - 1)
    return np.union1d([0], np.concatenate([growing[x[growing] < meet], equal[x[equal] >= meet]]))


class Reading:
    """The curves of a group, from its runs one after the other.

    windows: for each smoothing, how many steps the losses of each run are averaged over.
    """

    def __init__(self, sweep, group, factors, divide):
        self._sweep, self._factors, self._divide = sweep, factors, divide
        # Runs that differ in the seed alone have their epochs and examples at the same steps.
        self._xs = list(X_LABELS) if differing_keys(group.runs) else ["step"]
        self._times = {}  # epochs and examples a step
        self._gathered, self._runs = {}, {}  # by metric, place of the smoothing, and x
        self.windows = [[] for _ in factors]
        most = longest(group.runs) or longest(sweep.runs)
        for run in group.shown(sweep.include):
            for clock in "step", "epoch":
                try:
                    self._add(run, run.log(clock), most)
                except Damaged as damage:
                    if run.counts:  # of any other, a finding tells what is wrong
                        sweep.add_finding(run.name, str(damage))

    def _add(self, run, log, most):
        metrics = [metric for metric in METRICS if metric in log]
        for x in X_LABELS:
            points = run.points(log, x)
            if x in self._xs:
                odd = [
                    self._add_curve(run, metric, x, points, log[metric], most) for metric in metrics
                ]
                if x == "step" and odd[0]:
                    self._sweep.add_finding(run.name, f"{metrics[0]} has {odd[0]}")
            elif log["step"][-1]:  # a run that stops within the first epoch takes it for shorter
                times = float(points[-1] / log["step"][-1])
                self._times[x] = min(times, self._times.get(x, times))

    def _add_curve(self, run, metric, x, points, y, most):
        """Returns what is odd about it, or None."""
        windows = [1]
        if metric == "loss":
            usual = usual_window(max(most, len(y)))
            windows = [max(1, int(factor * usual)) for factor in self._factors]
        for place, window in enumerate(windows):
            key = metric, place, x
            gathered = self._gathered.setdefault(
                key, Gathered(self._divide, quantiles_of(QUANTILES))
            )
            odd = gathered.add(run, points, y, window)
            self._runs.setdefault(key, []).append(run)
            if metric == "loss" and x == "step":
                self.windows[place].append(window)
        return odd

    def packed(self, places, arrays):
        """{times: epochs and examples a step, curves: {metric: for each smoothing {x: a curve}}}.

        A line is the places of two arrays, x and y; an area those of three, x, low and high.
        """
        curves = {}
        for (metric, place, x), gathered in self._gathered.items():
            of_metric = curves.setdefault(metric, [])
            if len(of_metric) == place:
                of_metric.append({})
            runs = self._runs[metric, place, x]
            of_metric[place][x] = pack(metric, gathered, runs, places, arrays)
        return {"times": self._times, "curves": curves}


def pack(metric, gathered, runs, places, arrays):
    """One curve of a group as `packed` tells.

    start: from this x on, the networks are in training. mean: a line, of the runs that count.
    bands: {kind: two areas, for a linear and for a logarithmic axis}. raw: an area, see Curves.
    runs: [place, x, y] of each, those that count first.
    """

    def put(several):
        return [arrays.add(values) for values in several] or None

    both = {band: [gathered.curves(metric, band, log).band for log in ("", "y")] for band in BANDS}
    curves = gathered.curves(metric, "none", "")
    counted = [places[run.name] for run in runs if run.counts]
    others = [places[run.name] for run in runs if not run.counts]
    lines = [*curves.outlines, *((x, y) for x, y, _ in curves.others)]
    return {
        "start": float(curves.start) if counted else None,
        "mean": put(curves.mean),
        "bands": {band: [put(area) for area in areas] for band, areas in both.items() if areas[0]},
        "raw": put(curves.raw),
        "runs": [[place, *put(xy)] for place, xy in zip([*counted, *others], lines, strict=True)],
    }
