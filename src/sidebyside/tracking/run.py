"""A run in MLflow, with its parameters, metrics, artifacts and model.

Logging never stops a training: while the store cannot be reached, a run counts the entries that are
missing from it.
"""

import functools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.config.dataset import Dataset
from sidebyside.tracking import registry, run_tags
from sidebyside.tracking.contents import Contents, DataSet, Entries, File, Value
from sidebyside.tracking.guard import UNREACHABLE
from sidebyside.tracking.logged_models import (
    Images,
    existing_models,
    is_intact,
    log_model,
    update_dataset,
)
from sidebyside.tracking.store import Store
from sidebyside.tracking.views import NOTE_TAG, Experiment

MAX_PARAMETER = 6000  # characters, MLflow's limit

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
        marked: bool,
        batched: bool,
        missed: Counter[str],
        added: Counter[str],
        new: bool,
        holder: str | None = None,
    ) -> None:
        """Use `open_run`, `reopen_run` or `open_child` instead.

        Args:
            store: the run's store.
            root: the project's root, for the tags of children.
            experiment: the run's experiment.
            entity: MLflow's entity of the run, None if the store cannot be reached.
            complete: whether nothing will be logged.
            marked: whether the run was marked as complete before.
            batched: whether entries wait until `flush`, which logs them in a few calls.
            missed: kind → number of entries that could not be logged, for the final message.
            added: kind → number of entries that this process has logged.
            new: whether the run has just been created.
            holder: the other process that logs the run, if there is one.
        """
        self.store = store
        self.root = root
        self.experiment = experiment
        self.complete = complete
        self.marked = marked
        self.missed = missed
        self.added = added
        self.new = new
        self.holder = holder
        self.run_id: str | None = entity.info.run_id if entity else None
        self._entity = entity
        self._contents: Any = None
        if entity:
            made = store.attempt(functools.partial(Contents, store, entity, new=new))
            self._contents = None if made is UNREACHABLE else made
        self._expected = Entries()  # all entries that this process has logged, or tried to log
        self._waiting = Entries()
        self._batched = batched
        self._model: tuple[str, int] | None = None  # id and step of the logged model
        outputs = entity.outputs.model_outputs if entity and entity.outputs else []
        if len(outputs) > 1:  # a model that a user deleted has been logged again
            present = store.attempt(lambda: existing_models(store, entity))
            outputs = [one for one in outputs if present is UNREACHABLE or one.model_id in present]
        if outputs:
            self._model = (outputs[0].model_id, outputs[0].step)

    def log_parameters(self, values: Mapping[str, Any]) -> None:
        """Log name → value: lists as JSON, text cut to MLflow's limit.

        A parameter logged before keeps its value: MLflow refuses to change one.
        """
        self._log(
            Entries(parameters={k: run_tags.text_of(v, MAX_PARAMETER) for k, v in values.items()})
        )

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Replace those tags that have other values; the run has to be complete without them."""
        if self._entity is None or self.complete:
            return
        tag, known = self.store.entity("RunTag"), self._entity.data.tags
        changed = [tag(name, text) for name, text in tags.items() if known.get(name) != text]
        log = functools.partial(self._client.log_batch, self.run_id, tags=changed, synchronous=True)
        if changed and self.store.attempt(log) is UNREACHABLE:
            self.missed["tag"] += len(changed)

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log name → value, in one call.

        Args:
            values: `loss`, `accuracy`, `val_loss`, `val_accuracy`, `learning_rate` of an epoch, or
                final scores such as `test_accuracy`.
            step: the epoch, from 1. A value is logged once per epoch. Final scores have none: they
                belong to the model's epoch or else to the last one, and replace earlier values.
        """
        if step is None:
            last = max((epoch for _, epoch in self._expected.metrics), default=0)
            at = self._model[1] if self._model else last
        else:
            at = step
        self._log(Entries(metrics={(k, at): Value(v, step is None) for k, v in values.items()}))

    def log_epochs(self, history: Sequence[Epoch]) -> None:
        """Log the metrics of all epochs, in one call."""
        self._log(
            Entries(
                metrics={
                    (column, int(row["epoch"])): Value(value, final=False)
                    for row in history
                    for column, value in row.items()
                    if column != "epoch"
                }
            )
        )

    def log_figure(self, name: str, png: bytes) -> None:
        """Log a picture as `<name>.png`.

        The UI shows figures of two runs side by side if they have the same name without a folder.
        """
        self._log(Entries(files={f"{name}.png": File("figure", png)}))

    def log_text(self, name: str, text: str) -> None:
        """Log a text file; `name` has a suffix and may have folders."""
        self._log(Entries(files={name: File("text", text.encode())}))

    def log_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Log a table as `tables/<name>.json`, which the UI shows as a table."""
        content = json.dumps({"columns": list(header), "data": [list(row) for row in rows]})
        self._log(Entries(files={f"tables/{name}.json": File("table", content.encode())}))

    def log_dataset(self, name: str, digest: str, context: str, counts: Mapping[str, int]) -> None:
        """Log a data set as an input of the run.

        Args:
            name: name in the UI, such as "train".
            digest: SHA-256 of the data in hexadecimal. (MLflow's own digest covers a dozen images.)
            context: "training", "validation" or "test"; the logged model shows the metrics of that
                split with the data set.
            counts: number of images, in total or per class.
        """
        data = DataSet(name, digest[:16], context)
        dataset = self.store.entity("Dataset")(
            name=data.name,
            digest=data.digest,
            source_type="local",
            source=json.dumps({"sha256": digest}),
            profile=json.dumps(dict(counts)),
        )
        self._log(Entries(data_sets={data: dataset}))

    def describe(self, description: str) -> None:
        """Replace the first sentence of a new run's note, for example by one that links to the run.

        Args:
            description: a sentence without a full stop, in Markdown.
        """
        if self.new:
            tags, client = self._entity.data.tags, self._client
            text = run_tags.note(description, tags, self.experiment.repeat)
            self.store.attempt(lambda: client.set_tag(self.run_id, NOTE_TAG, text))

    def log_model(self, model: Any, dataset: Dataset, input_example: Images, step: int) -> None:
        """Log a Keras model, or those of its files that the store lacks.

        Args:
            model: Keras model from raw pixels, uint8 [N, *shape], to float32 [N, classes], or the
                path of its file, which is loaded only if something is missing.
            dataset: the data set, whose record is logged with the model.
            input_example: uint8 [1, *shape].
            step: the epoch of the weights; the model shows the run's metrics of that epoch.
        """
        if self.complete:
            return
        self.flush()  # MLflow copies the run's parameters to the model

        def log() -> bool:
            logged, changed = log_model(
                self.store, self._entity, model, dataset, input_example, step
            )
            self._model = (logged.model_id, step)
            self._attach_metrics(logged, step)
            return changed

        changed = UNREACHABLE if self.run_id is None else self.store.attempt(log, self._artifacts)
        if changed is UNREACHABLE:
            self.missed["model"] += 1
        else:
            self.added += Counter(model=int(changed))

    def update_dataset(self, dataset: Dataset) -> None:
        """Replace the record of the data set beside the logged model, even if the run is complete.

        Rewording the title or licence of a data set trains no model again.
        """
        if self._model is None:
            return
        action = functools.partial(update_dataset, self.store, self._model[0], dataset)
        changed = self.store.attempt(action, self._artifacts)
        if changed is UNREACHABLE:
            self.missed["model"] += 1
        else:
            self.added += Counter(model=int(changed))

    def flush(self) -> None:
        """Log those of the waiting entries that the store lacks."""
        entries, self._waiting = self._waiting, Entries()
        contents = self._contents
        if contents is None:
            self.missed += entries.count()
            return
        for part in entries.parts():
            logged = self.store.attempt(
                functools.partial(contents.log, part, self._model),
                self._artifacts if part.files else None,
            )
            if logged is UNREACHABLE:
                self.missed += part.count()
            else:
                self.added += logged

    def verify(self) -> Any:
        """Read the run back and count missing entries as missed; return MLflow's entity.

        The store's errors are raised, not handled as an outage.
        """
        entity = self._client.get_run(self.run_id)
        whole = self._contents.whole if self._contents else ()
        self.missed += Contents(self.store, entity).lacking(self._expected, whole).count()
        if self._model is not None and not is_intact(self.store, self._model[0]):
            self.missed["model"] += 1
        return entity

    def retry(self) -> None:
        """Forget the entries that could not be logged: the caller logs everything again.

        This also ends the pause after a failure of the store.
        """
        self.store.retry()
        self.missed.clear()

    def register(
        self,
        name: str,
        val_accuracy: float,
        digests: Mapping[str, str],
        description: str = "",
        *,
        only_better: bool = False,
    ) -> None:
        """Register the logged model, as `registry.register` does, even if the run is complete.

        A run without a logged model changes nothing.
        """
        model, client, done = self._model, self._client, None
        if model is not None and self.run_id is not None:
            action = functools.partial(
                registry.register,
                client,
                name,
                model[0],
                self.run_id,
                val_accuracy,
                digests,
                description,
                only_better,
            )
            done = self.store.attempt(action, self.store.registry)
        if self.run_id is None or done is UNREACHABLE:
            self.missed["champion"] += 1

    @property
    def page(self) -> str | None:
        """Address of the run's page in the UI; None if the run could not be opened."""
        if self._entity is None:
            return None
        return f"#/experiments/{self._entity.info.experiment_id}/runs/{self.run_id}"

    @property
    def _client(self) -> Any:
        return self.store.client

    @property
    def _artifacts(self) -> str:
        """Name of the store of this run's artifacts in messages."""
        return self.store.artifact_store(self._entity.info.artifact_uri)

    def _log(self, entries: Entries) -> None:
        """Log entries, now or in a batch."""
        if not self.complete:
            self._expected.add(entries)
            self._waiting.add(entries)
            if not self._batched:
                self.flush()

    def _attach_metrics(self, logged: Any, step: int) -> None:
        """Attach the run's metrics of one epoch to the model too, unless it has them.

        They keep their original time, so MLflow adds no second point to the curve.
        """
        contents = self._contents
        if contents is None:
            return
        attached = {metric.key for metric in logged.metrics or ()}
        metrics = [
            contents.metric(name, point.value, point.timestamp, step, logged.model_id)
            for name in contents.names_at(step)
            if name not in attached
            for point in self._client.get_metric_history(self.run_id, name)
            if point.step == step
        ]
        self._client.log_batch(self.run_id, metrics=metrics, synchronous=True)
