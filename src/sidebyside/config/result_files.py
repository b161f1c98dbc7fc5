"""Schemas of the small files that stages read from earlier stages.

A damaged file is reported in one line before it is used.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from sidebyside.config.dataset import Dataset
from sidebyside.config.validation import StrictModel, read_record
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_csv

HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TrainingScores(StrictModel):
    """reports/train/<name>/metrics.json: scores of the epoch whose weights became the model."""

    val_accuracy: Share
    val_loss: Finite
    best_epoch: int
    epochs: int


class TrainedModel(StrictModel):
    """reports/train/<name>/model.json, the fields that other stages use."""

    model_config = ConfigDict(extra="ignore")

    file_sha256: Digest


class UsedData(StrictModel):
    """model.json, search.json and evaluation.json, the data from which the results come."""

    model_config = ConfigDict(extra="ignore")

    data_sha256: dict[str, Digest]  # split → digest


class AugmentationSummary(StrictModel):
    """reports/augment/summary.json, the fields that other stages use."""

    model_config = ConfigDict(extra="ignore")

    classes: dict[str, int]  # name → images


def require_data(path: Path, dataset: Dataset, split: str) -> None:
    """Check that results come from a split of the data set in use, not from one used before.

    Args:
        path: model.json, search.json or evaluation.json.
        dataset: the data set in use.
        split: val or test.

    Raises:
        UserError: the results come from other data, or the file is missing or damaged.
    """
    used = read_record(path, UsedData).data_sha256
    if used.get(split) != dataset.splits[split].sha256:
        raise UserError(
            f"{path}: these results come from other data than data/processed ({dataset.title}):"
            " run `dvc repro`"
        )


def read_history(path: Path) -> dict[str, list[float]]:
    """Return column → values per epoch.

    Raises:
        UserError: the file is missing, or is not a valid history.
    """
    rows = read_csv(path, HISTORY_COLUMNS)
    if not rows:
        raise UserError(f"{path} has no rows")
    return {column: [_number(path, row, column) for row in rows] for column in HISTORY_COLUMNS}


def read_trials(path: Path, objective: str) -> list[dict[str, str]]:
    """Return one row per trial, column → text; the scores of a failed trial are empty.

    Raises:
        UserError: the file is missing, or is not a valid table of trials.
    """
    rows = read_csv(path, ("trial", "max_epochs", "epochs", objective))
    if not rows:
        raise UserError(f"{path} has no rows")
    for row in rows:
        if row[objective]:
            _number(path, row, objective)
    return rows


def read_class_counts(
    path: Path, splits: Sequence[str], class_names: Sequence[str]
) -> dict[str, list[int]]:
    """Return split → images per class, in the order of the classes.

    Raises:
        UserError: the file is missing, or is not a valid table of class counts.
    """
    rows = read_csv(path, ("class", *splits))
    if [row["class"] for row in rows] != list(class_names):
        raise UserError(f"{path}: expected a row for each of {', '.join(class_names)}")
    return {split: [int(_number(path, row, split)) for row in rows] for split in splits}


def read_near_duplicates(path: Path, images: int) -> list[int]:
    """Return the indices of the test images that have a near duplicate in train or val, ascending.

    Args:
        path: near_duplicates.csv, as `preprocess` writes it.
        images: number of test images.

    Raises:
        UserError: the file is missing, or is not a valid table of near duplicates.
    """
    rows = read_csv(path, ("split", "image", "with"))
    indices = {
        _number(path, row, "image")
        for row in rows
        if row["split"] == "test" and row["with"] in ("train", "val")
    }
    if unknown := indices - set(range(images)):
        raise UserError(
            f"{path}: test image {min(unknown):g} is not one of the {images} test images:"
            " run `dvc repro --force --single-item preprocess`"
        )
    return sorted(map(int, indices))


def _number(path: Path, row: dict[str, Any], column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            f"{path}: column {column} contains {row[column][:40]!r}, expected a finite number"
        )
    return value
