"""Save and hash Keras models; equal models give equal bytes."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import keras

from sidebyside.core.files import write_bytes


def save_model(path: Path, model: keras.Model) -> str:
    """Write the model to `path` as a `.keras` file, atomically; equal models give equal bytes.

    Keras writes the current time, a member's modification time and memory addresses into the
    archive; they are replaced by constants. `keras.saving.load_model` loads the file.

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
        error.filename = str(path)  # Keras does not name the file if the disk is full
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return hashlib.sha256(content).hexdigest()


def weights_digest(model: keras.Model) -> str:
    """Return the SHA-256 of all weights in layer order, moving statistics included."""
    hasher = hashlib.sha256()
    for weight in model.weights:
        hasher.update(weight.numpy().tobytes())
    return hasher.hexdigest()


def _canonical(archive: bytes) -> bytes:
    """Return a `.keras` archive without times, memory addresses and platform attributes."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        members = {name: source.read(name) for name in sorted(source.namelist())}
    metadata = json.loads(members["metadata.json"])
    metadata["date_saved"] = "1980-01-01@00:00:00"
    members["metadata.json"] = json.dumps(metadata).encode()
    numbers: dict[int, int] = {}  # memory address → order of appearance

    def renumber(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                key: numbers.setdefault(value, len(numbers))
                if key == "shared_object_id"
                else renumber(value)
                for key, value in node.items()
            }
        return [renumber(item) for item in node] if isinstance(node, list) else node

    members["config.json"] = json.dumps(renumber(json.loads(members["config.json"]))).encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as result:
        for name, content in members.items():
            information = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            information.external_attr = 0o644 << 16
            information.create_system = 3  # Unix, on every platform
            result.writestr(information, content)
    return target.getvalue()
