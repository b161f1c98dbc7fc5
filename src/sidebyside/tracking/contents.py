"""Log the entries of a run that MLflow lacks: parameters, metrics, files and data sets."""

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from sidebyside.tracking.store import Store

# MLflow's own tags.
TABLES_TAG = "mlflow.loggedArtifacts"  # the artifacts that the UI shows as tables
CONTEXT_TAG = "mlflow.data.context"
ENTRIES_PER_CALL = 1000  # MLflow's client splits more into several calls

CONTEXTS = {  # prefix of a metric's name → context of the data it was measured on
    "loss": "training",
    "accuracy": "training",
    "val_": "validation",
    "best_val_": "validation",
    "test_": "test",
}


class Value(NamedTuple):
    """A value of a metric."""

    value: float
    final: bool  # a final score, which replaces earlier values


def rounded(value: float) -> float:
    """Return a value with six significant digits: the UI would show seventeen."""
    return float(value) if float(value).is_integer() else float(f"{value:.6g}")


class File(NamedTuple):
    """An artifact of a run."""

    kind: str  # for messages, such as "figure"
    content: bytes


class DataSet(NamedTuple):
    """A data set that a run has used."""

    name: str
    digest: str
    context: str  # "training", "validation" or "test"


@dataclass
class Entries:
    """Entries of a run, except for its model."""

    parameters: dict[str, str] = field(default_factory=dict)
    metrics: dict[tuple[str, int], Value] = field(default_factory=dict)  # name and step → value
    files: dict[str, File] = field(default_factory=dict)  # path → file
    data_sets: dict[DataSet, Any] = field(default_factory=dict)  # with MLflow's entity of each

    def add(self, other: "Entries") -> None:
        """Add entries; they replace those of the same name."""
        self.parameters |= other.parameters
        self.metrics |= other.metrics
        self.files |= other.files
        self.data_sets |= other.data_sets

    def parts(self) -> Iterator["Entries"]:
        """Yield entries that are logged in one call, with the data sets before their metrics."""
        for part in (
            Entries(files=self.files),
            Entries(data_sets=self.data_sets),
            Entries(self.parameters, self.metrics),
        ):
            if part.count():
                yield part

    def count(self) -> Counter[str]:
        """Return the number of entries of each kind."""
        counts = Counter(file.kind for file in self.files.values())
        counts["parameter"] += len(self.parameters)
        counts["metric"] += len(self.metrics)
        counts["dataset"] += len(self.data_sets)
        return +counts


class Contents:
    """What the store has of a run; curves and files are read when they are first compared."""

    def __init__(self, store: Store, run: Any, *, new: bool = False) -> None:
        """Take the entries that MLflow's entity of the run contains.

        Args:
            store: the store. Its errors are raised, not handled as an outage.
            run: MLflow's entity of the run.
            new: whether the run has just been created, so that it has no files.
        """
        self._store = store
        self._run = run
        self._new = new
        self._parameters = set(run.data.params)
        metrics = run.data.to_proto().metrics
        self._latest = {metric.key: (metric.step, metric.value) for metric in metrics}
        # Milliseconds since 1970, by the clock of the machine that logged the value.
        self._times = {metric.key: metric.timestamp for metric in metrics}
        self._curves: dict[str, dict[int, float]] = {}
        # Metrics that were logged in one call, which MLflow stores in one transaction.
        self.whole: set[str] = set()
        self._sizes: dict[str, dict[str, int]] = {}  # folder → path → bytes
        self._logged: dict[str, bytes] = {}  # path → content, logged since
        self._data_sets = {
            DataSet(
                entry.dataset.name,
                entry.dataset.digest,
                {tag.key: tag.value for tag in entry.tags}.get(CONTEXT_TAG, ""),
            )
            for entry in (run.inputs.dataset_inputs if run.inputs else ())
        }
        self._tables = _listed_tables(run)

    def lacking(self, expected: Entries, whole: Collection[str] = ()) -> Entries:
        """Return the expected entries that the store does not have.

        A parameter, and the value of a metric in an epoch, keep what was logged first.

        Args:
            expected: entries.
            whole: metrics of which the store has all values if it has the last one.
        """
        return Entries(
            {k: v for k, v in expected.parameters.items() if k not in self._parameters},
            {
                k: v
                for k, v in expected.metrics.items()
                if not self._has_value(*k, v, k[0] in whole)
            },
            {k: v for k, v in expected.files.items() if not self._has_file(k, v)},
            {k: v for k, v in expected.data_sets.items() if k not in self._data_sets},
        )

    def log(self, expected: Entries, model: tuple[str, int] | None) -> Counter[str]:
        """Log the expected entries that the store lacks; return their number by kind.

        Args:
            expected: entries.
            model: id and step of the run's logged model, which shows the metrics of that step too.
        """
        entries = self.lacking(expected)
        if entries.files:
            self._log_files(entries.files)
        if entries.data_sets:
            self._log_data_sets(entries.data_sets)
        if entries.parameters or entries.metrics:
            self._log_values(entries, model)
        return entries.count()

    def _log_files(self, files: Mapping[str, File]) -> None:
        if self._store.local:
            for path in files:
                _make_way(Path(self._run.info.artifact_uri), path)
        with TemporaryDirectory() as folder:
            for path, file in files.items():
                copy = Path(folder) / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.content)
            self._store.client.log_artifacts(self._run.info.run_id, folder)
        self._logged |= {path: file.content for path, file in files.items()}
        tables = [path for path, file in files.items() if file.kind == "table"]
        if new := [path for path in tables if path not in self._tables]:
            # MLflow's own log_table would append the rows a second time in a resumed run.
            listed = [{"path": path, "type": "table"} for path in [*self._tables, *new]]
            self._store.client.set_tag(
                self._run.info.run_id, TABLES_TAG, json.dumps(listed), synchronous=True
            )
            self._tables += new

    def _log_data_sets(self, data_sets: Mapping[DataSet, Any]) -> None:
        tag, entry = self._store.entity("InputTag"), self._store.entity("DatasetInput")
        self._store.client.log_inputs(
            self._run.info.run_id,
            [entry(one, [tag(CONTEXT_TAG, data.context)]) for data, one in data_sets.items()],
        )
        self._data_sets |= data_sets.keys()

    def _log_values(self, entries: Entries, model: tuple[str, int] | None) -> None:
        now = int(time.time() * 1000)
        model_id, model_step = model or (None, None)
        param = self._store.entity("Param")
        self._store.client.log_batch(
            self._run.info.run_id,
            params=[param(name, text) for name, text in entries.parameters.items()],
            metrics=[
                self.metric(
                    name,
                    value.value,
                    max(now, self._times.get(name, 0) + 1),  # of two, MLflow keeps the later one
                    step,
                    model_id if step == model_step else None,
                )
                for (name, step), value in entries.metrics.items()
            ],
            synchronous=True,
        )
        self._parameters |= entries.parameters.keys()
        names = {name for name, _ in entries.metrics}
        self.whole -= names
        if len(entries.metrics) + len(entries.parameters) <= ENTRIES_PER_CALL:
            self.whole |= names - self._latest.keys()
        for (name, step), value in entries.metrics.items():
            if name not in self._latest:
                self._curves[name] = {}
            stored = rounded(value.value)
            if name in self._curves:
                self._curves[name][step] = stored
            self._latest[name] = (step, stored)

    def metric(self, name: str, value: float, time: int, step: int, model: str | None) -> Any:
        """Return MLflow's entity of a metric.

        Args:
            name: name, such as `val_accuracy`.
            value: value.
            time: milliseconds since 1970.
            step: the epoch.
            model: id of the logged model that shows the metric too, with its data set.
        """
        context = next((CONTEXTS[prefix] for prefix in CONTEXTS if name.startswith(prefix)), "")
        used = (data for data in self._data_sets if data.context == context)
        data = next(used, None) if model else None
        return self._store.entity("Metric")(
            name,
            rounded(value),
            time,
            step,
            model_id=model,
            dataset_name=data.name if data else None,
            dataset_digest=data.digest if data else None,
        )

    def names_at(self, step: int) -> list[str]:
        """Return the metrics that have a value at a step."""
        return [name for name in self._latest if step in self.curve(name)]

    def curve(self, name: str) -> Mapping[int, float]:
        """Return step → value of a metric."""
        if name not in self._latest:
            return {}
        if name not in self._curves:
            history = self._store.client.get_metric_history(self._run.info.run_id, name)
            in_time = sorted(history, key=lambda point: point.timestamp)
            self._curves[name] = {point.step: point.value for point in in_time}
        return self._curves[name]

    def _has_value(self, name: str, step: int, value: Value, whole: bool) -> bool:
        latest = self._latest.get(name)
        if latest is None:
            return False
        if latest[0] == step and _same(latest[1], value.value):
            return True  # usual for a final score, and needs no call
        if whole and step < latest[0]:
            return True
        curve = self.curve(name)
        return step in curve and (not value.final or _same(curve[step], value.value))

    def _has_file(self, path: str, file: File) -> bool:
        if path in self._logged:
            return self._logged[path] == file.content
        if self._new:
            return False
        if self._store.local:
            found = Path(self._run.info.artifact_uri) / path
            return found.is_file() and found.read_bytes() == file.content
        if self._size(path) != len(file.content):
            return False
        with TemporaryDirectory() as folder:
            copy = self._store.client.download_artifacts(self._run.info.run_id, path, folder)
            return Path(copy).read_bytes() == file.content

    def _size(self, path: str) -> int | None:
        """Return the size of a file in bytes; None if it is missing."""
        folder = str(PurePosixPath(path).parent)
        if folder not in self._sizes:
            below = None if folder == "." else folder
            listed = self._store.client.list_artifacts(self._run.info.run_id, below)
            self._sizes[folder] = {entry.path: entry.file_size for entry in listed}
        return self._sizes[folder].get(path)


def _listed_tables(run: Any) -> list[str]:
    """Return the artifacts that the UI shows as tables; none if a user has edited the list."""
    try:
        return [str(entry["path"]) for entry in json.loads(run.data.tags[TABLES_TAG])]
    except (KeyError, ValueError, TypeError):
        return []


def _make_way(folder: Path, path: str) -> None:
    """Remove what is in the place of a file or of one of its folders."""
    place = folder / path
    for one in (*place.relative_to(folder).parents, Path(path)):
        if (folder / one).is_symlink() or (folder / one).is_file():
            (folder / one).unlink()
    if place.is_dir():
        shutil.rmtree(place)


def _same(stored: float, value: float) -> bool:
    value = rounded(value)
    return stored == value or (math.isnan(stored) and math.isnan(value))
