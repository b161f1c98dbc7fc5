"""Download a Debian package with apt-get and read the published files in it."""

import io
import lzma
import os
import shutil
import signal
import subprocess
import tarfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from sidebyside.core.progress_bar import transfer_bar
from sidebyside.data.archives import SourceError, max_archive_size
from sidebyside.data.fashion_mnist import RawFile

APT_TIMEOUT = 900  # seconds per call of apt-get; the package is 31 MB, a distribution's index 9 MB
POLL_INTERVAL = 0.2  # seconds between updates of the progress bar


def download_package(package: str, timeout: float) -> bytes:
    """Return a package's bytes, downloaded from the mirrors configured on this host.

    apt-get works in a temporary directory, so it needs no privileges and no earlier
    `apt-get update`, and does not change the host's package lists.

    Args:
        package: its name.
        timeout: seconds that apt-get waits for a mirror.

    Raises:
        SourceError: apt-get is not installed, fails, or runs longer than APT_TIMEOUT.
    """
    if shutil.which("apt-get") is None:
        raise SourceError("apt-get is not installed")
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
        # If one of several repositories is unreachable, the update fails, but the download may not.
        problems = [_apt_get([*options, "update"], state)]
        problems.append(_apt_get([*options, "download", package], state))
        packages = list(state.glob("*.deb"))
        if problems[-1] or not packages:
            raise SourceError("; ".join(filter(None, problems)) or "apt-get downloaded no package")
        return packages[0].read_bytes()


def read_members(package: bytes, files: Sequence[RawFile]) -> dict[str, bytes]:
    """Return name → content of the members of a .deb that are named like a file or its archive.

    Only the last part of a member's path is used and nothing is extracted to disk, so a path such
    as ../../etc cannot do harm.

    Raises:
        SourceError: the package cannot be unpacked, or a member is too large.
    """
    wanted = {name: file for file in files for name in (file.name, f"{file.name}.gz")}
    members: dict[str, bytes] = {}
    try:
        for section, body in _ar_sections(package):
            if not section.startswith("data.tar"):
                continue
            if section.endswith(".zst"):
                body = _uncompressed_tar(package)  # noqa: PLW2901 (the same content, readable)
            with tarfile.open(fileobj=io.BytesIO(body)) as archive:
                for member in archive:
                    name = member.name.rpartition("/")[2]
                    if not member.isfile() or name not in wanted or name in members:
                        continue
                    limit = max_archive_size(wanted[name])
                    if member.size > limit:
                        raise SourceError(
                            f"{name}: {member.size:,} bytes, expected at most {limit:,}"
                        )
                    content = archive.extractfile(member)
                    if content is not None:
                        members[name] = content.read()
    except (ValueError, EOFError, OSError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise SourceError(f"the package is damaged ({error})") from None
    return members


def _apt_get(arguments: list[str], folder: Path) -> str | None:
    """Run apt-get in a folder; return None, or its last error."""
    log = folder / "apt-get.log"
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    deadline, before = time.monotonic() + APT_TIMEOUT, _size_of(folder)
    with log.open("wb") as errors, transfer_bar("apt-get", None) as bar:
        process = subprocess.Popen(
            ["apt-get", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # apt-get's transports are processes of the same group
        )
        try:
            while True:
                try:
                    status = process.wait(POLL_INTERVAL)
                    break
                except subprocess.TimeoutExpired:
                    bar.update(_size_of(folder) - before - bar.n)
                if time.monotonic() > deadline:
                    raise SourceError(f"apt-get {arguments[-1]}: timed out after {APT_TIMEOUT:,} s")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status == 0:
        return None
    lines = log.read_text(errors="replace").splitlines()
    messages = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
    return messages[-1] if messages else f"apt-get exited with status {status}"


def _size_of(folder: Path) -> int:
    """Return the total size in bytes of the files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # apt-get renames files when they are complete
            continue
    return total


def _ar_sections(package: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of each member of an ar archive."""
    if package[:8] != b"!<arch>\n":
        raise ValueError("not an ar archive")
    start = 8
    while start < len(package):
        header = package[start : start + 60]
        name, size = header[:16].decode("latin-1").strip().rstrip("/"), int(header[48:58])
        start += 60
        if size < 0 or start + size > len(package):
            raise ValueError(f"{name} is truncated")
        yield name, package[start : start + size]
        start += size + size % 2


def _uncompressed_tar(package: bytes) -> bytes:
    """Return data.tar, unpacked by dpkg-deb: tarfile before Python 3.14 does not support zstd."""
    if shutil.which("dpkg-deb") is None:
        raise SourceError("the package is compressed with zstd and dpkg-deb is not installed")
    done = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", "/dev/stdin"],
        input=package,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace").strip())
    return done.stdout
