"""What a search leaves for its winner, and when it is taken."""

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
    """A folder whose stage depends on a module."""
    folder = tmp_path / "replications"
    folder.mkdir()
    (folder / "module.py").write_text("as it is")
    stages = {"train": {"cmd": "", "deps": ["module.py"]}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return folder


@pytest.fixture
def place(root: Path) -> Path:
    """Where a search has left a checkpoint."""
    checkpoint = root / "of-a-trial.npz"
    checkpoint.write_bytes(b"its state")
    found = checkpoint_reuse.checkpoint_path(root, **GIVEN)
    checkpoint_reuse.keep_checkpoint(found, checkpoint)
    return found


def test_what_a_search_left_is_taken(place: Path, tmp_path: Path) -> None:
    assert checkpoint_reuse.reuse_checkpoint(place, tmp_path / "1.npz")
    assert (tmp_path / "1.npz").read_bytes() == b"its state"


def test_a_training_that_has_begun_goes_on_from_its_own(place: Path, tmp_path: Path) -> None:
    (tmp_path / "1.npz").write_bytes(b"its own")
    assert not checkpoint_reuse.reuse_checkpoint(place, tmp_path / "1.npz")
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
def test_another_training_finds_nothing(
    root: Path, place: Path, tmp_path: Path, changed: dict[str, Any]
) -> None:
    assert checkpoint_reuse.checkpoint_path(root, **GIVEN) == place
    assert not checkpoint_reuse.reuse_checkpoint(
        checkpoint_reuse.checkpoint_path(root, **(GIVEN | changed)), tmp_path / "1.npz"
    )
    assert not (tmp_path / "1.npz").exists()


def test_other_code_finds_nothing(root: Path, place: Path, tmp_path: Path) -> None:
    (root / "module.py").write_text("otherwise")
    assert not checkpoint_reuse.reuse_checkpoint(
        checkpoint_reuse.checkpoint_path(root, **GIVEN), tmp_path / "1.npz"
    )


def test_a_search_leaves_one_winner_and_not_those_of_others(root: Path, place: Path) -> None:
    other = checkpoint_reuse.checkpoint_path(root, **(GIVEN | {"search": "0-other"}))
    checkpoint_reuse.keep_checkpoint(other, place)
    again = checkpoint_reuse.checkpoint_path(root, **(GIVEN | {"seed": 2}))
    checkpoint_reuse.keep_checkpoint(again, other)
    assert {*root.glob(".state/*/*")} == {other, again}
