"""The models of docs/models.md as third and fourth architecture, in all stages and commands."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import pictures
from tests.support.checkout import Checkout
from tests.support.models_page import MODELS, add_models, blocks
from tests.support.pipeline import DATA, TRAINING, by_name, store
from tests.support.reports import table_rows

ARCHITECTURES = ("mlp", "cnn", *MODELS)
BUDGET = {"epochs": 2, "patience": 2}


@pytest.fixture(scope="module")
def four(checkout_from: Callable[..., Checkout]) -> Checkout:
    """A checkout in which the pipeline has run with four architectures."""
    checkout = checkout_from()
    add_models(checkout.root, *MODELS)
    assert checkout.parameters()["train"]["models"] == list(ARCHITECTURES)
    checkout.edit({f"train.budget.{model}": BUDGET for model in MODELS})
    checkout.edit({"tune.models.residual.filters": 4})
    checkout.run("dvc", "repro")
    return checkout


@pytest.mark.timeout(1800)
def test_four_architectures_are_compared_and_registered(four: Checkout) -> None:
    names = [f"{model}-{data}" for model in ARCHITECTURES for data in DATA]
    metrics = json.loads((four.root / "reports/evaluate/metrics.json").read_text())
    assert list(metrics) == names
    comparisons = json.loads((four.root / "reports/evaluate/comparisons.json").read_text())
    assert len(comparisons) == 2 * 6 + 4
    markdown = (four.root / "reports/evaluate/report.md").read_text()
    caption = "Test accuracy of the row minus that of the column"
    assert [row["architecture"] for row in table_rows(markdown, caption)] == [
        *("MLP", "CNN", "logistic", "residual")
    ]
    assert set(by_name(four, TRAINING)) == {*(f"{name}-1" for name in names), "comparison"}
    with store(four) as client:
        registered = {model.name for model in client.search_registered_models()}
    assert registered == {f"{TRAINING}-{model}" for model in ARCHITECTURES}


@pytest.mark.timeout(600)
def test_a_picture_is_classified_by_all_four(four: Checkout, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(pictures.SAMPLES["PNG"])
    output = four.run(
        *("python", "-m", "sidebyside.serving.predict", str(picture)),
        environment={"PYTHONPATH": "src"},
    ).stdout
    table = output.split("\n\n")[1].splitlines()
    header, *_, last = table
    assert [name.split("-")[0] for name in header.split()] == list(ARCHITECTURES)
    assert last.startswith("prediction")
    assert max(map(len, table)) < 120


@pytest.mark.timeout(600)
def test_the_summary_has_a_row_for_each_model(four: Checkout) -> None:
    output = four.run(
        *("python", "-m", "sidebyside.reproducibility.summary"), environment={"PYTHONPATH": "src"}
    ).stdout
    assert len(output.partition("\n\n")[0].splitlines()) == 1 + 8


@pytest.mark.timeout(600)
def test_the_code_on_the_page_passes_the_linters(four: Checkout) -> None:
    files = {block.file for model in MODELS for block in blocks(model) if "src" in block.file}
    four.run("ruff", "check", *files)
    four.run("ruff", "format", "--check", *files)
    four.run("mypy", *files)
