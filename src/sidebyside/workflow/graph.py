"""Read dvc.yaml and dvc.lock, and digest the code and parameters of a stage."""

import contextlib
import fcntl
import functools
import hashlib
import itertools
import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sidebyside.core.errors import UserError
from sidebyside.core.files import (
    IGNORED,
    MAX_YAML_BYTES,
    open_regular,
    path_digest,
    read_yaml,
)
from sidebyside.workflow import git

GRAPH = "dvc.yaml"
LOCK = "dvc.lock"
PARAMETERS = "params.yaml"
CODE = (".py", ".jinja")
ATTEMPTS, PAUSE = 100, 0.1  # seconds between readings of a file that DVC is writing
CONFLICT = re.compile(rb"(<{7}|\|{7}|={7}|>{7})( |$)")


def entry(root: Path, stage: str) -> dict[str, Any]:
    """Return a stage's entry in dvc.yaml; for a `foreach`, its `do` section.

    Args:
        root: folder of dvc.yaml.
        stage: the stage's name, without the item.

    Raises:
        UserError: dvc.yaml has no such stage.
    """
    found = _stages(root / GRAPH).get(stage)
    if not isinstance(found, dict):
        raise UserError(f"{GRAPH} has no stage {stage!r}")
    repeated: dict[str, Any] = found.get("do", found)
    return repeated


def outputs_of(root: Path) -> set[str]:
    """Return the outputs in dvc.yaml; for a templated path, the part before the template.

    Raises:
        UserError: dvc.yaml has no stages.
    """
    names = {name for stage in _stages(root / GRAPH) for name in stage_outputs(root, stage)}
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
    listed = [out for kind in ("outs", "metrics", "plots") for out in found.get(kind) or ()]
    return [name for out in listed for name in ([out] if isinstance(out, str) else out)]


def recorded_outputs(root: Path) -> dict[str, str]:
    """Return output → MD5 in dvc.lock (for a folder, of its listing); empty without dvc.lock.

    Raises:
        UserError: dvc.lock cannot be read.
    """
    return _outputs(recorded_stages(root))


def recorded_stages(root: Path) -> dict[str, dict[str, str]]:
    """Return stage → output → MD5 in dvc.lock; empty without dvc.lock.

    Raises:
        UserError: dvc.lock cannot be read; the message has the command that replaces it.
    """
    path = root / LOCK
    if not path.exists():
        return {}
    for _ in range(ATTEMPTS):
        with contextlib.suppress(UserError):
            return _parse_lock(path)
        if not _is_in_use(root):
            break
        time.sleep(PAUSE)
    try:
        return _parse_lock(path)
    except UserError as error:
        raise UserError(f"{LOCK} is damaged ({error}): {_lock_cure(root)}") from None


def _is_in_use(root: Path) -> bool:
    """Return whether DVC may be writing its files, which it does in place and under this lock."""
    try:
        with open_regular(root / ".dvc/tmp/lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no lock file, or its file system has no locks
        return False
    return False


def committed_outputs(root: Path) -> dict[str, str] | None:
    """Return output → MD5 of dvc.lock in the last commit; None without git, commit or dvc.lock.

    Raises:
        UserError: that dvc.lock cannot be read.
    """
    with committed(root, LOCK) as path:
        if path is None:
            return None
        try:
            return _outputs(_parse_lock(path))
        except UserError:
            raise UserError(f"{LOCK} of the last commit is damaged: commit a valid one") from None


def is_committed(root: Path, name: str) -> bool:
    """Return whether the last commit has a file or folder."""
    return git.ask(root, "cat-file", "-e", f"HEAD:./{name}") is not None


@contextlib.contextmanager
def committed(root: Path, name: str) -> Iterator[Path | None]:
    """Yield a temporary copy of a file as the last commit has it; None without git or commit.

    Args:
        root: folder of the file.
        name: the file's path below it.
    """
    if not is_committed(root, name):
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(name).name
        content = git.run(root, "show", f"HEAD:./{name}").stdout
        path.write_text(content, encoding="utf-8", errors="surrogateescape")
        yield path


def _parse_lock(path: Path) -> dict[str, dict[str, str]]:
    """Return stage → output → MD5.

    DVC writes this file in place, so it may be cut off, and a cut file may be valid YAML.

    Raises:
        UserError: the file is not valid; the message has the reason.
    """
    stages = _stages(path)
    if not path.read_bytes().endswith(b"\n"):
        raise UserError("its last line is cut off")
    try:
        read = [
            (name, {part: _files(stage, part) for part in ("deps", "outs")})
            for name, stage in stages.items()
        ]
    except (KeyError, TypeError, AttributeError):
        raise UserError("an entry is incomplete") from None
    outputs = {name: files["outs"] for name, files in read}
    for output in _outputs(outputs):
        # Commands delete outputs, and advise to do so.
        if Path(os.path.normpath(output)).parts[:1] in ((), ("..",), ("/",)):
            raise UserError(f"the output {output} is not below its folder")
    return outputs


def _files(stage: Mapping[str, Any], part: str) -> dict[str, str]:
    files = {file["path"]: file["md5"] for file in stage.get(part, [])}
    for text in itertools.chain(files, files.values()):
        if not isinstance(text, str):
            raise TypeError(f"{text!r} is not text")
    if not all(digest.removesuffix(".dir").isalnum() for digest in files.values()):
        raise TypeError("a digest is the name of a file in the cache")
    return files


def _outputs(stages: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {output: digest for outputs in stages.values() for output, digest in outputs.items()}


def _lock_cure(root: Path) -> str:
    try:
        intact = committed_outputs(root) is not None
    except UserError:
        intact = False
    if not intact:
        return f"`rm {shell_path(root / LOCK)}` makes DVC run all stages again"
    return f"`git checkout HEAD -- {shell_path(root / LOCK)}` restores that of the last commit"


def shell_path(path: Path) -> str:
    """Return a path as an argument of a shell command run in the working directory."""
    return shlex.quote(os.path.relpath(path))


def read_merged(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        UserError: the file is missing, has a merge conflict or is not valid YAML.
    """
    if path.is_file():
        with path.open("rb") as file:
            lines = file.read(MAX_YAML_BYTES).splitlines()
        for number, line in enumerate(lines, 1):
            if CONFLICT.match(line):
                raise UserError(f"{path.name} has a merge conflict in line {number}")
    return read_yaml(path)


def code(root: Path, stage: str) -> dict[str, str]:
    """Return file → SHA-256 of the code among a stage's dependencies, sorted by file.

    A folder counts as all code below it.
    """
    files = []
    for name in entry(root, stage)["deps"]:
        path = root / name
        inside = path.rglob("*") if path.is_dir() else [path]
        files += [file for file in inside if file.suffix in CODE and not is_ignored(file, root)]
    return {file.relative_to(root).as_posix(): _digest(file) for file in sorted(files)}


def is_ignored(path: Path, root: Path) -> bool:
    """Return whether a path below a root is no part of an output, as listed in .dvcignore."""
    parts = Path(os.path.relpath(path, root)).parts
    return any(fnmatchcase(part, pattern) for part in parts for pattern in IGNORED)


def inputs(root: Path, stage: str, arguments: Sequence[str]) -> list[str]:
    """Return the files and folders that a stage reads; `*` is what the arguments leave open.

    Args:
        root: folder of dvc.yaml.
        stage: the stage's name in dvc.yaml, without the item.
        arguments: arguments of the script, which select the item of the stage's matrix.
    """
    found = entry(root, stage)
    item = _item(root, stage, arguments)
    named = [name for one in found.get("params", ()) if isinstance(one, Mapping) for name in one]
    names = [*found.get("deps", ()), *(name for name in named if name != PARAMETERS)]
    names = [_filled(name, found, arguments) for name in names]
    names = [re.sub(r"\$\{item\.(\w+)\}", lambda m: str(item.get(m[1], m[0])), n) for n in names]
    return [re.sub(r"\$\{[^}]*\}", "*", name) for name in names]


def _item(root: Path, stage: str, arguments: Sequence[str]) -> Mapping[str, Any]:
    """Return the values of an item of a `foreach` over a section of params.yaml."""
    repeated = str(_stages(root / GRAPH)[stage].get("foreach", ""))
    section = repeated.removeprefix("${").removesuffix("}")
    item = _value(_content(root / PARAMETERS), ".".join([section, *arguments[:1]]))
    return item if isinstance(item, Mapping) else {}


def _filled(text: str, found: Mapping[str, Any], arguments: Sequence[str]) -> str:
    """Return a text of dvc.yaml with the item of the stage's matrix filled in."""
    placeholders = shlex.split(found["cmd"].partition(".py")[2])
    for placeholder, argument in zip(placeholders, arguments, strict=False):
        text = text.replace(placeholder, argument)
    return text


def dependencies(root: Path, stage: str, arguments: list[str]) -> dict[str, Any]:
    """Return a stage's code and parameters: file → SHA-256, parameter → value.

    Args:
        root: folder of dvc.yaml.
        stage: the stage's name in dvc.yaml, without the item.
        arguments: arguments of the script, which select the item of the stage's matrix.
    """
    found = entry(root, stage)
    content = _content(root / PARAMETERS)
    values: dict[str, Any] = {}
    for listed in found.get("params", []):
        if isinstance(listed, Mapping):  # file → keys, or None for the whole file
            for file, keys in listed.items():
                other = _content(root / file)
                values |= {f"{file}: {key}": _value(other, key) for key in keys or ()}
                values |= {} if keys else {file: other}
            continue
        key = _filled(listed, found, arguments)
        values[f"{PARAMETERS}: {key}"] = _value(content, key)
    return {**code(root, stage), **values}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"


def _content(path: Path) -> Any:
    try:
        return _parse(path, _digest(path))
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


def _stages(path: Path) -> dict[str, Any]:
    """Return the stages of dvc.yaml or dvc.lock."""
    content = _parse(path, _digest(path))
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict):
        raise UserError(f"{path.name} has no stages")
    return dict(content["stages"])


@functools.lru_cache(maxsize=8)
def _parse(path: Path, digest: str) -> Any:
    """Return the content of a YAML file, cached: parsing takes 60 ms, often repeated."""
    return read_merged(path)
