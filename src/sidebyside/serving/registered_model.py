"""Load a model from MLflow's registry, without trusting it."""

import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

import mlflow.artifacts

from sidebyside.core.errors import UserError
from sidebyside.core.files import sha256
from sidebyside.tracking.logged_models import KERAS_FILE

ARCHIVE = PurePosixPath(KERAS_FILE).name
# A backfill restores the models of its own checkout; without the version, it selects another one.
CURE = "run `make backfill`; if that does not help, delete this version in `make ui` before it"


def load_registered(uri: str, digest: str) -> Any:
    """Return a Keras model from MLflow.

    Anybody who can write to a shared store can put code into what MLflow loads with a model.
    Therefore only the Keras file is downloaded, and is loaded if it is the one that was evaluated.

    Args:
        uri: URI of the model, such as models:/fashion-mnist-cnn/1.
        digest: SHA-256 of its Keras file.

    Raises:
        UserError: there is no such model, or its file is another one.
    """
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    from sidebyside.models.loading import MAX_BYTES, load_model  # noqa: PLC0415 (loads TensorFlow)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            return load_model(_download(uri, digest, folder, MAX_BYTES))
        except UserError as error:
            reason = str(error).replace(str(folder / ARCHIVE), KERAS_FILE)
            raise UserError(f"{uri} cannot be served: {reason}") from None


def _download(uri: str, digest: str, folder: Path, max_bytes: int) -> Path:
    """Download the Keras file of a model in MLflow into a folder.

    Raises:
        UserError: there is no such file, it is too large, or has another digest.
    """
    parent = PurePosixPath(KERAS_FILE).parent
    try:
        listed = mlflow.artifacts.list_artifacts(artifact_uri=f"{uri}/{parent}")
        sizes = {PurePosixPath(file.path).name: file.file_size or 0 for file in listed}
        if not sizes.get(ARCHIVE):
            raise UserError(f"it has no file {KERAS_FILE}: {CURE}")
        if sizes[ARCHIVE] > max_bytes:
            raise UserError(f"{KERAS_FILE} is larger than {max_bytes >> 30} GiB")
        file = mlflow.artifacts.download_artifacts(f"{uri}/{KERAS_FILE}", dst_path=str(folder))
    except UserError:
        raise
    except Exception as error:  # artifact stores raise the errors of their own libraries
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(reason) from None
    if sha256(Path(file)) != digest:
        raise UserError(f"{KERAS_FILE} is not the file that was evaluated: {CURE}")
    return Path(file)
