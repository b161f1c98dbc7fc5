"""Runs, their parameters, metrics and artifacts, and the registry; the store is `store`'s affair.

MLflow is a log, not an output: no stage reads it, and all in it can be logged again from DVC's
files. So nothing here stops a training. A store that cannot be reached is named on standard error
and left alone for a while; a wrong use of this module still raises.

    with open_run(root, TRAINING, "mlp-original-1", key, tags={…}) as run:
        run.log_parameters({"dropout": 0.2})
        run.log_metrics({"loss": 0.4, "val_accuracy": 0.89}, step=epoch)
        run.log_model(model, images[:1], step=epoch)

Logging is idempotent by key. A stage that runs again finds its run complete and adds nothing; one
that was killed finds its run and goes on with it.
"""

import contextlib
import functools
import getpass
import importlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata as package
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.core import imports
from sidebyside.core.files import write_bytes
from sidebyside.tracking.store import UNREACHABLE, Store, open_store, store_root, warn
from sidebyside.tracking.views import NOTE_TAG
from sidebyside.workflow import provenance
from sidebyside.workflow.command import Terminated

CHAMPION = "champion"  # alias of the best version of a registered model
SCORE_TAG = "val_accuracy"  # of a version, by which the best is known

MAX_PARAMETER = 6000  # characters; MLflow's limits
MAX_TAG = 8000
PARAMETERS_PER_CALL = 100
METRICS_PER_CALL = 1000

MODEL_NEEDS = ("tensorflow", "keras", "numpy")  # what a served model is installed with
KEY = re.compile(r"[A-Za-z0-9_.:-]{1,200}")

UPLOADING = ".artifact.uploading."  # what MLflow calls a file while it copies it

# Tags that say a piece of work is all in the run: the run's own key, the evaluation's key.
LOGGED_TAG = "logged"
EVALUATED_TAG = "evaluated"
# MLflow's own tags.
PARENT_TAG = "mlflow.parentRunId"
TABLES_TAG = "mlflow.loggedArtifacts"
VERSIONS_TAG = "mlflow.modelVersions"  # from the page of a model to its registered version
CONTEXT_TAG = "mlflow.data.context"
ABOUT = {  # how a metric's name begins → context of the data it is about
    "loss": "training",
    "accuracy": "training",
    "val_": "validation",
    "best_val_": "validation",
    "test_": "test",
}

Tag = str | int | float
Images = NDArray[np.uint8]


@contextlib.contextmanager
def open_run(
    root: Path,
    experiment: str,
    name: str,
    key: str,
    *,
    tags: Mapping[str, Tag] | None = None,
    description: str = "",
) -> Iterator["Run"]:
    """Open the run of one piece of work, new, to be continued, or complete.

    The run ends FINISHED, after an exception FAILED, after Ctrl-C or SIGTERM KILLED. The commit,
    the digests of dvc.lock (as the stage found it) and requirements.lock, the machine and DVC's
    stage are added to its tags.

    Args:
        root: the project's root, or its copy that DVC made for an experiment.
        experiment: a key of `store.EXPERIMENTS`.
        name: what the UI shows, such as "mlp-original-1".
        key: identity of the work: a hash of code, parameters and inputs.
        tags: further tags; a machine's replace those of this one.
        description: Markdown, shown above the run.

    Raises:
        UserError: MLFLOW_TRACKING_URI is no address MLflow knows.
        ValueError: a key has other characters than letters, digits and _.:-
    """
    store = open_store(store_root(root))
    with _work(
        store,
        root=root,
        experiment=experiment,
        name=name,
        key=key,
        tags=tags,
        description=description,
    ) as run:
        yield run


@contextlib.contextmanager
def reopen_run(
    root: Path,
    experiment: str,
    name: str,
    key: str,
    *,
    evaluated: str,
) -> Iterator["Run"]:
    """Open the finished run of a trained model to add its test scores.

    Idempotent by a key of its own: with the same `evaluated` a second time the run is complete.
    Where the training is not all in the store (a new one, or the server was down), nothing is
    logged and the user is told: `refill` logs the training and then the scores, which belong to its
    model. The run's status stays as it was, whatever happens here.

    Args:
        root: as for `open_run`; so are `experiment`, `name` and `key`.
        evaluated: identity of the evaluation: a hash of its code, parameters and inputs.

    Raises:
        UserError: MLFLOW_TRACKING_URI is no address MLflow knows.
        ValueError: a key has other characters than letters, digits and _.:-
    """
    store = open_store(store_root(root))
    with _work(
        store,
        root=root,
        experiment=experiment,
        name=name,
        key=key,
        evaluated=evaluated,
    ) as run:
        yield run


class Run:
    """A run in MLflow; it records nothing where it is complete or the store is out of reach."""

    def __init__(
        self,
        store: Store,
        *,
        root: Path,
        experiment: str,
        content: Any,
        complete: bool,
        missed: Counter[str],
    ) -> None:
        """Not for callers: use `open_run`, `reopen_run` or `child`.

        Args:
            store: where the run lives.
            root: the project's root, for the tags of children.
            experiment: name of the run's experiment.
            content: MLflow's entity of the run, None if the store cannot be reached.
            complete: whether all was logged before.
            missed: what could not be logged, counted for the message at the end.
        """
        self.complete = complete
        self.run_id: str | None = content.info.run_id if content else None
        self._experiment_id: str | None = content.info.experiment_id if content else None
        self._store = store
        self._root = root
        self._experiment = experiment
        self._missed = missed
        self._parameters = set(content.data.params) if content else set()
        self._tables = _logged_tables(content.data.tags) if content else []
        self._datasets: dict[str, tuple[str, str]] = {}  # context → name and digest
        self._known: dict[str, dict[int, float]] = {}  # metric → step → value
        self._model: tuple[str, int] | None = None  # id and step of the logged model
        if content and content.outputs and content.outputs.model_outputs:
            output = content.outputs.model_outputs[0]
            self._model = (output.model_id, output.step)
        if content and not complete:
            for name in content.data.metrics:
                self._remember(name)

    def log_parameters(self, values: Mapping[str, Any]) -> None:
        """Log flat name → value; lists as JSON text, text over MLflow's limit cut.

        A parameter logged before keeps its value, as a run's parameters never change.
        """
        new = {k: _text(v, MAX_PARAMETER) for k, v in values.items() if k not in self._parameters}
        entity = self._store.entity("Param")
        for part in _parts(list(new.items()), PARAMETERS_PER_CALL):
            entries = [entity(name, value) for name, value in part]
            if self._attempt(
                "parameter", len(part), functools.partial(self._batch, params=entries)
            ):
                self._parameters.update(name for name, _ in part)

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log name → value, in one call.

        Args:
            values: `loss`, `accuracy`, `val_loss`, `val_accuracy`, `learning_rate` for an epoch;
                `test_accuracy` and the like for the finished work.
            step: the epoch, from 1. A value is logged once per epoch. Without it the values
                describe the finished work and replace earlier ones of that name; they are shown
                beside the logged model too.
        """
        final = step is None
        step = (self._model[1] if self._model else 0) if step is None else step
        new = {}
        for name, value in values.items():
            logged = self._known.get(name, {})
            if step not in logged or (final and not _same(logged[step], float(value))):
                new[name] = float(value)
        now = int(time.time() * 1000)
        model = self._model[0] if self._model and step == self._model[1] else None
        for part in _parts(list(new.items()), METRICS_PER_CALL):
            entries = [self._metric(name, value, now, step, model) for name, value in part]
            if self._attempt("metric", len(part), functools.partial(self._batch, metrics=entries)):
                for name, value in part:
                    self._known.setdefault(name, {})[step] = value

    def log_figure(self, name: str, png: bytes) -> None:
        """Log a picture as `<name>.png`.

        The UI shows those of two runs side by side if they have the same name, in no folder.
        """
        self._attempt("figure", 1, lambda: self._write(f"{name}.png", png))

    def log_text(self, name: str, text: str) -> None:
        """Log a text file; `name` has an ending and may have folders."""
        self._attempt("text", 1, lambda: self._write(name, text.encode()))

    def log_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Log a table as `tables/<name>.json`, which the UI shows as a table."""
        path = f"tables/{name}.json"
        content = json.dumps({"columns": list(header), "data": [list(row) for row in rows]})

        def write() -> None:
            self._write(path, content.encode())
            # MLflow's own log_table would append the rows a second time in a continued run.
            if path not in self._tables:
                tables = [{"path": each, "type": "table"} for each in [*self._tables, path]]
                self._client.set_tag(self.run_id, TABLES_TAG, json.dumps(tables))
                self._tables.append(path)

        self._attempt("table", 1, write)

    def log_dataset(self, name: str, digest: str, context: str, counts: Mapping[str, int]) -> None:
        """Log which data the run saw.

        Args:
            name: what the UI shows, such as "train".
            digest: SHA-256 of the data in hexadecimal. (MLflow's own digest covers a dozen images.)
            context: "training", "validation" or "test"; the metrics of that split are shown with
                the data beside the logged model.
            counts: number of images, in total or per class.
        """
        short = digest[:16]
        self._datasets[context] = (name, short)
        dataset = self._store.entity("Dataset")(
            name=name,
            digest=short,
            source_type="local",
            source=json.dumps({"sha256": digest}),
            profile=json.dumps(dict(counts)),
        )
        tag = self._store.entity("InputTag")(CONTEXT_TAG, context)
        entry = self._store.entity("DatasetInput")(dataset, [tag])
        self._attempt("dataset", 1, lambda: self._client.log_inputs(self.run_id, [entry]))

    def log_model(
        self,
        model: Any,
        input_example: Images,
        step: int,
    ) -> None:
        """Log a Keras model as MLflow's generic model, unless the run has one already.

        Args:
            model: takes raw pixels, uint8 [N, 28, 28], and gives float32 [N, 10].
            input_example: uint8 [1, 28, 28].
            step: the epoch its weights come from; the run's metrics of that epoch are shown
                beside the model.
        """
        if self._model is None:
            self._attempt("model", 1, lambda: self._log_model(model, input_example, step))

    @contextlib.contextmanager
    def child(
        self,
        name: str,
        key: str,
        *,
        tags: Mapping[str, Tag] | None = None,
    ) -> Iterator["Run"]:
        """Open a run below this one, such as a trial of a search; arguments as for `open_run`."""
        with _work(
            self._store,
            root=self._root,
            experiment=self._experiment,
            name=name,
            key=key,
            tags=tags,
            parent=self,
        ) as run:
            yield run

    def log_anew(self) -> None:
        """Forget what could not be logged: what follows logs it all again.

        The store is asked, even if it failed a moment ago.
        """
        self._store.retry()
        self._missed.clear()

    def register(self, name: str, val_accuracy: float, description: str = "") -> None:
        """Register the logged model, as the champion of its name if it is the best so far.

        Idempotent, whether the run is complete or not: a model is registered once, and the alias
        moves only to a validation accuracy at least as high, so a quick experiment does not
        dethrone a better model. A run without a logged model changes nothing.

        Args:
            name: of the registered model, such as "fashion-mnist-mlp".
            val_accuracy: what champions are chosen by.
            description: a model card: for what, from what data, how good, with which limits.
        """
        model = self._model

        def register() -> None:
            if model is not None:
                self._register(name, model[0], val_accuracy, description)

        if self._store.attempt(register) is UNREACHABLE:
            self._missed["champion"] += 1

    @property
    def _client(self) -> Any:
        return self._store.client

    def _attempt(self, what: str, count: int, action: Callable[[], Any]) -> bool:
        """Do one piece of logging; return whether it is in the store now."""
        if self.complete:
            return False
        if self.run_id is not None and self._store.attempt(action) is not UNREACHABLE:
            return True
        self._missed[what] += count
        return False

    def _batch(self, **entries: Any) -> None:
        self._client.log_batch(self.run_id, **entries)

    def _metric(self, name: str, value: float, time: int, step: int, model: str | None) -> Any:
        """Return MLflow's entity of a metric.

        Args:
            name: such as `val_accuracy`.
            value: of the metric.
            time: milliseconds since 1970.
            step: the epoch.
            model: id of the logged model beside which it is shown, with the data it is about.
        """
        about = next((context for start, context in ABOUT.items() if name.startswith(start)), "")
        dataset, digest = self._datasets.get(about, (None, None)) if model else (None, None)
        return self._store.entity("Metric")(
            name, value, time, step, model_id=model, dataset_name=dataset, dataset_digest=digest
        )

    def _write(self, name: str, content: bytes) -> None:
        """Store an artifact under its path in the run."""
        path = PurePosixPath(name)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / path.name
            write_bytes(file, content)
            above = None if path.parent == PurePosixPath() else str(path.parent)
            self._client.log_artifact(self.run_id, str(file), above)

    def _remember(self, name: str) -> None:
        """Ask the store which steps of a metric it has."""
        history = self._store.attempt(lambda: self._client.get_metric_history(self.run_id, name))
        if history is not UNREACHABLE:
            self._known[name] = {metric.step: metric.value for metric in history}

    def _register(self, name: str, model_id: str, val_accuracy: float, description: str) -> None:
        client = self._client
        exceptions = importlib.import_module("mlflow.exceptions")
        try:
            client.create_registered_model(name)
        except exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"models:/{model_id}"
        versions = client.search_model_versions(f"name = '{name}'")
        version = next((each for each in versions if each.source == source), None)
        if version is None:
            version = client.create_model_version(
                name, source, run_id=self.run_id, model_id=model_id
            )
            link = json.dumps([{"name": name, "version": version.version}])
            client.set_logged_model_tags(model_id, {VERSIONS_TAG: link})
        client.update_model_version(name, version.version, description=description)
        client.set_model_version_tag(name, version.version, SCORE_TAG, repr(val_accuracy))
        champion = client.get_registered_model(name).aliases.get(CHAMPION)
        if champion == version.version:
            return
        if champion is not None:
            tags = client.get_model_version(name, champion).tags
            if _score(tags.get(SCORE_TAG, "")) > val_accuracy:
                return
        client.set_registered_model_alias(name, CHAMPION, version.version)

    def _log_model(self, model: Any, input_example: Images, step: int) -> None:
        logged = self._finished_model() or self._new_model(model, input_example)
        output = self._store.entity("LoggedModelOutput")(logged.model_id, step)
        self._client.log_outputs(self.run_id, [output])
        self._model = (logged.model_id, step)
        self._attach_metrics(*self._model)

    def _finished_model(self) -> Any:
        """Return a model that a killed process logged in full but did not name in the run, or None.

        Half of one is deleted.
        """
        finished = None
        condition = f"source_run_id = '{self.run_id}'"
        for logged in self._client.search_logged_models([self._experiment_id], condition):
            if str(logged.status) == "READY":
                finished = logged
            else:
                self._client.delete_logged_model(logged.model_id)
                if self._store.local:
                    shutil.rmtree(logged.artifact_location, ignore_errors=True)
        return finished

    def _new_model(self, model: Any, input_example: Images) -> Any:
        # The steps of MLflow's log_model, which works only on a global, active run. The run names
        # the model last, so a killed process leaves no half-written model in it.
        with imports.fast_imports():
            flavor = importlib.import_module("mlflow.tensorflow")
            models = importlib.import_module("mlflow.models")
            types = importlib.import_module("mlflow.types")
        signature = models.ModelSignature(
            inputs=types.Schema([types.TensorSpec(np.dtype(np.uint8), (-1, 28, 28))]),
            outputs=types.Schema([types.TensorSpec(np.dtype(np.float32), (-1, 10))]),
        )
        run = self._client.get_run(self.run_id)
        logged = self._client.create_logged_model(
            self._experiment_id,
            name=run.info.run_name,  # by which the UI lists it
            source_run_id=self.run_id,
            params=run.data.params,
            tags={NOTE_TAG: run.data.tags.get(NOTE_TAG, "")},
        )
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder) / "model"
            flavor.save_model(
                model,
                str(files),
                mlflow_model=models.Model(
                    artifact_path=logged.artifact_location,
                    run_id=self.run_id,
                    model_uuid=logged.model_id,
                    model_id=logged.model_id,
                ),
                signature=signature,
                input_example=input_example,
                # Given, or MLflow would start a process of several seconds to find them out.
                pip_requirements=[f"{name}=={package.version(name)}" for name in MODEL_NEEDS],
            )
            self._client.log_model_artifacts(logged.model_id, str(files))
        return self._client.finalize_logged_model(logged.model_id, "READY")

    def _attach_metrics(self, model_id: str, step: int) -> None:
        """Show the run's metrics of one epoch beside the model too.

        With the time they have in the run they are no second point of the curve.
        """
        metrics = [
            self._metric(name, point.value, point.timestamp, step, model_id)
            for name, steps in self._known.items()
            if step in steps
            for point in self._client.get_metric_history(self.run_id, name)
            if point.step == step
        ]
        self._batch(metrics=metrics)


@contextlib.contextmanager
def _work(
    store: Store,
    *,
    root: Path,
    experiment: str,
    name: str,
    key: str,
    tags: Mapping[str, Tag] | None = None,
    description: str = "",
    evaluated: str | None = None,
    parent: Run | None = None,
) -> Iterator[Run]:
    """Find or create the run of `key`, and end it as the block ends."""
    mark = (LOGGED_TAG, key) if evaluated is None else (EVALUATED_TAG, evaluated)
    for each in (key, mark[1]):
        if not KEY.fullmatch(each):
            raise ValueError(f"a run's key is made of letters, digits and _.:-, not {each!r}")
    missed: Counter[str] = Counter() if parent is None else parent._missed
    content = _opened(
        store,
        root=root,
        experiment=experiment,
        name=name,
        key=key,
        mark=mark,
        tags=tags or {},
        description=description,
        parent=parent,
    )
    complete = content is not None and content.data.tags.get(mark[0]) == mark[1]
    own = evaluated is None  # an evaluation leaves the status of the training alone
    run = Run(
        store,
        root=root,
        experiment=experiment,
        content=content,
        complete=complete,
        missed=missed,
    )
    if content is not None and not complete and own:
        store.attempt(lambda: store.client.update_run(run.run_id, status="RUNNING"))
    if content is not None and not complete and store.local:
        for leftover in (store.folder / content.info.artifact_uri).rglob(f"{UPLOADING}*"):
            leftover.unlink()
    status, ended, missed_before = "FINISHED", UNREACHABLE, missed.total()
    try:
        yield run
    except BaseException as error:
        killed = isinstance(error, (KeyboardInterrupt, Terminated))
        status = "KILLED" if killed else "FAILED"
        if killed:  # whoever stops a program does not wait for a server
            os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
            os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "1"
        raise
    finally:
        if content is not None and not complete:
            whole = status == "FINISHED" and missed.total() == missed_before

            def end() -> None:
                if own:
                    store.client.set_terminated(run.run_id, status)
                if whole:  # last: a run with the mark is never touched again
                    store.client.set_tag(run.run_id, *mark)

            ended = store.attempt(end)
        if parent is None and not complete and (missed or ended is UNREACHABLE):
            counts = [f"{n} {what}{'s' * (n != 1)}" for what, n in missed.items()]
            what = ", ".join(counts) or "its end"
            warn(f"not logged to MLflow: {name}: {what}; `make refill` logs it later")


def _opened(
    store: Store,
    *,
    root: Path,
    experiment: str,
    name: str,
    key: str,
    mark: tuple[str, str],
    tags: Mapping[str, Tag],
    description: str,
    parent: Run | None,
) -> Any:
    """Return MLflow's entity of the run of `key`, found or created; None if there can be none."""
    if parent is not None and parent.run_id is None:
        return None  # below nothing it would be an orphan, were the store back by now
    found = store.attempt(lambda: _find(store, experiment, key, mark, parent))
    if found is not UNREACHABLE and mark[0] == EVALUATED_TAG and not _is_logged(found, key):
        return None
    if found is None:
        everything = _tags(root, key, tags, description, parent)
        found = store.attempt(
            lambda: store.client.create_run(
                store.experiment(experiment), run_name=name, tags=everything
            )
        )
    return None if found is UNREACHABLE else found


def _find(
    store: Store, experiment: str, key: str, mark: tuple[str, str], parent: Run | None
) -> Any:
    """Return the run of `key`, a complete one before others, or None."""
    condition = f"tags.`key` = '{key}'"
    if parent is not None:
        condition += f" and tags.`{PARENT_TAG}` = '{parent.run_id}'"
    runs = store.client.search_runs(
        [store.experiment(experiment)], condition, order_by=["attributes.start_time ASC"]
    )
    return min(runs, key=lambda run: run.data.tags.get(mark[0]) != mark[1], default=None)


def _is_logged(run: Any, key: str) -> bool:
    """Return whether there is a run and all of its own work is in it."""
    return run is not None and run.data.tags.get(LOGGED_TAG) == key


def _tags(
    root: Path, key: str, tags: Mapping[str, Tag], description: str, parent: Run | None
) -> dict[str, str]:
    """Return all tags of a new run: the caller's, its origin, and those that MLflow's UI shows."""
    code = provenance.source(root)
    script = Path(sys.argv[0])
    everything: dict[str, Tag | None] = {
        "key": key,
        "stage": os.environ.get("DVC_STAGE", script.stem),
        "git.commit": code.commit,
        "git.dirty": str(code.dirty).lower(),
        **provenance.locks(root),
        "dvc.experiment": os.environ.get("DVC_EXP_NAME"),
        **{f"machine.{name}": value for name, value in provenance.machine().items()},
        "mlflow.source.name": script.name,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": code.commit if code.commit != "unknown" else None,
        "mlflow.user": _user(),
        NOTE_TAG: description or None,
        PARENT_TAG: parent.run_id if parent else None,
        **tags,
    }
    return {name: _text(value, MAX_TAG) for name, value in everything.items() if value is not None}


def _score(text: str) -> float:
    """Return a version's score, which people may edit: below all others, if it is none."""
    with contextlib.suppress(ValueError):
        return float(text)
    return -math.inf


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return None


def _logged_tables(tags: Mapping[str, str]) -> list[str]:
    return [entry["path"] for entry in json.loads(tags.get(TABLES_TAG, "[]"))]


def _text(value: Any, limit: int) -> str:
    """Return a value as text: lists and mappings as JSON, cut where MLflow would refuse it."""
    text = json.dumps(value) if isinstance(value, (list, tuple, dict)) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
