"""Data sets other than Fashion-MNIST through all stages, from a fresh clone."""

import json
from collections.abc import Callable

import pytest

from sidebyside.config.dataset import read_dataset
from sidebyside.core.files import read_json
from sidebyside.data.npz import read_split
from tests.support.checkout import Checkout
from tests.support.pipeline import NAMES, STAGES, stages_run

pytestmark = pytest.mark.timeout(1800)


def test_digits_run_through_all_stages_after_one_change(
    checkout_from: Callable[..., Checkout],
) -> None:
    checkout = checkout_from()
    checkout.edit({"dataset": "digits"})
    output = checkout.run("dvc", "repro").stdout
    assert sorted(stages_run(output)) == sorted(STAGES)
    assert "no flips: the data set has `mirror: false`" in output
    dataset = read_dataset(checkout.root / "data/processed/dataset.json")
    test = read_split(checkout.root / "data/processed/test.npz", dataset)
    assert test.images.shape == (359, 8, 8)
    metrics = read_json(checkout.root / "reports/evaluate/metrics.json")
    assert all(scores["test"]["accuracy"] > 0.2 for scores in metrics.values())
    for model in ("mlp", "cnn"):
        chosen = read_json(checkout.root / f"reports/tune/{model}/hyperparameters.json")
        assert not chosen["flip"]
    report = (checkout.root / "reports/evaluate/report.md").read_text()
    assert "Digits" in report
    for word in ("Fashion", "Zalando", "clothing", "Pullover", "28×28"):
        assert word not in report, word
    assert len(NAMES) == len(list((checkout.root / "models").glob("*.keras")))


def test_data_sets_are_compared_as_dvc_experiments(reproduced: Checkout, own: Checkout) -> None:
    own.commit()
    own.run("dvc", "exp", "run", "--temp", "--name", "digits", "-S", "dataset=digits")
    assert own.results() == reproduced.results()
    shown = json.loads(own.run("dvc", "exp", "show", "--json").stdout)
    assert '"digits"' in json.dumps(shown)
