"""Find outputs that were changed or damaged after DVC recorded them, and commands to restore them.

DVC runs the stage of a changed output again, which can take hours although its cache has the
output. And it trusts its cache: a damaged object that is write-protected is checked out as a
result. Therefore the digests here are of the bytes, not those that DVC remembers.
"""

import contextlib
import os
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from sidebyside.core.errors import UserError
from sidebyside.core.files import IGNORED, path_digest, read_json
from sidebyside.workflow import graph, provenance
from sidebyside.workflow.graph import (
    CODE,
    LOCK,
    committed_outputs,
    inputs,
    is_committed,
    is_ignored,
    recorded_outputs,
    recorded_stages,
    shell_path,
)
from sidebyside.workflow.resume import FOLDER

UNFINISHED = "unfinished"  # in .state: a file per stage that has started and not yet succeeded


class Part(NamedTuple):
    """A file of an output, or the list of a folder's files, and its object in DVC's cache."""

    file: Path | None  # None: the list
    object: Path
    digest: str  # MD5 of the content


def require_inputs(root: Path, stage: str, arguments: Sequence[str]) -> None:
    """Check that a stage's inputs are as their own stages wrote them.

    Args:
        root: folder of dvc.yaml.
        stage: the stage's name, without the item.
        arguments: arguments of the script, which select the item of the stage's matrix.

    Raises:
        UserError: an input was changed or damaged, in this project or in the one around it.
    """
    patterns: dict[Path, list[str]] = {}
    for name in inputs(root, stage, arguments):
        path = Path(os.path.normpath(root / name))
        project = next((folder for folder in path.parents if (folder / LOCK).exists()), None)
        if project:
            patterns.setdefault(project, []).append(path.relative_to(project).as_posix())
    for project, names in patterns.items():
        require_unchanged(project, names)


def input_digests(root: Path, stage: str, arguments: Sequence[str]) -> dict[str, str]:
    """Return path → MD5 of the present files among a stage's inputs that are not code.

    Args:
        root: folder of dvc.yaml.
        stage: the stage's name, without the item.
        arguments: arguments of the script, which select the item of the stage's matrix.
    """
    # A pattern includes files of other items, whose stages may run at the same time.
    listed = [root / name for name in inputs(root, stage, arguments) if "*" not in name]
    files = [file for path in listed for file in (path, *path.rglob("*")) if file.is_file()]
    kept = [file for file in files if file.suffix not in CODE and not is_ignored(file, root)]
    return {os.path.relpath(file, root): digest for file, digest in _digests(kept).items()}


def require_unchanged(root: Path, patterns: Collection[str]) -> None:
    """Check that outputs are as their stages wrote them.

    Args:
        root: folder of dvc.lock.
        patterns: paths below the root; each includes all outputs below it.

    Raises:
        UserError: an output was changed or damaged; the message has the command that restores it.
    """
    if changed := changed_outputs(root, patterns):
        raise UserError("\n".join(cures(root, changed, cache_folder(root))))


def restorable_outputs(root: Path, item: str) -> list[str]:
    """Return a line for each output of a stage that was changed by hand: what restores it.

    DVC runs the stage again, which gives the same output, but can take longer.

    Args:
        root: folder of dvc.lock.
        item: the stage's name in dvc.lock.
    """
    outputs = recorded_stages(root).get(item, {})
    if not outputs or not changed_outputs(root, outputs):
        return []
    cache = cache_folder(root)
    return cures(root, tampered_outputs(root, cache, outputs), cache)


def tampered_outputs(root: Path, cache: Path, patterns: Collection[str] = ("*",)) -> dict[str, str]:
    """Return output → present MD5 of changed outputs that no stage has written.

    What an interrupted stage has written is left out, and results of another commit.

    Args:
        root: folder of dvc.lock.
        cache: folder of DVC's cache.
        patterns: paths below the root; each includes all outputs below it.
    """
    changed = changed_outputs(root, patterns)
    stages, unfinished = recorded_stages(root), (root / FOLDER / UNFINISHED).glob("*")
    expected = {output for mark in unfinished for output in stages.get(mark.name, ())}
    expected |= {
        output for output, md5 in changed.items() if md5 and object_file(cache, md5).exists()
    }
    # A stage that has ended in the meantime has written its provenance.
    return changed_outputs(root, changed.keys() - expected)


def changed_outputs(root: Path, patterns: Collection[str] = ("*",)) -> dict[str, str]:
    """Return output → present MD5 of the outputs that are not as their stages wrote them.

    Missing outputs are left out, because DVC creates them. So are outputs whose stage has written
    its provenance: it was not run by DVC, or DVC was killed before it could record them.

    Args:
        root: folder of dvc.lock.
        patterns: paths below the root; each includes all outputs below it.
    """
    recorded = {
        output: digest
        for output, digest in recorded_outputs(root).items()
        if any(_overlap(output, pattern) for pattern in patterns) and (root / output).exists()
    }
    files = _digests(root / output for output in recorded)
    now = {output: files[root / output] for output in recorded}
    changed = dict(now.items() - recorded.items())
    made = provenance.written(root) if changed else frozenset()
    return dict(changed.items() - made)


def cures(root: Path, changed: Mapping[str, str], cache: Path) -> list[str]:
    """Return a line for each damaged object and changed output: its path, and what restores it.

    Only the objects of recorded outputs are checked, not those of earlier runs.

    Args:
        root: folder of dvc.lock.
        changed: changed output → present MD5.
        cache: folder of DVC's cache.
    """
    recorded = recorded_outputs(root)
    parts = {output: _parts(root, output, recorded[output], cache) for output in recorded}
    damaged = _damaged_objects(parts, changed)
    intact = [(part, output) for output in recorded if output not in changed
              for part in parts[output]]  # fmt: skip
    copies = {part.object: part.file for part, _ in intact if part.file and part.file.exists()}
    lines = [
        f"{shell_path(file)} in DVC's cache is damaged: {_object_cure(file, output, copies)}"
        for file, output in {part.object: output for part, output in intact}.items()
        if file in damaged
    ]
    committed: dict[str, str] = {}
    if changed:
        with contextlib.suppress(UserError):
            committed |= committed_outputs(root) or {}
    for output in sorted(changed):
        in_git = committed.get(output) == recorded[output] and is_committed(root, output)
        objects = {part.object for part in parts[output]}
        lost = {file for file in objects & damaged if file not in copies}
        restorable = objects and not lost and all(file.exists() for file in objects)
        if in_git:
            cure = _git_cure(root, output)
        elif restorable:
            cure = _cache_cure(root, output, readable=bool(changed[output]))
        else:
            files = " ".join(map(shell_path, [root / output, *sorted(lost)]))
            cure = f"`rm -rf {files}` makes DVC create it again"
        lines.append(f"{shell_path(root / output)} is not as {LOCK} records it: {cure}")
    return lines


def _object_cure(file: Path, output: str, copies: Mapping[Path, Path]) -> str:
    if file in copies:
        return f"`install -m 444 {shell_path(copies[file])} {shell_path(file)}` replaces it"
    return f"`rm -f {shell_path(file)}` makes DVC create {output} again"


def _git_cure(root: Path, output: str) -> str:
    path = shell_path(root / output)
    remove = f"rm -r {path} && " if (root / output).is_dir() else ""
    return f"`{remove}git checkout HEAD -- {path}` restores it"


def _cache_cure(root: Path, output: str, *, readable: bool) -> str:
    """Return the cure of an output whose content is in DVC's cache.

    DVC reads the present output before it replaces it, and a named pipe has no end.
    """
    if readable:
        return f"`{dvc(root)} checkout --force {shlex.quote(output)}` restores it"
    path = shell_path(root / output)
    return f"`rm -rf {path} && {dvc(root)} checkout --force {shlex.quote(output)}` restores it"


def _parts(root: Path, output: str, digest: str, cache: Path) -> list[Part]:
    """Return the parts of an output; none if DVC does not cache it."""
    listing = Part(None, object_file(cache, digest), digest.removesuffix(".dir"))
    if not listing.object.is_file():
        return []
    if not digest.endswith(".dir"):
        return [listing._replace(file=root / output)]
    try:
        files = [(root / output / one["relpath"], one["md5"]) for one in read_json(listing.object)]
    except (UserError, OSError, TypeError, KeyError):  # damaged
        files = []
    return [listing, *(Part(file, object_file(cache, md5), md5) for file, md5 in files)]


def object_file(cache: Path, digest: str) -> Path:
    """Return the file in DVC's cache that has a content, given its MD5."""
    return cache / digest[:2] / digest[2:]


def _damaged_objects(parts: Mapping[str, Sequence[Part]], changed: Collection[str]) -> set[Path]:
    """Return the objects that do not have the content that they are named after.

    An object that is linked to a file of an intact output is intact.
    """
    expected = {
        part.object: part.digest
        for output, each in parts.items()
        for part in each
        if part.object.exists()
        and not (output not in changed and part.file and _same(part.file, part.object))
    }
    now = _digests(expected)
    return {file for file, digest in expected.items() if now[file] != digest}


def _same(file: Path, other: Path) -> bool:
    return file.exists() and file.samefile(other)


def _digests(paths: Iterable[Path]) -> dict[Path, str]:
    """Return path → MD5, or an empty text if DVC cannot read it, such as a named pipe."""

    def digest(path: Path) -> str:
        try:
            if path.is_dir() and not all(map(_is_readable, path.rglob("*"))):
                return ""
            return path_digest(path)
        except (OSError, UserError):
            return ""

    paths = list(paths)
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter's lock
        return dict(zip(paths, pool.map(digest, paths), strict=True))


def _is_readable(path: Path) -> bool:
    """Return whether DVC can read an entry of a folder, or ignores it."""
    if any(fnmatchcase(path.name, pattern) for pattern in IGNORED):
        return True
    is_text = not any("\ud800" <= character <= "\udfff" for character in path.name)
    return is_text and (path.is_file() or path.is_dir())


def _overlap(output: str, pattern: str) -> bool:
    """Return whether a pattern is an output, lies in it or contains it."""
    pairs = zip(Path(output).parts, Path(pattern).parts, strict=False)
    return all(fnmatchcase(*pair) for pair in pairs)


def dvc(root: Path) -> str:
    """Return the command `dvc` for the project at `root`; it takes paths relative to that."""
    folder = shell_path(root)
    return "dvc" if folder == "." else f"dvc --cd {folder}"


def cache_folder(root: Path) -> Path:
    """Return the folder of the objects in DVC's cache."""
    from dvc.repo import Repo  # noqa: PLC0415 (takes 0.4 s)

    return Path(Repo(root).cache.local.path)


def rerun(output: Path) -> str:
    """Return the instruction to run the stage of an output again, though DVC finds it unchanged."""
    folders = (folder for folder in output.parents if (folder / graph.GRAPH).is_file())
    root = next(folders, output.parent)
    name = output.relative_to(root)
    for stage, outputs in graph.recorded_stages(root).items():
        if any(name.is_relative_to(each) for each in outputs):
            return f"run `{dvc(root)} repro --force --single-item {stage}`"
    return f"run `{dvc(root)} repro`"
