"""Run the stages of a pipeline that are not up to date, several at once, longest first.

It gives the same files as `dvc repro`, which runs one stage after the other. An interrupted run
resumes where it stopped. If a stage fails, only those that depend on it are skipped. A run of all
stages records its duration, without interruptions, as `everything` in .state/provenance.
"""

import math
import os
import resource
from pathlib import Path
from typing import NamedTuple

from sidebyside.core.errors import UserError
from sidebyside.core.fingerprint import machine_facts, processor_name
from sidebyside.execution import dvc_pipeline, dvc_stages
from sidebyside.execution.choice import fitting, jobs_at_once
from sidebyside.execution.exclusive import exclusive
from sidebyside.execution.schedule import longest_first, simulate
from sidebyside.workflow import command, in_turn, provenance, stage_plan
from sidebyside.workflow.graph import recorded_stages
from sidebyside.workflow.ledger import Ledger
from sidebyside.workflow.progress import duration
from sidebyside.workflow.resume import FOLDER
from sidebyside.workflow.stage_progress import StageProgress

EVERYTHING = "everything"  # entry with the duration of a run of all stages
STATE = f"{FOLDER}/repro"
UP_TO_DATE = "Data and pipelines are up to date."  # DVC's words


def main() -> None:
    """Run or plan the stages."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(), help="folder of dvc.yaml (this one)"
    )
    parser.add_argument(
        "--jobs", type=int, help="maximum number of stages at once (cores / threads of a stage)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its times")
    given = parser.parse_args()
    if given.jobs is not None and given.jobs < 1:
        parser.error(f"--jobs {given.jobs}: give the number of stages at once, 1 or more")
    folder = given.folder.resolve()
    if given.dry_run:
        show_plan(make_plan(folder, given.jobs))
        return
    lock = folder / FOLDER / "repro.lock"
    with exclusive(lock, patience=math.inf, on_wait=in_turn.say) as file:
        os.set_inheritable(file.fileno(), True)  # to the watchdog, which ends a killed run
        run(folder, make_plan(folder, given.jobs))


class Plan(NamedTuple):
    """What a run does."""

    predecessors: dict[str, list[str]]  # in the order in which stages start
    due: list[str]  # stages that DVC would run now
    affected: list[str]  # those, and all that depend on them
    known: dict[str, float]  # stage → measured duration, in seconds
    seconds: dict[str, float]  # stage → expected duration
    at_once: int


def make_plan(folder: Path, jobs: int | None) -> Plan:
    """Return the plan of a run; print a line if the memory is too small for as many stages at once.

    Args:
        folder: the folder of dvc.yaml.
        jobs: maximum number of stages at once; None: as many as the cores suffice for.

    Raises:
        UserError: DVC cannot read the pipeline, or a provenance entry is damaged.
    """
    predecessors = dvc_pipeline.predecessors(folder)
    known = stage_plan.known_seconds(folder)
    seconds = stage_plan.expected_seconds(predecessors, known)
    order = longest_first(predecessors, seconds)
    due = dvc_pipeline.stale(folder, order)
    unaffected = dvc_stages.without_dependents(order, due, predecessors)
    affected = [stage for stage in order if stage not in unaffected]
    number, note = at_once(folder, jobs)
    if note and len(affected) > 1:
        print(note, flush=True)
    ordered = {stage: predecessors[stage] for stage in order}
    return Plan(ordered, [s for s in order if s in due], affected, known, seconds, number)


def at_once(folder: Path, jobs: int | None) -> tuple[int, str | None]:
    """Return how many stages run at once, and a line if the memory does not suffice for more.

    Args:
        folder: the folder of dvc.yaml.
        jobs: the maximum; None: as many as there are cores for.
    """
    wanted = jobs or jobs_at_once(stage_plan.threads_of(folder))
    return fitting(wanted, "stage", stage_plan.peak_memory(folder))


def show_plan(plan: Plan) -> None:
    """Print which stages would run, when and for how long."""
    if not plan.due:
        print(UP_TO_DATE)
        return
    spans = simulate(plan.affected, plan.predecessors, plan.seconds, at_once=plan.at_once)
    print("\n".join(stage_plan.table(spans, plan.known)))
    total = duration(max(span.end for span in spans.values()))
    number = f"{len(plan.affected)} of {len(plan.predecessors)} stages"
    print(f"\nAt most {number}, {plan.at_once} at once: about {total}")
    unknown = [stage for stage in plan.affected if stage not in plan.known]
    if unknown:
        print(f"Not measured yet: {', '.join(unknown)}")


def run(folder: Path, plan: Plan) -> None:
    """Run a plan.

    Raises:
        UserError: a stage fails, or DVC cannot read the pipeline; the message names the stages.
    """
    state = folder / STATE
    ledger = Ledger(state, plan.due, [*recorded_stages(folder)])
    with StageProgress(
        ledger, plan.predecessors, plan.seconds, plan.affected, at_once=plan.at_once
    ) as progress:
        dvc_stages.run(
            folder,
            plan.predecessors,
            plan.due,
            progress.report,
            progress.show,
            at_once=plan.at_once,
        )
    # DVC appends the entries of new stages in the order of the graph.
    dvc_pipeline.sort_lock(folder, [*ledger.recorded, *dvc_pipeline.predecessors(folder)])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    stage_plan.save_peak_memory(folder, peak)
    if progress.failed:
        raise UserError(
            f"{', '.join(progress.failed)} failed, for the reasons above: run the same command"
            " again to resume"
        )
    if not plan.due:
        print(UP_TO_DATE)
    if {*ledger.completed} == {*plan.predecessors}:
        facts = machine_facts(stage_plan.threads_of(folder))
        machine = {**facts, "name": processor_name()}
        seconds = round(ledger.stopwatch.seconds, 1)
        provenance.write(folder, EVERYTHING, EVERYTHING, machine, (), seconds)
    ledger.close()


if __name__ == "__main__":
    command.run(main)
