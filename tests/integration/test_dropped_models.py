"""Dropping models from params.yaml, with real DVC."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sidebyside.core.files import read_json
from tests.support.checkout import Checkout

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dropped(reproduced: Checkout, checkout_from: Callable[..., Checkout]) -> Checkout:
    """A checkout that dropped three of its four models, and with a stray fifth one, committed."""
    checkout = checkout_from(reproduced)
    for folder, kind in (("models", ".keras"), ("reports/train", "")):
        named = checkout.root / folder / f"mlp-original-1{kind}"
        stray = named.with_name(f"mlp-original-9{kind}")
        (shutil.copy if kind else shutil.copytree)(named, stray)
    figures = checkout.root / "reports/evaluate/figures"
    assert {"cnn-original.png", "f1_change.png"} <= {path.name for path in figures.rglob("*.png")}
    checkout.edit({"train.models": ["mlp"], "train.data": ["original"]})
    output = checkout.run("dvc", "repro").stdout
    assert "removed files of models that params.yaml does not name: models/cnn-augmented" in output
    checkout.commit()
    return checkout


def test_evaluate_removes_the_figures_and_predictions_of_dropped_models(dropped: Checkout) -> None:
    folder = dropped.root / "reports/evaluate"
    report = (folder / "report.md").read_text()
    left = {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
    assert left == set(re.findall(r"\]\((figures/.*?)\)", report))
    assert "figures/confusion/mlp-original.png" in left
    assert list(read_json(folder / "metrics.json")) == ["mlp-original"]
    predictions = dropped.root / "data/predictions"
    assert [path.name for path in predictions.iterdir()] == ["mlp-original-1.csv"]


def test_a_fresh_clone_has_the_dependencies_of_a_checkout_that_dropped_a_model(
    dropped: Checkout, tmp_path: Path
) -> None:
    clone = Checkout(tmp_path / "clone")
    dropped.run("git", "clone", "--quiet", str(dropped.root), str(clone.root))
    clone.run("dvc", "cache", "dir", "--local", str(dropped.root / ".dvc/cache"))
    clone.run("dvc", "checkout")
    local = "data/local"  # the source of this project's data, which git does not have
    shutil.copytree(dropped.root / local, clone.root / local, dirs_exist_ok=True)
    assert not (clone.root / "models/cnn-original-1.keras").exists()
    status = clone.run("dvc", "status").stdout
    assert "evaluate" not in status
    assert "up to date" in status


def test_a_model_that_is_named_again_is_there_again(
    dropped: Checkout, checkout_from: Callable[..., Checkout]
) -> None:
    own = checkout_from(dropped)
    own.edit({"train.data": ["original", "augmented"]})
    own.run("dvc", "repro", "train@mlp-augmented-1")
    assert (own.root / "models/mlp-augmented-1.keras").exists()
