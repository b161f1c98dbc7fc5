from dataclasses import replace

import numpy as np

from sidebyside.config.paths import ModelName
from sidebyside.evaluation.intervals import Interval
from sidebyside.evaluation.metrics import METRICS, ClassScores
from sidebyside.evaluation.results import evaluate_model
from sidebyside.tracking.evaluation import card, difference_metrics, main_comparison
from tests.support.datasets import CLASS_NAMES, FASHION_MNIST, dataset


def test_a_model_card_has_the_scores_and_the_two_classes_with_the_lowest_f1() -> None:
    labels = np.arange(10, dtype=np.uint8)
    f1 = {**dict.fromkeys(CLASS_NAMES, 0.9), "Coat": 0.71, "Shirt": 0.62}
    result = evaluate_model(
        ModelName("cnn", "augmented", 3),
        labels,
        np.eye(10)[labels],
        CLASS_NAMES,
        val={"accuracy": 0.95, "log_loss": 0.3},
        near_duplicates=[],
        bins=5,
        confidence=0.95,
    )
    text = card(
        replace(
            result,
            scores={metric: 0.1 * rank for rank, metric in enumerate(METRICS)},
            accuracy_interval=Interval(0.21, 0.23),
            classes=tuple(
                ClassScores(name, rank / 10, 1 - rank / 10, f1[name], 1)
                for rank, name in enumerate(CLASS_NAMES)
            ),
        ),
        FASHION_MNIST,
    )
    assert (
        "the augmented training data of Fashion-MNIST, seed 3; the best of its architecture by"
        " validation accuracy (0.9500)." in text
    )
    assert (
        "**Scores** on 10 test images: accuracy 0.0000 [0.2100, 0.2300], macro F1 0.5000,"
        " log loss 0.9000; lowest F1 for Shirt (0.62) and Coat (0.71)." in text
    )


def test_a_model_card_describes_the_images_of_the_data_set() -> None:
    icons = dataset(16, 24, 3, ("*", "b"), name="icons", title="<Icons>")
    labels = np.array([0, 1], np.uint8)
    result = evaluate_model(
        ModelName("mlp", "original", 1),
        labels,
        np.eye(2)[labels],
        icons.class_names,
        val={"accuracy": 0.95, "log_loss": 0.3},
        near_duplicates=[],
        bins=5,
        confidence=0.95,
    )
    text = card(result, icons)
    assert r"like those of \<Icons\>: 16×24 pixels (height × width), in colour" in text
    assert r"lowest F1 for \* (1.00) and b (1.00)." in text
    assert "one of the 2 classes, whatever it shows" in text
    assert "clothes" not in text
    assert "Licence" not in text
    licensed = icons.model_copy(update={"licence": "MIT"})
    assert "Licence of the data: MIT." in card(result, licensed)


def test_a_model_card_says_how_to_load_the_model_and_names_the_classes_in_order() -> None:
    labels = np.arange(10, dtype=np.uint8)
    result = evaluate_model(
        ModelName("cnn", "original", 1),
        labels,
        np.eye(10)[labels],
        CLASS_NAMES,
        val={"accuracy": 0.95, "log_loss": 0.3},
        near_duplicates=[],
        bins=5,
        confidence=0.95,
    )
    text = card(result, FASHION_MNIST, "#/experiments/1/runs/abc")
    assert '`mlflow.keras.load_model("models:/fashion-mnist-cnn@champion")`' in text
    assert f"probabilities: {', '.join(CLASS_NAMES)}." in text
    assert "[Confusion matrix](#/experiments/1/runs/abc/artifacts/confusion.png)" in text


def test_the_metrics_of_a_comparison_are_those_of_the_best_model_and_another_architecture() -> None:
    def compared(first: str, second: str, difference: float) -> dict[str, object]:
        return {
            "first": first,
            "second": second,
            "accuracy_difference": difference,
            "interval": [difference - 1, difference + 1],
            "mcnemar_p_value": 0.5,
        }

    pairs = [compared("mlp-original", "cnn-original", 2), compared("mlp-aug", "cnn-aug", 3)]
    found = main_comparison(pairs, "cnn-aug")
    assert found is pairs[1]
    assert difference_metrics(found) == {
        "difference": 3,
        "difference_low": 2,
        "difference_high": 4,
        "difference_p": 0.5,
    }
    assert main_comparison(pairs, "other") is pairs[0]
    assert main_comparison([], "other") is None
