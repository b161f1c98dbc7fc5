"""A model of docs/models.md, added as the page says, is searched for, trained and logged."""

import json

import pytest

from tests.support.checkout import Checkout
from tests.support.models_page import add_models
from tests.support.pipeline import TRAINING, by_name, stages_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_model_is_a_record_a_builder_and_sections_of_the_parameters(own: Checkout) -> None:
    add_models(own.root, "logistic")
    own.edit({"tune.search.trials": 9, "train.budget.logistic": {"epochs": 2, "patience": 2}})
    stages = ["tune@logistic", "train@logistic-original-1"]
    output = own.run("dvc", "repro", "--single-item", *stages).stdout
    assert stages_run(output) == stages
    assert "\nlogistic trial 2/2: " in output  # the space has two points
    facts = json.loads((own.root / "reports/train/logistic-original-1/model.json").read_text())
    assert facts["parameters"] == 28 * 28 * 10 + 10
    assert "logistic-original-1" in by_name(own, TRAINING)
