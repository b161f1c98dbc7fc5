import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from sidebyside.core.errors import UserError
from sidebyside.training.checkpoint import (
    DamagedCheckpointError,
    damaged_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from sidebyside.training.history import Progress

PROGRESS = Progress(
    [{"epoch": 1, "val_loss": 0.1 + 0.2}, {"epoch": 2, "val_loss": 1 / 3}],
    improved_epoch=1,
    best_epoch=2,
)


def variables(fill: float, rows: int = 3) -> list[tf.Variable]:
    """Return variables of the types in a training's state: weights, counters and seeds."""
    return [
        tf.Variable(np.full((rows, 2), fill, np.float32)),
        tf.Variable(int(fill), dtype=tf.int64),
        tf.Variable(np.full(2, fill, np.uint32)),
    ]


def saved() -> bytes:
    return save_checkpoint(variables(7), [np.full((3, 2), 9, np.float32)], PROGRESS)


def test_a_checkpoint_restores_state_and_progress_exactly() -> None:
    state, best = variables(0), [np.zeros((3, 2), np.float32)]
    assert restore_checkpoint(saved(), state, best) == PROGRESS
    for variable, expected in zip(state, variables(7), strict=True):
        assert variable.dtype == expected.dtype
        assert np.array_equal(variable.numpy(), expected.numpy())
    assert np.array_equal(best[0], np.full((3, 2), 9, np.float32))


def test_equal_states_give_equal_checkpoints() -> None:
    assert saved() == saved()


def with_progress(content: bytes, progress: object) -> bytes:
    """Return a checkpoint with its progress changed by a dictionary, or replaced."""
    with np.load(io.BytesIO(content)) as archive:
        arrays: dict[str, Any] = dict(archive)
    if isinstance(progress, dict):
        progress = json.loads(arrays["progress"].item()) | progress
    text = progress if isinstance(progress, str) else json.dumps(progress)
    result = io.BytesIO()
    np.savez(result, **{**arrays, "progress": np.array(text)})
    return result.getvalue()


def with_field(content: bytes, offset: int, value: int) -> bytes:
    """Return a checkpoint with a field of the first entry in its zip directory changed."""
    changed = bytearray(content)
    changed[content.index(b"PK\1\2") + offset] = value
    return bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [
        *("truncated", "empty", "text", "list", "unknown field", "best epoch", "improved epoch"),
        *("nested", "encrypted", "compression"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    content = saved()
    damaged = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "text": b"{}",
        "list": with_progress(content, []),
        "unknown field": with_progress(content, {"loss": 1}),
        "best epoch": with_progress(content, {"best_epoch": 7}),
        "improved epoch": with_progress(content, {"improved_epoch": 0}),
        "nested": with_progress(content, "[" * 100_000),
        "encrypted": with_field(content, 8, 1),
        "compression": with_field(content, 10, 99),
    }[damage]
    path = tmp_path / "c.npz"
    with (
        pytest.raises(UserError, match=r"c\.npz is damaged .*delete it to train from") as caught,
        damaged_checkpoint(path),
    ):
        restore_checkpoint(damaged, variables(0), [np.zeros((3, 2), np.float32)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", [variables(0, rows=4), variables(0) + variables(0)])
def test_a_checkpoint_of_another_model_is_refused(other: list[tf.Variable]) -> None:
    with pytest.raises(DamagedCheckpointError):
        restore_checkpoint(saved(), other, [np.zeros((3, 2), np.float32)])
