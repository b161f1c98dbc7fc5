import pytest

from sidebyside.training.early_stopping import add_epoch, is_finished
from sidebyside.training.history import Progress

# Validation loss and accuracy of each epoch.
SCORES = [(0.5, 0.6), (0.4, 0.7), (0.3, 0.7), (0.6, 0.65), (0.7, 0.6), (0.2, 0.9)]


def trained(
    monitor: str,
    *,
    patience: int,
    keep: str = "best",
    scores: list[tuple[float, float]] = SCORES,
) -> tuple[Progress, list[int]]:
    """Return the progress when training stops, and the epochs whose weights were kept."""
    progress = Progress()
    kept = []
    while not is_finished(progress, len(scores), patience):
        loss, accuracy = scores[progress.epochs]
        row = {"epoch": progress.epochs + 1, "val_loss": loss, "val_accuracy": accuracy}
        if add_epoch(progress, row, monitor, keep):
            kept.append(progress.epochs)
    return progress, kept


@pytest.mark.parametrize(
    ("monitor", "patience", "best", "epochs"),
    [
        ("val_accuracy", 2, 2, 4),  # epochs 2 and 3 are equal
        ("val_loss", 2, 3, 5),
        ("val_loss", 3, 6, 6),
    ],
)
def test_training_stops_after_patience_epochs_without_improvement(
    monitor: str, patience: int, best: int, epochs: int
) -> None:
    progress, kept = trained(monitor, patience=patience)
    assert (progress.best_epoch, progress.improved_epoch, progress.epochs) == (best, best, epochs)
    assert kept[-1] == best
    assert progress.best["epoch"] == best


@pytest.mark.parametrize(
    ("monitor", "patience", "improved", "epochs"),
    [("val_accuracy", 2, 2, 4), ("val_loss", 2, 3, 5)],
)
def test_keeping_the_last_epoch_does_not_postpone_the_stop(
    monitor: str, patience: int, improved: int, epochs: int
) -> None:
    progress, kept = trained(monitor, patience=patience, keep="last")
    assert (progress.best_epoch, progress.improved_epoch, progress.epochs) == (
        epochs,
        improved,
        epochs,
    )
    assert kept == list(range(1, epochs + 1))


def test_the_first_of_epochs_with_equal_losses_is_kept() -> None:
    progress, _ = trained("val_loss", patience=9, scores=[(0.5, 0.6), (0.4, 0.6), (0.4, 0.6)])
    assert progress.best_epoch == 2


def test_the_epoch_limit_ends_a_training_that_still_improves() -> None:
    progress, _ = trained("val_accuracy", patience=1, scores=SCORES[:2])
    assert progress.epochs == 2
