"""A model of docs/models.md, added as the page says, runs through the whole pipeline alone."""

import json
from collections.abc import Callable

import pytest

from tests.support.checkout import Checkout
from tests.support.models_page import add_models
from tests.support.pipeline import TRAINING, by_name, stages_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_model_is_a_record_a_builder_and_sections_of_the_parameters(
    checkout_from: Callable[..., Checkout],
) -> None:
    checkout: Checkout = checkout_from()
    add_models(checkout.root, "logistic")
    checkout.edit(
        {
            "tune.search.trials": 9,
            "train.models": ["logistic"],
            "train.data": ["original"],
            "train.budget.logistic": {"epochs": 2, "patience": 2},
        }
    )
    output = checkout.run("dvc", "repro").stdout
    assert {"tune@logistic", "train@logistic-original-1", "evaluate"} <= set(stages_run(output))
    assert "\nlogistic trial 2/2: " in output  # the space has two points
    metrics = json.loads((checkout.root / "reports/evaluate/metrics.json").read_text())
    assert list(metrics) == ["logistic-original"]
    assert set(by_name(checkout, TRAINING)) == {"logistic-original-1", "comparison"}
    facts = json.loads((checkout.root / "reports/train/logistic-original-1/model.json").read_text())
    assert facts["parameters"] == 28 * 28 * 10 + 10
    report = (checkout.root / "reports/evaluate/report.md").read_text()
    assert "## Comparisons" not in report
