import statistics

import numpy as np
import pytest
import scipy.stats

from analysis.statistics import (
    BANDS,
    RunningMoments,
    half_width,
    holm,
    mean_and_std,
    means_of_n,
    paired_difference,
    quantiles_of,
    welch_difference,
    with_std,
    wrong_winners,
)


def moments_of(*curves):
    moments = RunningMoments()
    for x, y in curves:
        moments.add(np.asarray(x, float), np.asarray(y, float))
    return moments


def test_moments_are_numpys_on_the_raw_values():
    x = np.arange(1.0, 2001.0)
    runs = np.random.default_rng(0).gamma(1, 2, (7, len(x)))
    moments = moments_of(*((x, y) for y in runs))
    assert np.array_equal(moments.x, x)
    assert np.array_equal(moments.n, np.full(len(x), 7))
    assert np.array_equal(moments.mean, runs.mean(axis=0))
    np.testing.assert_allclose(moments.std, runs.std(axis=0, ddof=1), rtol=2e-15)
    assert np.array_equal(moments.band("minmax"), [runs.min(axis=0), runs.max(axis=0)])


def test_std_keeps_its_digits_under_a_large_mean():
    runs = 1e6 + 1e-3 * np.random.default_rng(1).standard_normal((5, 300))
    moments = moments_of(*((range(300), y) for y in runs))
    exact = [statistics.stdev(values) for values in runs.T.tolist()]  # in fractions
    np.testing.assert_allclose(moments.std, exact, rtol=2e-15)


def test_equal_curves_have_no_spread():
    moments = moments_of(*[(range(100), np.linspace(0.1, 3, 100))] * 3)
    assert not moments.std.any()


def test_one_curve_has_no_std_and_no_band():
    moments = moments_of(([1, 2], [3, 5]))
    assert np.array_equal(moments.mean, [3, 5])
    assert np.isnan(moments.std).all()
    for kind in BANDS.keys() - {"none", "q90"}:
        assert np.isnan(moments.band(kind)).all()


def test_curves_are_joined_where_x_are_equal_and_nowhere_else():
    moments = moments_of(([2, 3], [1, 2]), ([1, 3, 5], [10, 4, 20]), ([3], [9]))
    assert np.array_equal(moments.x, [1, 2, 3, 5])
    assert np.array_equal(moments.n, [1, 1, 3, 1])
    assert np.array_equal(moments.mean, [10, 1, 5, 20])
    np.testing.assert_allclose(moments.std, [np.nan, np.nan, np.std([2, 4, 9], ddof=1), np.nan])


def test_bands_are_as_wide_as_they_say():
    runs = np.random.default_rng(2).standard_normal((4, 3))
    moments = moments_of(*((range(3), y) for y in runs))
    mean, std = runs.mean(axis=0), runs.std(axis=0, ddof=1)
    np.testing.assert_allclose(moments.band("std"), [mean - std, mean + std])
    se = scipy.stats.sem(runs)
    np.testing.assert_allclose(moments.band("se"), [mean - se, mean + se])
    low, high = scipy.stats.t.interval(0.95, 3, mean, se)
    np.testing.assert_allclose(moments.band("ci95"), [low, high], rtol=1e-12)


def test_a_band_for_a_logarithmic_axis_has_one_factor_on_either_side():
    moments = moments_of(*((range(3), y) for y in np.random.default_rng(2).gamma(1, 1, (4, 3))))
    for kind in ("std", "se", "ci95"):
        low, high = moments.band(kind, log=True)
        assert np.array_equal(high, moments.band(kind)[1])
        np.testing.assert_allclose(high / moments.mean, moments.mean / low)


def test_quantiles_of_a_band():
    assert quantiles_of("q90") == (0.05, 0.95)
    assert quantiles_of("q50") == (0.25, 0.75) and quantiles_of("q100") == (0, 1)
    assert not any(map(quantiles_of, ("std", "q", "q0", "q101", "q-5", "")))


def test_the_t_interval_follows_each_n():
    n, std = np.array([2, 3, 2, 10]), np.ones(4)
    wanted = scipy.stats.t.ppf(0.975, n - 1) / np.sqrt(n)
    np.testing.assert_allclose(half_width("ci95", n, std), wanted, rtol=1e-12)


def test_mean_and_std_need_one_and_two_runs():
    assert np.isnan(mean_and_std(np.empty(0))).all()
    mean, std = mean_and_std(np.array([2.0]))
    assert mean == 2 and np.isnan(std)
    np.testing.assert_allclose(mean_and_std(np.array([1.0, 4.0])), [2.5, np.sqrt(4.5)])


def test_equal_values_have_no_spread_whatever_rounding_says():
    values = np.full(3, 0.8)
    assert np.std(values, ddof=1) > 0 and np.mean(values) != 0.8
    assert mean_and_std(values) == (0.8, 0)
    a, b = np.array([0.9, 0.91, 0.92, 0.55]), np.array([0.8, 0.81, 0.82, 0.45])
    assert np.std(a - b) > 0
    got = paired_difference(a, b)
    assert got.low == got.mean == got.high == pytest.approx(0.1)
    assert got.p == 0
    assert paired_difference(a, a * (1 + 2**-52)) == (4, 0, 0, 0, 1)


def test_a_small_spread_of_differences_is_one():
    b = np.array([1e6, 1.5e6, 2e6])
    got = paired_difference(b + np.array([0.001, 0.002, 0.003]), b)
    assert got.mean == pytest.approx(0.002, rel=1e-6) and 0.05 < got.p < 0.1


@pytest.mark.parametrize("size", [2.0**-400, 2.0**600, 2.0**1021])
def test_moments_of_very_small_and_very_large_values(size, recwarn):
    values = np.array([1.0, 1.5, 3.0])
    mean, std = mean_and_std(values)
    assert (mean, std) == (values.mean(), values.std(ddof=1))
    assert mean_and_std(size * values) == (size * mean, size * std)
    got = paired_difference(size * values, -size * values[::-1] / 2)
    ordinary = paired_difference(values, -values[::-1] / 2)
    assert got.p == ordinary.p and got.mean == size * ordinary.mean
    assert not recwarn.list


def test_paired_difference_is_scipys_paired_t_test():
    a, b = np.random.default_rng(3).standard_normal((2, 6))
    wanted = scipy.stats.ttest_rel(a, b)
    interval = wanted.confidence_interval(0.95)
    got = paired_difference(a, b)
    assert got.n == 6
    wanted = [np.mean(a - b), interval.low, interval.high, wanted.pvalue]
    np.testing.assert_allclose(got[1:], wanted, rtol=1e-12)


def test_welchs_difference_is_scipys():
    random = np.random.default_rng(4)
    a, b = random.standard_normal(6), 1 + 3 * random.standard_normal(4)
    wanted = scipy.stats.ttest_ind(a, b, equal_var=False)
    interval = wanted.confidence_interval(0.95)
    got = welch_difference(a, b)
    assert got.n is None
    wanted = [a.mean() - b.mean(), interval.low, interval.high, wanted.pvalue]
    np.testing.assert_allclose(got[1:], wanted, rtol=1e-12)
    assert np.isnan(welch_difference(a, b[:1])[1:]).all()
    assert welch_difference(np.full(3, 2.0), np.full(2, 1.5)) == (None, 0.5, 0.5, 0.5, 0)


@pytest.mark.parametrize("differences", [[], [0.5]])
def test_fewer_than_two_pairs_say_nothing(differences):
    got = paired_difference(np.array(differences), np.zeros(len(differences)))
    assert got.n == len(differences)
    assert np.isnan(got[1:]).all()


def test_differences_without_spread():
    assert paired_difference(np.ones(3), np.ones(3)) == (3, 0, 0, 0, 1)
    assert paired_difference(np.ones(3), np.full(3, 0.5)) == (3, 0.5, 0.5, 0.5, 0)


def test_means_of_n_of_three_values_by_hand():
    means = means_of_n([0.0, 0.0, 3.0], [1, 2, 3], np.random.default_rng(0))
    assert means.shape == (10_000, 3)
    once, twice, all_three = means.T
    assert set(once) == {0, 3} and set(twice) == {0, 1.5} and set(all_three) == {1}
    # One value of three is 3, two pairs of three hold it. 0.02 is four standard errors.
    assert np.mean(once == 3) == pytest.approx(1 / 3, abs=0.02)
    assert np.mean(twice == 1.5) == pytest.approx(2 / 3, abs=0.02)


def test_means_of_n_spread_as_draws_without_replacement():
    values = np.random.default_rng(5).gamma(2, 3, 200)
    sizes = np.array([1, 3, 10, 30, 100, 200])
    means = means_of_n(values, sizes, np.random.default_rng(0))
    wanted = values.std(ddof=1) / np.sqrt(sizes) * np.sqrt(1 - sizes / 200)
    np.testing.assert_allclose(means.std(axis=0), wanted, rtol=0.04, atol=1e-12)
    errors = wanted / np.sqrt(len(means))
    assert (np.abs(means.mean(axis=0) - values.mean()) <= 4 * errors + 1e-12).all()


def test_means_of_n_are_the_same_every_time_and_draw_in_blocks():
    values = np.random.default_rng(5).random(300_000)  # three rows at once
    first, again = (means_of_n(values, [1, 9], np.random.default_rng(7), 10) for _ in range(2))
    assert np.array_equal(first, again)
    assert len(np.unique(first)) == 20
    assert (means_of_n([0.8] * 9, [3, 7], np.random.default_rng(0)) == 0.8).all()


def test_wrong_winners_by_hand():
    # Differences -1, -1, 3: a wins. Of single seeds two of three say b. So does one pair of three.
    a, b, random = np.array([1.0, 2, 6]), np.array([2.0, 3, 3]), np.random.default_rng(0)
    got = wrong_winners(a, b, [1, 2, 3], random, is_paired=True)
    np.testing.assert_allclose(got, [2 / 3, 1 / 3, 0], atol=0.02)
    assert np.array_equal(got, wrong_winners(-a, -b, [1, 2, 3], np.random.default_rng(0), True))
    # Of nine pairs 1 < 2, 1 < 3 and 2 < 3 (twice each) are wrong; 2 = 2 is a half.
    got = wrong_winners(a, b, [1, 3], random, is_paired=False)
    np.testing.assert_allclose(got, [5.5 / 9, 0], atol=0.02)


def test_ties_count_half_whatever_rounding_says():
    a, b = np.array([0.3, 0.1, 0.9]), np.array([0.2, 0.2, 0.6])  # 0.1, -0.1, 0.3
    got = wrong_winners(a, b, [1, 2, 3], np.random.default_rng(0), is_paired=True)
    np.testing.assert_allclose(got, [1 / 3, 1 / 6, 0], atol=0.02)
    assert (wrong_winners(a, a, [1, 2], np.random.default_rng(0), is_paired=True) == 0.5).all()


@pytest.mark.parametrize("is_paired", [True, False])
def test_wrong_winners_of_normal_values_follow_the_normal_formula(is_paired):
    random, sizes = np.random.default_rng(8), np.array([1, 3, 10, 30, 100])
    a, b = random.multivariate_normal([0.3, 0], [[1, 0.6], [0.6, 1.5]], 2000).T
    a, b = a - a.mean() + 0.3, b - b.mean()
    variance = np.var(a - b, ddof=1) if is_paired else np.var(a, ddof=1) + np.var(b, ddof=1)
    error = np.sqrt(variance / sizes * (1 - sizes / 2000))
    wanted = scipy.stats.norm.cdf(-0.3 / error)
    got = wrong_winners(a, b, sizes, random, is_paired)
    # 0.02: four standard errors of 10,000 draws; and 2000 values are normal but for their number.
    np.testing.assert_allclose(got, wanted, atol=0.025 if is_paired else 0.02)


def test_holm_by_hand():
    # Sorted: .005 x 4 = .02, .01 x 3 = .03, .03 x 2 = .06, .04 x 1 = .04, but no less than .06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_holm_stops_at_one_and_leaves_out_what_was_not_tested():
    np.testing.assert_allclose(holm([0.7, np.nan, 0.4]), [0.8, np.nan, 0.8])
    np.testing.assert_allclose(holm([0.9, 0.6]), [1, 1])
    assert len(holm([])) == 0


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (0.97123, 0.00123, "0.9712 ± 0.0012"),
        (2.5, 0.5, "2.50 ± 0.50"),
        (1234.4, 25.0, "1234 ± 25"),
        (0.3, 0.01, "0.300 ± 0.010"),
        (0.3, 0.01 - 1e-17, "0.300 ± 0.010"),
        (5.7123e9, 3e8, "5.712e+09 ± 3e+08"),
        (2e200, 1.5e199, "2e+200 ± 1.5e+199"),
        (1e300, np.inf, "1e+300 ± inf"),
        (0.5, 3e-17, "0.5 ± 3e-17"),
        (0.5, 0.0, "0.5 ± 0"),
        (0.51239, np.nan, "0.5124"),
        (np.nan, np.nan, ""),
    ],
)
def test_numbers_are_rounded_by_their_spread(mean, std, text):
    assert with_std(mean, std) == text
