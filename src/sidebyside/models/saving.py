"""Save, load and identify Keras models; equal models give equal bytes."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import keras

from sidebyside.config.dataset import CLASSES, IMAGE_SIZE
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_bytes


def save_model(path: Path, model: keras.Model) -> str:
    """Replace `path` by the model as a `.keras` file, the same bytes for equal models.

    Keras writes the time, the modification time of a member and memory addresses into the archive;
    they are set to constants. The file loads with plain `keras.saving.load_model`.

    Returns:
        The SHA-256 of the file.
    """
    temporary = path.with_name(f".{path.stem}.tmp.keras")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        model.save(temporary)
        content = _canonical(temporary.read_bytes())
        write_bytes(path, content)
    except OSError as error:
        error.filename = str(path)  # Keras names no file where a disk is full
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return hashlib.sha256(content).hexdigest()


def load_model(path: Path) -> keras.Model:
    """Return a saved model.

    Raises:
        UserError: the file is missing or is no model.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected a model")
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro train`")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no readable model: no Keras archive, or not all of it")
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UserError(f"{path} is no readable model: {reason}") from None
    shapes = (model.input_shape, model.output_shape)
    if shapes != ((None, IMAGE_SIZE, IMAGE_SIZE), (None, CLASSES)):
        raise UserError(f"{path} is a model of other data: it maps {shapes[0]} to {shapes[1]}")
    return model


def weights_digest(model: keras.Model) -> str:
    """Return the SHA-256 over the weights in their order: the model's identity."""
    hasher = hashlib.sha256()
    for weight in model.weights:
        hasher.update(weight.numpy().tobytes())
    return hasher.hexdigest()


def _canonical(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        members = {name: source.read(name) for name in sorted(source.namelist())}
    metadata = json.loads(members["metadata.json"])
    metadata["date_saved"] = "1980-01-01@00:00:00"
    members["metadata.json"] = json.dumps(metadata).encode()
    numbers: dict[int, int] = {}  # memory address → order of appearance

    def numbered(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                key: numbers.setdefault(value, len(numbers))
                if key == "shared_object_id"
                else numbered(value)
                for key, value in node.items()
            }
        return [numbered(item) for item in node] if isinstance(node, list) else node

    members["config.json"] = json.dumps(numbered(json.loads(members["config.json"]))).encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as result:
        for name, content in members.items():
            information = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            information.external_attr = 0o644 << 16
            information.create_system = 3  # Unix, whatever writes it
            result.writestr(information, content)
    return target.getvalue()
