"""Ask DVC about a pipeline: its stages in order, their dependencies, and which of them are due."""

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.rwlock import RWLOCK_FILE
from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

from sidebyside.core.errors import UserError
from sidebyside.core.files import write_text

GRAPH = "dvc.yaml"
LOCK = "dvc.lock"


def predecessors(folder: Path) -> dict[str, list[str]]:
    """Return stage → stages whose outputs it reads, in the order in which `dvc repro` runs them.

    Args:
        folder: the folder of dvc.yaml. Stages are named as `dvc repro` takes them there.

    Raises:
        UserError: DVC cannot read the pipeline.
    """
    with locked(folder) as repository:
        graph = get_active_graph(repository.index.graph)
        ordered = plan_repro(graph, collect_stages(repository, [GRAPH]))
        return {stage.addressing: [one.addressing for one in graph[stage]] for stage in ordered}


def stale(folder: Path, stages: Collection[str]) -> set[str]:
    """Return the stages that `dvc repro --single-item` would run now.

    Args:
        folder: the folder of dvc.yaml.
        stages: names as `predecessors` returns them.

    Raises:
        UserError: DVC cannot read the pipeline or a file of it, or another process changes one.
    """
    if not stages:
        return set()
    with locked(folder) as repository:
        return {*repository.status(targets=[*stages])}


def sort_lock(folder: Path, order: Sequence[str]) -> None:
    """Sort dvc.lock, whose new entries are in the order in which stages have ended.

    Args:
        folder: the folder of dvc.yaml and dvc.lock.
        order: the stages in order, by their first place; entries of others go to the end.

    Raises:
        UserError: DVC cannot read dvc.lock.
    """
    file = folder / LOCK
    if not file.exists():
        return
    ranks = {stage: rank for rank, stage in enumerate(dict.fromkeys(order))}
    with locked(folder):
        content = parse_yaml_for_update(file.read_text(encoding="utf-8"), file)
        entries: Mapping[str, Any] = content["stages"]
        wanted = sorted(entries, key=lambda stage: ranks.get(stage, len(ranks)))
        if wanted != [*entries]:
            for stage in wanted:
                content["stages"].move_to_end(stage)
            write_text(file, dumps_yaml(content))


def lock_file(folder: Path) -> Path:
    """Return the file that a DVC process locks while it changes DVC's files.

    Args:
        folder: the folder of dvc.yaml.

    Raises:
        UserError: DVC cannot read the project.
    """
    with locked(folder) as repository:
        return Path(repository.lock.lockfile)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Repo]:
    """Yield DVC's project, while no other DVC process changes its files.

    Raises:
        UserError: the error of DVC, in one line.
    """
    try:
        with (
            contextlib.chdir(folder),  # DVC names stages relative to the working directory
            Repo(_wait_for_lock=True) as repository,
            lock_repo(repository),
        ):
            _remove_torn(Path(repository.tmp_dir) / RWLOCK_FILE)
            yield repository
    except DvcException as error:
        raise UserError(
            f"DVC cannot read {folder / GRAPH}: {' '.join(str(error).split())}"
        ) from None


def _remove_torn(file: Path) -> None:
    """Remove DVC's list of locked files if a process was killed while it wrote the list."""
    try:
        json.loads(file.read_bytes())
    except FileNotFoundError:
        return
    except ValueError:
        file.unlink()
