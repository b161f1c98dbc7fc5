"""History of a training: a row per epoch, and the epoch whose weights are kept."""

from dataclasses import dataclass, field

Epoch = dict[str, float]  # a row of a history; its keys are HISTORY_COLUMNS


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
    def best(self) -> Epoch:
        """The row of the epoch whose weights are kept."""
        return self.history[self.best_epoch - 1]
