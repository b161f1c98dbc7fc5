import numpy as np
import pytest

from sidebyside.reporting.f1_intervals import f1_difference_intervals
from tests.support.results import CNN, MLP, one_hot, random_case, some_result


def test_the_intervals_are_those_of_resampled_images() -> None:
    labels, probabilities = random_case(300)
    both = (probabilities, random_case(300, seed=2)[1])
    first, second = (some_result(MLP, labels, one) for one in both)
    random = np.random.default_rng(1)
    differences = []
    for _ in range(400):
        drawn = random.integers(300, size=300)
        again = [some_result(MLP, labels[drawn], one[drawn]).classes[3].f1 for one in both]
        differences.append(again[1] - again[0])
    (found,) = f1_difference_intervals(first, second, [3], samples=4000, confidence=0.95, seed=1)
    assert found == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.03)


def test_equal_models_have_no_difference_and_a_class_without_images_none_either() -> None:
    labels = np.zeros(4, np.uint8)
    one = some_result(MLP, labels, one_hot([0, 1, 0, 0]))
    intervals = f1_difference_intervals(one, one, [0, 7], samples=50, confidence=0.9, seed=1)
    assert intervals == [(0, 0), (0, 0)]


def test_a_better_model_has_an_interval_above_zero() -> None:
    labels = np.arange(200, dtype=np.uint8) % 2
    bad = some_result(
        MLP, labels, one_hot([int(label) if i % 3 else 5 for i, label in enumerate(labels)])
    )
    good = some_result(CNN, labels, one_hot(labels.tolist()))
    (interval,) = f1_difference_intervals(bad, good, [1], samples=200, confidence=0.95, seed=1)
    assert 0 < interval.low < good.classes[1].f1 - bad.classes[1].f1 < interval.high
