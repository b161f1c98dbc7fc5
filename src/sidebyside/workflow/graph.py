"""Read dvc.yaml and dvc.lock."""

from pathlib import Path
from typing import Any

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_yaml

GRAPH = "dvc.yaml"
LOCK = "dvc.lock"


def entry(root: Path, stage: str) -> dict[str, Any]:
    """Return a stage's entry in dvc.yaml; of a `foreach`, the entry that it repeats.

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
    """Return the outputs in dvc.yaml; of a templated path, the part before the template.

    Raises:
        UserError: dvc.yaml has no stages.
    """
    names = {name for stage in _stages(root) for name in stage_outputs(root, stage)}
    return {name.partition("${")[0] for name in names}


def stage_outputs(root: Path, stage: str) -> list[str]:
    """Return the outputs of a stage in dvc.yaml, templated as they stand there.

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
    """Return output → MD5 (of a folder: of its listing) of dvc.lock; none without one.

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
        raise UserError(f"{LOCK} is damaged: `git checkout {LOCK}` restores it") from None


def _stages(root: Path) -> dict[str, Any]:
    content = read_yaml(root / GRAPH)
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict):
        raise UserError(f"{GRAPH} has no stages")
    stages: dict[str, Any] = content["stages"]
    return stages
