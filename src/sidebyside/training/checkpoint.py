"""Save and restore the full state of a training at the end of an epoch."""

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.core.errors import UserError
from sidebyside.core.files import write_bytes
from sidebyside.training.history import Progress


def save_checkpoint(
    path: Path,
    state: list[tf.Variable],
    best_state: list[NDArray[Any]],
    progress: Progress,
) -> None:
    """Write the state at the end of an epoch to `path`, an .npz file, atomically.

    Args:
        path: the checkpoint.
        state: all variables that training changes, in an order that is the same on restoring.
        best_state: values of the model's variables in the epoch that is kept.
        progress: the history and the best epoch.
    """
    arrays = {f"state_{i}": variable.numpy() for i, variable in enumerate(state)}
    arrays |= {f"best_{i}": value for i, value in enumerate(best_state)}
    buffer = io.BytesIO()
    np.savez(buffer, progress=np.array(json.dumps(asdict(progress))), **arrays)
    write_bytes(path, buffer.getvalue())


def restore_checkpoint(
    path: Path, state: list[tf.Variable], best_state: list[NDArray[Any]]
) -> Progress:
    """Restore `state` and `best_state` in place and return the saved progress.

    Raises:
        UserError: the file is damaged, or is the checkpoint of a different model.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as saved:
            progress = Progress(**json.loads(saved["progress"].item()))
            if not 0 < progress.improved_epoch <= progress.best_epoch <= progress.epochs:
                raise ValueError("inconsistent epochs")
            for i, variable in enumerate(state):
                variable.assign(saved[f"state_{i}"])
            best_state[:] = [saved[f"best_{i}"] for i in range(len(best_state))]
    except Exception as error:  # a damaged archive raises errors of about ten types
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged ({reason}): delete it to train from scratch") from None
    return progress
