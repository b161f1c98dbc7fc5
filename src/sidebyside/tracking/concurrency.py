"""Keep two processes from logging the same work twice.

Processes of one project share a lock for each piece of work: stages, DVC experiments and
`make backfill` have the same store folder. Clones that log to one server share nothing but the
server, which has no locks, and the death of a process in another clone cannot be seen from here.
Therefore each clone logs to a run of its own, and the first complete run stays: equal keys mean
equal results. Runs completed at the same moment are ordered by start and id, so that every process
keeps the same one.
"""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sidebyside.core.files import write_text
from sidebyside.execution.exclusive import BusyError, exclusive
from sidebyside.tracking.index import PARENT_TAG
from sidebyside.workflow.resume import FOLDER

PATIENCE = 10.0  # seconds to wait for another process that logs the same work
CLONE_TAG = "clone"  # the clone that logs a run to a server
ENDED = {"KILLED", "FAILED"}  # statuses of a run whose process has ended without completing it


@contextlib.contextmanager
def work_lock(folder: Path, key: str) -> Iterator[str | None]:
    """Hold the lock of a piece of work; yield a description of its holder if another has it.

    Args:
        folder: folder of the store.
        key: identity of the work.
    """
    holder = None
    with contextlib.ExitStack() as stack:
        try:
            lock = _folder(folder) / f"{key}.lock"
            stack.enter_context(exclusive(lock, patience=PATIENCE))
        except BusyError as busy:
            holder = busy.strerror
        except OSError:  # a file system without locks must not stop a training
            pass
        yield holder


def clone_id(folder: Path) -> str:
    """Return the id of a clone, the same after a restart in another container.

    A copy of the folder has another id.

    Args:
        folder: folder of the store.
    """
    file = _folder(folder) / "clone"
    if not file.exists():
        with exclusive(file.with_name("clone.lock"), patience=PATIENCE):
            if not file.exists():
                write_text(file, secrets.token_hex(8))
    return f"{file.read_text(encoding='utf-8').strip()}-{folder.stat().st_ino:x}"


def _folder(folder: Path) -> Path:
    return folder / FOLDER / "mlflow"


def mark_first(client: Any, run: Any, name: str, value: str) -> Any:
    """Mark a run as complete, unless another one is; return the run that stays.

    The others are deleted, except for those that other processes may still be logging: these do
    the same when they are complete.

    Args:
        client: MLflow's client of a server.
        run: MLflow's entity of the run.
        name: name of the tag that marks complete runs.
        value: the tag's value, the key of the work.
    """

    def with_key() -> list[Any]:
        found = client.search_runs([run.info.experiment_id], f"tags.`key` = '{value}'")
        return [one for one in found if PARENT_TAG not in one.data.tags]

    def is_complete(one: Any) -> bool:
        return bool(one.data.tags.get(name) == value)

    runs = with_key()
    if not any(map(is_complete, runs)):
        client.set_tag(run.info.run_id, name, value, synchronous=True)
        # Read after the mark: of two processes that mark at once, at least one sees both marks.
        runs = with_key()
    stays = min(filter(is_complete, runs), key=lambda one: (one.info.start_time, one.info.run_id))
    for other in runs:
        mine = other.info.run_id == run.info.run_id
        superseded = mine or is_complete(other) or other.info.status in ENDED
        if superseded and other.info.run_id != stays.info.run_id:
            delete(client, other)
    return stays


def delete(client: Any, run: Any) -> None:
    """Delete a run with its children and logged models."""
    experiments = [run.info.experiment_id]
    below = client.search_runs(experiments, f"tags.`{PARENT_TAG}` = '{run.info.run_id}'")
    for child in below:
        client.delete_run(child.info.run_id)
    for model in client.search_logged_models(experiments, f"source_run_id = '{run.info.run_id}'"):
        client.delete_logged_model(model.model_id)
    client.delete_run(run.info.run_id)
