"""Reuse the winning trial's checkpoint.

A training with the hyperparameters, seed and epochs of a search's winning trial repeats that trial
bit for bit. So a search keeps its winner's last checkpoint, and such a training resumes from it,
with nothing left to compute.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidebyside.core.files import write_bytes
from sidebyside.workflow import resume


def checkpoint_path(
    root: Path,
    search: str,
    settings: Mapping[str, Any],
    seed: int,
    threads: int,
    digests: Mapping[str, str],
) -> Path:
    """Return the path of a winner's checkpoint, named by all that decides its bits.

    Args:
        root: folder of the replications.
        search: name of the search.
        settings: hyperparameters, epochs, patience, monitor and keep, as JSON values.
        seed: seed of the training.
        threads: number of intra-op threads.
        digests: SHA-256 of the splits `train` and `val`.
    """
    inputs = {"settings": settings, "seed": seed, "threads": threads, **digests}
    key = resume.work_key(root, "train", inputs)
    return root / resume.FOLDER / f"winner-{search}" / f"{key}.npz"


def keep_checkpoint(kept: Path, checkpoint: Path) -> None:
    """Copy a checkpoint to `kept`, replacing those of earlier winners of the same search."""
    shutil.rmtree(kept.parent, ignore_errors=True)
    write_bytes(kept, checkpoint.read_bytes())


def reuse_checkpoint(kept: Path, checkpoint: Path) -> bool:
    """Copy the kept checkpoint, if there is one, to where a training resumes from.

    Returns:
        Whether it was copied: a training that has its own checkpoint resumes from that.
    """
    if checkpoint.exists() or not kept.exists():
        return False
    write_bytes(checkpoint, kept.read_bytes())
    return True
