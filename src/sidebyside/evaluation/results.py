"""Evaluate one model, and put the results of several models into tables.

Scores are computed in float64 from the predicted probabilities alone, so scoring the predictions
that `evaluate` writes gives the same numbers.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidebyside.config.paths import ModelName
from sidebyside.evaluation.calibration import Bin, calibration_bins
from sidebyside.evaluation.intervals import Interval, wilson_interval
from sidebyside.evaluation.metrics import (
    VAL_METRICS,
    ClassScores,
    class_scores,
    compute_scores,
    confusion_counts,
)
from sidebyside.evaluation.predictions import (
    Labels,
    Probabilities,
    check_probabilities,
    predicted_labels,
)


class Subset(NamedTuple):
    """The accuracy on some of the test images."""

    images: int
    accuracy: float
    interval: Interval  # of the accuracy


@dataclass(frozen=True, eq=False)
class ModelResult:
    """The results of one trained model on the test split."""

    name: ModelName
    val: Mapping[str, float]  # VAL_METRICS on the validation split, measured by train
    scores: Mapping[str, float]  # METRICS
    accuracy_interval: Interval
    deduplicated: Subset | None  # images without a near duplicate in train or val; None: no image
    classes: tuple[ClassScores, ...]
    confusion: NDArray[np.int64]  # images [classes, classes], row = true class
    calibration: tuple[Bin, ...]
    labels: Labels  # uint8 [N]
    predicted: Labels  # uint8 [N]
    probabilities: Probabilities  # [N, classes]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(one.name for one in self.classes)


def evaluate_model(
    name: ModelName,
    labels: Labels,
    probabilities: Probabilities,
    class_names: Sequence[str],
    *,
    val: Mapping[str, float],
    near_duplicates: Sequence[int],
    bins: int,
    confidence: float,
) -> ModelResult:
    """Return all results of one model.

    Args:
        name: the model.
        labels: true classes, uint8 [N].
        probabilities: predicted probability of each class, [N, classes].
        class_names: names of the classes.
        val: at least VAL_METRICS, measured on the validation split.
        near_duplicates: indices of the images that have a near duplicate in train or val.
        bins: number of calibration bins.
        confidence: level of the accuracy's interval, such as 0.95.

    Raises:
        ValueError: malformed input (see `check_probabilities`), other classes than those named, or
            a validation score is missing.
    """
    check_probabilities(labels, probabilities)
    if probabilities.shape[1] != len(class_names):
        raise ValueError(
            f"there are probabilities of {probabilities.shape[1]} classes,"
            f" expected {len(class_names)}"
        )
    if missing := [metric for metric in VAL_METRICS if metric not in val]:
        raise ValueError(f"{name}: the validation scores lack {', '.join(missing)}")
    predicted = predicted_labels(probabilities)
    correct = predicted == labels
    return ModelResult(
        name=name,
        val={metric: float(val[metric]) for metric in VAL_METRICS},
        scores=compute_scores(labels, probabilities, bins),
        accuracy_interval=wilson_interval(int(correct.sum()), len(labels), confidence),
        deduplicated=_subset(np.delete(correct, near_duplicates), confidence),
        classes=class_scores(labels, predicted, class_names),
        confusion=confusion_counts(labels, predicted, len(class_names)),
        calibration=calibration_bins(labels, probabilities, bins),
        labels=labels,
        predicted=predicted,
        probabilities=probabilities,
    )


def _subset(correct: NDArray[np.bool_], confidence: float) -> Subset | None:
    if not len(correct):
        return None
    interval = wilson_interval(int(correct.sum()), len(correct), confidence)
    return Subset(len(correct), float(correct.mean()), interval)


def short_names(names: Iterable[ModelName]) -> dict[ModelName, str]:
    """Return the short name of each model: `<model>-<data>`, plus `-<seed>` if seeds differ."""
    names = list(names)
    several = len({name.seed for name in names}) > 1
    return {name: str(name) if several else f"{name.model}-{name.data}" for name in names}


def metrics_content(
    results: Sequence[ModelResult], val_images: int, confidence: float
) -> dict[str, dict[str, Any]]:
    """Return the content of metrics.json.

    It is model → {"val": VAL_METRICS, "val_interval": Interval, "test": METRICS,
    "test_interval": Interval, "test_deduplicated": Subset}, the last null if every test image has a
    near duplicate. The intervals are those of the accuracies.

    Args:
        results: the results of every model.
        val_images: number of images in the validation split.
        confidence: level of the intervals.
    """
    named = short_names(result.name for result in results)
    return {
        named[result.name]: {
            "val": dict(result.val),
            "val_interval": wilson_interval(
                round(result.val["accuracy"] * val_images), val_images, confidence
            ),
            "test": dict(result.scores),
            "test_interval": result.accuracy_interval,
            "test_deduplicated": result.deduplicated and result.deduplicated._asdict(),
        }
        for result in results
    }


def per_class_table(results: Sequence[ModelResult]) -> pd.DataFrame:
    """Return precision, recall, F1 and support, a row per model and class."""
    named = short_names(result.name for result in results)
    return pd.DataFrame(
        [(named[result.name], *row) for result in results for row in result.classes],
        columns=["model", "class", "precision", "recall", "f1", "support"],
    )


def confusion_table(results: Sequence[ModelResult]) -> pd.DataFrame:
    """Return the confusion matrices, a row per model, true class and predicted class."""
    named = short_names(result.name for result in results)
    cells = [
        (named[result.name], *pair)
        for result in results
        for pair in itertools.product(result.class_names, repeat=2)
    ]
    table = pd.DataFrame(cells, columns=["model", "true", "predicted"])
    return table.assign(images=np.concatenate([result.confusion.ravel() for result in results]))


def calibration_table(results: Sequence[ModelResult]) -> pd.DataFrame:
    """Return the calibration bins, a row per model and bin; NaN where a bin has no images."""
    named = short_names(result.name for result in results)
    return pd.DataFrame(
        [(named[result.name], *row) for result in results for row in result.calibration],
        columns=["model", *Bin._fields],
    )


def curves_table(histories: Mapping[ModelName, Mapping[str, Sequence[float]]]) -> pd.DataFrame:
    """Return the training histories, a row per model and epoch."""
    named = short_names(histories)
    frames = {named[name]: pd.DataFrame(history) for name, history in histories.items()}
    return pd.concat(frames, names=["model", None]).reset_index(level="model")
