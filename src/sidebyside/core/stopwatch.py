"""Measure the duration of a task across interruptions."""

import time
from pathlib import Path

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json


def read_seconds(file: Path) -> float:
    """Return the seconds in a file; 0 if it does not exist.

    Raises:
        UserError: the file is damaged.
    """
    seconds = read_json(file) if file.exists() else 0.0
    if not isinstance(seconds, float):
        raise UserError(f"{file} is damaged: delete it to count from zero")
    return seconds


class Stopwatch:
    """The seconds that all processes spent on a task, including killed processes."""

    def __init__(self, file: Path) -> None:
        """Start with the seconds that earlier processes saved.

        Args:
            file: where `save` writes the seconds.

        Raises:
            UserError: the file is damaged.
        """
        self._file = file
        self._before = read_seconds(file)
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far, excluding the time of a killed process after its last `save`."""
        return self._before + time.perf_counter() - self._started

    def save(self) -> None:
        """Write the seconds to the file; call this at each point from which the task can resume."""
        write_json(self._file, self.seconds)
