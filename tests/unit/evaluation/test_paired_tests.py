import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sidebyside.config.paths import ModelName
from sidebyside.evaluation.paired_tests import (
    Comparison,
    comparable_pairs,
    compare_all,
    compare_models,
    comparisons_content,
    holm,
    mcnemar_p_value,
)
from sidebyside.evaluation.results import (
    ModelResult,
)
from tests.support.datasets import CLASS_NAMES
from tests.support.results import CNN, MLP, one_hot, random_case, some_result


def compared(first: ModelResult, second: ModelResult, **changes: Any) -> Comparison:
    return compare_models(
        first, second, **{"samples": 2000, "confidence": 0.95, "seed": 1, **changes}
    )


def test_a_comparison_counts_the_images_that_only_one_model_classifies_correctly() -> None:
    labels = np.zeros(10, np.uint8)
    first = some_result(MLP, labels, one_hot([0] * 5 + [1] * 5))
    second = some_result(CNN, labels, one_hot([1] + [0] * 8 + [1]))
    found = compared(first, second)
    assert (found.only_first, found.only_second) == (1, 4)
    assert found.difference == pytest.approx(0.3)
    assert found.p_value == pytest.approx(stats.binomtest(4, 5).pvalue)
    assert found.interval.low < 0.3 < found.interval.high
    assert found.f1_change[0] == pytest.approx(second.classes[0].f1 - first.classes[0].f1)
    assert found.f1_change[0] > 0


def test_equal_models_have_no_difference() -> None:
    found = compared(some_result(MLP), some_result(CNN))
    assert (found.difference, found.p_value, found.interval) == (0, 1, (0, 0))


def test_a_comparison_on_other_images_is_refused() -> None:
    labels, probabilities = random_case()
    with pytest.raises(ValueError, match="mlp-original-1 and cnn-original-1 were not scored"):
        compared(some_result(MLP), some_result(CNN, labels[::-1].copy(), probabilities))


def test_the_p_value_without_a_discordant_image_is_one() -> None:
    assert mcnemar_p_value(0, 0) == 1
    assert mcnemar_p_value(0, 6) == pytest.approx(2 / 2**6)


def test_compared_models_differ_in_architecture_or_data_alone() -> None:
    names = [
        ModelName(model, data, seed)
        for model in ("mlp", "cnn")
        for data in ("augmented", "original")
        for seed in (1, 2)
    ]
    pairs = comparable_pairs([some_result(name) for name in names])
    found = [(str(first.name), str(second.name)) for first, second in pairs]
    assert found == [
        ("mlp-augmented-1", "cnn-augmented-1"),
        ("mlp-augmented-2", "cnn-augmented-2"),
        ("mlp-original-1", "cnn-original-1"),
        ("mlp-original-2", "cnn-original-2"),
        ("mlp-original-1", "mlp-augmented-1"),
        ("mlp-original-2", "mlp-augmented-2"),
        ("cnn-original-1", "cnn-augmented-1"),
        ("cnn-original-2", "cnn-augmented-2"),
    ]


def test_the_content_of_a_comparison_has_names_and_all_classes() -> None:
    (content,) = comparisons_content(
        [compared(some_result(MLP), some_result(CNN, seed=2))], CLASS_NAMES
    )
    assert (content["first"], content["second"]) == ("mlp-original", "cnn-original")
    assert list(content["f1_change"]) == list(CLASS_NAMES)
    json.dumps(content, allow_nan=False)


def test_the_content_of_a_comparison_has_its_counts_and_interval() -> None:
    labels = np.array([0, 1, 2, 3], np.uint8)
    first = some_result(MLP, labels, one_hot([0, 9, 9, 9]))
    second = some_result(CNN, labels, one_hot([9, 1, 2, 3]))
    found = compared(first, second)
    (content,) = comparisons_content([found], CLASS_NAMES)
    assert (content["only_first_right"], content["only_second_right"]) == (1, 3)
    assert content["interval"] == [found.interval.low, found.interval.high]
    assert content["interval"][0] < content["interval"][1]


def test_p_values_are_corrected_by_holms_method() -> None:
    # Example of Holm 1979: the smallest times 4, the next times 3, and so on, without decreasing.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


def test_a_comparison_is_corrected_for_the_number_of_comparisons() -> None:
    results = [
        some_result(ModelName(model, "original", 1), seed=seed)
        for seed, model in enumerate(("mlp", "cnn", "linear"), 1)
    ]
    found = compare_all(results, samples=200, confidence=0.95, seed=1)
    assert [one.p_value for one in found] == [
        compared(first, second).p_value for first, second in comparable_pairs(results)
    ]
    assert [one.adjusted_p_value for one in found] == holm([one.p_value for one in found])
    assert compare_all(results[:1], samples=200, confidence=0.95, seed=1) == []
