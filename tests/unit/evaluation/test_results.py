import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as reference

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.config.paths import ModelName
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_csv
from sidebyside.evaluation.calibration import calibration_bins, expected_calibration_error
from sidebyside.evaluation.intervals import (
    Interval,
    mean_with_interval,
    paired_bootstrap,
    wilson_interval,
)
from sidebyside.evaluation.metrics import (
    METRICS,
    brier_score,
    class_scores,
    compute_scores,
    confusion_counts,
    log_loss,
    most_confused,
)
from sidebyside.evaluation.paired_tests import (
    Comparison,
    comparable_pairs,
    compare_models,
    comparisons_content,
    mcnemar_p_value,
)
from sidebyside.evaluation.predictions import (
    PREDICTION_COLUMNS,
    Labels,
    check_probabilities,
    predictions_table,
    read_predictions,
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

MLP = ModelName("mlp", "original", 1)
CNN = ModelName("cnn", "original", 1)


def one_hot(classes: list[int], share: float = 1.0) -> NDArray[np.float64]:
    """Give `share` to the class said and the rest to all others alike."""
    probabilities = np.full((len(classes), 10), (1 - share) / 9)
    probabilities[np.arange(len(classes)), classes] = share
    return probabilities


def random_case(images: int = 200, seed: int = 1) -> tuple[Labels, NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    labels = (np.arange(images) % 10).astype(np.uint8)
    scores = random.normal(size=(images, 10)) + 2 * np.eye(10)[labels]
    probabilities = np.exp(scores)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def some_result(
    name: ModelName = MLP,
    labels: Labels | None = None,
    probabilities: NDArray[np.float64] | None = None,
    seed: int = 1,
) -> ModelResult:
    if labels is None or probabilities is None:
        labels, probabilities = random_case(seed=seed)
    return evaluate_model(
        name,
        labels,
        probabilities,
        val={"accuracy": 0.9, "log_loss": 0.3, "epochs": 3},
        bins=5,
        confidence=0.95,
    )


def compared(first: ModelResult, second: ModelResult, **changes: Any) -> Comparison:
    return compare_models(
        first, second, **{"samples": 2000, "confidence": 0.95, "seed": 1, **changes}
    )


def test_scores_come_under_the_project_s_names_in_their_order() -> None:
    assert tuple(compute_scores(*random_case(), bins=5)) == (
        "accuracy",
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


def test_scores_agree_with_scikit_learn() -> None:
    labels, probabilities = random_case(333)
    predicted = probabilities.argmax(axis=1)
    found = compute_scores(labels, probabilities, bins=5)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found["log_loss"] == pytest.approx(reference.log_loss(labels, probabilities))
    for average in ("macro", "weighted"):
        expected = reference.precision_recall_fscore_support(labels, predicted, average=average)
        for metric, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert found[f"{metric}_{average}"] == pytest.approx(value)


def test_a_perfect_model_scores_one_and_zero() -> None:
    labels = np.arange(10, dtype=np.uint8)
    found = compute_scores(labels, one_hot(labels.tolist()), bins=5)
    assert all(found[metric] == 1 for metric in METRICS[:7])
    assert all(found[metric] == 0 for metric in METRICS[7:])


def test_a_class_without_images_counts_zero_in_the_macro_averages() -> None:
    labels = np.zeros(4, np.uint8)
    found = compute_scores(labels, one_hot([0, 0, 0, 0]), bins=5)
    assert found["f1_macro"] == pytest.approx(0.1)
    assert found["f1_weighted"] == 1


def test_the_brier_score_sums_over_classes_and_averages_over_images() -> None:
    labels = np.array([0, 1], np.uint8)
    sure_and_wrong = one_hot([0, 0])
    assert brier_score(labels, sure_and_wrong) == (0 + 2) / 2
    even = np.full((2, 10), 0.1)
    assert brier_score(labels, even) == pytest.approx(0.9**2 + 9 * 0.1**2)


def test_an_impossible_true_class_gives_a_large_but_finite_log_loss() -> None:
    found = log_loss(np.array([1], np.uint8), one_hot([0]))
    assert found == pytest.approx(-math.log(np.finfo(np.float64).eps))


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    labels = np.zeros(10, np.uint8)
    classes = [0] * 6 + [1] * 4  # says 0.9, is right in 0.6
    table = calibration_bins(labels, one_hot(classes, 0.9), bins=10)
    assert expected_calibration_error(table) == pytest.approx(0.3)
    assert [row.images for row in table] == [0] * 8 + [10, 0]


def test_a_bin_is_closed_above_and_an_empty_one_has_no_accuracy() -> None:
    labels = np.zeros(2, np.uint8)
    table = calibration_bins(labels, np.vstack([one_hot([0], 0.5), one_hot([0], 1.0)]), 2)
    assert [(row.low, row.high, row.images) for row in table] == [(0, 0.5, 1), (0.5, 1, 1)]
    table = calibration_bins(labels, one_hot([0, 0]), 2)
    assert math.isnan(table[0].accuracy)
    assert math.isnan(table[0].confidence)


def test_the_confusion_matrix_has_true_classes_in_rows() -> None:
    counts = confusion_counts(np.array([6, 6, 0], np.uint8), np.array([0, 6, 0], np.uint8))
    assert counts.shape == (10, 10)
    assert (counts[6, 0], counts[6, 6], counts[0, 0], counts.sum()) == (1, 1, 1, 3)


def test_the_most_confused_pairs_come_most_frequent_first() -> None:
    labels = np.array([6, 6, 6, 6, 2, 2], np.uint8)
    predicted = np.array([0, 0, 6, 4, 4, 2], np.uint8)
    pairs = most_confused(confusion_counts(labels, predicted), 2)
    assert pairs == [("Shirt", "T-shirt/top", 2, 0.5), ("Pullover", "Coat", 1, 0.5)]


def test_every_class_is_reported_with_its_support() -> None:
    labels = np.array([0, 0, 1], np.uint8)
    rows = class_scores(labels, np.array([0, 1, 1], np.uint8))
    assert [row.name for row in rows] == list(CLASS_NAMES)
    assert rows[0][1:] == pytest.approx((1, 0.5, 2 / 3, 2))
    assert rows[9] == ("Ankle boot", 0, 0, 0, 0)


def test_wilson_s_interval_is_the_published_one_and_stays_within_bounds() -> None:
    low, high = wilson_interval(81, 263, 0.95)  # Newcombe (1998), table I, method 3
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson_interval(10, 10, 0.95).high <= 1
    assert wilson_interval(10, 10, 0.95).low > 0.6


def test_labels_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="label 10 is outside 0–9"):
        compute_scores(np.array([10], np.uint8), one_hot([0]), 5)


def test_labels_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels are int64 \[1\], expected uint8"):
        compute_scores(np.array([0]), one_hot([0]), 5)


def test_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        compute_scores(np.zeros(0, np.uint8), np.zeros((0, 10)), 5)


def test_probabilities_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"probabilities are \[2, 10\], expected \[1, 10\]"):
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


def test_logits_in_place_of_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match=r"probabilities of image 1 sum to 0\.5000, not to 1"):
        compute_scores(np.zeros(2, np.uint8), one_hot([0, 0]) * [[1], [0.5]], 5)


def test_a_missing_validation_score_is_refused() -> None:
    labels, probabilities = random_case()
    with pytest.raises(ValueError, match=r"mlp-original-1.* lack log_loss"):
        evaluate_model(MLP, labels, probabilities, val={"accuracy": 1}, bins=5, confidence=0.95)


def test_evaluating_keeps_the_validation_scores_beside_the_test_scores() -> None:
    result = some_result()
    assert result.val == {"accuracy": 0.9, "log_loss": 0.3}
    assert result.accuracy_interval.low < result.scores["accuracy"] < result.accuracy_interval.high
    assert np.mean([one.f1 for one in result.classes]) == pytest.approx(result.scores["f1_macro"])
    assert result.confusion.trace() / 200 == result.scores["accuracy"]


def test_a_comparison_counts_the_images_that_one_alone_gets_right() -> None:
    labels = np.zeros(10, np.uint8)
    first = some_result(MLP, labels, one_hot([0] * 5 + [1] * 5))
    second = some_result(CNN, labels, one_hot([1] + [0] * 8 + [1]))
    found = compared(first, second)
    assert (found.only_first, found.only_second) == (1, 4)
    assert found.difference == pytest.approx(0.3)
    assert found.p_value == pytest.approx(stats.binomtest(4, 5).pvalue)
    assert found.interval.low < 0.3 < found.interval.high
    assert found.f1_change[0] == pytest.approx(second.classes[0].f1 - first.classes[0].f1)
    assert found.f1_change[0] > 0


def test_equal_models_differ_by_nothing() -> None:
    found = compared(some_result(MLP), some_result(CNN))
    assert (found.difference, found.p_value, found.interval) == (0, 1, (0, 0))


def test_a_comparison_on_other_images_is_refused() -> None:
    labels, probabilities = random_case()
    with pytest.raises(ValueError, match="mlp-original-1 and cnn-original-1 were not scored"):
        compared(some_result(MLP), some_result(CNN, labels[::-1].copy(), probabilities))


def test_the_bootstrap_is_the_one_that_resamples_images() -> None:
    differences = np.array([1] * 60 + [-1] * 30 + [0] * 410)
    random = np.random.default_rng(5)
    means = random.choice(differences, (20_000, 500)).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    found = paired_bootstrap(30, 60, 500, samples=20_000, confidence=0.95, seed=1)
    assert found.low == pytest.approx(low, abs=0.003)
    assert found.high == pytest.approx(high, abs=0.003)


def test_the_bootstrap_follows_its_seed_and_its_confidence() -> None:
    def interval(seed: int = 1, confidence: float = 0.95) -> Interval:
        return paired_bootstrap(300, 400, 9999, samples=500, confidence=confidence, seed=seed)

    assert interval() == interval()
    assert interval() != interval(seed=2)
    assert interval(confidence=0.5).high < interval().high


def test_mcnemar_without_a_discordant_image_sees_no_difference() -> None:
    assert mcnemar_p_value(0, 0) == 1
    assert mcnemar_p_value(0, 6) == pytest.approx(2 / 2**6)


def test_comparisons_hold_everything_but_one_thing_equal() -> None:
    names = [
        ModelName(model, data, seed)
        for model in ("mlp", "cnn")
        for data in ("augmented", "original")
        for seed in (1, 2)
    ]
    pairs = comparable_pairs([some_result(name) for name in names])
    found = [(str(first.name), str(second.name)) for first, second in pairs]
    assert found == [
        ("mlp-augmented-1", "cnn-augmented-1"),
        ("mlp-augmented-2", "cnn-augmented-2"),
        ("mlp-original-1", "cnn-original-1"),
        ("mlp-original-2", "cnn-original-2"),
        ("mlp-original-1", "mlp-augmented-1"),
        ("mlp-original-2", "mlp-augmented-2"),
        ("cnn-original-1", "cnn-augmented-1"),
        ("cnn-original-2", "cnn-augmented-2"),
    ]


def test_names_carry_the_seed_only_where_seeds_differ() -> None:
    other = ModelName("cnn", "original", 2)
    assert short_names([MLP, CNN]) == {MLP: "mlp-original", CNN: "cnn-original"}
    assert short_names([MLP, other]) == {MLP: "mlp-original-1", other: "cnn-original-2"}


def test_the_spread_over_seeds_is_student_s() -> None:
    found = mean_with_interval([0.90, 0.91, 0.92], 0.95)
    assert found.seeds == 3
    assert found.mean == pytest.approx(0.91)
    assert found.deviation == pytest.approx(0.01)
    assert found.interval.high - 0.91 == pytest.approx(4.302653 * 0.01 / math.sqrt(3))


def test_one_seed_has_no_spread() -> None:
    found = mean_with_interval([0.9], 0.95)
    assert found.mean == 0.9
    assert math.isnan(found.deviation)


def test_metrics_put_validation_beside_test_under_the_short_name() -> None:
    content = metrics_content([some_result(MLP), some_result(CNN, seed=2)])
    assert list(content) == ["mlp-original", "cnn-original"]
    assert content["mlp-original"]["val"] == {"accuracy": 0.9, "log_loss": 0.3}
    assert tuple(content["cnn-original"]["test"]) == METRICS
    json.dumps(content, allow_nan=False)


def test_comparisons_are_written_with_names_and_every_class() -> None:
    (content,) = comparisons_content([compared(some_result(MLP), some_result(CNN, seed=2))])
    assert (content["first"], content["second"]) == ("mlp-original", "cnn-original")
    assert list(content["f1_change"]) == list(CLASS_NAMES)
    json.dumps(content, allow_nan=False)


def test_tables_have_a_cell_for_every_column() -> None:
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


def written(path: Path) -> tuple[Labels, NDArray[np.float32]]:
    labels, exact = random_case(30)
    probabilities = exact.astype(np.float32)
    path.write_text(predictions_table(labels, probabilities).to_csv(index=False))
    return labels, probabilities


def test_predictions_come_back_to_the_bit(tmp_path: Path) -> None:
    labels, probabilities = written(tmp_path / "p.csv")
    found = read_predictions(tmp_path / "p.csv")
    assert np.array_equal(found.labels, labels)
    assert found.probabilities.dtype == np.float32
    assert np.array_equal(found.probabilities, probabilities)
    assert compute_scores(*found, bins=5) == compute_scores(labels, probabilities, bins=5)


def test_predictions_that_cannot_be_scored_are_not_written() -> None:
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
        read_predictions(path)


@pytest.mark.parametrize("tail", ["2,0,0,1,0,0", "2" + ",0" * 13], ids=["short", "long"])
def test_a_row_of_another_length_is_refused(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "p.csv"
    written(path)
    lines = path.read_text().splitlines()
    lines[3] = tail
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"row 3 has (6|14) cells, expected 13"):
        read_predictions(path)


def test_missing_or_empty_predictions_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv is missing"):
        read_predictions(tmp_path / "none.csv")
    write_csv(tmp_path / "empty.csv", PREDICTION_COLUMNS, [])
    with pytest.raises(UserError, match=r"empty\.csv has no rows"):
        read_predictions(tmp_path / "empty.csv")


def test_the_confidence_of_a_bin_is_a_mean() -> None:
    probabilities = np.vstack([one_hot([0], share) for share in (0.91, 0.92, 0.99)])
    (row,) = calibration_bins(np.zeros(3, np.uint8), probabilities, 2)[1:]
    assert row.confidence == pytest.approx((0.91 + 0.92 + 0.99) / 3)


def test_float32_probabilities_are_averaged_in_float64() -> None:
    labels, probabilities = random_case(3000)
    probabilities = probabilities.astype(np.float32)
    (row,) = calibration_bins(labels, probabilities, 1)
    assert row.confidence == probabilities.max(axis=1).astype(np.float64).mean()


def test_more_confidence_is_a_wider_interval_of_the_accuracy() -> None:
    low, high = wilson_interval(81, 263, 0.5)
    assert 0.28 < low < 81 / 263 < high < 0.33
    asked = [
        evaluate_model(
            MLP, *random_case(), val={"accuracy": 1, "log_loss": 0}, bins=5, confidence=share
        ).accuracy_interval
        for share in (0.5, 0.99)
    ]
    assert asked[1].low < asked[0].low < asked[0].high < asked[1].high


def test_the_bootstrap_draws_as_many_samples_as_asked_for() -> None:
    few, many = (
        paired_bootstrap(300, 400, 9999, samples=samples, confidence=0.95, seed=1)
        for samples in (100, 1000)
    )
    assert few != many


def test_probabilities_a_little_off_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sum to 1\.0050"):
        check_probabilities(np.array([0], np.uint8), one_hot([0]) + 0.0005)


def test_the_class_that_is_written_is_that_of_the_written_probabilities() -> None:
    probabilities = one_hot([1], 0.5)
    probabilities[0, 0], probabilities[0, 2] = 0.5 - 1e-12, 1e-12
    probabilities[0, 3:] = 0
    (row,) = predictions_table(np.array([1], np.uint8), probabilities).to_numpy()
    assert row[2] == np.argmax(row[3:]) == 0


def test_the_confusion_table_names_the_true_class_first() -> None:
    result = some_result(MLP, np.array([0, 0, 3], np.uint8), one_hot([6, 6, 3]))
    rows = confusion_table([result]).to_numpy().tolist()
    assert ["mlp-original", CLASS_NAMES[0], CLASS_NAMES[6], 2] in rows
    assert ["mlp-original", CLASS_NAMES[6], CLASS_NAMES[0], 0] in rows


def test_a_comparison_is_written_as_it_was_found() -> None:
    labels = np.array([0, 1, 2, 3], np.uint8)
    first = some_result(MLP, labels, one_hot([0, 9, 9, 9]))
    second = some_result(CNN, labels, one_hot([9, 1, 2, 3]))
    found = compared(first, second)
    (content,) = comparisons_content([found])
    assert (content["only_first_right"], content["only_second_right"]) == (1, 3)
    assert content["interval"] == [found.interval.low, found.interval.high]
    assert content["interval"][0] < content["interval"][1]


def test_precision_and_recall_are_not_confused() -> None:
    result = some_result(MLP, np.array([0, 0, 3], np.uint8), one_hot([0, 3, 3]))
    assert result.classes[0][1:] == pytest.approx((1, 0.5, 2 / 3, 2))


def test_a_column_of_a_table_holds_what_its_header_says() -> None:
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
