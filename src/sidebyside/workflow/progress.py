"""Show progress on a terminal, and format durations."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tqdm import tqdm

# The scores of an epoch or a trial: a line that may be drawn over the one before it.
STEP = re.compile(r"\b(epoch|trial) \d+(/\d+)?: (val_)?(accuracy|loss) ")


@contextmanager
def step_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (steps done, total steps) that draws a progress bar on a terminal.

    Without a terminal, as in a log, nothing is drawn.

    Args:
        label: text before the bar.
    """
    bar = tqdm(desc=label, unit="step", leave=False, disable=not sys.stderr.isatty())

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.n = done
        bar.refresh()

    with bar:
        yield update


def print_epoch(label: str, row: Mapping[str, float], epochs: int, seconds: float) -> None:
    """Print a line for an epoch: its scores, its duration, and the maximum time left.

    Args:
        label: the beginning of the line.
        row: the epoch's row of the history.
        epochs: maximum number of epochs.
        seconds: duration of this epoch.
    """
    print(
        f"{label} epoch {row['epoch']}/{epochs}: loss {row['loss']:.4f},"
        f" val_loss {row['val_loss']:.4f}, val_accuracy {row['val_accuracy']:.4f},"
        f" {seconds:.1f} s, at most {duration(seconds * (epochs - row['epoch']))} left",
        flush=True,
    )


def duration(seconds: float) -> str:
    """Return a duration as text, such as `2 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
