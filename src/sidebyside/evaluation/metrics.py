"""Compute scores of predicted class probabilities, overall and per class."""

import itertools
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    brier_score_loss,
    confusion_matrix,
    precision_recall_fscore_support,
    recall_score,
)

from sidebyside.evaluation.calibration import calibration_bins, expected_calibration_error
from sidebyside.evaluation.predictions import (
    Labels,
    Probabilities,
    check_probabilities,
    predicted_labels,
)

# In the order of metrics.json; the report's template defines each of them.
METRICS = (
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
VAL_METRICS = ("accuracy", "log_loss")


class ClassScores(NamedTuple):
    """Precision, recall and F1 of one class."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int  # number of images of this class


class Confused(NamedTuple):
    """Images of one class that are predicted as another."""

    true: str
    predicted: str
    images: int
    share: float  # as a share of the images of the true class


def compute_scores(labels: Labels, probabilities: Probabilities, bins: int) -> dict[str, float]:
    """Return every metric of METRICS, in that order.

    Args:
        labels: true classes, uint8 [N].
        probabilities: predicted probability of each class, [N, classes].
        bins: number of calibration bins.

    Raises:
        ValueError: malformed input (see `check_probabilities`).
    """
    check_probabilities(labels, probabilities)
    predicted = predicted_labels(probabilities)
    classes = range(probabilities.shape[1])
    values = {
        "accuracy": float((predicted == labels).mean()),
        # As balanced_accuracy_score, which warns if a class is predicted that has no image.
        "balanced_accuracy": float(
            recall_score(labels, predicted, labels=np.unique(labels), average="macro")
        ),
        "largest_class_share": float(np.bincount(labels).max() / len(labels)),
    }
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = precision_recall_fscore_support(
            labels, predicted, labels=classes, average=average, zero_division=0
        )
        values[f"precision_{average}"] = float(precision)
        values[f"recall_{average}"] = float(recall)
        values[f"f1_{average}"] = float(f1)
    values["log_loss"] = log_loss(labels, probabilities)
    values["brier_score"] = brier_score(labels, probabilities)
    values["expected_calibration_error"] = expected_calibration_error(
        calibration_bins(labels, probabilities, bins)
    )
    return {metric: values[metric] for metric in METRICS}


def log_loss(labels: Labels, probabilities: Probabilities) -> float:
    """Return the mean of −ln(probability of the true class), in nats.

    scikit-learn's log_loss differs in the last bit: it limits probabilities to 1 − 2.2e-16 from
    above too, and takes its logarithm from another library.
    """
    of_true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(of_true, np.finfo(np.float64).eps)).mean())


def brier_score(labels: Labels, probabilities: Probabilities) -> float:
    """Return the mean over the images of the summed squared differences to the true class.

    This is the definition for several classes (Brier, 1950), between 0 and 2.
    """
    with warnings.catch_warnings():
        # The sums of float32 probabilities are up to 1e-6 off one, beyond scikit-learn's tolerance
        # for float64; `check_probabilities` has checked them.
        warnings.filterwarnings("ignore", "The y_prob values do not sum to one", UserWarning)
        score = brier_score_loss(
            labels,
            probabilities.astype(np.float64),
            labels=range(probabilities.shape[1]),
            scale_by_half=False,
        )
    return float(score)


def class_scores(
    labels: Labels, predicted: Labels, class_names: Sequence[str]
) -> tuple[ClassScores, ...]:
    """Return precision, recall, F1 and support of every class; an undefined score counts as 0."""
    columns = precision_recall_fscore_support(
        labels, predicted, labels=range(len(class_names)), average=None, zero_division=0
    )
    return tuple(
        ClassScores(name, float(precision), float(recall), float(f1), int(support))
        for name, precision, recall, f1, support in zip(class_names, *columns, strict=True)
    )


def confusion_counts(labels: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Return the number of images per true class (row) and predicted class (column).

    Args:
        labels: true classes, uint8 [N].
        predicted: predicted classes, uint8 [N].
        classes: number of classes; the result is [classes, classes].
    """
    counts: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=range(classes))
    return counts


def most_confused(
    counts: NDArray[np.int64], class_names: Sequence[str], number: int
) -> list[Confused]:
    """Return the pairs of true and predicted class with the most errors, most errors first.

    Args:
        counts: confusion matrix [classes, classes].
        class_names: names of its classes.
        number: maximum number of pairs.
    """
    pairs = [
        Confused(
            class_names[true],
            class_names[predicted],
            int(counts[true, predicted]),
            float(counts[true, predicted] / counts[true].sum()),
        )
        for true, predicted in itertools.permutations(range(len(class_names)), 2)
        if counts[true, predicted]
    ]
    return sorted(pairs, key=lambda pair: -pair.images)[:number]
