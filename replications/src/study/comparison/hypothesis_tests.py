"""Compare published numbers with measured distributions, and test claims of differences."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from sidebyside.evaluation.intervals import Interval
from sidebyside.evaluation.paired_tests import holm

WITHIN = "within range"
SUPPORTED, INCONCLUSIVE, CONTRADICTED = "supported", "inconclusive", "contradicted"


class Comparison(NamedTuple):
    """A published number compared with the results of several seeds."""

    published: str  # as printed
    mean: float
    deviation: float  # sample standard deviation; NaN with one seed
    low: float  # minimum over the seeds
    high: float  # maximum over the seeds
    seeds: int
    difference: float  # mean minus published
    position: str  # of the published number: WITHIN, "higher", "lower", "equal" or "one seed"


class Difference(NamedTuple):
    """The difference of two metrics over the seeds, with the outcome of its test."""

    difference: float
    interval: Interval  # of the difference of the means
    p_value: float  # two-sided; NaN where there are too few seeds
    outcome: str  # SUPPORTED, CONTRADICTED (significant in the other direction) or INCONCLUSIVE


class Agreement(NamedTuple):
    """Agreement of published and measured values of the same rows."""

    rank_correlation: float  # Spearman's; NaN where a column is constant
    mean_difference: float  # measured minus published
    largest_difference: float  # absolute


def compare(published: str, measured: Sequence[float]) -> Comparison:
    """Compare a published number with measured ones.

    A printed number represents all numbers that round to it: its position is WITHIN if that
    interval overlaps the measured range. The position is "equal" if no seed differs from the
    number, and "one seed" if there is no range.
    """
    value = float(published)
    rounding = rounding_of(published)
    values = np.asarray(measured, np.float64)
    low, high = float(values.min()), float(values.max())
    if len(values) == 1:
        position = "one seed"
    elif value == low == high:
        position = "equal"
    elif value + rounding < low:
        position = "lower"
    elif value - rounding > high:
        position = "higher"
    else:
        position = WITHIN
    mean = float(values.mean())
    deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return Comparison(published, mean, deviation, low, high, len(values), mean - value, position)


def rounding_of(published: str) -> float:
    """Return half a unit of the last digit printed."""
    digits = len(published.partition(".")[2])
    return 0.5 * 10.0**-digits * (1 + 1e-9)  # keeps numbers that round up to it within


def difference(
    first: Sequence[float], second: Sequence[float], direction: str, confidence: float
) -> Difference:
    """Test whether the first model's metric is higher, or lower, than the second's.

    Welch's t test, two-sided, so that data can contradict a claim as well as support it.

    Args:
        first: metric of the first model, one value per seed.
        second: metric of the second model.
        direction: "higher" or "lower", as claimed for the first model.
        confidence: confidence level of the interval and the test.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    gap = float(one.mean() - other.mean())
    if min(len(one), len(other)) < 2:
        return _untested(gap)
    if one.std() == 0 and other.std() == 0:  # the test divides by both
        return _without_variance(gap, direction)
    test = stats.ttest_ind(one, other, equal_var=False)
    return _tested(gap, test, direction, confidence)


def lowest(
    named: Sequence[Sequence[float]], others: Sequence[Sequence[float]], confidence: float
) -> Difference:
    """Test whether some classes of a model have a lower metric than all other classes.

    Every named class is compared with every other class by a two-sided t test, paired because the
    classes of one seed come from one model. The result is that of the pair with the highest t, the
    strongest evidence against the claim. The claim is supported if even this pair supports it,
    which needs no correction (intersection-union test, Berger 1982). It is contradicted if one pair
    contradicts it; the p-value is then corrected for the number of pairs (Bonferroni), but the
    interval is not.

    Args:
        named: metric of the named classes, [classes, seeds].
        others: metric of all other classes, [classes, seeds].
        confidence: confidence level of the interval and the test.
    """
    gaps = (np.asarray(named)[:, None] - np.asarray(others)[None]).reshape(-1, len(named[0]))
    means = gaps.mean(1)
    if gaps.shape[1] < 2:
        return _untested(float(means.max()))
    with np.errstate(divide="ignore", invalid="ignore"):  # no variance over the seeds
        against = np.nan_to_num(means / gaps.std(1))  # proportional to t
    worst = int(against.argmax())
    gap = float(means[worst])
    if gaps[worst].std() == 0:
        return _without_variance(gap, "lower")
    tests = len(gaps) if gap > 0 else 1
    return _tested(gap, stats.ttest_1samp(gaps[worst], 0), "lower", confidence, tests)


def corrected(tests: Sequence[Difference], confidence: float) -> list[str]:
    """Return the outcomes of several tests, corrected for their number by Holm's method (1979).

    The probability of one or more false positives then stays below 1 - confidence. Tests
    without a p-value are inconclusive and not counted.

    Args:
        tests: single tests.
        confidence: family-wise confidence level.
    """
    outcomes = [INCONCLUSIVE] * len(tests)
    tested = [index for index, one in enumerate(tests) if not math.isnan(one.p_value)]
    adjusted = holm([tests[index].p_value for index in tested])
    for index, p_value in zip(tested, adjusted, strict=True):
        if p_value < 1 - confidence:
            outcomes[index] = tests[index].outcome
    return outcomes


def _tested(gap: float, test: Any, direction: str, confidence: float, tests: int = 1) -> Difference:
    """Return the outcome of a SciPy test, its p-value multiplied by the number of tests."""
    interval = test.confidence_interval(confidence)
    p_value = min(1.0, float(test.pvalue) * tests)
    outcome = _outcome(gap, direction) if p_value < 1 - confidence else INCONCLUSIVE
    return Difference(gap, Interval(float(interval.low), float(interval.high)), p_value, outcome)


def _untested(gap: float) -> Difference:
    """Return the difference of single seeds, which cannot be tested."""
    return Difference(gap, Interval(math.nan, math.nan), math.nan, INCONCLUSIVE)


def _without_variance(gap: float, direction: str) -> Difference:
    """Return the difference of seeds without variance."""
    if gap == 0:
        return Difference(gap, Interval(gap, gap), 1.0, INCONCLUSIVE)
    return Difference(gap, Interval(gap, gap), 0.0, _outcome(gap, direction))


def _outcome(gap: float, direction: str) -> str:
    return SUPPORTED if (gap > 0) == (direction == "higher") else CONTRADICTED


def agreement(published: Sequence[float], measured: Sequence[float]) -> Agreement:
    """Return the rank correlation and the differences of two columns."""
    theirs, ours = np.asarray(published, np.float64), np.asarray(measured, np.float64)
    gaps = ours - theirs
    constant = np.ptp(theirs) == 0 or np.ptp(ours) == 0
    correlation = math.nan if constant else float(stats.spearmanr(theirs, ours).statistic)
    return Agreement(correlation, float(gaps.mean()), float(np.abs(gaps).max()))
