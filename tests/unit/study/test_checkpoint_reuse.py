"""Reuse of a winning trial's checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from study import checkpoint_reuse

GIVEN: dict[str, Any] = {
    "search": "0-tiny",
    "settings": {"epochs": 3, "learning_rate": 0.1},
    "seed": 1,
    "threads": 1,
    "digests": {"train": "ab", "val": "cd"},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a stage that depends on a module."""
    folder = tmp_path / "replications"
    folder.mkdir()
    (folder / "module.py").write_text("before")
    stages = {"train": {"cmd": "", "deps": ["module.py"]}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return folder


@pytest.fixture
def kept(root: Path) -> Path:
    """The path of a checkpoint that a search kept."""
    checkpoint = root / "of-a-trial.npz"
    checkpoint.write_bytes(b"of the search")
    path = checkpoint_reuse.checkpoint_path(root, **GIVEN)
    checkpoint_reuse.keep_checkpoint(path, checkpoint)
    return path


def test_the_checkpoint_of_a_search_is_reused(kept: Path, tmp_path: Path) -> None:
    assert checkpoint_reuse.reuse_checkpoint(kept, tmp_path / "1.npz")
    assert (tmp_path / "1.npz").read_bytes() == b"of the search"


def test_a_resumed_training_keeps_its_own_checkpoint(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "1.npz").write_bytes(b"its own")
    assert not checkpoint_reuse.reuse_checkpoint(kept, tmp_path / "1.npz")
    assert (tmp_path / "1.npz").read_bytes() == b"its own"


@pytest.mark.parametrize(
    "changed",
    [
        {"search": "0-other"},
        {"settings": {"epochs": 4, "learning_rate": 0.1}},
        {"settings": {"epochs": 3, "learning_rate": 0.2}},
        {"seed": 2},
        {"threads": 2},
        {"digests": {"train": "ab", "val": "ef"}},
        {"digests": {"train": "ef", "val": "cd"}},
    ],
)
def test_a_different_training_reuses_nothing(
    root: Path, kept: Path, tmp_path: Path, changed: dict[str, Any]
) -> None:
    assert checkpoint_reuse.checkpoint_path(root, **GIVEN) == kept
    assert not checkpoint_reuse.reuse_checkpoint(
        checkpoint_reuse.checkpoint_path(root, **(GIVEN | changed)), tmp_path / "1.npz"
    )
    assert not (tmp_path / "1.npz").exists()


def test_changed_code_reuses_nothing(root: Path, kept: Path, tmp_path: Path) -> None:
    (root / "module.py").write_text("after")
    assert not checkpoint_reuse.reuse_checkpoint(
        checkpoint_reuse.checkpoint_path(root, **GIVEN), tmp_path / "1.npz"
    )


def test_a_search_keeps_only_the_checkpoint_of_its_last_winner(root: Path, kept: Path) -> None:
    other = checkpoint_reuse.checkpoint_path(root, **(GIVEN | {"search": "0-other"}))
    checkpoint_reuse.keep_checkpoint(other, kept)
    again = checkpoint_reuse.checkpoint_path(root, **(GIVEN | {"seed": 2}))
    checkpoint_reuse.keep_checkpoint(again, other)
    assert {*root.glob(".state/*/*")} == {other, again}
