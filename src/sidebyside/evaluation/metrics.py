"""Scores of predicted class probabilities, overall and per class."""

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from sidebyside.config.dataset import CLASS_NAMES, CLASSES
from sidebyside.evaluation.calibration import calibration_bins, expected_calibration_error
from sidebyside.evaluation.predictions import (
    Labels,
    Probabilities,
    check_probabilities,
    predicted_labels,
)

DEFINITIONS = {
    "accuracy": "Share of the images whose most probable class is the true one.",
    "precision_macro": "Precision of each class (of the images given this class, the share that"
    " belong to it), averaged over the classes; a class never predicted counts 0.",
    "recall_macro": "Recall of each class (of the images of this class, the share found),"
    " averaged over the classes.",
    "f1_macro": "F1 of each class (harmonic mean of precision and recall), averaged over the"
    " classes.",
    "precision_weighted": "As precision_macro, each class weighted by its number of images.",
    "recall_weighted": "As recall_macro, each class weighted by its number of images; equal to"
    " accuracy.",
    "f1_weighted": "As f1_macro, each class weighted by its number of images.",
    "log_loss": "Mean over the images of −ln(probability of the true class), in nats; a"
    " probability below 2.2e-16 counts as 2.2e-16 (on val, below 1.2e-38). Lower is better.",
    "brier_score": "Mean over the images of the sum over the classes of"
    " (probability − 1 for the true class, − 0 for the others)²; from 0 to 2. Lower is better.",
    "expected_calibration_error": "Images are put into bins of equal width by the probability of"
    " their predicted class; mean over the images of their bin's"
    " |mean probability − accuracy|. Lower is better.",
}
METRICS = tuple(DEFINITIONS)
VAL_METRICS = ("accuracy", "log_loss")


class ClassScores(NamedTuple):
    """How well one class is recognised."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int  # images of this class


class Confused(NamedTuple):
    """Images of one class taken for another."""

    true: str
    predicted: str
    images: int
    share: float  # of the images of the true class


def compute_scores(labels: Labels, probabilities: Probabilities, bins: int) -> dict[str, float]:
    """Return every metric of METRICS, in that order; DEFINITIONS says what each is.

    Raises:
        ValueError: malformed input (see `check`).
    """
    check_probabilities(labels, probabilities)
    predicted = predicted_labels(probabilities)
    values = {"accuracy": float((predicted == labels).mean())}
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = precision_recall_fscore_support(
            labels, predicted, labels=range(CLASSES), average=average, zero_division=0
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
    """Return the mean of −ln(probability of the true class), in nats."""
    of_true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(of_true, np.finfo(np.float64).eps)).mean())


def brier_score(labels: Labels, probabilities: Probabilities) -> float:
    """Return the mean over images of the summed squared differences to the true class.

    This is Brier's own definition (1950) for several classes, 0 … 2; for two classes it is twice
    the score that scikit-learn gives for binary labels.
    """
    target = np.eye(CLASSES)[labels]
    return float(((probabilities.astype(np.float64) - target) ** 2).sum(axis=1).mean())


def class_scores(labels: Labels, predicted: Labels) -> tuple[ClassScores, ...]:
    """Return precision, recall, F1 and support of every class; what is undefined counts 0."""
    columns = precision_recall_fscore_support(
        labels, predicted, labels=range(CLASSES), average=None, zero_division=0
    )
    return tuple(
        ClassScores(name, float(precision), float(recall), float(f1), int(support))
        for name, precision, recall, f1, support in zip(CLASS_NAMES, *columns, strict=True)
    )


def confusion_counts(labels: Labels, predicted: Labels) -> NDArray[np.int64]:
    """Return the number of images per true class (row) and predicted class (column), [10, 10]."""
    counts: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=range(CLASSES))
    return counts


def most_confused(counts: NDArray[np.int64], number: int) -> list[Confused]:
    """Return at most `number` pairs of (true, predicted) class with the most errors.

    Args:
        counts: confusion matrix [10, 10].
        number: how many pairs.
    """
    comparable_pairs = [
        Confused(
            CLASS_NAMES[true],
            CLASS_NAMES[predicted],
            int(counts[true, predicted]),
            float(counts[true, predicted] / counts[true].sum()),
        )
        for true, predicted in itertools.permutations(range(CLASSES), 2)
        if counts[true, predicted]
    ]
    return sorted(comparable_pairs, key=lambda pair: -pair.images)[:number]
