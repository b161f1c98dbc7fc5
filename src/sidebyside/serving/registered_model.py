"""Load a model with the record of its data set from MLflow's registry, without trusting it."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import mlflow.artifacts
from pydantic import ValidationError

from sidebyside.config.dataset import Dataset
from sidebyside.config.validation import explain
from sidebyside.core.errors import UserError
from sidebyside.core.files import sha256
from sidebyside.tracking.logged_models import DATASET_FILE, KERAS_FILE
from sidebyside.tracking.registry import DATASET_TAG, FILE_TAG

MAX_RECORD_BYTES = 1 << 20  # of a data set's record; 200 class names take a few KB
# A backfill restores the models of its own checkout; without the version, it selects another one.
CURE = "run `make backfill`; if that does not help, delete this version in `make ui` before it"


def load_registered(uri: str, digests: Mapping[str, str]) -> tuple[Any, Dataset]:
    """Return a Keras model from MLflow, and the record of its data set.

    Anybody who can write to a shared store can put code into what MLflow loads with a model.
    Therefore only these two files are downloaded, and are read if they are those of the evaluated
    model.

    Args:
        uri: URI of the model, such as models:/digits-cnn/1.
        digests: FILE_TAG → SHA-256 of the Keras file, DATASET_TAG → that of the record.

    Raises:
        UserError: there is no such model, or a file of it is another one.
    """
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    from sidebyside.models.loading import MAX_BYTES, load_model  # noqa: PLC0415 (loads TensorFlow)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            record = _download(uri, DATASET_FILE, digests[DATASET_TAG], folder, MAX_RECORD_BYTES)
            model = _download(uri, KERAS_FILE, digests[FILE_TAG], folder, MAX_BYTES)
            dataset = _parse(record.read_bytes())
            return load_model(model, dataset), dataset
        except UserError as error:
            reason = str(error).replace(f"{folder}/", "data/")
            raise UserError(f"{uri} cannot be served: {reason}") from None


def _parse(content: bytes) -> Dataset:
    """Return the data set that a record describes.

    Raises:
        UserError: the record is of another version of this project.
    """
    try:
        return Dataset.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{DATASET_FILE}: {explain(error)}: {CURE}") from None


def _download(uri: str, name: str, digest: str, folder: Path, max_bytes: int) -> Path:
    """Download a file of a model in MLflow into a folder.

    Args:
        uri: URI of the model.
        name: path of the file below the model.
        digest: SHA-256 of the file.
        folder: the folder.
        max_bytes: maximum size of the file.

    Raises:
        UserError: there is no such file, it is too large, or has another digest.
    """
    path = PurePosixPath(name)
    try:
        listed = mlflow.artifacts.list_artifacts(artifact_uri=f"{uri}/{path.parent}")
        sizes = {PurePosixPath(file.path).name: file.file_size or 0 for file in listed}
        if not sizes.get(path.name):
            raise UserError(f"it has no file {name}: {CURE}")
        if sizes[path.name] > max_bytes:
            raise UserError(f"{name} is larger than {max_bytes >> 20:,} MiB")
        file = mlflow.artifacts.download_artifacts(f"{uri}/{name}", dst_path=str(folder))
    except UserError:
        raise
    except Exception as error:  # artifact stores raise the errors of their own libraries
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(reason) from None
    if sha256(Path(file)) != digest:
        raise UserError(f"{name} is not the file that was evaluated: {CURE}")
    return Path(file)
