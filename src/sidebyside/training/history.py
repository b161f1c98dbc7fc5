"""History of a training: a row per epoch, and the epoch whose weights are kept."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import NamedTuple

Epoch = dict[str, float]  # a row of a history; its keys are HISTORY_COLUMNS


class Steps(NamedTuple):
    """The progress of an epoch."""

    done: int
    total: int


class EpochEnd(NamedTuple):
    """The end of an epoch that was computed."""

    row: Epoch
    seconds: float


News = tuple[Steps | EpochEnd, bytes | None]  # the checkpoint at the end of an epoch
Training = Generator[News, None, "Progress"]


@dataclass
class Progress:
    """State of a training at the end of an epoch, without the arrays."""

    history: list[Epoch] = field(default_factory=list)
    improved_epoch: int = 0  # the epoch with the best `monitor` so far, from 1; 0: none yet
    best_epoch: int = 0  # the epoch whose weights are kept, from 1; 0: none yet

    @property
    def epochs(self) -> int:
        """The number of epochs so far."""
        return len(self.history)

    @property
    def rows(self) -> list[list[float]]:
        """The history as rows of HISTORY_COLUMNS."""
        return [[*row.values()] for row in self.history]

    @property
    def best(self) -> Epoch:
        """The row of the epoch whose weights are kept."""
        return self.history[self.best_epoch - 1]
