"""What a search has trained, so that its winner is not trained again.

The winner of a search, trained from the seed of the search's trials for as long as they were, is
the trial itself, to the bit. So a search leaves its winner's last checkpoint, and a training that
would be the same goes on from there: there is nothing left to train.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidebyside.core.files import write_bytes
from sidebyside.workflow import state


def checkpoint_path(
    root: Path,
    search: str,
    settings: Mapping[str, Any],
    seed: int,
    threads: int,
    digests: Mapping[str, str],
) -> Path:
    """Return where the checkpoint of a training is, named by all that decides its bits.

    Args:
        root: the folder of the replications.
        search: the name of the search.
        settings: hyperparameters, epochs, patience, monitor and keep, as JSON values.
        seed: as for `training_work.train`.
        threads: intra-op ones.
        digests: of what it learns from, `train`, and of what `monitor` is measured on, `val`.
    """
    inputs = {"settings": settings, "seed": seed, "threads": threads, **digests}
    key = state.work_key(root, "train", inputs)
    return root / state.FOLDER / f"winner-{search}" / f"{key}.npz"


def keep_checkpoint(place: Path, checkpoint: Path) -> None:
    """Put a checkpoint at its place, which other ones of the same search leave."""
    shutil.rmtree(place.parent, ignore_errors=True)
    write_bytes(place, checkpoint.read_bytes())


def reuse_checkpoint(place: Path, checkpoint: Path) -> bool:
    """Put what is at a place, if anything is, where a training goes on; return whether it was."""
    if checkpoint.exists() or not place.exists():
        return False
    write_bytes(checkpoint, place.read_bytes())
    return True
