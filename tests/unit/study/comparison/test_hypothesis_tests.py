import math

import numpy as np
import pytest
from scipy import stats

from sidebyside.evaluation.intervals import Interval
from study.comparison.hypothesis_tests import (
    Difference,
    agreement,
    compare,
    corrected,
    difference,
    lowest,
)


@pytest.mark.parametrize(
    ("published", "position"),
    [
        ("0.895", "within range"),
        ("0.890", "within range"),  # the range includes its ends
        ("0.8895", "lower"),
        ("0.889", "lower"),
        ("0.89", "within range"),
        ("0.88", "lower"),  # stands for 0.875 … 0.885
        ("0.901", "higher"),
        ("0.9006", "higher"),
        ("1", "within range"),  # stands for 0.5 … 1.5
    ],
)
def test_a_published_number_is_within_our_range_higher_or_lower(
    published: str, position: str
) -> None:
    assert compare(published, [0.89, 0.90, 0.895]).position == position


def test_a_published_number_stands_for_every_number_that_rounds_to_it() -> None:
    assert compare("0.88", [0.8849, 0.886]).position == "within range"
    assert compare("0.88", [0.8851, 0.886]).position == "lower"
    assert compare("0.880", [0.8849, 0.886]).position == "lower"


@pytest.mark.parametrize("published", ["0.89", "0.9", "0.91"])
def test_a_single_seed_has_no_range(published: str) -> None:
    assert compare(published, [0.9]).position == "one seed"


def test_mean_deviation_and_range_are_computed_over_the_seeds() -> None:
    one = compare("0.9", [0.8, 0.9, 1.0])
    assert one[1:5] == pytest.approx((0.9, 0.1, 0.8, 1.0))
    assert one.seeds == 3
    assert one.difference == pytest.approx(0.0)
    assert math.isnan(compare("0.9", [0.8]).deviation)


HIGH, LOW = [0.90, 0.91, 0.92, 0.91], [0.80, 0.81, 0.82]


@pytest.mark.parametrize(
    ("first", "second", "direction", "outcome"),
    [
        (HIGH, LOW, "higher", "supported"),
        (LOW, HIGH, "lower", "supported"),
        (LOW, HIGH, "higher", "contradicted"),
        (HIGH, LOW, "lower", "contradicted"),
        ([0.1, 0.9, 0.5], [0.2, 0.8, 0.4], "higher", "inconclusive"),
        ([0.9], LOW, "higher", "inconclusive"),  # one seed
        ([0.9, 0.9], [0.8, 0.8], "higher", "supported"),  # no variance
        ([0.9, 0.9], [0.9, 0.9], "higher", "inconclusive"),
    ],
)
def test_a_claim_is_supported_inconclusive_or_contradicted(
    first: list[float], second: list[float], direction: str, outcome: str
) -> None:
    assert difference(first, second, direction, 0.95).outcome == outcome


def test_the_interval_of_a_difference_is_welchs() -> None:
    one = difference(HIGH, LOW, "higher", 0.9)
    # Welch 1947: the variances of the means, and their degrees of freedom
    a, b = np.var(HIGH, ddof=1) / len(HIGH), np.var(LOW, ddof=1) / len(LOW)
    freedom = (a + b) ** 2 / (a**2 / (len(HIGH) - 1) + b**2 / (len(LOW) - 1))
    reach = stats.t.ppf(0.95, freedom) * (a + b) ** 0.5
    assert one.difference == pytest.approx(0.1)
    assert tuple(one.interval) == pytest.approx((0.1 - reach, 0.1 + reach))
    p_value = 2 * stats.t.sf(one.difference / (a + b) ** 0.5, freedom)
    assert one.p_value == pytest.approx(p_value)


def test_agreement_measures_order_and_size_separately() -> None:
    same_order = agreement([0.86, 0.88, 0.9], [0.87, 0.885, 0.901])
    assert same_order == pytest.approx((1.0, 0.016 / 3, 0.01))
    assert agreement([0.86, 0.88, 0.9], [0.9, 0.88, 0.86]).rank_correlation == pytest.approx(-1)
    assert math.isnan(agreement([0.9, 0.9], [0.8, 0.9]).rank_correlation)


@pytest.mark.parametrize(
    ("named", "others", "outcome"),
    [
        (
            [[0.70, 0.72, 0.71], [0.80, 0.79, 0.81]],
            [[0.85, 0.84, 0.86], [0.90, 0.9, 0.9]],
            "supported",
        ),
        (
            [[0.70, 0.72, 0.71], [0.88, 0.89, 0.90]],
            [[0.85, 0.859, 0.868], [0.9] * 3],
            "contradicted",
        ),
        ([[0.70, 0.72, 0.71], [0.84, 0.86, 0.85]], [[0.85, 0.84, 0.86]], "inconclusive"),
        # Another class has the lowest value in some seeds, but not the lowest mean.
        (
            [[0.70, 0.90, 0.70], [0.7, 0.7, 0.7]],
            [[0.8, 0.8, 0.8], [0.99, 0.99, 0.99]],
            "inconclusive",
        ),
        ([[0.7]], [[0.8]], "inconclusive"),  # one seed
        ([[0.7, 0.7]], [[0.8, 0.8]], "supported"),  # no variance
        ([[0.8, 0.8]], [[0.7, 0.7]], "contradicted"),
        ([[0.8, 0.8]], [[0.8, 0.8]], "inconclusive"),
    ],
)
def test_classes_are_lowest_if_each_is_lower_than_every_other_class(
    named: list[list[float]], others: list[list[float]], outcome: str
) -> None:
    assert lowest(named, others, 0.95).outcome == outcome


def test_a_claim_about_classes_reports_the_pair_with_the_strongest_counterevidence() -> None:
    one = lowest([[0.6, 0.8, 0.6], [0.7, 0.7, 0.7]], [[0.9, 1.0, 0.9], [0.95, 0.9, 0.8]], 0.95)
    gaps = [0.6 - 0.95, 0.8 - 0.9, 0.6 - 0.8]
    test = stats.ttest_1samp(gaps, 0)
    assert one.difference == pytest.approx(np.mean(gaps))
    assert one.p_value == pytest.approx(test.pvalue)
    assert tuple(one.interval) == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_a_contradicting_p_value_of_classes_is_corrected_for_the_number_of_pairs() -> None:
    gaps = [0.02, 0.03, 0.01]
    others = [[0.80, 0.80, 0.80], [0.99, 0.98, 0.99]]
    one = lowest([[0.80 + gap for gap in gaps]], others, 0.9)
    test = stats.ttest_1samp(gaps, 0)
    assert one.p_value == pytest.approx(2 * test.pvalue)
    assert tuple(one.interval) == pytest.approx(tuple(test.confidence_interval(0.9)))
    assert test.pvalue < 0.1 < one.p_value
    assert one.outcome == "inconclusive"


def test_false_positive_rate_for_equal_classes_is_below_the_significance_level() -> None:
    draw = np.random.default_rng(1)
    outcomes = []
    for _ in range(300):
        named, others = (draw.normal(0.8, 0.02, (classes, 5)).tolist() for classes in (2, 8))
        outcomes.append(lowest(named, others, 0.95).outcome)
    assert outcomes.count("contradicted") <= 300 * 0.05
    assert outcomes.count("supported") <= 300 * 0.05


@pytest.mark.parametrize(
    ("p_values", "significant"),
    [
        # Holm 1979: the smallest against 0.05 / 4, the next against 0.05 / 3 and so on.
        ([0.012, 0.016, 0.024, 0.049], [True, True, True, True]),
        ([0.049, 0.024, 0.016, 0.012], [True, True, True, True]),
        ([0.001, 0.02, 0.02, 0.02], [True, False, False, False]),
        ([0.0126, 0.9, 0.9, 0.001], [True, False, False, True]),
        ([0.013, 0.013, 0.013, 0.013], [False, False, False, False]),  # the smallest fails
        ([math.nan, 0.049], [False, True]),  # an untested claim does not count
        ([], []),
    ],
)
def test_outcomes_are_corrected_by_holms_method(
    p_values: list[float], significant: list[bool]
) -> None:
    nothing = Interval(math.nan, math.nan)
    outcomes = [Difference(0.1, nothing, p, "supported") for p in p_values]
    expected = ["supported" if one else "inconclusive" for one in significant]
    assert corrected(outcomes, 0.95) == expected


def test_a_number_that_rounds_up_to_a_printed_number_is_within_range() -> None:
    for digits in range(100, 1000):
        assert compare(f"0.{digits}", [float(f"0.{digits}5"), 1.0]).position == "within range"


@pytest.mark.filterwarnings("ignore:Precision loss:RuntimeWarning")
def test_a_model_without_variance_is_tested_with_the_variance_of_the_other() -> None:
    one = difference([0.5, 0.5, 0.5], [0.4, 0.55, 0.49], "higher", 0.95)
    assert one.outcome == "inconclusive"
    assert one.interval.low < 0 < one.interval.high


def test_the_outcome_depends_on_the_confidence_level() -> None:
    first, second = [0.90, 0.91, 0.92], [0.885, 0.905, 0.89]
    p_value = difference(first, second, "higher", 0.9).p_value
    assert 0.05 < p_value < 0.15
    assert difference(first, second, "higher", 0.85).outcome == "supported"
    assert difference(first, [0.88, 0.87, 0.89], "higher", 0.95).outcome == "supported"
    assert difference(first, [0.88, 0.87, 0.89], "higher", 0.999).outcome == "inconclusive"


def test_the_largest_difference_is_the_largest_absolute_difference() -> None:
    assert agreement([0.9, 0.8], [0.8, 0.81]).largest_difference == pytest.approx(0.1)


def test_the_difference_is_the_mean_minus_the_published_number() -> None:
    assert compare("0.9", [0.8, 0.9]).difference == pytest.approx(-0.05)


def test_with_one_seed_the_pair_with_the_strongest_counterevidence_is_reported() -> None:
    one = lowest([[0.7], [0.75]], [[0.8], [0.9]], 0.95)
    assert one.difference == pytest.approx(0.75 - 0.8)


def test_a_corrected_p_value_is_at_most_one() -> None:
    one = lowest([[0.80, 0.83, 0.79], [0.8, 0.81, 0.82]], [[0.80, 0.81, 0.79]] * 3, 0.95)
    assert one.difference > 0
    assert one.p_value == 1


def test_a_pair_equal_in_every_seed_does_not_mask_other_pairs() -> None:
    one = lowest([[0.8, 0.8, 0.8], [0.9, 0.91, 0.9]], [[0.8, 0.8, 0.8]], 0.95)
    assert one.outcome == "contradicted"
