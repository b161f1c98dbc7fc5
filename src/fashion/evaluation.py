"""Labels and probabilities → scores, tables, calibration and paired comparisons.

Everything is computed in float64 from what a model says about each image, so anybody can score
the written predictions again and get the same numbers.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from fashion.data import CLASS_NAMES, CLASSES
from fashion.errors import UserError
from fashion.files import read_csv
from fashion.paths import ModelName
from fashion.randomness import generator

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

SUM_TOLERANCE = 1e-3  # a float32 softmax is within 1e-6 of one; what is far off is no softmax
PREDICTION_COLUMNS = ("index", "label", "predicted", *(f"p{i}" for i in range(CLASSES)))

Labels = NDArray[np.uint8]  # [N]
Probabilities = NDArray[np.floating[Any]]  # [N, 10]
Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]  # header, rows


class Interval(NamedTuple):
    """Where a value lies with the stated confidence."""

    low: float
    high: float


class ClassScores(NamedTuple):
    """How well one class is recognised."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int  # images of this class


class Bin(NamedTuple):
    """One bar of a reliability diagram: the images with `low` < probability ≤ `high`."""

    low: float
    high: float
    images: int
    confidence: float  # mean probability of the predicted class; NaN without an image
    accuracy: float  # NaN without an image


class Confused(NamedTuple):
    """Images of one class taken for another."""

    true: str
    predicted: str
    images: int
    share: float  # of the images of the true class


class Spread(NamedTuple):
    """A score over several seeds."""

    seeds: int
    mean: float
    deviation: float  # sample standard deviation; NaN with one seed
    interval: Interval  # of the mean, Student's t; NaN with one seed


class Predictions(NamedTuple):
    """What a model says about each image of a split."""

    labels: Labels  # uint8 [N]
    probabilities: NDArray[np.float32]  # [N, 10]


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


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models on the same images; every change is second minus first."""

    first: ModelName
    second: ModelName
    difference: float  # in accuracy
    interval: Interval  # of the difference, paired bootstrap
    only_first: int  # images that the first alone gets right
    only_second: int  # images that the second alone gets right
    p_value: float  # McNemar's exact test
    f1_change: tuple[float, ...]  # per class


def evaluate(
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
        ValueError: malformed input (see `check`), or a validation score is missing.
    """
    check(labels, probabilities)
    if missing := [metric for metric in VAL_METRICS if metric not in val]:
        raise ValueError(f"{name}: the validation scores lack {', '.join(missing)}")
    predicted = predict(probabilities)
    return ModelResult(
        name=name,
        val={metric: float(val[metric]) for metric in VAL_METRICS},
        scores=scores(labels, probabilities, bins),
        accuracy_interval=wilson(int((predicted == labels).sum()), len(labels), confidence),
        classes=class_scores(labels, predicted),
        confusion=confusion(labels, predicted),
        calibration=calibration(labels, probabilities, bins),
        labels=labels,
        predicted=predicted,
        probabilities=probabilities,
    )


def scores(labels: Labels, probabilities: Probabilities, bins: int) -> dict[str, float]:
    """Return every metric of METRICS, in that order; DEFINITIONS says what each is.

    Raises:
        ValueError: malformed input (see `check`).
    """
    check(labels, probabilities)
    predicted = predict(probabilities)
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
        calibration(labels, probabilities, bins)
    )
    return {metric: values[metric] for metric in METRICS}


def check(labels: Labels, probabilities: Probabilities) -> None:
    """Refuse labels and probabilities that cannot be scored.

    Raises:
        ValueError: no image, wrong type or shape, a label that is no class, or a row of
            probabilities that are not finite, below 0, or do not sum to one.
    """
    if labels.ndim != 1 or labels.dtype != np.uint8:
        raise ValueError(f"labels are {labels.dtype} {list(labels.shape)}, expected uint8 [N]")
    if not len(labels):
        raise ValueError("there is no image to score")
    if labels.max() >= CLASSES:
        raise ValueError(f"label {labels.max()} is outside 0–{CLASSES - 1}")
    if probabilities.shape != (len(labels), CLASSES):
        raise ValueError(
            f"probabilities are {list(probabilities.shape)},"
            f" expected [{len(labels)}, {CLASSES}] to match the labels"
        )
    if not np.issubdtype(probabilities.dtype, np.floating):
        raise ValueError(f"probabilities are {probabilities.dtype}, expected floats")
    if not (finite := np.isfinite(probabilities).all(axis=1)).all():
        raise ValueError(f"the probabilities of image {int(np.argmin(finite))} are not finite")
    if (negative := (probabilities < 0).any(axis=1)).any():
        raise ValueError(f"a probability of image {int(np.argmax(negative))} is below 0")
    sums = probabilities.sum(axis=1, dtype=np.float64)
    off = np.abs(sums - 1)
    if off.max() > SUM_TOLERANCE:
        worst = int(np.argmax(off))
        raise ValueError(f"the probabilities of image {worst} sum to {sums[worst]:.4f}, not to 1")


def predict(probabilities: Probabilities) -> Labels:
    """Return the most probable class of each image, uint8 [N]; the first of equals."""
    likeliest: NDArray[np.intp] = probabilities.argmax(axis=1)
    return likeliest.astype(np.uint8)


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


def calibration(labels: Labels, probabilities: Probabilities, bins: int) -> tuple[Bin, ...]:
    """Return the table behind a reliability diagram: bins of equal width, closed above."""
    edges = np.linspace(0, 1, bins + 1)
    confidences = probabilities.max(axis=1).astype(np.float64)
    right = predict(probabilities) == labels
    places = np.digitize(confidences, edges[1:-1], right=True)
    table = []
    for place in range(bins):
        members = places == place
        count = int(members.sum())
        table.append(
            Bin(
                float(edges[place]),
                float(edges[place + 1]),
                count,
                float(confidences[members].mean()) if count else math.nan,
                float(right[members].mean()) if count else math.nan,
            )
        )
    return tuple(table)


def expected_calibration_error(table: Sequence[Bin]) -> float:
    """Return Σ count/N · |accuracy − confidence| over the bins (Guo et al., 2017)."""
    total = sum(row.images for row in table)
    filled = (row for row in table if row.images)
    return sum(row.images / total * abs(row.accuracy - row.confidence) for row in filled)


def class_scores(labels: Labels, predicted: Labels) -> tuple[ClassScores, ...]:
    """Return precision, recall, F1 and support of every class; what is undefined counts 0."""
    columns = precision_recall_fscore_support(
        labels, predicted, labels=range(CLASSES), average=None, zero_division=0
    )
    return tuple(
        ClassScores(name, float(precision), float(recall), float(f1), int(support))
        for name, precision, recall, f1, support in zip(CLASS_NAMES, *columns, strict=True)
    )


def confusion(labels: Labels, predicted: Labels) -> NDArray[np.int64]:
    """Return the number of images per true class (row) and predicted class (column), [10, 10]."""
    counts: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=range(CLASSES))
    return counts


def most_confused(counts: NDArray[np.int64], number: int) -> list[Confused]:
    """Return at most `number` pairs of (true, predicted) class with the most errors.

    Args:
        counts: confusion matrix [10, 10].
        number: how many pairs.
    """
    pairs = [
        Confused(
            CLASS_NAMES[true],
            CLASS_NAMES[predicted],
            int(counts[true, predicted]),
            float(counts[true, predicted] / counts[true].sum()),
        )
        for true, predicted in itertools.permutations(range(CLASSES), 2)
        if counts[true, predicted]
    ]
    return sorted(pairs, key=lambda pair: -pair.images)[:number]


def wilson(successes: int, total: int, confidence: float) -> Interval:
    """Return Wilson's score interval of a share (Wilson, 1927), which stays within 0 … 1."""
    result = stats.binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return Interval(float(result.low), float(result.high))


def spread(values: ArrayLike, confidence: float) -> Spread:
    """Return mean, standard deviation and the t interval of the mean of one score per seed."""
    sample = np.asarray(values, np.float64)
    mean = float(sample.mean())
    if len(sample) < 2:
        return Spread(len(sample), mean, math.nan, Interval(math.nan, math.nan))
    deviation = float(sample.std(ddof=1))
    reach = float(stats.t.ppf((1 + confidence) / 2, len(sample) - 1)) * deviation
    reach /= math.sqrt(len(sample))
    return Spread(len(sample), mean, deviation, Interval(mean - reach, mean + reach))


def compare(
    first: ModelResult, second: ModelResult, *, samples: int, confidence: float, seed: int
) -> Comparison:
    """Return how the second model differs from the first on the same images.

    Args:
        first: the model compared with.
        second: the model whose gain is asked for.
        samples: number of bootstrap samples.
        confidence: of the difference's interval, such as 0.95.
        seed: `seed` of params.yaml.

    Raises:
        ValueError: the two were not scored on the same labels.
    """
    if not np.array_equal(first.labels, second.labels):
        raise ValueError(f"{first.name} and {second.name} were not scored on the same images")
    first_right = first.predicted == first.labels
    second_right = second.predicted == second.labels
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    total = len(first.labels)
    return Comparison(
        first=first.name,
        second=second.name,
        difference=(only_second - only_first) / total,
        interval=paired_bootstrap(
            only_first, only_second, total, samples=samples, confidence=confidence, seed=seed
        ),
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
        f1_change=tuple(
            after.f1 - before.f1
            for before, after in zip(first.classes, second.classes, strict=True)
        ),
    )


def paired_bootstrap(
    only_first: int, only_second: int, total: int, *, samples: int, confidence: float, seed: int
) -> Interval:
    """Return the percentile interval of the difference in accuracy, second minus first.

    Drawing all images anew with replacement and counting how many only the first, only the second,
    or neither of the two alone gets right is one multinomial draw: exact, and instant for any
    number of images.
    """
    shares = np.array([only_first, only_second, total - only_first - only_second]) / total
    drawn = generator(seed, "bootstrap").multinomial(total, shares, size=samples)
    differences = (drawn[:, 1] - drawn[:, 0]) / total
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value of McNemar's exact test: a fair coin over the discordant images."""
    discordant = only_first + only_second
    return float(stats.binomtest(only_second, discordant).pvalue) if discordant else 1.0


def pairs(results: Sequence[ModelResult]) -> list[tuple[ModelResult, ModelResult]]:
    """Return what is worth comparing, in the order given.

    First every two architectures on the same data and seed, then original against augmented data
    for the same architecture and seed.
    """
    by_model, by_data = [], []
    for first, second in itertools.combinations(results, 2):
        one, other = first.name, second.name
        if one.seed != other.seed:
            continue
        if one.data == other.data and one.model != other.model:
            by_model.append((first, second))
        if one.model == other.model and one.data != other.data:
            by_data.append((second, first) if other.data == "original" else (first, second))
    return by_model + by_data


def keys(names: Iterable[ModelName]) -> dict[ModelName, str]:
    """Return the short name of each model: `<model>-<data>`, plus `-<seed>` if seeds differ."""
    names = list(names)
    several = len({name.seed for name in names}) > 1
    return {name: str(name) if several else f"{name.model}-{name.data}" for name in names}


def metrics(results: Sequence[ModelResult]) -> dict[str, dict[str, dict[str, float]]]:
    """Return key → {"val": VAL_METRICS, "test": METRICS}, ready to be written as JSON."""
    named = keys(result.name for result in results)
    return {
        named[result.name]: {"val": dict(result.val), "test": dict(result.scores)}
        for result in results
    }


def comparisons_content(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return the comparisons, ready to be written as JSON."""
    named = keys(name for one in comparisons for name in (one.first, one.second))
    return [
        {
            "first": named[one.first],
            "second": named[one.second],
            "accuracy_difference": one.difference,
            "interval": list(one.interval),
            "only_first_right": one.only_first,
            "only_second_right": one.only_second,
            "mcnemar_p_value": one.p_value,
            "f1_change": dict(zip(CLASS_NAMES, one.f1_change, strict=True)),
        }
        for one in comparisons
    ]


def per_class_table(results: Sequence[ModelResult]) -> Table:
    """Return a row per model and class."""
    named = keys(result.name for result in results)
    header = ("model", "class", "precision", "recall", "f1", "support")
    return header, [(named[result.name], *row) for result in results for row in result.classes]


def confusion_table(results: Sequence[ModelResult]) -> Table:
    """Return a row per model, true class and predicted class."""
    named = keys(result.name for result in results)
    return ("model", "true", "predicted", "images"), [
        (named[result.name], true, predicted, int(result.confusion[i, j]))
        for result in results
        for i, true in enumerate(CLASS_NAMES)
        for j, predicted in enumerate(CLASS_NAMES)
    ]


def calibration_table(results: Sequence[ModelResult]) -> Table:
    """Return a row per model and calibration bin; what an empty bin has not is left empty."""
    named = keys(result.name for result in results)
    return ("model", "low", "high", "images", "confidence", "accuracy"), [
        (named[result.name], *row[:3], *(row[3:] if row.images else ("", "")))
        for result in results
        for row in result.calibration
    ]


def predictions_table(labels: Labels, probabilities: Probabilities) -> Table:
    """Return a row per image: index, label, predicted class, probability of every class.

    Probabilities are float32 in their shortest exact form, so `read_predictions` gets back every
    bit.

    Raises:
        ValueError: malformed input (see `check`).
    """
    check(labels, probabilities)
    exact = probabilities.astype(np.float32)
    columns = zip(labels.tolist(), predict(exact).tolist(), exact, strict=True)
    return PREDICTION_COLUMNS, [
        (index, label, predicted, *row) for index, (label, predicted, row) in enumerate(columns)
    ]


def read_predictions(path: Path) -> Predictions:
    """Return the predictions in a file, as `predictions_table` lays them out.

    Raises:
        UserError: the file is missing, a column is missing or unknown, a row is malformed or out
            of place, or its values cannot be scored.
    """
    rows = read_csv(path)
    if not rows:
        raise UserError(f"{path} holds no prediction")
    if tuple(rows[0]) != PREDICTION_COLUMNS:
        raise UserError(
            f"{path}: columns are {','.join(map(str, rows[0]))},"
            f" expected {','.join(PREDICTION_COLUMNS)}"
        )
    table = np.empty((len(rows), len(PREDICTION_COLUMNS)))
    for index, row in enumerate(rows):
        try:
            table[index] = [float(value) for value in row.values()]
        except ValueError:
            columns = len(PREDICTION_COLUMNS)
            raise UserError(f"{path}: row {index + 1} is not {columns} numbers") from None
        if table[index, 0] != index:
            raise UserError(f"{path}: row {index + 1} has index {row['index']}, expected {index}")
    if not np.isin(table[:, 1:3], np.arange(CLASSES)).all():
        raise UserError(f"{path}: a label or predicted class is none of 0–{CLASSES - 1}")
    labels, predicted = table[:, 1:3].astype(np.uint8).T.copy()
    probabilities = table[:, 3:].astype(np.float32)
    try:
        check(labels, probabilities)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    if (wrong := predict(probabilities) != predicted).any():
        raise UserError(f"{path}: predicted of image {int(np.argmax(wrong))} is not its likeliest")
    return Predictions(labels, probabilities)
