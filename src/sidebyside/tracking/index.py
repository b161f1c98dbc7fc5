"""Read all runs of the project from MLflow in a few calls, instead of one call per run."""

import functools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sidebyside.tracking.store import Store

PARENT_TAG = "mlflow.parentRunId"


class Index:
    """Runs by their keys, as they were when the index was made, and those added since."""

    def __init__(self, store: Store) -> None:
        """Read all runs of the project.

        Raises:
            UserError: the store cannot be reached.
        """
        self._runs: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)  # key → id → run
        for experiment_id in store.require(store.project_experiments):
            for run in all_runs(store, experiment_id):
                self.add(run)

    def add(self, run: Any, *tag: str) -> None:
        """Add a run, or replace an earlier state of it.

        Args:
            run: MLflow's entity of the run.
            tag: name and value of a tag that has been set since.
        """
        run.data.tags.update([tag] if tag else [])
        key = run.data.tags.get("key", "")
        self._runs[run.info.experiment_id, key][run.info.run_id] = run

    def find(self, experiment_id: str, key: str, parent: str | None) -> list[Any]:
        """Return the runs with a key, the oldest first.

        Args:
            experiment_id: id of the experiment.
            key: identity of the work.
            parent: id of the run above; None: any, or none.
        """
        runs = self._runs[experiment_id, key].values()
        return [run for run in runs if parent in (None, run.data.tags.get(PARENT_TAG))]


def all_runs(store: Store, experiment_id: str) -> Iterator[Any]:
    """Yield the runs of an experiment, the oldest first.

    Raises:
        UserError: the store cannot be reached.
    """

    def page(token: str | None) -> Any:
        return store.client.search_runs(
            [experiment_id], order_by=["attributes.start_time ASC"], page_token=token
        )

    token = None
    while token != "":
        found = store.require(functools.partial(page, token))
        yield from found
        token = found.token or ""
