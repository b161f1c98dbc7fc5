import math

import numpy as np
import pytest
from sklearn import metrics as reference

from sidebyside.evaluation.metrics import (
    brier_score,
    class_scores,
    compute_scores,
    confusion_counts,
    log_loss,
    most_confused,
)
from tests.support.datasets import CLASS_NAMES
from tests.support.results import one_hot, random_case


def test_all_metrics_are_computed_in_their_order() -> None:
    assert tuple(compute_scores(*random_case(), bins=5)) == (
        "accuracy",
        "balanced_accuracy",
        "largest_class_share",
        "precision_macro",
        "recall_macro",
        "f1_macro",
        "precision_weighted",
        "recall_weighted",
        "f1_weighted",
        "log_loss",
        "brier_score",
        "expected_calibration_error",
    )


def test_scores_agree_with_scikit_learn() -> None:
    labels, probabilities = random_case(333)
    labels[labels > 6] = 6  # classes of unequal size
    probabilities = probabilities[:, :7] / probabilities[:, :7].sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    found = compute_scores(labels, probabilities, bins=5)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    balanced = reference.balanced_accuracy_score(labels, predicted)
    assert found["balanced_accuracy"] == pytest.approx(balanced)
    assert found["balanced_accuracy"] == pytest.approx(found["recall_macro"])
    assert abs(found["balanced_accuracy"] - found["accuracy"]) > 0.01
    assert found["brier_score"] == pytest.approx(
        reference.brier_score_loss(labels, probabilities, scale_by_half=False)
    )
    assert found["log_loss"] == pytest.approx(reference.log_loss(labels, probabilities))
    for average in ("macro", "weighted"):
        expected = reference.precision_recall_fscore_support(labels, predicted, average=average)
        for metric, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert found[f"{metric}_{average}"] == pytest.approx(value)


def test_a_perfect_model_has_scores_of_one_and_losses_of_zero() -> None:
    labels = np.arange(10, dtype=np.uint8)
    found = compute_scores(labels, one_hot(labels.tolist()), bins=5)
    assert found.pop("largest_class_share") == 0.1
    losses = {"log_loss", "brier_score", "expected_calibration_error"}
    assert {metric for metric, value in found.items() if value == 0} == losses
    assert {found[metric] for metric in found.keys() - losses} == {1}


def test_always_predicting_the_largest_class_has_an_accuracy_of_its_share() -> None:
    labels = np.array([2, 2, 2, 0, 1], np.uint8)
    found = compute_scores(labels, one_hot([2] * 5)[:, :3], bins=5)
    assert found["accuracy"] == found["largest_class_share"] == 3 / 5
    assert found["balanced_accuracy"] == pytest.approx(1 / 3)
    assert found["f1_weighted"] == pytest.approx(3 / 5 * 6 / 8)


def test_two_classes_are_scored_as_any_other_number() -> None:
    labels = np.array([0, 0, 0, 1], np.uint8)
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    found = compute_scores(labels, probabilities, bins=5)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["precision_macro"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["precision_weighted"] == pytest.approx((3 * 1 + 1 / 2) / 4)
    assert found["brier_score"] == pytest.approx(2 * (0.1**2 + 0.2**2 + 0.6**2 + 0.3**2) / 4)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.4, 0.7]).mean())


def test_a_class_without_images_counts_zero_in_the_macro_averages() -> None:
    labels = np.zeros(4, np.uint8)
    found = compute_scores(labels, one_hot([0, 0, 0, 0]), bins=5)
    assert found["f1_macro"] == pytest.approx(0.1)
    assert found["f1_weighted"] == 1


def test_the_brier_score_sums_over_classes_and_averages_over_images() -> None:
    labels = np.array([0, 1], np.uint8)
    sure_and_wrong = one_hot([0, 0])
    assert brier_score(labels, sure_and_wrong) == (0 + 2) / 2
    even = np.full((2, 10), 0.1)
    assert brier_score(labels, even) == pytest.approx(0.9**2 + 9 * 0.1**2)


def test_a_true_class_with_probability_zero_gives_a_finite_log_loss() -> None:
    found = log_loss(np.array([1], np.uint8), one_hot([0]))
    assert found == pytest.approx(-math.log(np.finfo(np.float64).eps))


def test_the_confusion_matrix_has_true_classes_in_rows() -> None:
    counts = confusion_counts(np.array([6, 6, 0], np.uint8), np.array([0, 6, 0], np.uint8), 10)
    assert counts.shape == (10, 10)
    assert (counts[6, 0], counts[6, 6], counts[0, 0], counts.sum()) == (1, 1, 1, 3)


def test_the_most_frequent_confusions_come_first() -> None:
    labels = np.array([6, 6, 6, 6, 2, 2], np.uint8)
    predicted = np.array([0, 0, 6, 4, 4, 2], np.uint8)
    pairs = most_confused(confusion_counts(labels, predicted, 10), CLASS_NAMES, 2)
    assert pairs == [("Shirt", "T-shirt/top", 2, 0.5), ("Pullover", "Coat", 1, 0.5)]


def test_every_class_has_scores_and_support() -> None:
    labels = np.array([0, 0, 1], np.uint8)
    rows = class_scores(labels, np.array([0, 1, 1], np.uint8), CLASS_NAMES)
    assert [row.name for row in rows] == list(CLASS_NAMES)
    assert rows[0][1:] == pytest.approx((1, 0.5, 2 / 3, 2))
    assert rows[9] == ("Ankle boot", 0, 0, 0, 0)


def test_the_brier_score_of_float32_probabilities_is_computed_in_float64() -> None:
    labels, probabilities = random_case(3000)
    rounded = probabilities.astype(np.float32)
    squares = (rounded.astype(np.float64) - np.eye(10)[labels]) ** 2
    assert brier_score(labels, rounded) == squares.sum(axis=1).mean()
