"""Record the files, parameters and modules that a stage reads.

Written into `src/sitecustomize.py` of a checkout, it is imported by every Python that starts with
PYTHONPATH=src. In a stage's process (DVC sets DVC_STAGE) it writes `<stage>.json` to the folder
that the variable RECORDS names: `files` opened for reading, `reads` (dotted keys of params.yaml)
and `modules` loaded.
"""

import atexit
import json
import os
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("sidebyside", "tensorflow", "keras", "keras_tuner", "mlflow", "matplotlib", "sklearn")
ROOT = Path.cwd()
STAGE = os.environ.get("DVC_STAGE")
files: set[str] = set()
reads: set[str] = set()


def listen(event: str, arguments: tuple[Any, ...]) -> None:
    """Note a file below the root that is opened for reading only."""
    if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        path = Path(os.path.abspath(arguments[0]))  # noqa: PTH100 (resolve() opens files itself)
        mode = arguments[1] or ""
        if path.is_relative_to(ROOT) and not set("wax+") & set(str(mode)):
            files.add(str(path.relative_to(ROOT)))


class Recording:
    """Wrap a section of the parameters and note which values are read."""

    def __init__(self, value: Any, path: str) -> None:
        self.__dict__.update(_value=value, _path=path)

    def __getattr__(self, name: str) -> Any:
        method = getattr(type(self._value), name, None)
        if name == "model_dump":
            reads.add(self._path)
        elif callable(method):
            return lambda *given: method(self, *given)
        return self._record(getattr(self._value, name), name)

    def __getitem__(self, name: str) -> Any:
        return self._record(self._value[name], name)

    def __contains__(self, name: str) -> bool:
        return name in self._value

    def _record(self, value: Any, name: str) -> Any:
        from sidebyside.config.validation import StrictModel

        path = f"{self._path}.{name}" if self._path else name
        # The description of the data set is read as a whole; its kind follows from its class.
        if isinstance(value, StrictModel) and path != "dataset":
            return Recording(value, path)
        if isinstance(value, dict) and self._path in ("tune", "train"):
            return Recording(value, path)
        if not callable(value):
            reads.add(path)
        return value


def save() -> None:
    """Write the record of this process."""
    content = {
        "files": sorted(files),
        "reads": sorted(reads),
        "modules": sorted(name for name in sys.modules if name.split(".")[0] in PACKAGES),
    }
    Path(os.environ["RECORDS"], f"{STAGE}.json").write_text(json.dumps(content))


def start() -> None:
    """Record from now on, until this process ends."""
    from sidebyside.config import parameters

    original = parameters.read_parameters
    parameters.read_parameters = lambda path: Recording(original(path), "")  # type: ignore[assignment,return-value]
    sys.addaudithook(listen)
    atexit.register(save)


if STAGE and "RECORDS" in os.environ:
    start()
