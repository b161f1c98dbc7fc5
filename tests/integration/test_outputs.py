"""Outputs of the small pipeline: splits, search, models, scores and report."""

import itertools
import json
import re

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

from sidebyside.config.dataset import read_dataset
from sidebyside.data.npz import read_split
from sidebyside.data.splits import Split
from sidebyside.workflow import provenance
from tests.support.checkout import Checkout
from tests.support.pipeline import (
    CURVES,
    EPOCHS,
    KEYS,
    MODELS,
    NAMES,
    STAGES,
    TRIALS,
    read_rows,
    stages_run,
)
from tests.support.reproductions import Reproductions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def split_of(reproduced: Checkout, file: str) -> Split:
    """Return the split in a file of a checkout."""
    dataset = read_dataset(reproduced.root / "data/processed/dataset.json")
    return read_split(reproduced.root / file, dataset)


def test_every_stage_runs_once(reproductions: Reproductions) -> None:
    assert sorted(stages_run(reproductions.output.read_text())) == sorted(STAGES)


def test_the_splits_have_the_configured_sizes_and_share_no_image(reproduced: Checkout) -> None:
    splits = {
        name: split_of(reproduced, f"data/processed/{name}.npz")
        for name in ("train", "val", "test")
    }
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 320,
        "val": 80,
        "test": 100,
    }
    assert np.bincount(splits["val"].labels).tolist() == [8] * 10
    seen = {image.tobytes() for split in splits.values() for image in split.images}
    assert len(seen) == 500
    original = split_of(reproduced, "data/original/train.npz")
    assert np.array_equal(original.images, splits["train"].images)


def test_the_augmented_data_are_the_train_split_and_new_images(
    reproduced: Checkout,
) -> None:
    train = split_of(reproduced, "data/processed/train.npz")
    augmented = split_of(reproduced, "data/augmented/train.npz")
    assert np.array_equal(augmented.images[: len(train)], train.images)
    assert len(augmented) == len(train) + 64
    assert set(augmented.labels[len(train) :].tolist()) == {2, 6}
    summary = json.loads((reproduced.root / "reports/augment/summary.json").read_text())
    assert (summary["images"], summary["new_images"]) == (384, 64)


def test_every_output_exists(reproduced: Checkout) -> None:
    reports = ["preprocess/summary.json", "preprocess/classes.csv", "preprocess/samples.png"]
    reports += [
        f"preprocess/{file}"
        for file in ("near_duplicates.csv", "near_duplicates.png", "sources.csv", "unreadable.csv")
    ]
    reports += ["preprocess/report.html", "preprocess/report.md"]
    reports += ["augment/summary.json", "augment/before_after.png"]
    reports += [
        f"tune/{model}/{file}"
        for model in MODELS
        for file in ("hyperparameters.json", "search.json", "trials.csv")
    ]
    reports += [
        f"train/{name}/{file}"
        for name in NAMES
        for file in ("history.csv", "metrics.json", "model.json")
    ]
    reports += [
        f"evaluate/{file}"
        for file in ("metrics.json", "comparisons.json", "per_class.csv", "confusion.csv",
                     "calibration.csv", "curves.csv", "report.html", "report.md",
                     "evaluation.json", "val_accuracy.json")
    ]  # fmt: skip
    files = [f"reports/{report}" for report in reports]
    files += [f"data/trials/{model}.csv" for model in MODELS]
    files += [f"models/{name}.keras" for name in NAMES]
    files += [f"data/predictions/{name}.csv" for name in NAMES]
    assert not [file for file in files if not (reproduced.root / file).is_file()]


def test_no_temporary_file_is_left(reproduced: Checkout) -> None:
    assert reproduced.run("git", "status", "--porcelain", "--", "src", "pipeline").stdout == ""
    assert not [path for path in reproduced.root.rglob("*.tmp*") if ".git" not in path.parts]
    # Checkpoints and finished trials lie in .state/<stage>/<key>/.
    left = {path.relative_to(reproduced.root) for path in reproduced.root.glob(".state/*/*/*")}
    assert not {path for path in left if not path.is_relative_to(provenance.FOLDER)}


def test_the_chosen_hyperparameters_are_those_of_the_best_trial(reproduced: Checkout) -> None:
    for model in MODELS:
        folder = reproduced.root / "reports/tune" / model
        trials = read_rows(folder / "trials.csv")
        chosen = json.loads((folder / "hyperparameters.json").read_text())
        assert len(trials) == TRIALS
        best = max(trials, key=lambda trial: float(trial["val_accuracy"]))
        searched = set(best) & set(chosen)
        assert len(searched) > 1
        assert {name: json.loads(best[name]) for name in searched} == {
            name: chosen[name] for name in searched
        }


def test_the_history_has_a_row_per_epoch(reproduced: Checkout) -> None:
    for name in NAMES:
        rows = read_rows(reproduced.root / "reports/train" / name / "history.csv")
        assert [row["epoch"] for row in rows] == [str(epoch + 1) for epoch in range(EPOCHS)]
        assert list(rows[0]) == ["epoch", *CURVES]


def test_the_small_models_learn(reproduced: Checkout) -> None:
    metrics = json.loads((reproduced.root / "reports/evaluate/metrics.json").read_text())
    assert metrics["mlp-original"]["test"]["accuracy"] > 0.5


def test_the_metrics_are_keyed_by_model_and_data(reproduced: Checkout) -> None:
    metrics = json.loads((reproduced.root / "reports/evaluate/metrics.json").read_text())
    assert list(metrics) == KEYS
    for scores in metrics.values():
        splits = {"val", "test", "test_deduplicated"}
        assert set(scores) == {*splits, "val_interval", "test_interval"}
        assert set(scores["val"]) == {"accuracy", "log_loss"}
        assert {"accuracy", "balanced_accuracy", "largest_class_share", "precision_macro",
                "recall_macro", "f1_macro", "precision_weighted", "recall_weighted", "f1_weighted",
                "log_loss", "brier_score", "expected_calibration_error"
                } == set(scores["test"])  # fmt: skip


def test_the_validation_accuracies_are_those_of_the_trainings(reproduced: Checkout) -> None:
    folder = reproduced.root / "reports/evaluate"
    metrics = json.loads((folder / "metrics.json").read_text())
    trained = reproduced.root / "reports/train"
    for name, key in zip(NAMES, KEYS, strict=True):
        scores = json.loads((trained / name / "metrics.json").read_text())
        assert metrics[key]["val"]["accuracy"] == scores["val_accuracy"]
    assert json.loads((folder / "val_accuracy.json").read_text()) == {
        key: scores["val"]["accuracy"] for key, scores in metrics.items()
    }


def test_the_curves_are_the_histories_of_all_models(reproduced: Checkout) -> None:
    def points(path: str) -> list[dict[str, float]]:
        return [
            {column: float(row[column]) for column in ("epoch", *CURVES)}
            for row in read_rows(reproduced.root / "reports" / path)
        ]

    histories = [points(f"train/{name}/history.csv") for name in NAMES]
    assert points("evaluate/curves.csv") == list(itertools.chain(*histories))
    named = [row["model"] for row in read_rows(reproduced.root / "reports/evaluate/curves.csv")]
    assert named == [key for key in KEYS for _ in range(EPOCHS)]


@pytest.mark.parametrize("name", NAMES)
def test_scikit_learn_scores_the_predictions_alike(reproduced: Checkout, name: str) -> None:
    rows = read_rows(reproduced.root / f"data/predictions/{name}.csv")
    labels = np.array([int(row["label"]) for row in rows])
    predicted = np.array([int(row["predicted"]) for row in rows])
    probabilities = np.array([[float(row[f"p{i}"]) for i in range(10)] for row in rows])
    test = split_of(reproduced, "data/processed/test.npz")
    metrics = json.loads((reproduced.root / "reports/evaluate/metrics.json").read_text())
    scores = metrics[name.removesuffix("-1")]["test"]
    assert np.array_equal(labels, test.labels)
    assert np.array_equal(predicted, probabilities.argmax(1))
    assert scores["accuracy"] == accuracy_score(labels, predicted)
    assert scores["f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    even = probabilities / probabilities.sum(1, keepdims=True)
    assert scores["log_loss"] == pytest.approx(log_loss(labels, even), rel=1e-4)


def test_models_are_compared_on_equal_data_and_data_sets_for_equal_models(
    reproduced: Checkout,
) -> None:
    content = json.loads((reproduced.root / "reports/evaluate/comparisons.json").read_text())
    assert {(one["first"], one["second"]) for one in content} == {
        ("mlp-original", "cnn-original"),
        ("mlp-augmented", "cnn-augmented"),
        ("mlp-original", "mlp-augmented"),
        ("cnn-original", "cnn-augmented"),
    }


def test_the_report_is_one_file_without_external_resources(reproduced: Checkout) -> None:
    html = (reproduced.root / "reports/evaluate/report.html").read_text(encoding="utf-8")
    assert all(key in html for key in KEYS)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)
