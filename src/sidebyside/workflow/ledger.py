"""Count the completed stages and the time of a run, across interruptions."""

import contextlib
from collections.abc import Collection
from pathlib import Path

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.core.stopwatch import Stopwatch


class Ledger:
    """The completed stages of a run and its duration, and the stages recorded before it."""

    def __init__(self, folder: Path, due: Collection[str], recorded: Collection[str]) -> None:
        """Resume an interrupted run, or begin a new one if all its completed stages are due again.

        Args:
            folder: folder for the ledger's files.
            due: stages to run now.
            recorded: stages in dvc.lock now, in order.

        Raises:
            UserError: a file of the ledger is damaged.
        """
        self._file, self._seconds = folder / "stages.json", folder / "seconds.json"
        new = {"recorded": [*recorded], "started": [], "completed": []}
        begun = self._read() or new
        if begun["completed"] and not {*begun["completed"]}.difference(due):
            self.close()
            begun = new
        self.recorded = begun["recorded"]
        # DVC may have recorded a stage whose end the interrupted process has not seen.
        self.completed = [stage for stage in begun["started"] if stage not in due]
        self._started = [*self.completed]
        self.stopwatch = Stopwatch(self._seconds)
        self.save()

    def _read(self) -> dict[str, list[str]] | None:
        """Return the saved stages; None without a run."""
        if not self._file.exists():
            return None
        content = read_json(self._file)
        if not isinstance(content, dict) or not all(
            isinstance(content.get(name), list) for name in ("recorded", "started", "completed")
        ):
            raise UserError(f"{self._file} is damaged: delete it to begin a new run")
        return content

    def start(self, stage: str) -> None:
        """Save that a stage has started."""
        self._started.append(stage)
        self.save()

    def complete(self, stage: str) -> None:
        """Add a completed stage."""
        self.completed.append(stage)
        self.save()

    def save(self) -> None:
        """Save the stages and the time; on a full disk, only these are lost."""
        stages = {"started": self._started, "completed": self.completed}
        with contextlib.suppress(OSError):
            write_json(self._file, {"recorded": self.recorded, **stages})
            self.stopwatch.save()

    def close(self) -> None:
        """End the run: the next one begins anew."""
        self._file.unlink(missing_ok=True)
        self._seconds.unlink(missing_ok=True)
