"""Run the stages of the study that are not up to date, two at a time, longest first.

Each stage computes with one thread (docs/speed.md has the time this saves). An interrupted run
resumes where it stopped. A run of all stages records its duration, without interruptions, as
`everything` in .state/provenance; to start one, delete dvc.lock, results and .state in
replications/.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.core.stopwatch import Stopwatch
from sidebyside.execution import dvc_stages
from sidebyside.workflow import command, provenance, resume
from sidebyside.workflow.progress import duration
from study.plan import predecessors, read_plan, stage_names

AT_ONCE = 2
EVERYTHING = "everything"  # entry with the duration of a run of all stages
RECORDED = "provenance.json"  # beside dvc.yaml: provenance of the recorded results


def main() -> None:
    """Run the stages."""
    command.parser(__doc__).parse_args()
    folder = Path(__file__).resolve().parents[2]
    plan = read_plan(folder / "params.yaml")
    every = stage_names(plan)
    with resume.resumable(folder, "replicate", "run", ()) as saved:
        due = dvc_stages.longest_first(dvc_stages.stale(folder, every), expected_seconds(folder))
        ledger = Ledger(saved, due)
        try:
            dvc_stages.run(folder, due, predecessors(plan), ledger.record, at_once=AT_ONCE)
        finally:
            ledger.stopwatch.save()
        if ledger.failed:
            raise UserError(
                f"{', '.join(ledger.failed)} failed, for the reasons above: run the same command"
                " again to resume"
            )
        if {*ledger.completed} == {*every}:
            machine = {
                **provenance.machine(plan.threads),
                "name": provenance.processor_name(),
            }
            seconds = round(ledger.stopwatch.seconds, 1)
            provenance.write(folder, EVERYTHING, EVERYTHING, machine, (), seconds)


def expected_seconds(folder: Path) -> dict[str, float]:
    """Return stage → duration of its last run in this checkout, or else of the recorded run.

    Args:
        folder: the folder of dvc.yaml.

    Raises:
        UserError: a provenance entry is damaged.
    """
    recorded = folder / RECORDED
    entries = {
        stage: provenance.parse(recorded, content)
        for stage, content in (read_json(recorded) if recorded.exists() else {}).items()
    }
    for file in (folder / provenance.FOLDER).glob("*.json"):
        entries[file.stem] = provenance.parse(file, read_json(file))
    return {stage: one.seconds for stage, one in entries.items() if one.seconds is not None}


class Ledger:
    """The completed stages of a run and its duration, kept across interruptions."""

    def __init__(self, folder: Path, due: Sequence[str]) -> None:
        """Resume an interrupted run, or begin a new one if all its completed stages are due again.

        Args:
            folder: folder for the ledger's files.
            due: stages to run now.

        Raises:
            UserError: a file of the ledger is damaged.
        """
        self._file, seconds = folder / "stages.json", folder / "seconds.json"
        before = read_json(self._file) if self._file.exists() else []
        if not isinstance(before, list):
            raise UserError(f"{self._file} is damaged: delete it to begin a new run")
        self.completed = [stage for stage in before if stage not in due]
        self.failed: list[str] = []
        self._stages = len(self.completed) + len(due)
        if before and not self.completed:
            seconds.unlink(missing_ok=True)
        self.stopwatch = Stopwatch(seconds)

    def record(self, ended: Mapping[str, bool]) -> None:
        """Save and print the stages that have ended, and save the time.

        Args:
            ended: stage → whether it succeeded.
        """
        self.stopwatch.save()
        for stage, succeeded in ended.items():
            (self.completed if succeeded else self.failed).append(stage)
            write_json(self._file, self.completed)
            print(
                f"{stage} {'completed' if succeeded else 'failed'}:"
                f" {len(self.completed)} of {self._stages} stages,"
                f" {duration(self.stopwatch.seconds)}",
                flush=True,
            )


if __name__ == "__main__":
    command.run(main)
