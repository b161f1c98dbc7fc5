"""Dropping a model from params.yaml, with real DVC."""

import shutil
from pathlib import Path

import pytest

from tests.support.checkout import Checkout


@pytest.mark.slow
def test_a_fresh_clone_has_the_dependencies_of_a_checkout_that_dropped_a_model(
    own: Checkout, tmp_path: Path
) -> None:
    own.edit({"train.models": ["mlp"]})
    output = own.run("dvc", "repro").stdout
    assert "removed files of models that params.yaml does not name: models/cnn-augmented" in output
    own.commit()
    clone = Checkout(tmp_path / "clone")
    own.run("git", "clone", "--quiet", str(own.root), str(clone.root))
    clone.run("dvc", "cache", "dir", "--local", str(own.root / ".dvc/cache"))
    clone.run("dvc", "checkout")
    local = "data/local"  # the source of this project's data, which git does not have
    shutil.copytree(own.root / local, clone.root / local, dirs_exist_ok=True)
    assert not (clone.root / "models/cnn-original-1.keras").exists()
    status = clone.run("dvc", "status").stdout
    assert "evaluate" not in status
    assert "up to date" in status

    own.edit({"train.models": ["mlp", "cnn"]})
    own.run("dvc", "repro")  # restores the models from the cache
    assert (own.root / "models/cnn-original-1.keras").exists()
