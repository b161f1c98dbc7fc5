"""Decide after each epoch whether training stops, and whether the epoch's weights are kept."""

from collections.abc import Mapping

from sidebyside.training.history import Epoch, Progress


def is_finished(progress: Progress, epochs: int, patience: int) -> bool:
    """Return whether training ends: the epoch limit is reached, or `patience` is exhausted.

    Args:
        progress: epochs so far.
        epochs: the maximum.
        patience: epochs without a better `monitor` before training stops.
    """
    waited = progress.epochs - progress.improved_epoch
    return progress.epochs >= epochs or waited >= patience


def add_epoch(progress: Progress, row: Epoch, monitor: str, keep: str) -> bool:
    """Add an epoch to the progress in place; return whether its weights are to be kept.

    Args:
        progress: the epochs before.
        row: the new epoch.
        monitor: `val_accuracy` (higher is better) or `val_loss` (lower is better); of equal epochs
            the first is the best.
        keep: `best`, the epoch with the best `monitor`, or `last`.
    """
    first = progress.improved_epoch == 0
    best = None if first else progress.history[progress.improved_epoch - 1]
    progress.history.append(row)
    if best is None or _is_better(monitor, row, best):
        progress.improved_epoch = progress.epochs
    if kept := keep == "last" or progress.improved_epoch == progress.epochs:
        progress.best_epoch = progress.epochs
    return kept


def _is_better(monitor: str, row: Mapping[str, float], best: Mapping[str, float]) -> bool:
    if monitor == "val_loss":
        return row[monitor] < best[monitor]
    return row[monitor] > best[monitor]
