"""Check that every run in MLflow says where it comes from, and list what lacks.

A complete record names the work, the commit (of an unchanged checkout, or DVC's experiment, which
keeps what was changed), dvc.lock and the lock of the libraries, the machine, the data and the seed;
a trained model's run also holds the model and its test scores. Runs that were stopped are listed
too: the stage's command, given again, goes on with them. A trial may have failed.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from sidebyside.tracking.store import open_store, store_root
from sidebyside.tracking.views import COMPARISON, EXPERIMENTS, TRAINING
from sidebyside.workflow import command

EVERY = ("key", "git.commit", "machine.fingerprint", "seed")
DATA = ("data.train", "data.val")  # of what learned; the comparison has seen data.test instead
LOCKS = ("dvc.lock", "requirements.lock")


def main() -> None:
    """List the runs whose record is not complete; fail if there are any."""
    command.parser(__doc__).parse_args()
    root = CHECKOUT
    checked, incomplete = 0, 0
    for experiment, run in every_run(root):
        checked += 1
        if missing := lacks(experiment, run):
            incomplete += 1
            print(f"{run.info.run_name} ({run.info.run_id}): {'; '.join(missing)}")
    print(f"{checked} runs, {checked - incomplete} of them complete")
    if not checked:
        raise UserError("there are no runs: `dvc repro` makes them")
    if incomplete:
        raise UserError(f"{incomplete} runs are not complete")


def every_run(root: Path) -> Iterator[tuple[str, Any]]:
    """Give (experiment, run) for all runs of the project, of each experiment the oldest first.

    Raises:
        UserError: the store cannot be reached.
    """
    store = open_store(store_root(root))

    def page(name: str, token: str | None) -> Any:
        return store.client.search_runs(
            [store.experiment(name)], order_by=["attributes.start_time ASC"], page_token=token
        )

    there = {one.name for one in store.ask(lambda: list(store.client.search_experiments()))}
    for name in filter(there.__contains__, EXPERIMENTS):
        token = None
        while token != "":
            found = store.ask(functools.partial(page, name, token))
            yield from ((name, run) for run in found)
            token = found.token or ""


def lacks(experiment: str, run: Any) -> list[str]:
    """Return what a run does not say, each in a few words; nothing if it is complete."""
    tags, name = run.data.tags, run.info.run_name
    trained = experiment == TRAINING and name != COMPARISON
    data = ("data.test",) if name == COMPARISON else DATA
    found = [f"no {tag}" for tag in (*EVERY, *LOCKS, *data) if not tags.get(tag)]
    if tags.get("git.commit") == "unknown":
        found.append("made outside a git repository")
    if tags.get("git.dirty") != "false" and not tags.get("dvc.experiment"):
        found.append("made from files that differ from the commit")
    ends = ("FINISHED", "FAILED") if tags.get("trial") else ("FINISHED",)
    if run.info.status not in ends:
        found.append(f"is {run.info.status}")
    if trained:
        if not (run.outputs and run.outputs.model_outputs):
            found.append("no model")
        if not (run.inputs and run.inputs.dataset_inputs):
            found.append("no datasets")
        if "test_accuracy" not in run.data.metrics:
            found.append("no test scores")
    return found


if __name__ == "__main__":
    command.run(main)
