"""Download a Debian package with apt-get and read the published files in it."""

import io
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from sidebyside.core.progress_bar import transfer_bar
from sidebyside.data.archives import SourceError, max_archive_size
from sidebyside.data.fashion_mnist import RawFile

APT_TIMEOUT = 900  # seconds per call of apt-get; the package is 31 MB, a distribution's index 9 MB
MAX_TRANSFER = 1 << 30  # bytes that a call of apt-get may write
CHUNK = 1 << 20  # bytes per read
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
        SourceError: the package cannot be unpacked, or it or a member is too large.
    """
    wanted = {name: file for file in files for name in (file.name, f"{file.name}.gz")}
    members: dict[str, bytes] = {}
    # A package contains the files, packed or unpacked, and little else.
    content = _unpack(package, limit=2 * sum(map(max_archive_size, files)))
    try:
        # As a stream, because a header with a negative size would move back to itself for ever.
        with tarfile.open(fileobj=io.BytesIO(content), mode="r|") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if not member.isfile() or name not in wanted or name in members:
                    continue
                limit = max_archive_size(wanted[name])
                if member.size > limit:
                    raise SourceError(f"{name}: {member.size:,} bytes, expected at most {limit:,}")
                extracted = archive.extractfile(member)
                if extracted is not None:
                    members[name] = extracted.read()
    except SourceError:
        raise
    except Exception as error:  # a damaged archive raises errors of many types
        raise SourceError(f"the package is damaged ({error})") from None
    return members


def _unpack(package: bytes, limit: int) -> bytes:
    """Return the tar archive in a .deb of any compression, unpacked by dpkg-deb, a part of apt.

    Raises:
        SourceError: the package is damaged, or unpacks to more than `limit` bytes.
    """
    if shutil.which("dpkg-deb") is None:
        raise SourceError("dpkg-deb is not installed")
    content = io.BytesIO()
    with TemporaryFile() as archive, TemporaryFile() as errors:
        archive.write(package)
        archive.seek(0)
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", "/dev/stdin"],
            env={**os.environ, "LC_ALL": "C"},
            stdin=archive,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process:
            assert process.stdout is not None  # noqa: S101 (it is a pipe)
            try:
                while chunk := process.stdout.read(CHUNK):
                    content.write(chunk)
                    if content.tell() > limit:
                        raise SourceError(f"the package unpacks to more than {limit:,} bytes")
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            errors.seek(0)
            reason = errors.readline(CHUNK).decode(errors="replace").strip()
            raise SourceError(f"the package is damaged ({reason})")
    return content.getvalue()


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
                    written = _size_of(folder) - before
                    bar.update(written - bar.n)
                if written > MAX_TRANSFER:
                    raise SourceError(
                        f"apt-get {arguments[-1]}: wrote more than {MAX_TRANSFER:,} bytes"
                    )
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
