"""Check DVC's own files, params.yaml and that no output was changed or damaged, before DVC runs.

`make repro` and the other commands that use DVC begin with this check. Each fault is reported in
one line with the command that mends it.
"""

import contextlib
import json
import os
import shlex
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dvc.config import Config, ConfigError
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.rwlock import SCHEMA
from dvc_objects.fs.generic import test_links
from voluptuous import Invalid

from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from sidebyside.workflow import command, integrity, provenance
from sidebyside.workflow.graph import (
    GRAPH,
    LOCK,
    PARAMETERS,
    committed,
    is_committed,
    outputs_of,
    read_merged,
    recorded_stages,
    shell_path,
)
from sidebyside.workflow.resume import FOLDER

ATTEMPTS, PAUSE = 5, 0.1  # seconds
LOCKS = (".dvc/tmp/lock", ".dvc/tmp/rwlock")


def main() -> None:
    """Check one or more DVC projects."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "folders", nargs="*", type=Path, default=[Path()], help="folders of dvc.yaml"
    )
    folders = parser.parse_args().folders
    if faults := [fault for folder in folders for fault in find_faults(CHECKOUT / folder)]:
        *others, last = faults
        for fault in others:
            print(f"check: error: {fault}", file=sys.stderr)
        raise UserError(last)
    # DVC fills parameters into its stages before the first of them checks the file.
    read_parameters(CHECKOUT / PARAMETERS)


def find_faults(root: Path) -> list[str]:
    """Return a line for each fault of a DVC project: what is damaged, and what mends it.

    A fault that hides others, such as a damaged dvc.lock, is returned alone.

    Args:
        root: folder of dvc.yaml.
    """
    if faults := list(_kind_faults(root)):
        return faults
    if faults := [*_text_faults(root), *_configuration_faults(root)]:
        return faults
    if faults := list(_folder_faults(root)):
        return faults
    # DVC opens its databases last, so the folders are known even if it cannot open those.
    repository = Repo.__new__(Repo)
    try:
        repository.__init__(str(root))
    except sqlite3.DatabaseError as error:
        if not (faults := _database_faults(Path(repository.site_cache_dir))):
            raise UserError(f"DVC's database of file digests: {error}") from None
        return faults
    except DvcException as error:
        raise UserError(" ".join(str(error).split())) from None
    cache = Path(repository.cache.local.path)
    outputs = {output for outputs in recorded_stages(root).values() for output in outputs}
    written = [root, root / LOCK, *(root / name for name in LOCKS)]
    written += [cache, *cache.glob("[0-9a-f][0-9a-f]")]
    written += [file if file.is_dir() else file.parent for name in outputs if (file := root / name)]
    faults = [*_write_faults(dict.fromkeys(written)), *_lock_faults(root)]
    faults += [*_link_faults(root, repository.cache.local)]
    faults += _database_faults(Path(repository.site_cache_dir))
    if faults:
        return faults
    return integrity.cures(root, integrity.tampered_outputs(root, cache), cache)


def _kind_faults(root: Path) -> Iterator[str]:
    """Yield a line for each file of DVC that is a folder, a pipe or a link to nothing."""
    if not os.path.lexists(root / ".dvc") and is_committed(root, ".dvc"):
        yield f"{shell_path(root / '.dvc')} is missing: {_restore(root / '.dvc')}"
    for name in (GRAPH, PARAMETERS, LOCK, *LOCKS):
        path = shell_path(root / name)
        if os.path.lexists(root / name) and not (root / name).is_file():
            cure = f"`mv {path} {path}.damaged` moves it away"
            if is_committed(root, name):
                cure = f"`mv {path} {path}.damaged && git checkout HEAD -- {path}` restores it"
            yield f"{path} is not a file: {cure}"


def _folder_faults(root: Path) -> Iterator[str]:
    """Yield a line for each folder of outputs or state that is a file or a link to nothing.

    Such a link may lead to a disk that is not mounted. The stage would fail at its end.
    """
    names = {os.path.dirname(name) for name in outputs_of(root)}  # noqa: PTH120 (keeps "models/")
    names |= {".dvc/tmp", ".dvc/cache", provenance.FOLDER, f"{FOLDER}/{integrity.UNFINISHED}"}
    parts = [[root / name, *(root / name).parents] for name in sorted(names)]
    inside = (path for paths in parts for path in paths if path.is_relative_to(root))
    for folder in dict.fromkeys(inside):
        path = shell_path(folder)
        if folder.is_symlink() and not folder.exists():
            target = shlex.quote(str(folder.readlink()))
            yield f"{path} is a link to {target}, which is missing: `rm {path}` removes the link"
        elif folder.exists() and not folder.is_dir():
            yield f"{path} is not a folder: `mv {path} {path}.damaged` moves it away"


def _text_faults(root: Path) -> Iterator[str]:
    """Yield a line for each file of the pipeline that is not valid YAML."""
    for name in (GRAPH, PARAMETERS):
        try:
            read_merged(root / name)
        except UserError as error:
            cure = f", or {_restore(root / name)}" if _is_valid_in_git(root, name) else ""
            yield f"{error}: correct it{cure}"
    try:
        recorded_stages(root)
    except UserError as error:
        yield str(error)


def _is_valid_in_git(root: Path, name: str) -> bool:
    """Return whether the last commit has a valid YAML file."""
    with committed(root, name) as path, contextlib.suppress(UserError):
        return path is not None and bool(read_merged(path))
    return False


def _restore(path: Path) -> str:
    return f"`git checkout HEAD -- {shell_path(path)}` restores that of the last commit"


def _configuration_faults(root: Path) -> Iterator[str]:
    """Yield a line for each configuration file that DVC cannot parse."""
    folders = [Path(Config.get_dir(level)) for level in ("system", "global")]
    files = [folder / Config.CONFIG for folder in folders]
    for file in (*files, root / ".dvc" / Config.CONFIG, root / ".dvc" / Config.CONFIG_LOCAL):
        try:
            if file.exists():
                Config.load_file(str(file))
        except ConfigError as error:
            path = shell_path(file)
            cure = f"`mv {path} {path}.damaged` removes it"
            if is_committed(file.parent, file.name):
                cure = _restore(file)
            reason = " ".join(str(error.args[0]).split())
            yield f"{path} is not a valid configuration of DVC ({reason}): {cure}"


def _write_faults(paths: Iterable[Path]) -> Iterator[str]:
    """Yield a line for each file or folder that DVC or a stage could not write at its end."""
    for path in paths:
        if path.exists() and not os.access(path, os.W_OK):
            own = path.stat().st_uid == os.geteuid()
            cure = "chmod u+w" if own else "sudo chown $(id -u)"
            yield f"{shell_path(path)} is write-protected: `{cure} {shell_path(path)}` cures it"


def _link_faults(root: Path, cache: Any) -> Iterator[str]:
    """Yield a line if DVC cannot link outputs to its cache: on another disk, for example.

    Otherwise the first stage that runs fails at its end.

    Args:
        root: folder of dvc.yaml.
        cache: DVC's cache.
    """
    types = cache.cache_types
    if "copy" in types or test_links(types, cache.fs, cache.path, cache.fs, str(root / LOCK)):
        return
    cure = f"`{integrity.dvc(root)} config --local cache.type copy` copies them"
    link = " or ".join(types)
    yield f"{root} cannot have a {link} of a file in DVC's cache, {cache.path}: {cure}"


def _lock_faults(root: Path) -> Iterator[str]:
    """Yield a line if DVC's list of locked files is damaged.

    DVC writes that file in place, so it is read again before it is reported.
    """
    path = root / ".dvc/tmp/rwlock"
    for _ in range(ATTEMPTS):
        if not path.exists() or _is_valid_lock(path):
            return
        time.sleep(PAUSE)
    yield f"{shell_path(path)} is damaged: `rm {shell_path(path)}` resets it"


def _is_valid_lock(path: Path) -> bool:
    try:
        SCHEMA(json.loads(path.read_bytes()))
    except (ValueError, Invalid):
        return False
    return True


def _database_faults(folder: Path) -> list[str]:
    """Return a line for each fault of the databases in which DVC keeps the digests of files."""
    if any(map(_is_damaged, folder.rglob("*.db"))):
        cure = f"`rm -r {shell_path(folder)}` resets it"
        return [f"DVC's database of file digests is damaged: {cure}"]
    return list(_write_faults(sorted(folder.rglob("*.db*"))))  # and SQLite's files beside them


def _is_damaged(database: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            return connection.execute("PRAGMA quick_check").fetchall() != [("ok",)]
    except sqlite3.OperationalError:  # locked by another process, or write-protected
        return False
    except sqlite3.DatabaseError:
        return True


if __name__ == "__main__":
    command.run(main)
