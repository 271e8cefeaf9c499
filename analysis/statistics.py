"""Mean, spread and differences over seeds: numbers in, numbers out."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats takes a second to import

BANDS = {
    "std": "± 1 sample std",
    "se": "± 1 standard error",
    "ci95": "95% Student t interval of the mean",
    "minmax": "least to greatest",
    "q90": "middle 90% of the runs",  # or of any other number of percent
    "none": "",
}


class RunningMoments:
    """Count, mean, sample standard deviation and extremes at every x, one curve after the other.

    Curves are joined where their x are equal. Nothing is interpolated, so every x has its own n.
    Memory grows with the number of x and not with the number of curves.

    The mean is a sum over n, equal to numpy.mean bit for bit. Youngs and Cramer (1971) update the
    sum of squared deviations, as stably as Welford (1962): see Chan, Golub and LeVeque (1983). We
    feed them differences from the first curve, which cancels a large common mean. So std equals
    numpy.std(ddof=1) to a few last bits.
    """

    def __init__(self):
        self.x = np.empty(0)
        # n, sum, first value, sum and sum of squares of what is above it, least, greatest
        self._rows = np.empty((7, 0))

    def add(self, x, y):
        """One more curve: x (points,) strictly increasing, y (points,)."""
        if not np.array_equal(x, self.x):
            self._widen(np.union1d(self.x, x))
        at = slice(None) if len(x) == len(self.x) else np.searchsorted(self.x, x)
        n, total, first, above, squares, low, high = self._rows[:, at]
        first = np.where(n == 0, y, first)
        n = n + 1
        with np.errstate(over="ignore"):  # the square of a loss of 1e200 is inf, and so is the std
            above = above + (y - first)
            squares = squares + (n * (y - first) - above) ** 2 / np.maximum(n * (n - 1), 1)
            total = total + y
        low, high = np.minimum(low, y), np.maximum(high, y)
        self._rows[:, at] = n, total, first, above, squares, low, high

    def _widen(self, x):
        rows = np.zeros((7, len(x)))
        rows[-2], rows[-1] = np.inf, -np.inf
        rows[:, np.searchsorted(x, self.x)] = self._rows
        self.x, self._rows = x, rows

    @property
    def n(self):
        return self._rows[0].astype(int)

    @property
    def mean(self):
        return self._rows[1] / self._rows[0]

    @property
    def std(self):
        """Sample standard deviation (ddof 1); NaN where there is one curve."""
        n, squares = self._rows[0], self._rows[4]
        return np.sqrt(squares / np.where(n > 1, n - 1, np.nan))

    def band(self, kind, log=False):
        """Lower and upper edge of a band in BANDS, not a quantile's; NaN where there is one curve.

        log: the lower edge lies below the mean by the factor by which the upper one lies above it.
        On a logarithmic axis the two look equal, and none falls to 0 or below.
        """
        if kind == "minmax":
            return np.where(self._rows[0] > 1, self._rows[-2:], np.nan)
        half = half_width(kind, self.n, self.std)
        return below(self.mean, half, log), self.mean + half


def mean_and_std(values):
    """Mean and sample standard deviation (ddof 1) of values (n,), two floats.

    The mean of no value is NaN. So is the standard deviation of one. Equal values are their own
    mean and have a standard deviation of exactly 0, where numpy may leave a rounding error.
    """
    if len(values) == 0:
        return math.nan, math.nan
    if np.min(values) == np.max(values):
        return float(values[0]), 0.0 if len(values) > 1 else math.nan
    _, exponent = np.frexp(np.max(np.abs(values)))  # a power of two: no square overflows, no bit
    values = np.ldexp(values, -exponent)  # is lost
    return tuple(float(np.ldexp(f, exponent)) for f in (np.mean(values), np.std(values, ddof=1)))


def quantiles_of(band):
    """The parts of the runs below the edges of a band of quantiles: 0.05 and 0.95 of q90.

    None for a band of another kind.
    """
    percent = int(band[1:]) if band[:1] == "q" and band[1:].isdecimal() else 0
    return ((100 - percent) / 200, (100 + percent) / 200) if 0 < percent <= 100 else None


def below(mean, half, log):
    """The lower edge to mean + half: mean - half, or by the same factor."""
    if not log:
        return mean - half
    with np.errstate(invalid="ignore"):  # 0/0, where there is neither loss nor spread
        return mean * (mean / (mean + half))


def half_width(kind, n, std):
    """How far the band `kind` (std, se or ci95) reaches to either side of the mean."""
    if kind == "std":
        return std
    if kind == "se":
        return std / np.sqrt(n)
    counts, where = np.unique(n, return_inverse=True)  # few counts, many x
    return stdtrit(counts - 1.0, 0.975)[where] * std / np.sqrt(n)


class Difference(NamedTuple):
    """A difference of means, its 95% t interval, and the two-sided p of a difference of 0.

    n: pairs, or nothing where the values are not paired.
    """

    n: int | None
    mean: float
    low: float
    high: float
    p: float


def paired_difference(a, b):
    """The Difference a - b by a paired t test, both (n,); NaN for n < 2.

    Differences that are equal but for the rounding of the subtraction have no spread.
    """
    n, differences = len(a), a - b
    if n < 2:
        return Difference(n, *[np.nan] * 4)
    rounding = 2 * np.finfo(float).eps * max(np.max(np.abs(a)), np.max(np.abs(b)))
    if np.ptp(differences) <= rounding:
        differences = np.full(n, np.mean(differences))
        differences[np.abs(differences) <= rounding] = 0
    mean, std = mean_and_std(differences)
    half = half_width("ci95", n, std)
    if std == 0:  # t is 0/0, or infinite
        return Difference(n, mean, mean, mean, float(mean == 0))
    p = 2 * stdtr(n - 1, -abs(mean) / (std / np.sqrt(n)))
    with np.errstate(over="ignore"):
        return Difference(n, mean, mean - half, mean + half, p)


def welch_difference(a, b):
    """The Difference of the means of a (n,) and b (m,) by the unpaired t test of Welch (1947).

    NaN for n < 2 or m < 2.
    """
    if min(len(a), len(b)) < 2:
        return Difference(None, *[np.nan] * 4)
    means, stds = np.transpose([mean_and_std(np.asarray(values)) for values in (a, b)])
    errors = stds / np.sqrt([len(a), len(b)])
    mean, error = float(means[0] - means[1]), math.hypot(*errors)
    if error == 0:
        return Difference(None, mean, mean, mean, float(mean == 0))
    freedom = 1 / ((errors / error) ** 4 / (len(a) - 1, len(b) - 1)).sum()
    half = stdtrit(freedom, 0.975) * error
    p = 2 * stdtr(freedom, -abs(mean) / error)
    with np.errstate(over="ignore"):
        return Difference(None, mean, mean - half, mean + half, p)


def means_of_n(values, sizes, random, draws=10_000):
    """Means of n of the values (N,), drawn without replacement: (draws, len(sizes)).

    sizes: the n, rising, each in 1..N. random: a numpy Generator. The first n of a shuffled row are
    a draw of n, so that one shuffle serves all sizes. For values of sample std s the means have the
    standard deviation s / sqrt(n) * sqrt(1 - n/N): see Cochran (1977), theorem 2.2.
    """
    values, sizes, means = np.asarray(values), np.asarray(sizes), np.empty((draws, len(sizes)))
    first = values[0]  # sums of differences from it: equal values are their own mean
    at_once = max(1, 1_000_000 // len(values))  # rows that fit into a few megabytes
    for start in range(0, draws, at_once):
        rows = means[start : start + at_once]
        shuffled = random.permuted(np.tile(values - first, (len(rows), 1)), axis=1)
        rows[:] = first + shuffled[:, : sizes[-1]].cumsum(axis=1)[:, sizes - 1] / sizes
    return means


def wrong_winners(a, b, sizes, random, is_paired):
    """How often means of n say a > b where those of all say a < b, or the reverse: (len(sizes),).

    a, b (N,): values of two groups on the same seeds. is_paired: both means are of the same n
    seeds; else each group draws its own. A tie counts half. sizes, random: as in `means_of_n`.
    """
    if is_paired:
        differences = means_of_n(a - b, sizes, random)
    else:
        differences = means_of_n(a, sizes, random) - means_of_n(b, sizes, random)
    differences[np.abs(differences) < 1e-9 * np.ptp([a, b])] = 0  # but for rounding
    winner = np.sign(mean_and_std(a - b)[0])
    return np.mean((1 - winner * np.sign(differences)) / 2, axis=0)


def holm(p):
    """p values of m tests (m,), corrected by the step-down method of Holm (1979).

    NaN stands for no test. It stays NaN, and m does not count it.
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN sort last
    factors = np.arange(len(order), 0, -1)
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1)
    return corrected


def with_std(mean, std):
    """0.9712 ± 0.0012: std to two figures, the mean to as many places."""
    if std > 0:
        return " ± ".join(rounded([mean, std], std))
    if math.isnan(mean):
        return ""
    return f"{mean:.4g} ± 0" if std == 0 else f"{mean:.4g}"


def rounded(values, spread, sign=""):
    """Texts of the values, with the places that show two figures of a spread above 0.

    Where these are too many, or a number too large, they have four figures. sign: "+" for always.
    """
    style = f"{sign}.4g"
    if 1e-12 < spread < 1e9 > max(map(abs, values)):
        exponent = int(f"{spread:.1e}".partition("e")[2])  # of two figures: 0.0099999 is 0.010
        style = f"{sign}.{max(0, 1 - exponent)}f"
    return [f"{value:{style}}" for value in values]
