"""Run a pipeline script as a stage of dvc.yaml.

DVC hashes a stage's code and parameters after the stage has ended. If they were edited meanwhile,
DVC would record the new ones with a result of the old ones; such a stage fails.
"""

import hashlib
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_yaml
from sidebyside.workflow import command, graph

PARAMETERS = "params.yaml"
CODE = (".py", ".jinja")


def run(main: Callable[[], None], script: str, arguments: list[str]) -> NoReturn:
    """Call `main` as a command that fails if the stage's code or parameters change meanwhile.

    Args:
        main: the stage's work.
        script: path of the script, one folder below its dvc.yaml.
        arguments: the command line, without the script.
    """
    path = Path(script).resolve()
    root, name = path.parents[1], os.environ.get("DVC_STAGE", path.stem).partition("@")[0]
    name = name.rpartition(":")[2]  # from another folder DVC names it ../dvc.yaml:train@…

    def watched() -> None:
        before = dependencies(root, name, arguments)
        main()
        after = dependencies(root, name, arguments)
        changed = sorted(name for name in before if before[name] != after.get(name))
        if changed:
            raise UserError(
                f"{', '.join(changed)} changed while the stage ran, so its result is not recorded:"
                " run the same command again"
            )

    command.run(watched)


def code(root: Path, stage: str) -> dict[str, str]:
    """Return file → SHA-256 of the code among a stage's dependencies, sorted by file.

    A folder stands for all code below it.
    """
    files = []
    for name in graph.entry(root, stage)["deps"]:
        path = root / name
        inside = path.rglob("*") if path.is_dir() else [path]
        files += [file for file in inside if file.suffix in CODE]
    return {file.relative_to(root).as_posix(): _digest(file) for file in sorted(files)}


def dependencies(root: Path, stage: str, arguments: list[str]) -> dict[str, Any]:
    """Return a stage's code and parameters: file → SHA-256, parameter → value.

    Args:
        root: folder of dvc.yaml.
        stage: the stage's name in dvc.yaml, without the item.
        arguments: of the script; they select the item of the stage's matrix.
    """
    entry = graph.entry(root, stage)
    placeholders = shlex.split(entry["cmd"].partition(".py")[2])
    content = _content(root / PARAMETERS)
    values: dict[str, Any] = {}
    for listed in entry.get("params", []):
        if isinstance(listed, Mapping):  # a file's name, and keys or nothing for all of it
            for file, keys in listed.items():
                other = _content(root / file)
                values |= {f"{file}: {key}": _value(other, key) for key in keys or ()}
                values |= {} if keys else {file: other}
            continue
        for placeholder, argument in zip(placeholders, arguments, strict=False):
            listed = listed.replace(placeholder, argument)  # noqa: PLW2901 (filled in)
        values[f"{PARAMETERS}: {listed}"] = _value(content, listed)
    return {**code(root, stage), **values}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"


def _content(path: Path) -> Any:
    try:
        return read_yaml(path)
    except UserError:  # half edited; `main` reports the fault
        return None


def _value(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content.get(part) if isinstance(content, Mapping) else None
    return content
