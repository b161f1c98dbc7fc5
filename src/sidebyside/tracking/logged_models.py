"""Log a Keras model as MLflow's logged model of a run.

The model's file is the one that was evaluated, byte for byte. Sizes and digests of all files are
stored in a tag, so that a missing, truncated or altered file is found without loading the model.
Beside the model lies the record of its data set: without it, nobody could tell which class a
probability belongs to.
"""

import contextlib
import hashlib
import importlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.dataset import Dataset
from sidebyside.core import imports
from sidebyside.core.files import sha256
from sidebyside.tracking.store import Store
from sidebyside.tracking.views import NOTE_TAG

REQUIREMENTS = ("tensorflow", "keras", "numpy")  # installed with a served model
FILES_TAG = "files"  # of a logged model: path → size and SHA-256, as JSON
KERAS_FILE = "data/model.keras"  # the model among its files
DATASET_FILE = "data/dataset.json"  # the record of its data set

Images = NDArray[np.uint8]


def log_model(
    store: Store, run: Any, model: Any, dataset: Dataset, input_example: Images, step: int
) -> tuple[Any, bool]:
    """Log a model, or repair it; return MLflow's entity, and whether anything was missing.

    Args:
        store: the store; its errors are raised, not handled as an outage.
        run: MLflow's entity of the run.
        model: Keras model from raw pixels, uint8 [N, *shape], to float32 [N, classes], or the path
            of its file.
        dataset: the data set, which has the shape and the classes.
        input_example: uint8 [1, *shape].
        step: the epoch of the weights.
    """
    logged = _complete_model(store, run)
    digests = {DATASET_FILE: dataset_digest(dataset)}
    if isinstance(model, Path):
        digests[KERAS_FILE] = sha256(model)
    changed = logged is None or not _has_files(store, logged, digests)
    if logged is None:
        logged = _create(store, run)
    if changed:
        _upload(store, run, logged, model, dataset, input_example)
        logged = store.client.finalize_logged_model(logged.model_id, "READY")
    linked = run.outputs.model_outputs if run.outputs else ()
    if all(output.model_id != logged.model_id for output in linked):
        # The model is linked last, so a killed process leaves no incomplete model in the run.
        output = store.entity("LoggedModelOutput")(logged.model_id, step)
        store.client.log_outputs(run.info.run_id, [output])
        changed = True
    return logged, changed


def update_dataset(store: Store, model_id: str, dataset: Dataset) -> bool:
    """Replace the record of a data set beside a logged model; return whether it was another one."""
    logged = store.client.get_logged_model(model_id)
    recorded = _recorded(logged)
    if recorded.get(DATASET_FILE, {}).get("sha256") in (None, dataset_digest(dataset)):
        return False  # without a record, the model is not complete
    with TemporaryDirectory() as temporary:
        file = Path(temporary) / DATASET_FILE
        file.parent.mkdir()
        file.write_bytes(dataset_record(dataset))
        store.client.log_model_artifacts(model_id, temporary)
        recorded |= _describe(Path(temporary), [DATASET_FILE])
    store.client.set_logged_model_tags(model_id, {FILES_TAG: json.dumps(recorded)})
    return True


def signature(dataset: Dataset) -> Any:
    """Return the signature of a model: raw pixels to class probabilities."""
    with imports.fast_imports():
        models = importlib.import_module("mlflow.models")
        types = importlib.import_module("mlflow.types")
    return models.ModelSignature(
        inputs=types.Schema([types.TensorSpec(np.dtype(np.uint8), (-1, *dataset.shape))]),
        outputs=types.Schema([types.TensorSpec(np.dtype(np.float32), (-1, dataset.classes))]),
    )


def dataset_record(dataset: Dataset) -> bytes:
    """Return the content of DATASET_FILE."""
    return dataset.model_dump_json(indent=2).encode()


def dataset_digest(dataset: Dataset) -> str:
    """Return the SHA-256 of DATASET_FILE."""
    return hashlib.sha256(dataset_record(dataset)).hexdigest()


def classes_digest(dataset: Dataset) -> str:
    """Return the SHA-256 of the shape and the class names of a data set."""
    content = json.dumps([dataset.shape, dataset.class_names])
    return hashlib.sha256(content.encode()).hexdigest()


def is_intact(store: Store, model_id: str) -> bool:
    """Return whether all files of a logged model are in the store as they were logged."""
    return _has_files(store, store.client.get_logged_model(model_id), {})


def existing_models(store: Store, run: Any) -> dict[str, Any]:
    """Return id → MLflow's entity of the models of a run, without deleted ones."""
    condition = f"source_run_id = '{run.info.run_id}'"
    found = store.client.search_logged_models([run.info.experiment_id], condition)
    return {logged.model_id: logged for logged in found}


def _complete_model(store: Store, run: Any) -> Any:
    """Return the model of a run that was logged completely, or None.

    Incomplete models are deleted.
    """
    complete = None
    for logged in existing_models(store, run).values():
        if str(logged.status) == "READY":
            complete = logged
        else:
            store.client.delete_logged_model(logged.model_id)
            if store.local:
                shutil.rmtree(logged.artifact_location, ignore_errors=True)
    return complete


def _has_files(store: Store, logged: Any, digests: Mapping[str, str]) -> bool:
    """Return whether the store has all files of a logged model.

    Files on a server are compared by size; their digests are not computed.

    Args:
        store: the store.
        logged: MLflow's entity of the model.
        digests: path → SHA-256 of files whose content is known.
    """
    recorded = _recorded(logged)
    if not {KERAS_FILE, DATASET_FILE} <= recorded.keys():
        return False
    if any(recorded[path]["sha256"] != digest for path, digest in digests.items()):
        return False
    if store.local:
        location = Path(logged.artifact_location)
        return all((location / name).is_file() for name in recorded) and (
            _describe(location, recorded) == recorded
        )
    sizes = dict(_sizes(store, logged.model_id))
    return all(sizes.get(name) == file["size"] for name, file in recorded.items())


def _recorded(logged: Any) -> dict[str, dict[str, Any]]:
    """Return path → size and SHA-256 of the files that were logged; empty if this is unknown."""
    try:
        return {
            name: {"size": int(file["size"]), "sha256": str(file["sha256"])}
            for name, file in json.loads(logged.tags[FILES_TAG]).items()
        }
    except (KeyError, ValueError, TypeError, AttributeError):  # of an earlier version, or edited
        return {}


def _describe(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return path → size and SHA-256 of files in a folder."""
    files = {name: folder / name for name in names}
    return {
        name: {"size": file.stat().st_size, "sha256": sha256(file)} for name, file in files.items()
    }


def _sizes(store: Store, model_id: str, folder: str | None = None) -> Iterator[tuple[str, int]]:
    """Yield path and size of each file of a logged model on a server."""
    for entry in store.client.list_logged_model_artifacts(model_id, folder):
        if entry.is_dir:
            yield from _sizes(store, model_id, entry.path)
        else:
            yield entry.path, entry.file_size


def _create(store: Store, run: Any) -> Any:
    """Return a new logged model of a run, without files."""
    current = store.client.get_run(run.info.run_id)
    return store.client.create_logged_model(
        run.info.experiment_id,
        name=current.info.run_name,  # shown in the UI's list of models
        source_run_id=run.info.run_id,
        params=current.data.params,
        tags={NOTE_TAG: current.data.tags.get(NOTE_TAG, "")},
    )


@contextlib.contextmanager
def _without_custom_objects() -> Iterator[None]:
    """Hide the classes that libraries such as keras-tuner register: MLflow would pickle them."""
    registered = importlib.import_module("keras").saving.get_custom_objects()
    hidden = dict(registered)
    registered.clear()
    try:
        yield
    finally:
        registered.update(hidden)


def _upload(
    store: Store, run: Any, logged: Any, model: Any, dataset: Dataset, input_example: Images
) -> None:
    """Store the files of a model, and their sizes and digests.

    The steps are those of MLflow's own log_model, which works only on a global, active run.
    """
    from sidebyside.models import loading, saving  # noqa: PLC0415 (TensorFlow loads in seconds)

    with imports.fast_imports():
        flavor = importlib.import_module("mlflow.tensorflow")
        models = importlib.import_module("mlflow.models")
    description = models.Model(
        artifact_path=logged.artifact_location,
        run_id=run.info.run_id,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
    )
    # `mlflow.keras` reads the same files. It cannot write them with an input example.
    description.add_flavor("keras", data=Path(KERAS_FILE).parent.name)
    with TemporaryDirectory() as temporary, _without_custom_objects():
        folder = Path(temporary) / "model"
        flavor.save_model(
            loading.load_model(model, dataset) if isinstance(model, Path) else model,
            str(folder),
            mlflow_model=description,
            signature=signature(dataset),
            input_example=input_example,
            # Without them MLflow would start a process of several seconds to infer them.
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in REQUIREMENTS],
        )
        if isinstance(model, Path):
            shutil.copyfile(model, folder / KERAS_FILE)
        else:
            saving.save_model(folder / KERAS_FILE, model)
        (folder / DATASET_FILE).write_bytes(dataset_record(dataset))
        names = sorted(
            file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()
        )
        if store.local:
            shutil.rmtree(logged.artifact_location, ignore_errors=True)
        store.client.log_model_artifacts(logged.model_id, str(folder))
        files = json.dumps(_describe(folder, names))
    store.client.set_logged_model_tags(logged.model_id, {FILES_TAG: files})
