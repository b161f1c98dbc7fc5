import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sidebyside.config.paths import ModelName
from sidebyside.evaluation.intervals import (
    wilson_interval,
)
from sidebyside.evaluation.metrics import (
    METRICS,
)
from sidebyside.evaluation.results import (
    ModelResult,
    calibration_table,
    confusion_table,
    curves_table,
    evaluate_model,
    metrics_content,
    per_class_table,
    short_names,
)
from tests.support.datasets import CLASS_NAMES
from tests.support.results import CNN, MLP, one_hot, random_case, some_result


def test_a_missing_validation_score_is_refused() -> None:
    labels, probabilities = random_case()
    with pytest.raises(ValueError, match=r"mlp-original-1.* lack log_loss"):
        evaluate_model(
            MLP,
            labels,
            probabilities,
            CLASS_NAMES,
            val={"accuracy": 1},
            near_duplicates=[],
            bins=5,
            confidence=0.95,
        )


def test_a_result_has_validation_and_test_scores() -> None:
    result = some_result()
    assert result.val == {"accuracy": 0.9, "log_loss": 0.3}
    assert result.accuracy_interval.low < result.scores["accuracy"] < result.accuracy_interval.high
    assert np.mean([one.f1 for one in result.classes]) == pytest.approx(result.scores["f1_macro"])
    assert result.confusion.trace() / 200 == result.scores["accuracy"]


def test_short_names_have_the_seed_only_if_seeds_differ() -> None:
    other = ModelName("cnn", "original", 2)
    assert short_names([MLP, CNN]) == {MLP: "mlp-original", CNN: "cnn-original"}
    assert short_names([MLP, other]) == {MLP: "mlp-original-1", other: "cnn-original-2"}


def test_the_content_of_metrics_has_validation_and_test_scores() -> None:
    content = metrics_content([some_result(MLP), some_result(CNN, seed=2)], 50, 0.9)
    assert list(content) == ["mlp-original", "cnn-original"]
    assert content["mlp-original"]["val"] == {"accuracy": 0.9, "log_loss": 0.3}
    assert content["mlp-original"]["val_interval"] == wilson_interval(45, 50, 0.9)
    assert content["mlp-original"]["test_interval"] == some_result(MLP).accuracy_interval
    assert tuple(content["cnn-original"]["test"]) == METRICS
    json.dumps(content, allow_nan=False)


def without_near_duplicates(near_duplicates: list[int]) -> ModelResult:
    labels = np.array([0, 0, 1, 1], np.uint8)
    return evaluate_model(
        MLP,
        labels,
        one_hot([0, 1, 1, 1]),
        CLASS_NAMES,
        val={"accuracy": 1, "log_loss": 0},
        near_duplicates=near_duplicates,
        bins=5,
        confidence=0.95,
    )


def test_the_deduplicated_accuracy_leaves_out_images_with_near_duplicates() -> None:
    result = without_near_duplicates([2, 3])
    assert result.scores["accuracy"] == 0.75
    assert result.deduplicated == (2, 0.5, wilson_interval(1, 2, 0.95))
    content = metrics_content([result], 4, 0.95)["mlp-original"]["test_deduplicated"]
    low, high = wilson_interval(1, 2, 0.95)
    assert json.loads(json.dumps(content)) == {
        "images": 2, "accuracy": 0.5, "interval": [low, high]
    }  # fmt: skip


def test_without_near_duplicates_the_deduplicated_accuracy_is_the_accuracy() -> None:
    result = without_near_duplicates([])
    assert result.deduplicated == (4, 0.75, result.accuracy_interval)


def test_a_test_split_of_near_duplicates_alone_has_no_deduplicated_accuracy() -> None:
    result = without_near_duplicates([0, 1, 2, 3])
    assert result.deduplicated is None
    assert metrics_content([result], 4, 0.95)["mlp-original"]["test_deduplicated"] is None


def test_predictions_of_other_classes_than_those_named_are_refused() -> None:
    with pytest.raises(ValueError, match="probabilities of 10 classes, expected 3"):
        evaluate_model(
            MLP,
            *random_case(),
            CLASS_NAMES[:3],
            val={"accuracy": 1, "log_loss": 0},
            near_duplicates=[],
            bins=5,
            confidence=0.95,
        )


def test_tables_have_rows_of_every_model() -> None:
    results = [some_result(MLP), some_result(CNN, seed=2)]
    sizes = {}
    for make in (
        per_class_table,
        confusion_table,
        calibration_table,
    ):
        table = make(results)
        assert set(table["model"]) == {"mlp-original", "cnn-original"}
        sizes[make.__name__] = len(table)
    assert sizes == {"per_class_table": 20, "confusion_table": 200, "calibration_table": 10}


def test_an_empty_calibration_bin_leaves_its_cells_empty() -> None:
    labels = np.zeros(3, np.uint8)
    table = calibration_table([some_result(MLP, labels, one_hot([0, 0, 0]))])
    lines = table.to_csv(index=False).splitlines()
    assert lines[1] == "mlp-original,0.0,0.2,0,,"
    assert lines[-1] == "mlp-original,0.8,1.0,3,1.0,1.0"


def test_a_higher_confidence_widens_the_interval_of_the_accuracy() -> None:
    low, high = wilson_interval(81, 263, 0.5)
    assert 0.28 < low < 81 / 263 < high < 0.33
    asked = [
        evaluate_model(
            MLP,
            *random_case(),
            CLASS_NAMES,
            val={"accuracy": 1, "log_loss": 0},
            near_duplicates=[],
            bins=5,
            confidence=share,
        ).accuracy_interval
        for share in (0.5, 0.99)
    ]
    assert asked[1].low < asked[0].low < asked[0].high < asked[1].high


def test_the_confusion_table_names_the_true_class_first() -> None:
    result = some_result(MLP, np.array([0, 0, 3], np.uint8), one_hot([6, 6, 3]))
    rows = confusion_table([result]).to_numpy().tolist()
    assert ["mlp-original", CLASS_NAMES[0], CLASS_NAMES[6], 2] in rows
    assert ["mlp-original", CLASS_NAMES[6], CLASS_NAMES[0], 0] in rows


def test_precision_and_recall_of_a_class_are_not_swapped() -> None:
    result = some_result(MLP, np.array([0, 0, 3], np.uint8), one_hot([0, 3, 3]))
    assert result.classes[0][1:] == pytest.approx((1, 0.5, 2 / 3, 2))


def test_values_are_in_the_columns_of_their_names() -> None:
    result = some_result(MLP, np.array([0, 0, 3], np.uint8), one_hot([0, 3, 3], 0.9))

    def row(table: pd.DataFrame, index: int) -> dict[Any, Any]:
        return table.iloc[index].to_dict()

    assert row(per_class_table([result]), 0) == {
        "model": "mlp-original",
        "class": CLASS_NAMES[0],
        "precision": 1,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "support": 2,
    }
    assert row(confusion_table([result]), 3) == {
        "model": "mlp-original",
        "true": CLASS_NAMES[0],
        "predicted": CLASS_NAMES[3],
        "images": 1,
    }
    assert row(calibration_table([result]), -1) == {
        "model": "mlp-original",
        "low": pytest.approx(0.8),
        "high": 1,
        "images": 3,
        "confidence": pytest.approx(0.9),
        "accuracy": pytest.approx(2 / 3),
    }


def test_curves_have_a_row_per_model_and_epoch() -> None:
    long = {"epoch": [1.0, 2.0], "loss": [0.5, 0.25]}
    short = {"epoch": [1.0], "loss": [1.0]}
    assert curves_table({MLP: long, CNN: short}).to_csv(index=False).splitlines() == [
        "model,epoch,loss",
        "mlp-original,1.0,0.5",
        "mlp-original,2.0,0.25",
        "cnn-original,1.0,1.0",
    ]
