"""Find or create the MLflow run of a piece of work, and set its status when the work ends.

MLflow is a log, not an output: no stage reads it, and everything in it can be logged again from
DVC's files. Therefore a failure to log never stops a training: it causes a warning, and a run is
marked as complete only after everything that was logged has been read back.

    with open_run(root, experiment, "mlp-original-1", key, tags={…}) as run:
        run.log_parameters({"dropout": 0.2})
        run.log_metrics({"loss": 0.4, "val_accuracy": 0.89}, step=epoch)
        run.log_model(model, dataset, images[:1], step=epoch)

Logging is idempotent by key: a stage that runs again finds its run complete and adds nothing; a
stage that was killed resumes its run.
"""

import contextlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidebyside.tracking import concurrency
from sidebyside.tracking.guard import UNREACHABLE, warn
from sidebyside.tracking.index import PARENT_TAG
from sidebyside.tracking.run import Run
from sidebyside.tracking.run_tags import Tag, run_tags
from sidebyside.tracking.store import Store, open_store, store_root
from sidebyside.tracking.views import EXPERIMENT_TAG, Experiment
from sidebyside.workflow.command import Terminated

KEY = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
KILLED_LIMIT = 2.0  # seconds: stopping a program must not wait for a server
UPLOADING = ".artifact.uploading."  # MLflow's prefix of a file that it is copying

# Tags of a complete run: its own key, the key of its evaluation.
LOGGED_TAG = "logged"
EVALUATED_TAG = "evaluated"


@contextlib.contextmanager
def open_run(
    root: Path,
    experiment: Experiment,
    name: str,
    key: str,
    *,
    tags: Mapping[str, Tag] | None = None,
    description: str = "",
) -> Iterator[Run]:
    """Open the run of a piece of work: new, to be resumed, or complete.

    The run ends as FINISHED; after an exception as FAILED, after Ctrl-C or SIGTERM as KILLED. The
    commit, the digests of dvc.lock (before the stage) and requirements.lock, the machine and DVC's
    stage are added to its tags.

    Args:
        root: the project's root, or the copy that DVC made for an experiment.
        experiment: the run's experiment.
        name: the run's name in the UI, such as "mlp-original-1".
        key: identity of the work: a hash of code, parameters and inputs.
        tags: further tags; a commit or machine among them replaces the current one.
        description: a sentence without a full stop, in Markdown; its note begins with it.

    Raises:
        UserError: MLFLOW_TRACKING_URI is not a valid address.
        ValueError: the key has characters other than letters, digits and _.:-
    """
    store = open_store(store_root(root))
    with _open(store, _RunKey(root, experiment, name, key, tags or {}, description)) as run:
        yield run


@contextlib.contextmanager
def reopen_run(
    root: Path, experiment: Experiment, name: str, key: str, *, evaluated: str
) -> Iterator[Run]:
    """Open the complete run of a trained model to add its test scores.

    Idempotent: called again with the same `evaluated`, it yields a complete run. If the store lacks
    the training or a part of it (a new store, or an outage), nothing is logged and a warning is
    printed; `make backfill` logs the training, then the scores. The run's status does not change.

    Args:
        root: as for `open_run`; so are `experiment`, `name` and `key`.
        evaluated: identity of the evaluation: a hash of its code, parameters and inputs.

    Raises:
        UserError: MLFLOW_TRACKING_URI is not a valid address.
        ValueError: a key has characters other than letters, digits and _.:-
    """
    store = open_store(store_root(root))
    with _open(store, _RunKey(root, experiment, name, key, evaluated=evaluated)) as run:
        yield run


@contextlib.contextmanager
def open_child(
    parent: Run,
    name: str,
    key: str,
    *,
    tags: Mapping[str, Tag] | None = None,
    description: str = "",
) -> Iterator[Run]:
    """Open a run below another, such as a trial of a search; arguments as for `open_run`."""
    work = _RunKey(
        parent.root, parent.experiment, name, key, tags or {}, description, parent=parent
    )
    with _open(parent.store, work) as run:
        yield run


@dataclass(frozen=True)
class _RunKey:
    """A piece of work; the fields are the arguments of `open_run` and `reopen_run`."""

    root: Path
    experiment: Experiment
    name: str
    key: str
    tags: Mapping[str, Tag] = field(default_factory=dict)
    description: str = ""
    evaluated: str | None = None
    parent: Run | None = None

    @property
    def mark(self) -> tuple[str, str]:
        """Name and value of the tag that marks the complete run."""
        if self.evaluated is None:
            return LOGGED_TAG, self.key
        return EVALUATED_TAG, self.evaluated

    def is_complete(self, entity: Any) -> bool:
        """Return whether everything was logged to a run."""
        name, value = self.mark
        return bool(entity.data.tags.get(name) == value)


@contextlib.contextmanager
def _open(store: Store, work: _RunKey) -> Iterator[Run]:
    """Open the run of a piece of work, unless another process of the project is logging it."""
    for key in (work.key, work.mark[1]):
        if not KEY.fullmatch(key):
            raise ValueError(f"the key of a run consists of letters, digits and _.:-, not {key!r}")
    with contextlib.ExitStack() as stack:
        # The lock of a search covers its trials.
        if work.parent is None:
            holder = stack.enter_context(concurrency.work_lock(store.folder, work.key))
        else:
            holder = work.parent.holder
        if holder is None:
            with _open_locked(store, work) as run:
                yield run
            return
        if work.parent is None:
            warn(f"{holder} is logging {work.name} to MLflow: this process does not log it")
        yield Run(
            store,
            root=work.root,
            experiment=work.experiment,
            entity=None,
            complete=True,
            marked=False,
            batched=False,
            missed=Counter(),
            added=Counter(),
            new=False,
            holder=holder,
        )


@contextlib.contextmanager
def _open_locked(store: Store, work: _RunKey) -> Iterator[Run]:
    """Find or create the run of a piece of work, and end it with the block."""
    missed: Counter[str] = Counter() if work.parent is None else work.parent.missed
    added: Counter[str] = Counter() if work.parent is None else work.parent.added
    missed_before, added_before = missed.total(), added.total()
    entity, new = _find_or_create(store, work)
    added += Counter(run=int(new))
    marked = entity is not None and work.is_complete(entity)
    run = Run(
        store,
        root=work.root,
        experiment=work.experiment,
        entity=entity,
        complete=marked and store.index is None,
        marked=marked,
        batched=store.index is not None,
        missed=missed,
        added=added,
        new=new,
    )
    incomplete = entity is not None and not run.complete
    trains = work.evaluated is None  # an evaluation does not change the status of the training
    if incomplete and trains and not marked and entity.info.status != "RUNNING":
        store.attempt(lambda: store.client.update_run(run.run_id, status="RUNNING"))
    if incomplete and store.local and not new:
        store.attempt(lambda: _remove_leftovers(Path(entity.info.artifact_uri)))
    status, limit = "FINISHED", math.inf
    ended = UNREACHABLE if entity is None else None
    try:
        yield run
        run.flush()
    except BaseException as error:
        killed = isinstance(error, (KeyboardInterrupt, Terminated))
        status, limit = ("KILLED", KILLED_LIMIT) if killed else ("FAILED", math.inf)
        raise
    finally:
        unchanged = marked and added.total() == added_before
        if incomplete and not unchanged:

            def end() -> None:
                if trains and not marked:
                    store.client.set_terminated(run.run_id, status)
                if status != "FINISHED" or missed.total() != missed_before:
                    return
                stored = run.verify()
                if missed.total() == missed_before:
                    if not marked:  # last, as a marked run never changes again
                        stored = _mark(store, work, stored)
                    if store.index is not None:
                        store.index.add(stored, *work.mark)

            ended = store.attempt(end, limit=limit)
        if ended is UNREACHABLE and missed.total() == missed_before:
            missed["completion mark"] += 1
        if work.parent is None and missed:
            counts = [f"{count} {kind}{'s' * (count != 1)}" for kind, count in missed.items()]
            missing, backfill = ", ".join(counts), work.experiment.backfill
            warn(f"not logged to MLflow: {work.name}: {missing}; `{backfill}` logs it later")


def _mark(store: Store, work: _RunKey, run: Any) -> Any:
    """Mark a run as complete; return it, or the run of another clone that was faster."""
    if store.local or work.parent is not None or work.evaluated is not None:
        store.client.set_tag(run.info.run_id, *work.mark, synchronous=True)
        return run
    return concurrency.mark_first(store.client, run, *work.mark)


def _remove_leftovers(artifacts: Path) -> None:
    """Remove files that a killed process has copied in part."""
    for leftover in artifacts.rglob(f"{UPLOADING}*"):
        leftover.unlink()


def _find_or_create(store: Store, work: _RunKey) -> tuple[Any, bool]:
    """Return MLflow's entity of a run, and whether it is new.

    The entity is None in an outage, or without its parent or training.
    """
    if work.parent is not None and work.parent.run_id is None:
        # Without its parent it would be an orphan, even if the store responds again.
        return None, False
    found = store.attempt(lambda: _find(store, work))
    if found is UNREACHABLE:
        return None, False
    if work.evaluated is not None:
        is_trained = found is not None and found.data.tags.get(LOGGED_TAG) == work.key
        return (found if is_trained else None), False
    if found is not None:
        return found, False
    tags = _tags(store, work)
    experiment = tags.get(EXPERIMENT_TAG)
    name = f"{work.name} ({experiment})" if experiment else work.name
    created = store.attempt(
        lambda: store.client.create_run(store.experiment(work.experiment), run_name=name, tags=tags)
    )
    return (None, False) if created is UNREACHABLE else (created, True)


def _find(store: Store, work: _RunKey) -> Any:
    """Return the run of a piece of work, preferably a complete one, or None."""
    experiment, parent = store.experiment(work.experiment), work.parent
    if store.index is not None:
        listed = store.index.find(experiment, work.key, parent.run_id if parent else None)
        found = _best(store, work, listed)
        # Since the list was read, another process may have logged a run that was not complete.
        if (found is not None and work.is_complete(found)) or (parent is not None and parent.new):
            return found
    condition = f"tags.`key` = '{work.key}'"
    if parent is not None:
        condition += f" and tags.`{PARENT_TAG}` = '{parent.run_id}'"
    order = ["attributes.start_time ASC"]
    return _best(store, work, store.client.search_runs([experiment], condition, order_by=order))


def _best(store: Store, work: _RunKey, runs: Sequence[Any]) -> Any:
    """Return the run to log to: a complete one, or else the oldest that is not another clone's."""
    clone = None if store.local or work.parent else concurrency.clone_id(store.folder)

    def is_trained(run: Any) -> bool:
        return bool(run.data.tags.get(LOGGED_TAG) == work.key)

    def is_own(run: Any) -> bool:
        return clone is None or run.data.tags.get(concurrency.CLONE_TAG) == clone

    return min(
        (run for run in runs if is_trained(run) or is_own(run)),
        key=lambda run: (not work.is_complete(run), not is_trained(run)),
        default=None,
    )


def _tags(store: Store, work: _RunKey) -> dict[str, str]:
    """Return all tags of a new run."""
    given = {
        "key": work.key,
        PARENT_TAG: work.parent.run_id if work.parent else None,
        concurrency.CLONE_TAG: None if store.local else concurrency.clone_id(store.folder),
        **work.tags,
    }
    return run_tags(work.root, given, work.description, work.experiment.repeat)
