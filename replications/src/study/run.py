"""Run what is due of replications/, two stages at a time, the longest first.

Each stage computes with one thread (docs/speed.md says what that saves). Stopped, it goes on where
it was. After a run of everything, replications/durations/everything.json says how long that took,
interruptions left out. To have one, delete dvc.lock, results and .state in replications/.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.core.stopwatch import Stopwatch
from sidebyside.workflow import command, state
from sidebyside.workflow.progress import duration
from study.plan import read_plan, write_duration
from study.results import read_seconds, stage_names

AT_ONCE = 2
MINUTE = 60.0  # what a kill may leave uncounted of the time
INTEROP_THREADS = {"TF_NUM_INTEROP_THREADS": "1"}  # which changes no bit


def main() -> None:
    """Run the stages."""
    command.parser(__doc__).parse_args()
    folder = Path(__file__).resolve().parents[2]
    plan = read_plan(folder / "params.yaml")
    every = stage_names(plan)
    after = {f"winner@{name}": f"search@{part.search}" for name, part in plan.winners.items()}
    with state.resumable(folder, "replicate", "run", ()) as kept:
        due = longest_first(stale(folder, every), folder / "durations")
        ledger = Ledger(kept, due)
        try:
            run(folder, due, after, ledger.note)
        finally:
            ledger.stopwatch.save()
        if ledger.failed:
            raise UserError(
                f"{', '.join(ledger.failed)} failed, and the lines above say why; run the same"
                " command again to go on"
            )
        if {*ledger.done} == {*every}:
            write_duration(folder, "everything", [ledger.stopwatch.seconds])


class Ledger:
    """Which stages were done since a run began, and how long that took, across interruptions."""

    def __init__(self, folder: Path, due: Sequence[str]) -> None:
        """Take up a run that was stopped; where all it had done is due again, begin another.

        Args:
            folder: keeps what a kill must not lose.
            due: the stages to do now.

        Raises:
            UserError: what the folder has is damaged.
        """
        self._file, seconds = folder / "stages.json", folder / "seconds.json"
        before = read_json(self._file) if self._file.exists() else []
        if not isinstance(before, list):
            raise UserError(f"{self._file} is damaged: delete it to begin another run")
        self.done = [stage for stage in before if stage not in due]
        self.failed: list[str] = []
        self._stages = len(self.done) + len(due)
        if before and not self.done:
            seconds.unlink(missing_ok=True)
        self.stopwatch = Stopwatch(seconds)

    def note(self, ended: Mapping[str, bool]) -> None:
        """Keep and print what has ended, stage → whether it succeeded, and keep the time."""
        self.stopwatch.save()
        for stage, succeeded in ended.items():
            (self.done if succeeded else self.failed).append(stage)
            write_json(self._file, self.done)
            print(
                f"{stage} {'done' if succeeded else 'failed'}: {len(self.done)} of"
                f" {self._stages} stages, {duration(self.stopwatch.seconds)}",
                flush=True,
            )


def stale(folder: Path, stages: Sequence[str]) -> list[str]:
    """Return those stages that DVC would run.

    Args:
        folder: that of their dvc.yaml.
        stages: as `dvc repro` takes them.

    Raises:
        UserError: DVC cannot say.
    """
    asked = ["dvc", "--wait-for-lock", "status", "--json"]
    answer = subprocess.run(asked, cwd=folder, check=False, capture_output=True, text=True)
    if answer.returncode:
        raise UserError(f"`dvc status` fails: {' '.join(answer.stderr.split())}")
    changed = json.loads(answer.stdout)
    return [stage for stage in stages if stage in changed]


def longest_first(stages: Sequence[str], durations: Path) -> list[str]:
    """Return stages in the order that, two at a time, ends near the soonest (Graham 1969).

    Args:
        stages: to sort; those that took the same stay in their order.
        durations: the folder that says what they took when they last ran; what never has comes
            first, as it may take longest.

    Raises:
        UserError: a file there is damaged.
    """

    def seconds(stage: str) -> float:
        kind, _, name = stage.partition("@")
        path = durations / f"{'search' if kind == 'search' else 'train'}-{name}.json"
        return read_seconds(path) if path.exists() else float("inf")

    return sorted(stages, key=seconds, reverse=True)


def run(
    folder: Path,
    stages: Sequence[str],
    after: Mapping[str, str],
    note: Callable[[Mapping[str, bool]], None],
) -> None:
    """Run stages, each in a process of DVC's; one that fails leaves the others to go on.

    Args:
        folder: that of their dvc.yaml.
        stages: which, in the order to begin them.
        after: stage → stage that has to have ended before.
        note: is called whenever some have ended, and every minute, with stage → whether it
            succeeded.
    """
    waiting = [*stages]
    running: dict[Future[int], tuple[str, subprocess.Popen[bytes]]] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            while waiting or running:
                unfinished = {*waiting, *(stage for stage, _ in running.values())}
                ready = [stage for stage in waiting if after.get(stage) not in unfinished]
                for stage in ready[: AT_ONCE - len(running)]:
                    waiting.remove(stage)
                    process = _start(folder, stage)
                    running[pool.submit(process.wait)] = (stage, process)
                ended, _ = wait(running, timeout=MINUTE, return_when=FIRST_COMPLETED)
                note({running.pop(future)[0]: future.result() == 0 for future in ended})
        finally:
            for _, process in running.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)


def _start(folder: Path, stage: str) -> "subprocess.Popen[bytes]":
    # In a process group of its own: a signal to it reaches the stage's script, too.
    return subprocess.Popen(
        ["dvc", "--wait-for-lock", "repro", "--single-item", stage],
        cwd=folder,
        env={**os.environ, **INTEROP_THREADS},
        stdin=subprocess.DEVNULL,
        process_group=0,
    )


if __name__ == "__main__":
    command.run(main)
