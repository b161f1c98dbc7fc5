"""Read dvc.yaml and dvc.lock, and digest the code and parameters of a stage."""

import functools
import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidebyside.core.errors import UserError
from sidebyside.core.files import path_digest, read_yaml

GRAPH = "dvc.yaml"
LOCK = "dvc.lock"
PARAMETERS = "params.yaml"
CODE = (".py", ".jinja")


def entry(root: Path, stage: str) -> dict[str, Any]:
    """Return a stage's entry in dvc.yaml; for a `foreach`, its `do` section.

    Args:
        root: folder of dvc.yaml.
        stage: the stage's name, without the item.

    Raises:
        UserError: dvc.yaml has no such stage.
    """
    found = _stages(root).get(stage)
    if not isinstance(found, dict):
        raise UserError(f"{GRAPH} has no stage {stage!r}")
    repeated: dict[str, Any] = found.get("do", found)
    return repeated


def outputs_of(root: Path) -> set[str]:
    """Return the outputs in dvc.yaml; for a templated path, the part before the template.

    Raises:
        UserError: dvc.yaml has no stages.
    """
    names = {name for stage in _stages(root) for name in stage_outputs(root, stage)}
    return {name.partition("${")[0] for name in names}


def stage_outputs(root: Path, stage: str) -> list[str]:
    """Return the outputs of a stage in dvc.yaml, with templates not filled in.

    Args:
        root: folder of dvc.yaml.
        stage: the stage's name, without the item.

    Raises:
        UserError: dvc.yaml has no such stage.
    """
    found = entry(root, stage)
    listed = [out for kind in ("outs", "metrics", "plots") for out in found.get(kind, ())]
    return [name for out in listed for name in ([out] if isinstance(out, str) else out)]


def recorded_outputs(root: Path) -> dict[str, str]:
    """Return output → MD5 in dvc.lock (for a folder, of its listing); empty without dvc.lock.

    Raises:
        UserError: dvc.lock cannot be read.
    """
    stages = recorded_stages(root).values()
    return {output: digest for outputs in stages for output, digest in outputs.items()}


def recorded_stages(root: Path) -> dict[str, dict[str, str]]:
    """Return stage → output → MD5 in dvc.lock; empty without dvc.lock.

    Raises:
        UserError: dvc.lock cannot be read.
    """
    path = root / LOCK
    if not path.exists():
        return {}
    try:
        return {
            name: {out["path"]: out["md5"] for out in stage.get("outs", [])}
            for name, stage in read_yaml(path)["stages"].items()
        }
    except (UserError, KeyError, TypeError, AttributeError):
        raise UserError(f"{LOCK} is damaged: `git checkout {LOCK}` restores it") from None


def code(root: Path, stage: str) -> dict[str, str]:
    """Return file → SHA-256 of the code among a stage's dependencies, sorted by file.

    A folder counts as all code below it.
    """
    files = []
    for name in entry(root, stage)["deps"]:
        path = root / name
        inside = path.rglob("*") if path.is_dir() else [path]
        files += [file for file in inside if file.suffix in CODE]
    return {file.relative_to(root).as_posix(): _digest(file) for file in sorted(files)}


def dependencies(root: Path, stage: str, arguments: list[str]) -> dict[str, Any]:
    """Return a stage's code and parameters: file → SHA-256, parameter → value.

    Args:
        root: folder of dvc.yaml.
        stage: the stage's name in dvc.yaml, without the item.
        arguments: arguments of the script, which select the item of the stage's matrix.
    """
    found = entry(root, stage)
    placeholders = shlex.split(found["cmd"].partition(".py")[2])
    content = _content(root / PARAMETERS)
    values: dict[str, Any] = {}
    for listed in found.get("params", []):
        if isinstance(listed, Mapping):  # file → keys, or None for the whole file
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
    except UserError:  # invalid while it is being edited; `main` reports the error
        return None


def data_digests(root: Path, stage: str) -> dict[str, str]:
    """Return path → MD5 of the dependencies of a stage without a matrix that are not code.

    Args:
        root: folder of dvc.yaml.
        stage: the stage's name.

    Raises:
        UserError: a dependency is missing.
    """
    names = [name for name in entry(root, stage)["deps"] if not _is_code(root / name)]
    return {name: path_digest(root / name) for name in names}


def _is_code(path: Path) -> bool:
    files = path.rglob("*") if path.is_dir() else [path]
    return any(file.suffix in CODE for file in files)


def _value(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content.get(part) if isinstance(content, Mapping) else None
    return content


def _stages(root: Path) -> dict[str, Any]:
    path = root / GRAPH
    return _parse(path, _digest(path))


@functools.lru_cache(maxsize=1)
def _parse(path: Path, digest: str) -> dict[str, Any]:
    """Return the stages of dvc.yaml, cached: parsing takes 60 ms, and a stage needs it 20 times."""
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict):
        raise UserError(f"{GRAPH} has no stages")
    stages: dict[str, Any] = content["stages"]
    return stages
