"""Run a pipeline script as the stage of dvc.yaml that it is.

DVC hashes a stage's code and parameters when the stage has ended. If they were edited while it
ran, DVC would record the new ones beside a result that the old ones made; so the stage refuses.
"""

import hashlib
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_yaml
from sidebyside.workflow import command

GRAPH = "dvc.yaml"
PARAMETERS = "params.yaml"
LOCK = "dvc.lock"
CODE = (".py", ".jinja")


def run(main: Callable[[], None], script: str, arguments: list[str]) -> NoReturn:
    """Call `main` as a command that fails if what it was made from changed meanwhile.

    Args:
        main: the stage's work.
        script: path of the script, which lies one folder below that of its dvc.yaml.
        arguments: its command line, without the script.
    """
    path = Path(script).resolve()
    root, name = path.parents[1], os.environ.get("DVC_STAGE", path.stem).partition("@")[0]
    name = name.rpartition(":")[2]  # asked from another folder, DVC says ../dvc.yaml:train@…

    def watched() -> None:
        before = ingredients(root, name, arguments)
        main()
        after = ingredients(root, name, arguments)
        changed = sorted(what for what in before if before[what] != after.get(what))
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
    for name in _entry(root, stage)["deps"]:
        path = root / name
        inside = path.rglob("*") if path.is_dir() else [path]
        files += [file for file in inside if file.suffix in CODE]
    return {file.relative_to(root).as_posix(): _digest(file) for file in sorted(files)}


def ingredients(root: Path, stage: str, arguments: list[str]) -> dict[str, Any]:
    """Return what decides a stage's result beside its data: file → digest, parameter → value.

    Args:
        root: the checkout.
        stage: its name in dvc.yaml, without the item.
        arguments: of its script; they choose the item of the stage's matrix.
    """
    entry = _entry(root, stage)
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


def recorded_outputs(root: Path) -> dict[str, str]:
    """Return output → MD5 (of a folder: of its listing), as dvc.lock has it; none without one.

    Raises:
        UserError: dvc.lock cannot be read.
    """
    path = root / LOCK
    if not path.exists():
        return {}
    try:
        stages = read_yaml(path)["stages"].values()
        return {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}
    except (UserError, KeyError, TypeError, AttributeError):
        raise UserError(f"{LOCK} is damaged: run `dvc repro` to make it again") from None


def _entry(root: Path, stage: str) -> dict[str, Any]:
    content = read_yaml(root / GRAPH)
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict):
        raise UserError(f"{GRAPH} has no stages")
    entry = content["stages"].get(stage)
    if not isinstance(entry, dict):
        raise UserError(f"{GRAPH} has no stage {stage!r}")
    repeated: dict[str, Any] = entry.get("do", entry)  # below `do` stands what `foreach` repeats
    return repeated


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"


def _content(path: Path) -> Any:
    try:
        return read_yaml(path)
    except UserError:  # half edited; `main` says what is wrong with it
        return None


def _value(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content.get(part) if isinstance(content, Mapping) else None
    return content
