"""Labels and probabilities → scores, tables, calibration and paired comparisons.

Everything is computed in float64 from what a model says about each image, so anybody can score
the written predictions again and get the same numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.dataset import CLASS_NAMES
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
    Table,
    check_probabilities,
    predicted_labels,
)


@dataclass(frozen=True, eq=False)
class ModelResult:
    """One trained model on the test split."""

    name: ModelName
    val: Mapping[str, float]  # VAL_METRICS on the validation split, as training measured them
    scores: Mapping[str, float]  # METRICS
    accuracy_interval: Interval
    classes: tuple[ClassScores, ...]
    confusion: NDArray[np.int64]  # [10, 10] images, row = true class, column = predicted class
    calibration: tuple[Bin, ...]
    labels: Labels  # uint8 [N]
    predicted: Labels  # uint8 [N]
    probabilities: Probabilities  # [N, 10]


def evaluate_model(
    name: ModelName,
    labels: Labels,
    probabilities: Probabilities,
    *,
    val: Mapping[str, float],
    bins: int,
    confidence: float,
) -> ModelResult:
    """Return everything that is reported of one model alone.

    Args:
        name: which model.
        labels: true classes, uint8 [N].
        probabilities: of each class for each image, [N, 10].
        val: at least VAL_METRICS, measured on the validation split.
        bins: number of calibration bins.
        confidence: of the accuracy's interval, such as 0.95.

    Raises:
        ValueError: malformed input (see `check_probabilities`), or a validation score is missing.
    """
    check_probabilities(labels, probabilities)
    if missing := [metric for metric in VAL_METRICS if metric not in val]:
        raise ValueError(f"{name}: the validation scores lack {', '.join(missing)}")
    predicted = predicted_labels(probabilities)
    return ModelResult(
        name=name,
        val={metric: float(val[metric]) for metric in VAL_METRICS},
        scores=compute_scores(labels, probabilities, bins),
        accuracy_interval=wilson_interval(
            int((predicted == labels).sum()), len(labels), confidence
        ),
        classes=class_scores(labels, predicted),
        confusion=confusion_counts(labels, predicted),
        calibration=calibration_bins(labels, probabilities, bins),
        labels=labels,
        predicted=predicted,
        probabilities=probabilities,
    )


def short_names(names: Iterable[ModelName]) -> dict[ModelName, str]:
    """Return the short name of each model: `<model>-<data>`, plus `-<seed>` if seeds differ."""
    names = list(names)
    several = len({name.seed for name in names}) > 1
    return {name: str(name) if several else f"{name.model}-{name.data}" for name in names}


def metrics_content(results: Sequence[ModelResult]) -> dict[str, dict[str, dict[str, float]]]:
    """Return key → {"val": VAL_METRICS, "test": METRICS}, ready to be written as JSON."""
    named = short_names(result.name for result in results)
    return {
        named[result.name]: {"val": dict(result.val), "test": dict(result.scores)}
        for result in results
    }


def per_class_table(results: Sequence[ModelResult]) -> Table:
    """Return a row per model and class."""
    named = short_names(result.name for result in results)
    header = ("model", "class", "precision", "recall", "f1", "support")
    return header, [(named[result.name], *row) for result in results for row in result.classes]


def confusion_table(results: Sequence[ModelResult]) -> Table:
    """Return a row per model, true class and predicted class."""
    named = short_names(result.name for result in results)
    return ("model", "true", "predicted", "images"), [
        (named[result.name], true, predicted, int(result.confusion[i, j]))
        for result in results
        for i, true in enumerate(CLASS_NAMES)
        for j, predicted in enumerate(CLASS_NAMES)
    ]


def calibration_table(results: Sequence[ModelResult]) -> Table:
    """Return a row per model and calibration bin; what an empty bin has not is left empty."""
    named = short_names(result.name for result in results)
    return ("model", "low", "high", "images", "confidence", "accuracy"), [
        (named[result.name], *row[:3], *(row[3:] if row.images else ("", "")))
        for result in results
        for row in result.calibration
    ]
