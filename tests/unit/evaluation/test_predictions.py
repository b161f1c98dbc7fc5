import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sidebyside.core.errors import UserError
from sidebyside.core.files import write_csv
from sidebyside.evaluation.metrics import (
    compute_scores,
)
from sidebyside.evaluation.predictions import (
    Labels,
    check_probabilities,
    prediction_columns,
    predictions_table,
    read_predictions,
)
from tests.support.results import one_hot, random_case


def test_labels_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="label 10 is outside 0–9"):
        compute_scores(np.array([10], np.uint8), one_hot([0]), 5)


def test_labels_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels are int64 \[1\], expected uint8"):
        compute_scores(np.array([0]), one_hot([0]), 5)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        compute_scores(np.zeros(0, np.uint8), np.zeros((0, 10)), 5)


def test_probabilities_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"probabilities are \[2, 10\], expected \[1, classes\]"):
        compute_scores(np.zeros(1, np.uint8), one_hot([0, 0]), 5)


def test_probabilities_as_integers_are_refused() -> None:
    with pytest.raises(ValueError, match="expected floats"):
        compute_scores(np.zeros(1, np.uint8), one_hot([0]).astype(np.int64), 5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_probabilities_that_are_not_finite_are_refused(value: float) -> None:
    probabilities = one_hot([0, 0, 0])
    probabilities[1, 3] = value
    with pytest.raises(ValueError, match="probabilities of image 1 are not finite"):
        compute_scores(np.zeros(3, np.uint8), probabilities, 5)


def test_negative_probabilities_are_refused() -> None:
    probabilities = one_hot([0, 0])
    probabilities[1, :3] = 0.75, 0.75, -0.5
    with pytest.raises(ValueError, match="a probability of image 1 is negative"):
        compute_scores(np.zeros(2, np.uint8), probabilities, 5)


def test_probabilities_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"probabilities of image 1 sum to 0\.5000, not to 1"):
        compute_scores(np.zeros(2, np.uint8), one_hot([0, 0]) * [[1], [0.5]], 5)


def written(path: Path) -> tuple[Labels, NDArray[np.float32]]:
    labels, exact = random_case(30)
    probabilities = exact.astype(np.float32)
    path.write_text(predictions_table(labels, probabilities).to_csv(index=False))
    return labels, probabilities


def test_predictions_are_read_back_bit_for_bit(tmp_path: Path) -> None:
    labels, probabilities = written(tmp_path / "p.csv")
    found = read_predictions(tmp_path / "p.csv", 10)
    assert np.array_equal(found.labels, labels)
    assert found.probabilities.dtype == np.float32
    assert np.array_equal(found.probabilities, probabilities)
    assert compute_scores(*found, bins=5) == compute_scores(labels, probabilities, bins=5)


def test_predictions_that_cannot_be_scored_are_not_tabulated() -> None:
    with pytest.raises(ValueError, match="sum to"):
        predictions_table(np.zeros(1, np.uint8), one_hot([0]) / 2)


@pytest.mark.parametrize(
    ("line", "column", "value", "message"),
    [
        (0, 3, "q0", "columns are index,label,predicted,q0"),
        (3, 0, "7", "row 3 has index 7, expected 2"),
        (3, 1, "10", "a label or predicted class is not one of 0–9"),
        (3, 1, "0.5", "a label or predicted class is not one of 0–9"),
        (3, 5, "much", "row 3 is not 13 numbers"),
        (3, 5, "nan", "probabilities of image 2 are not finite"),
        (3, 5, "0.99", "probabilities of image 2 sum to"),
        (3, 2, "9", "predicted of image 2 is not its most probable class"),
    ],
)
def test_malformed_predictions_are_refused(
    tmp_path: Path, line: int, column: int, value: str, message: str
) -> None:
    path = tmp_path / "p.csv"
    written(path)
    rows = [row.split(",") for row in path.read_text().splitlines()]
    rows[line][column] = value
    path.write_text("\n".join(map(",".join, rows)))
    with pytest.raises(UserError, match=message):
        read_predictions(path, 10)


@pytest.mark.parametrize("tail", ["2,0,0,1,0,0", "2" + ",0" * 13], ids=["short", "long"])
def test_a_row_of_another_length_is_refused(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "p.csv"
    written(path)
    lines = path.read_text().splitlines()
    lines[3] = tail
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"row 3 has (6|14) cells, expected 13"):
        read_predictions(path, 10)


def test_missing_or_empty_predictions_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv is missing"):
        read_predictions(tmp_path / "none.csv", 10)
    write_csv(tmp_path / "empty.csv", prediction_columns(10), [])
    with pytest.raises(UserError, match=r"empty\.csv has no rows"):
        read_predictions(tmp_path / "empty.csv", 10)


def test_a_sum_slightly_off_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sum to 1\.0050"):
        check_probabilities(np.array([0], np.uint8), one_hot([0]) + 0.0005)


def test_the_predicted_class_is_that_of_the_rounded_probabilities() -> None:
    probabilities = one_hot([1], 0.5)
    probabilities[0, 0], probabilities[0, 2] = 0.5 - 1e-12, 1e-12
    probabilities[0, 3:] = 0
    (row,) = predictions_table(np.array([1], np.uint8), probabilities).to_numpy()
    assert row[2] == np.argmax(row[3:]) == 0
