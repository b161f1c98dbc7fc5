import json
from pathlib import Path
from typing import Any

import pytest

from sidebyside.config import result_files
from sidebyside.config.validation import read_record
from sidebyside.core.errors import UserError
from tests.support.datasets import CLASS_NAMES, dataset

SCORES = {"val_accuracy": 0.9, "val_loss": 0.3, "best_epoch": 2, "epochs": 3}
MODEL = {"file_sha256": "a" * 64, "parameters": 10}
HISTORY = (
    ",".join(result_files.HISTORY_COLUMNS) + "\n1,0.5,0.8,0.6,0.7,0.001\n2,0.4,0.9,0.5,0.8,0.0005\n"
)
TRIALS = "trial,dropout,max_epochs,epochs,val_accuracy\n1,0.1,3,3.0,0.85\n2,0.2,3,,\n"
COUNTS = "class,train,val\n" + "".join(f"{name},4,2\n" for name in CLASS_NAMES)


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_record_may_have_more_fields_than_are_used(tmp_path: Path) -> None:
    path = write(tmp_path / "model.json", MODEL)
    assert read_record(path, result_files.TrainedModel).file_sha256 == "a" * 64
    path = write(tmp_path / "metrics.json", SCORES)
    assert read_record(path, result_files.TrainingScores).val_accuracy == 0.9


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        (result_files.TrainingScores, {**SCORES, "val_accuracy": 90}, "val_accuracy: .* not 90"),
        (
            result_files.TrainingScores,
            {**SCORES, "val_accuracy": "0.9"},
            "val_accuracy: .* not '0.9'",
        ),
        (result_files.TrainingScores, {**SCORES, "val_loss": float("nan")}, "val_loss: .* finite"),
        (result_files.TrainingScores, {**SCORES, "test_loss": 1}, "test_loss: unknown key"),
        (result_files.TrainingScores, {"val_loss": 1.0}, "val_accuracy: is missing"),
        (result_files.TrainingScores, [1, 2], "valid dictionary"),
        (result_files.TrainingScores, '{"epochs": 1, "epochs": 2}', "duplicate key 'epochs'"),
        (result_files.TrainingScores, "[" * 100_000, "nested too deeply"),
        (result_files.TrainedModel, {"file_sha256": "x\ny"}, "file_sha256: .* not 'x.+y'"),
        (result_files.TrainedModel, {**MODEL, "file_sha256": "a" * 63}, "file_sha256: "),
        (result_files.TrainedModel, {"parameters": 10}, "file_sha256: is missing"),
        (result_files.AugmentationSummary, {"classes": {"Bag": 1.5}}, "classes.Bag: "),
    ],
)
def test_a_damaged_record_is_reported_in_one_line(
    tmp_path: Path, kind: Any, content: object, message: str
) -> None:
    path = write(tmp_path / "record.json", content)
    with pytest.raises(UserError, match=rf"record\.json.*{message}") as caught:
        read_record(path, kind)
    assert "\n" not in str(caught.value)


def test_a_history_is_read_as_columns_of_numbers(tmp_path: Path) -> None:
    history = result_files.read_history(write(tmp_path / "history.csv", HISTORY))
    assert list(history) == list(result_files.HISTORY_COLUMNS)
    assert history["val_accuracy"] == [0.7, 0.8]


def test_the_scores_of_a_failed_trial_may_be_empty(tmp_path: Path) -> None:
    rows = result_files.read_trials(write(tmp_path / "trials.csv", TRIALS), "val_accuracy")
    assert [row["val_accuracy"] for row in rows] == ["0.85", ""]
    assert rows[0]["dropout"] == "0.1"


def test_class_counts_are_integers_in_the_order_of_the_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "classes.csv", COUNTS)
    assert result_files.read_class_counts(path, ("train", "val"), CLASS_NAMES) == {
        "train": [4] * 10,
        "val": [2] * 10,
    }


NEAR_DUPLICATES = (
    "split,image,with,other,distance,same_label\n"
    "val,1,test,5,0.1,True\ntest,5,val,1,0.1,True\ntest,3,test,4,0.1,False\n"
    "test,3,train,70,0.12,True\ntest,5,train,8,0.09,True\n"
)


def test_test_images_with_a_near_duplicate_in_train_or_val_are_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "near_duplicates.csv", NEAR_DUPLICATES)
    assert result_files.read_near_duplicates(path, 6) == [3, 5]


def near_duplicates(path: Path) -> object:
    return result_files.read_near_duplicates(path, 6)


def history(path: Path) -> object:
    return result_files.read_history(path)


def trials(path: Path) -> object:
    return result_files.read_trials(path, "val_accuracy")


def counts(path: Path) -> object:
    return result_files.read_class_counts(path, ("train", "val"), CLASS_NAMES)


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (history, "", "has no column epoch"),
        (history, ",".join(result_files.HISTORY_COLUMNS) + "\n", "has no rows"),
        (history, HISTORY.replace("val_loss", "loss2"), "has no column val_loss"),
        (
            history,
            HISTORY.replace("0.6", "nan"),
            "column val_loss contains 'nan', expected a finite number",
        ),
        (
            history,
            HISTORY.replace("0.6", "x" * 10**5),
            "contains 'x{40}', expected a finite number",
        ),
        (history, HISTORY.replace("0.6,", ""), "row 1 has 5 cells, expected 6"),
        (history, HISTORY + "3", "row 3 has 1 cells, expected 6"),
        (history, 'epoch,"' + "x" * 200_000, "is not a valid CSV file"),
        (trials, "trial\n1\n", "has no column max_epochs"),
        (trials, TRIALS.splitlines()[0], "has no rows"),
        (trials, TRIALS.replace("0.85", "good"), "column val_accuracy contains 'good'"),
        (counts, COUNTS.replace("Bag", "Hat"), "expected a row for each of T-shirt/top, "),
        (counts, COUNTS.replace("Bag,4", "Bag,four"), "column train contains 'four'"),
        (counts, COUNTS.replace("val", "test"), "has no column val"),
        (near_duplicates, "split,image\n", "has no column with"),
        (
            near_duplicates,
            NEAR_DUPLICATES.replace("test,5,t", "test,6,t"),
            "test image 6 is not one of the 6 test images: run `dvc repro --force",
        ),
        (
            near_duplicates,
            NEAR_DUPLICATES.replace("test,5,t", "test,1.5,t"),
            "test image 1.5 is not one of the 6 test images",
        ),
    ],
)
def test_a_damaged_table_is_reported_in_one_line(
    tmp_path: Path, read: Any, content: str, message: str
) -> None:
    path = write(tmp_path / "table.csv", content)
    with pytest.raises(UserError, match=rf"table\.csv.*{message}") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


def test_bytes_that_are_not_utf_8_are_not_a_table(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(b"epoch,\xff\n")
    with pytest.raises(UserError, match=r"table\.csv is not a valid CSV file"):
        result_files.read_history(tmp_path / "table.csv")


def test_results_of_another_data_set_are_named(tmp_path: Path) -> None:
    here = dataset(name="digits", title="Digits")
    path = tmp_path / "model.json"
    write(path, {"data_sha256": {"val": here.splits["val"].sha256}, "settings": {}})
    result_files.require_data(path, here, "val")
    for digests in ({"val": "ab" * 32}, {"train": here.splits["val"].sha256}):
        write(path, {"data_sha256": digests})
        with pytest.raises(UserError, match=r"from other data .* \(Digits\): run `dvc repro`$"):
            result_files.require_data(path, here, "val")
    write(path, {"data_sha256": "ab" * 32})
    with pytest.raises(UserError, match="data_sha256: Input should be a valid dict"):
        result_files.require_data(path, here, "val")
