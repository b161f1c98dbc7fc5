import math

import numpy as np
import pytest
from scipy import stats

from sidebyside.evaluation.intervals import Interval
from study.hypothesis_tests import Difference, agreement, compare, corrected, difference, lowest


@pytest.mark.parametrize(
    ("published", "verdict"),
    [
        ("0.895", "inside"),
        ("0.890", "inside"),  # the ends belong to the range
        ("0.8895", "below"),
        ("0.889", "below"),
        ("0.89", "inside"),
        ("0.88", "below"),  # stands for 0.875 … 0.885
        ("0.901", "above"),
        ("0.9006", "above"),
        ("1", "inside"),  # stands for 0.5 … 1.5
    ],
)
def test_a_published_number_lies_inside_above_or_below_our_range(
    published: str, verdict: str
) -> None:
    assert compare(published, [0.89, 0.90, 0.895]).verdict == verdict


def test_a_published_number_stands_for_all_that_is_rounded_to_it() -> None:
    assert compare("0.88", [0.8849, 0.886]).verdict == "inside"
    assert compare("0.88", [0.8851, 0.886]).verdict == "below"
    assert compare("0.880", [0.8849, 0.886]).verdict == "below"


@pytest.mark.parametrize("published", ["0.89", "0.9", "0.91"])
def test_one_seed_gives_no_verdict(published: str) -> None:
    assert compare(published, [0.9]).verdict == "one seed"


def test_mean_deviation_and_range_are_those_of_the_seeds() -> None:
    one = compare("0.9", [0.8, 0.9, 1.0])
    assert one[1:5] == pytest.approx((0.9, 0.1, 0.8, 1.0))
    assert one.seeds == 3
    assert one.difference == pytest.approx(0.0)
    assert math.isnan(compare("0.9", [0.8]).deviation)


HIGH, LOW = [0.90, 0.91, 0.92, 0.91], [0.80, 0.81, 0.82]


@pytest.mark.parametrize(
    ("first", "second", "direction", "verdict"),
    [
        (HIGH, LOW, "higher", "held"),
        (LOW, HIGH, "lower", "held"),
        (LOW, HIGH, "higher", "opposite"),
        (HIGH, LOW, "lower", "opposite"),
        ([0.1, 0.9, 0.5], [0.2, 0.8, 0.4], "higher", "undecided"),
        ([0.9], LOW, "higher", "undecided"),  # one seed tells nothing
        ([0.9, 0.9], [0.8, 0.8], "higher", "held"),  # no spread at all
        ([0.9, 0.9], [0.9, 0.9], "higher", "undecided"),
    ],
)
def test_a_claim_holds_is_undecided_or_is_the_other_way_round(
    first: list[float], second: list[float], direction: str, verdict: str
) -> None:
    assert difference(first, second, direction, 0.95).verdict == verdict


def test_the_difference_has_welchs_interval() -> None:
    one = difference(HIGH, LOW, "higher", 0.9)
    # Welch 1947: the variances of the means, and their degrees of freedom
    a, b = np.var(HIGH, ddof=1) / len(HIGH), np.var(LOW, ddof=1) / len(LOW)
    freedom = (a + b) ** 2 / (a**2 / (len(HIGH) - 1) + b**2 / (len(LOW) - 1))
    reach = stats.t.ppf(0.95, freedom) * (a + b) ** 0.5
    assert one.difference == pytest.approx(0.1)
    assert tuple(one.interval) == pytest.approx((0.1 - reach, 0.1 + reach))
    p_value = 2 * stats.t.sf(one.difference / (a + b) ** 0.5, freedom)
    assert one.p_value == pytest.approx(p_value)


def test_agreement_tells_order_from_size() -> None:
    same_order = agreement([0.86, 0.88, 0.9], [0.87, 0.885, 0.901])
    assert same_order == pytest.approx((1.0, 0.016 / 3, 0.01))
    assert agreement([0.86, 0.88, 0.9], [0.9, 0.88, 0.86]).rank_correlation == pytest.approx(-1)
    assert math.isnan(agreement([0.9, 0.9], [0.8, 0.9]).rank_correlation)


@pytest.mark.parametrize(
    ("named", "others", "verdict"),
    [
        ([[0.70, 0.72, 0.71], [0.80, 0.79, 0.81]], [[0.85, 0.84, 0.86], [0.90, 0.9, 0.9]], "held"),
        ([[0.70, 0.72, 0.71], [0.88, 0.89, 0.90]], [[0.85, 0.859, 0.868], [0.9] * 3], "opposite"),
        ([[0.70, 0.72, 0.71], [0.84, 0.86, 0.85]], [[0.85, 0.84, 0.86]], "undecided"),
        # Another class is the lowest in some seeds, but not in the mean.
        ([[0.70, 0.90, 0.70], [0.7, 0.7, 0.7]], [[0.8, 0.8, 0.8], [0.99, 0.99, 0.99]], "undecided"),
        ([[0.7]], [[0.8]], "undecided"),  # one seed
        ([[0.7, 0.7]], [[0.8, 0.8]], "held"),  # seeds alike
        ([[0.8, 0.8]], [[0.7, 0.7]], "opposite"),
        ([[0.8, 0.8]], [[0.8, 0.8]], "undecided"),
    ],
)
def test_classes_are_lowest_where_each_of_them_is_below_every_other(
    named: list[list[float]], others: list[list[float]], verdict: str
) -> None:
    assert lowest(named, others, 0.95).verdict == verdict


def test_what_is_told_of_classes_is_the_pair_that_speaks_most_against_the_claim() -> None:
    one = lowest([[0.6, 0.8, 0.6], [0.7, 0.7, 0.7]], [[0.9, 1.0, 0.9], [0.95, 0.9, 0.8]], 0.95)
    gaps = [0.6 - 0.95, 0.8 - 0.9, 0.6 - 0.8]
    test = stats.ttest_1samp(gaps, 0)
    assert one.difference == pytest.approx(np.mean(gaps))
    assert one.p_value == pytest.approx(test.pvalue)
    assert tuple(one.interval) == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_p_of_the_opposite_of_a_claim_on_classes_is_corrected_for_the_pairs() -> None:
    gaps = [0.02, 0.03, 0.01]
    others = [[0.80, 0.80, 0.80], [0.99, 0.98, 0.99]]
    one = lowest([[0.80 + gap for gap in gaps]], others, 0.9)
    test = stats.ttest_1samp(gaps, 0)
    assert one.p_value == pytest.approx(2 * test.pvalue)
    assert tuple(one.interval) == pytest.approx(tuple(test.confidence_interval(0.9)))
    assert test.pvalue < 0.1 < one.p_value
    assert one.verdict == "undecided"


def test_classes_that_are_alike_are_seldom_told_apart() -> None:
    draw = np.random.default_rng(1)
    verdicts = []
    for _ in range(300):
        named, others = (draw.normal(0.8, 0.02, (classes, 5)).tolist() for classes in (2, 8))
        verdicts.append(lowest(named, others, 0.95).verdict)
    assert verdicts.count("opposite") <= 300 * 0.05
    assert verdicts.count("held") <= 300 * 0.05


@pytest.mark.parametrize(
    ("p_values", "decided"),
    [
        # Holm 1979: the smallest against 0.05 / 4, the next against 0.05 / 3 and so on.
        ([0.012, 0.016, 0.024, 0.049], [True, True, True, True]),
        ([0.049, 0.024, 0.016, 0.012], [True, True, True, True]),
        ([0.001, 0.02, 0.02, 0.02], [True, False, False, False]),
        ([0.0126, 0.9, 0.9, 0.001], [True, False, False, True]),
        ([0.013, 0.013, 0.013, 0.013], [False, False, False, False]),  # none goes before
        ([math.nan, 0.049], [False, True]),  # what was not tested does not count
        ([], []),
    ],
)
def test_many_tests_are_decided_as_holm_says(p_values: list[float], decided: list[bool]) -> None:
    nothing = Interval(math.nan, math.nan)
    outcomes = [Difference(0.1, nothing, p, "held") for p in p_values]
    expected = ["held" if one else "undecided" for one in decided]
    assert corrected(outcomes, 0.95) == expected


def test_what_is_rounded_up_to_a_printed_number_is_just_inside() -> None:
    for digits in range(100, 1000):
        assert compare(f"0.{digits}", [float(f"0.{digits}5"), 1.0]).verdict == "inside"


@pytest.mark.filterwarnings("ignore:Precision loss:RuntimeWarning")
def test_one_model_without_spread_leaves_the_spread_of_the_other() -> None:
    one = difference([0.5, 0.5, 0.5], [0.4, 0.55, 0.49], "higher", 0.95)
    assert one.verdict == "undecided"
    assert one.interval.low < 0 < one.interval.high


def test_the_verdict_is_of_the_confidence_asked_for() -> None:
    first, second = [0.90, 0.91, 0.92], [0.885, 0.905, 0.89]
    p_value = difference(first, second, "higher", 0.9).p_value
    assert 0.05 < p_value < 0.15
    assert difference(first, second, "higher", 0.85).verdict == "held"
    assert difference(first, [0.88, 0.87, 0.89], "higher", 0.95).verdict == "held"
    assert difference(first, [0.88, 0.87, 0.89], "higher", 0.999).verdict == "undecided"


def test_the_largest_difference_is_the_largest_in_size() -> None:
    assert agreement([0.9, 0.8], [0.8, 0.81]).largest_difference == pytest.approx(0.1)


def test_the_difference_is_ours_less_the_published() -> None:
    assert compare("0.9", [0.8, 0.9]).difference == pytest.approx(-0.05)


def test_of_one_seed_the_pair_that_speaks_most_against_the_claim_is_told() -> None:
    one = lowest([[0.7], [0.75]], [[0.8], [0.9]], 0.95)
    assert one.difference == pytest.approx(0.75 - 0.8)


def test_a_corrected_p_is_at_most_one() -> None:
    one = lowest([[0.80, 0.83, 0.79], [0.8, 0.81, 0.82]], [[0.80, 0.81, 0.79]] * 3, 0.95)
    assert one.difference > 0
    assert one.p_value == 1


def test_a_pair_that_is_equal_in_every_seed_hides_no_other() -> None:
    one = lowest([[0.8, 0.8, 0.8], [0.9, 0.91, 0.9]], [[0.8, 0.8, 0.8]], 0.95)
    assert one.verdict == "opposite"
