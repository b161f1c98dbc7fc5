"""The history of a training: one row per epoch, and which epoch is kept."""

from dataclasses import dataclass, field

Epoch = dict[str, float]  # one row of a history; its columns are HISTORY_COLUMNS


@dataclass
class Progress:
    """Where a training stands at the end of an epoch; everything but the arrays."""

    history: list[Epoch] = field(default_factory=list)
    improved_epoch: int = 0  # the last one that had the best `monitor` so far; counted from 1
    best_epoch: int = 0  # whose weights are kept; 0: none yet

    @property
    def epochs(self) -> int:
        return len(self.history)

    @property
    def best(self) -> Epoch:
        """The row of the epoch whose weights are kept."""
        return self.history[self.best_epoch - 1]
