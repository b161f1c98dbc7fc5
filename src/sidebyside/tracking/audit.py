"""Check that every run in MLflow records its origin, and list the runs that do not.

A complete run records its work, its commit (of an unchanged checkout, or of a DVC experiment, which
keeps the changes), dvc.lock, requirements.lock, the machine, the data and the seed; the run of a
trained model also has the model, its data sets and its test scores. The runs of all data sets in
the store are checked. Interrupted runs are listed too: running the stage's command again resumes
them. Failed trials count as complete.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from sidebyside.tracking import index
from sidebyside.tracking.origin import DATASET_TAG
from sidebyside.tracking.store import open_store, store_root
from sidebyside.tracking.views import COMPARISON, EXPERIMENT_TAG
from sidebyside.workflow import command

ORIGIN_TAGS = ("key", "git.commit", "machine.fingerprint", DATASET_TAG, "seed")
LOCK_TAGS = ("dvc.lock", "requirements.lock")
DATA_TAGS = ("data.train", "data.val")
TEST_TAGS = ("data.test",)  # of the comparison instead of DATA_TAGS


def main() -> None:
    """List the runs that are not complete; fail if there are any."""
    command.parser(__doc__).parse_args()
    checked, incomplete = 0, 0
    for experiment, run in all_runs(CHECKOUT):
        checked += 1
        if faults := find_faults(experiment, run):
            incomplete += 1
            print(f"{run.info.run_name} ({run.info.run_id}): {'; '.join(faults)}")
    print(f"{checked} runs, {checked - incomplete} of them complete")
    if not checked:
        raise UserError("there are no runs: run `make repro backfill`")
    if incomplete:
        raise UserError(f"{incomplete} runs are not complete: they are listed above")


def all_runs(root: Path) -> Iterator[tuple[str, Any]]:
    """Yield (name of the experiment, run) for the project's experiments, oldest runs first.

    Raises:
        UserError: the store cannot be reached.
    """
    store = open_store(store_root(root))
    for experiment, name in store.require(store.project_experiments).items():
        yield from ((name, run) for run in index.all_runs(store, experiment))


def find_faults(experiment: str, run: Any) -> list[str]:
    """Return the faults of a run, each in a few words; none if it is complete.

    Args:
        experiment: name of the run's experiment.
        run: MLflow's entity of the run.
    """
    tags = run.data.tags
    is_comparison = run.info.run_name.partition(" ")[0] == COMPARISON
    is_model = experiment == tags.get(DATASET_TAG) and not is_comparison
    data = TEST_TAGS if is_comparison else DATA_TAGS
    faults = [f"no {tag}" for tag in (*ORIGIN_TAGS, *LOCK_TAGS, *data) if not tags.get(tag)]
    faults += [f"{tag} unknown" for tag in ORIGIN_TAGS if tags.get(tag) == "unknown"]
    if tags.get("git.dirty") != "false" and not tags.get(EXPERIMENT_TAG):
        faults.append("files differed from the commit")
    allowed = ("FINISHED", "FAILED") if tags.get("trial") else ("FINISHED",)
    if run.info.status not in allowed:
        faults.append(f"status {run.info.status}")
    if is_model:
        if not (run.outputs and run.outputs.model_outputs):
            faults.append("no model")
        if not (run.inputs and run.inputs.dataset_inputs):
            faults.append("no data sets")
        if "test_accuracy" not in run.data.metrics:
            faults.append("no test scores")
    return faults


if __name__ == "__main__":
    command.run(main)
