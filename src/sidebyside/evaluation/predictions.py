"""Check, tabulate and read the class probabilities that a model predicts for a split."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_csv

SUM_TOLERANCE = 1e-3  # the sum of a float32 softmax is within 1e-6 of one

Labels = NDArray[np.uint8]  # [N]
Probabilities = NDArray[np.floating[Any]]  # [N, classes]


def check_probabilities(labels: Labels, probabilities: Probabilities) -> None:
    """Check that labels and probabilities can be scored.

    Args:
        labels: true classes, uint8 [N].
        probabilities: predicted probability of each class, [N, classes].

    Raises:
        ValueError: there is no image, a type or shape is wrong, a label is not a class, or the
            probabilities of an image are not finite, are negative or do not sum to one.
    """
    if labels.ndim != 1 or labels.dtype != np.uint8:
        raise ValueError(f"labels are {labels.dtype} {list(labels.shape)}, expected uint8 [N]")
    if not len(labels):
        raise ValueError("there are no images to score")
    if probabilities.ndim != 2 or len(probabilities) != len(labels):
        raise ValueError(
            f"probabilities are {list(probabilities.shape)},"
            f" expected [{len(labels)}, classes] to match the labels"
        )
    if labels.max() >= (classes := probabilities.shape[1]):
        raise ValueError(f"label {labels.max()} is outside 0–{classes - 1}")
    if not np.issubdtype(probabilities.dtype, np.floating):
        raise ValueError(f"probabilities are {probabilities.dtype}, expected floats")
    if not (finite := np.isfinite(probabilities).all(axis=1)).all():
        raise ValueError(f"the probabilities of image {int(np.argmin(finite))} are not finite")
    if (negative := (probabilities < 0).any(axis=1)).any():
        raise ValueError(f"a probability of image {int(np.argmax(negative))} is negative")
    sums = probabilities.sum(axis=1, dtype=np.float64)
    off = np.abs(sums - 1)
    if off.max() > SUM_TOLERANCE:
        worst = int(np.argmax(off))
        raise ValueError(f"the probabilities of image {worst} sum to {sums[worst]:.4f}, not to 1")


def predicted_labels(probabilities: Probabilities) -> Labels:
    """Return the most probable class of each image, uint8 [N]; the first of equal ones."""
    most_probable: NDArray[np.intp] = probabilities.argmax(axis=1)
    return most_probable.astype(np.uint8)


class Predictions(NamedTuple):
    """The predictions of a model for each image of a split."""

    labels: Labels  # uint8 [N]
    probabilities: NDArray[np.float32]  # [N, classes]


def prediction_columns(classes: int) -> list[str]:
    """Return the columns of the predictions for that number of classes."""
    return ["index", "label", "predicted", *(f"p{label}" for label in range(classes))]


def predictions_table(labels: Labels, probabilities: Probabilities) -> pd.DataFrame:
    """Return a row per image: index, label, predicted class, probability of every class.

    Probabilities are float32, whose shortest exact form a CSV file holds, so `read_predictions`
    returns them bit for bit.

    Args:
        labels: true classes, uint8 [N].
        probabilities: predicted probability of each class, [N, classes].

    Raises:
        ValueError: malformed input (see `check_probabilities`).
    """
    check_probabilities(labels, probabilities)
    exact = probabilities.astype(np.float32)
    table = pd.DataFrame(exact, columns=prediction_columns(exact.shape[1])[3:])
    table.insert(0, "index", np.arange(len(labels)))
    table.insert(1, "label", labels)
    table.insert(2, "predicted", predicted_labels(exact))
    return table


def read_predictions(path: Path, classes: int) -> Predictions:
    """Return the predictions in a file with the columns of `predictions_table`.

    Args:
        path: the file.
        classes: number of classes of the data set.

    Raises:
        UserError: the file is missing, a column is missing or unknown, a row is malformed or
            misplaced, or its values cannot be scored.
    """
    # Not by pandas, which fills short rows and converts columns, so that an error could not name
    # the malformed row.
    rows = read_csv(path)
    if not rows:
        raise UserError(f"{path} has no rows")
    columns = prediction_columns(classes)
    if list(rows[0]) != columns:
        raise UserError(
            f"{path}: columns are {','.join(map(str, rows[0]))}, expected {','.join(columns)}"
        )
    table = np.empty((len(rows), len(columns)))
    for index, row in enumerate(rows):
        try:
            table[index] = [float(value) for value in row.values()]
        except ValueError:
            raise UserError(f"{path}: row {index + 1} is not {len(columns)} numbers") from None
        if table[index, 0] != index:
            raise UserError(f"{path}: row {index + 1} has index {row['index']}, expected {index}")
    if not np.isin(table[:, 1:3], np.arange(classes)).all():
        raise UserError(f"{path}: a label or predicted class is not one of 0–{classes - 1}")
    labels, predicted = table[:, 1:3].astype(np.uint8).T.copy()
    probabilities = table[:, 3:].astype(np.float32)
    try:
        check_probabilities(labels, probabilities)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    if (wrong := predicted_labels(probabilities) != predicted).any():
        raise UserError(
            f"{path}: predicted of image {int(np.argmax(wrong))} is not its most probable class"
        )
    return Predictions(labels, probabilities)
