"""Save and restore the full state of a training at the end of an epoch."""

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.core.errors import UserError
from sidebyside.training.history import Progress


class DamagedCheckpointError(UserError):
    """A checkpoint cannot be restored; the message is the reason."""


def read_checkpoint(path: Path | None) -> bytes | None:
    """Return the content of a checkpoint; None if there is none."""
    return path.read_bytes() if path is not None and path.exists() else None


@contextlib.contextmanager
def damaged_checkpoint(path: Path | None) -> Iterator[None]:
    """Name the file of a damaged checkpoint.

    Raises:
        UserError: the block raises DamagedCheckpointError.
    """
    try:
        yield
    except DamagedCheckpointError as error:
        raise UserError(f"{path} is damaged ({error}): delete it to train from scratch") from None


def save_checkpoint(
    state: list[tf.Variable], best_state: list[NDArray[Any]], progress: Progress
) -> bytes:
    """Return the state at the end of an epoch as the content of an .npz file.

    Args:
        state: all variables that training changes, in an order that is the same on restoring.
        best_state: values of the model's variables in the epoch that is kept.
        progress: the history and the best epoch.
    """
    arrays = {f"state_{i}": variable.numpy() for i, variable in enumerate(state)}
    arrays |= {f"best_{i}": value for i, value in enumerate(best_state)}
    buffer = io.BytesIO()
    np.savez(buffer, progress=np.array(json.dumps(asdict(progress))), **arrays)
    return buffer.getvalue()


def restore_checkpoint(
    content: bytes, state: list[tf.Variable], best_state: list[NDArray[Any]]
) -> Progress:
    """Restore `state` and `best_state` in place and return the saved progress.

    Raises:
        DamagedCheckpointError: it is damaged, or is the checkpoint of a different model.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as saved:
            progress = Progress(**json.loads(saved["progress"].item()))
            if not 0 < progress.improved_epoch <= progress.best_epoch <= progress.epochs:
                raise ValueError("inconsistent epochs")
            for i, variable in enumerate(state):
                variable.assign(saved[f"state_{i}"])
            best_state[:] = [saved[f"best_{i}"] for i in range(len(best_state))]
    except Exception as error:  # a damaged archive raises errors of about ten types
        reason = " ".join(str(error).split())
        raise DamagedCheckpointError(reason) from None
    return progress
