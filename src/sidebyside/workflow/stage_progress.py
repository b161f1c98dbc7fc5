"""Show the progress of several DVC stages: their lines, and a summary with the time left."""

import sys
import time
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import NoReturn, Self, TextIO

from tqdm import tqdm

from sidebyside.execution.dvc_stages import Change, without_dependents
from sidebyside.execution.schedule import Predecessors, simulate
from sidebyside.workflow.ledger import Ledger
from sidebyside.workflow.progress import STEP, duration

# Lines that DVC prints for every stage.
ADVICE = (
    *("Generating lock file", "Updating lock file", "To track the changes with git", "git add "),
    *("To enable auto staging", "dvc config core.autostage", "Use `dvc"),
)


class StageProgress(AbstractContextManager["StageProgress"]):
    """The state of a run, as lines in a log.

    The last lines of a terminal are drawn again and again: a summary and, for each running stage,
    its last epoch or trial.
    """

    def __init__(
        self,
        ledger: Ledger,
        predecessors: Predecessors,
        seconds: Mapping[str, float],
        due: Collection[str],
        *,
        at_once: int,
    ) -> None:
        """Begin with the stages that may run.

        Args:
            ledger: where completed stages are saved.
            predecessors: stage → stages that it depends on, in the order in which stages start.
            seconds: stage → expected duration.
            due: the stages to run, unless their inputs come out unchanged.
            at_once: maximum number of stages that run at the same time.
        """
        self._ledger, self._predecessors, self._seconds = ledger, predecessors, seconds
        self._left, self._at_once = [*due], at_once
        self._started: dict[str, float] = {}  # running stage → time
        self._width = max(map(len, due), default=0)
        self.failed: list[str] = []
        # A stage that has the terminal to itself draws its own bar.
        self._drawn = at_once > 1 and sys.stderr.isatty()
        self._summary = self._line()
        self._lines: dict[str, tqdm[NoReturn]] = {}  # running stage → its line

    def __enter__(self) -> Self:
        """Show the first summary."""
        self._refresh()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Save the time and remove the last line."""
        self._ledger.save()
        for line in (*self._lines.values(), self._summary):
            line.close()

    def report(self, changes: Mapping[str, Change]) -> None:
        """Save and print what has changed, and save the time.

        Args:
            changes: stage → its change.
        """
        self._ledger.save()
        now = time.monotonic()
        unchanged = [stage for stage in self._left if changes.get(stage) == "unchanged"]
        if unchanged:
            self._left = [stage for stage in self._left if stage not in unchanged]
            self._print(f"{', '.join(unchanged)} skipped: no input has changed", sys.stdout)
        for stage, change in changes.items():
            if change == "started":
                self._started[stage] = now
                self._ledger.start(stage)
                self._lines[stage] = self._line()
                self._lines[stage].set_description_str(stage)
            elif change != "unchanged":
                seconds = now - self._started.pop(stage)
                self._left.remove(stage)
                self._lines.pop(stage).close()
                if change == "completed":
                    self._ledger.complete(stage)
                else:
                    self._fail(stage)
                self._print(
                    f"{stage} {change} in {duration(seconds)}: {self.summary()}", sys.stdout
                )
        self._refresh()

    def _fail(self, stage: str) -> None:
        self.failed.append(stage)
        left = without_dependents(self._left, [stage], self._predecessors)
        if skipped := [one for one in self._left if one not in left]:
            self._print(f"{', '.join(skipped)} skipped: {stage} has failed", sys.stderr)
        self._left = left

    def show(self, stage: str, line: str, stream: TextIO) -> None:
        """Print a line of a stage after the stage's name, but not DVC's advice."""
        if self._drawn and STEP.search(line):
            self._lines[stage].set_description_str(line)
        elif not line.strip().startswith(ADVICE) and line.strip():
            self._print(f"{stage:{self._width}} | {line}", stream)

    def summary(self) -> str:
        """Return the number of completed stages, the time so far and the time left."""
        done = len(self._ledger.completed)
        text = f"{done} of {done + len(self._left) + len(self.failed)} stages"
        text += f", {duration(self._ledger.stopwatch.seconds)}"
        left = self.seconds_left()
        return f"{text}, about {duration(left)} left" if left >= 1 else text

    def seconds_left(self) -> float:
        """Return the expected time until the last stage ends."""
        now = time.monotonic()
        seconds = {stage: self._seconds[stage] for stage in self._left}
        for stage, began in self._started.items():
            seconds[stage] = max(0.0, seconds[stage] - (now - began))
        order = [stage for stage in self._predecessors if stage in seconds]
        spans = simulate(
            order, self._predecessors, seconds, self._started.keys(), at_once=self._at_once
        )
        return max((span.end for span in spans.values()), default=0.0)

    def _refresh(self) -> None:
        self._summary.set_description_str(self.summary())

    def _line(self) -> "tqdm[NoReturn]":
        """Return a line below those that were drawn before it."""
        return tqdm(bar_format="{desc}", leave=False, dynamic_ncols=True, disable=not self._drawn)

    def _print(self, line: str, stream: TextIO) -> None:
        tqdm.write(line, file=stream)
        stream.flush()
