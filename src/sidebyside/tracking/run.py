"""A run in MLflow, with its parameters, metrics, artifacts and model.

Logging never stops a training: while the store cannot be reached, a run counts the entries that are
missing from it.
"""

import functools
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sidebyside.core.files import write_bytes
from sidebyside.tracking import registry
from sidebyside.tracking.logged_models import Images, log_model
from sidebyside.tracking.store import UNREACHABLE, Store
from sidebyside.tracking.views import Experiment

# MLflow's limits.
MAX_PARAMETER = 6000  # characters
PARAMETERS_PER_CALL = 100
METRICS_PER_CALL = 1000
# MLflow's own tags.
TABLES_TAG = "mlflow.loggedArtifacts"
CONTEXT_TAG = "mlflow.data.context"

CONTEXTS = {  # prefix of a metric's name → context of the data it was measured on
    "loss": "training",
    "accuracy": "training",
    "val_": "validation",
    "best_val_": "validation",
    "test_": "test",
}

Epoch = Mapping[str, float]  # a row of a history


class Run:
    """A run in MLflow; logs nothing if it is complete or the store cannot be reached."""

    def __init__(
        self,
        store: Store,
        *,
        root: Path,
        experiment: Experiment,
        entity: Any,
        complete: bool,
        missed: Counter[str],
    ) -> None:
        """Use `open_run`, `reopen_run` or `open_child` instead.

        Args:
            store: the run's store.
            root: the project's root, for the tags of children.
            experiment: the run's experiment.
            entity: MLflow's entity of the run, None if the store cannot be reached.
            complete: whether everything was logged before.
            missed: kind → number of entries that could not be logged, for the final message.
        """
        self.store = store
        self.root = root
        self.experiment = experiment
        self.complete = complete
        self.missed = missed
        self.run_id: str | None = entity.info.run_id if entity else None
        self._entity = entity
        self._parameters = set(entity.data.params) if entity else set()
        self._tables = _logged_tables(entity.data.tags) if entity else []
        self._datasets: dict[str, tuple[str, str]] = {}  # context → name and digest
        self._logged: dict[str, dict[int, float]] = {}  # metric → step → value
        self._model: tuple[str, int] | None = None  # id and step of the logged model
        if entity and entity.outputs and entity.outputs.model_outputs:
            output = entity.outputs.model_outputs[0]
            self._model = (output.model_id, output.step)
        if entity and not complete:
            for name in entity.data.metrics:
                self._read_steps(name)

    def log_parameters(self, values: Mapping[str, Any]) -> None:
        """Log name → value: lists as JSON, text cut to MLflow's limit.

        A parameter logged before keeps its value: MLflow refuses to change one.
        """
        new = {k: text_of(v, MAX_PARAMETER) for k, v in values.items() if k not in self._parameters}
        param = self.store.entity("Param")
        for part in _parts(list(new.items()), PARAMETERS_PER_CALL):
            entries = [param(name, value) for name, value in part]
            if self._attempt(
                "parameter", len(part), functools.partial(self._batch, params=entries)
            ):
                self._parameters.update(name for name, _ in part)

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log name → value, in one call.

        Args:
            values: `loss`, `accuracy`, `val_loss`, `val_accuracy`, `learning_rate` of an epoch, or
                final scores such as `test_accuracy`.
            step: the epoch, from 1. A value is logged once per epoch. Final scores have none: they
                replace earlier values and are shown with the logged model too.
        """
        final = step is None
        step = (self._model[1] if self._model else 0) if step is None else step
        new = {}
        for name, value in values.items():
            logged = self._logged.get(name, {})
            if step not in logged or (final and not _same(logged[step], float(value))):
                new[name] = float(value)
        now = int(time.time() * 1000)
        model = self._model[0] if self._model and step == self._model[1] else None
        for part in _parts(list(new.items()), METRICS_PER_CALL):
            entries = [self._metric(name, value, now, step, model) for name, value in part]
            if self._attempt("metric", len(part), functools.partial(self._batch, metrics=entries)):
                for name, value in part:
                    self._logged.setdefault(name, {})[step] = value

    def log_epochs(self, history: Sequence[Epoch]) -> None:
        """Log the metrics of each epoch."""
        for row in history:
            values = {column: value for column, value in row.items() if column != "epoch"}
            self.log_metrics(values, step=int(row["epoch"]))

    def log_figure(self, name: str, png: bytes) -> None:
        """Log a picture as `<name>.png`.

        The UI shows figures of two runs side by side if they have the same name without a folder.
        """
        self._attempt("figure", 1, lambda: self._write(f"{name}.png", png))

    def log_text(self, name: str, text: str) -> None:
        """Log a text file; `name` has a suffix and may have folders."""
        self._attempt("text", 1, lambda: self._write(name, text.encode()))

    def log_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Log a table as `tables/<name>.json`, which the UI shows as a table."""
        path = f"tables/{name}.json"
        content = json.dumps({"columns": list(header), "data": [list(row) for row in rows]})

        def write() -> None:
            self._write(path, content.encode())
            # MLflow's own log_table would append the rows a second time in a resumed run.
            if path not in self._tables:
                tables = [{"path": each, "type": "table"} for each in [*self._tables, path]]
                self._client.set_tag(self.run_id, TABLES_TAG, json.dumps(tables))
                self._tables.append(path)

        self._attempt("table", 1, write)

    def log_dataset(self, name: str, digest: str, context: str, counts: Mapping[str, int]) -> None:
        """Log a data set as an input of the run.

        Args:
            name: name in the UI, such as "train".
            digest: SHA-256 of the data in hexadecimal. (MLflow's own digest covers a dozen images.)
            context: "training", "validation" or "test"; the logged model shows the metrics of that
                split with the data set.
            counts: number of images, in total or per class.
        """
        short = digest[:16]
        self._datasets[context] = (name, short)
        dataset = self.store.entity("Dataset")(
            name=name,
            digest=short,
            source_type="local",
            source=json.dumps({"sha256": digest}),
            profile=json.dumps(dict(counts)),
        )
        tag = self.store.entity("InputTag")(CONTEXT_TAG, context)
        entry = self.store.entity("DatasetInput")(dataset, [tag])
        self._attempt("dataset", 1, lambda: self._client.log_inputs(self.run_id, [entry]))

    def log_model(self, model: Any, input_example: Images, step: int) -> None:
        """Log a Keras model, unless the run has one already.

        Args:
            model: Keras model from raw pixels, uint8 [N, 28, 28], to float32 [N, 10].
            input_example: uint8 [1, 28, 28].
            step: the epoch of the weights; the model shows the run's metrics of that epoch.
        """

        def log() -> None:
            logged = log_model(self.store, self._entity, model, input_example, step)
            self._model = (logged, step)
            self._attach_metrics(logged, step)

        if self._model is None:
            self._attempt("model", 1, log)

    def retry(self) -> None:
        """Forget the entries that could not be logged: the caller logs everything again.

        This also ends the pause after a failure of the store.
        """
        self.store.retry()
        self.missed.clear()

    def register(self, name: str, val_accuracy: float, description: str = "") -> None:
        """Register the logged model, as `registry.register` does, even if the run is complete.

        A run without a logged model changes nothing.
        """
        model = self._model

        def register() -> None:
            if model is not None and self.run_id is not None:
                registry.register(
                    self._client, name, model[0], self.run_id, val_accuracy, description
                )

        if self.store.attempt(register) is UNREACHABLE:
            self.missed["champion"] += 1

    @property
    def _client(self) -> Any:
        return self.store.client

    def _attempt(self, kind: str, count: int, action: Callable[[], Any]) -> bool:
        """Log `count` entries of a kind by `action`; return whether they are in the store."""
        if self.complete:
            return False
        if self.run_id is not None and self.store.attempt(action) is not UNREACHABLE:
            return True
        self.missed[kind] += count
        return False

    def _batch(self, **entries: Any) -> None:
        self._client.log_batch(self.run_id, **entries)

    def _metric(self, name: str, value: float, time: int, step: int, model: str | None) -> Any:
        """Return MLflow's entity of a metric.

        Args:
            name: name, such as `val_accuracy`.
            value: value.
            time: milliseconds since 1970.
            step: the epoch.
            model: id of the logged model that shows the metric too, with its data set.
        """
        context = next((CONTEXTS[prefix] for prefix in CONTEXTS if name.startswith(prefix)), "")
        dataset, digest = self._datasets.get(context, (None, None)) if model else (None, None)
        return self.store.entity("Metric")(
            name, value, time, step, model_id=model, dataset_name=dataset, dataset_digest=digest
        )

    def _write(self, name: str, content: bytes) -> None:
        """Store an artifact under its path in the run."""
        path = PurePosixPath(name)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / path.name
            write_bytes(file, content)
            parent = None if path.parent == PurePosixPath() else str(path.parent)
            self._client.log_artifact(self.run_id, str(file), parent)

    def _read_steps(self, name: str) -> None:
        """Read the steps of a metric that are in the store."""
        history = self.store.attempt(lambda: self._client.get_metric_history(self.run_id, name))
        if history is not UNREACHABLE:
            self._logged[name] = {metric.step: metric.value for metric in history}

    def _attach_metrics(self, model_id: str, step: int) -> None:
        """Attach the run's metrics of one epoch to the model too.

        They keep their original time, so MLflow adds no second point to the curve.
        """
        metrics = [
            self._metric(name, point.value, point.timestamp, step, model_id)
            for name, steps in self._logged.items()
            if step in steps
            for point in self._client.get_metric_history(self.run_id, name)
            if point.step == step
        ]
        self._batch(metrics=metrics)


def text_of(value: Any, limit: int) -> str:
    """Return a value as text: lists and mappings as JSON, cut to MLflow's limit of characters."""
    text = json.dumps(value) if isinstance(value, (list, tuple, dict)) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _logged_tables(tags: Mapping[str, str]) -> list[str]:
    return [entry["path"] for entry in json.loads(tags.get(TABLES_TAG, "[]"))]


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
