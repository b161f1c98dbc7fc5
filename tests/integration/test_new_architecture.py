"""A third architecture, added in three places, runs through the whole pipeline."""

import json
from collections.abc import Callable

import pytest

from tests.support.checkout import Checkout
from tests.support.pipeline import TRAINING, by_name, stages_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

RECORD = '''

class LinearHyperparameters(Hyperparameters):
    """A linear classifier."""

    builder = "architectures:build_linear"


RECORDS["linear"] = LinearHyperparameters
'''
BUILDER = '''

def build_linear(h: Hyperparameters, dataset: Dataset) -> keras.Model:
    """Return one dense layer."""
    pixels, x = _scaled_input(dataset)
    return _classifier(pixels, layers.Flatten(name="flatten")(x), dataset, "linear")
'''


def test_a_third_architecture_is_a_record_a_builder_and_a_section(
    checkout_from: Callable[..., Checkout],
) -> None:
    checkout: Checkout = checkout_from()
    for module, addition in (
        ("config/hyperparameters", RECORD),
        ("models/architectures", BUILDER),
    ):
        with (checkout.root / f"src/sidebyside/{module}.py").open("a") as file:
            file.write(addition)
    space = {"batch_size": 64, "learning_rate": {"choice": [0.001, 0.002]}}
    checkout.edit(
        {
            "tune.search.trials": 9,
            "tune.models": {"linear": space},
            "train.budget.linear": {"epochs": 2, "patience": 2},
            "train.models": ["linear"],
            "train.data": ["original"],
        }
    )
    output = checkout.run("dvc", "repro").stdout
    assert {"tune@linear", "train@linear-original-1", "evaluate"} <= set(stages_run(output))
    assert "\nlinear trial 2/2: " in output  # the space has two points
    metrics = json.loads((checkout.root / "reports/evaluate/metrics.json").read_text())
    assert list(metrics) == ["linear-original"]
    assert set(by_name(checkout, TRAINING)) == {"linear-original-1", "comparison"}
    facts = json.loads((checkout.root / "reports/train/linear-original-1/model.json").read_text())
    assert facts["parameters"] == 28 * 28 * 10 + 10
