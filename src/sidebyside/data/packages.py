"""Run a package manager's client in a temporary folder, and read published files in an archive."""

import io
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from sidebyside.config.dataset_description import RawFile
from sidebyside.core.progress_bar import transfer_bar
from sidebyside.data.archives import SourceError, max_archive_size

CLIENT_TIMEOUT = 900  # seconds per call of a client; a package is 31 MB, Debian's index 9 MB
MAX_TRANSFER = 1 << 30  # bytes that a call of a client may write
POLL_INTERVAL = 0.2  # seconds between updates of the progress bar


def run_client(command: Sequence[str], folder: Path, prefix: str) -> str | None:
    """Run a package manager's client in a folder; return None, or its last error.

    Args:
        command: the client and its arguments.
        folder: working directory, also for temporary files.
        prefix: begins the lines in which the client reports errors.

    Raises:
        SourceError: the client runs longer than CLIENT_TIMEOUT or writes more than MAX_TRANSFER.
    """
    client, last = command[0], command[-1]
    log = folder / f"{client}.log"
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    deadline, before = time.monotonic() + CLIENT_TIMEOUT, _size_of(folder)
    with log.open("wb") as errors, transfer_bar(client, None) as bar:
        process = subprocess.Popen(
            command,
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
                    raise SourceError(f"{client} {last}: wrote more than {MAX_TRANSFER:,} bytes")
                if time.monotonic() > deadline:
                    raise SourceError(f"{client} {last}: timed out after {CLIENT_TIMEOUT:,} s")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status == 0:
        return None
    lines = log.read_text(errors="replace").splitlines()
    messages = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
    return messages[-1] if messages else f"{client} exited with status {status}"


def read_tar(content: bytes, files: Sequence[RawFile]) -> dict[str, bytes]:
    """Return name → content of the members of a tar archive that are named like a published file.

    Only the last part of a member's path is used and nothing is extracted to disk, so a path such
    as ../../etc cannot do harm.

    Args:
        content: the archive, not compressed.
        files: the published files; a member may be a file or a gzip archive of it.

    Raises:
        SourceError: the archive is damaged, or a member is too large.
    """
    wanted = {name: file for file in files for name in (file.name, f"{file.name}.gz")}
    members: dict[str, bytes] = {}
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


def max_package_size(files: Sequence[RawFile]) -> int:
    """Return an upper limit of the size in bytes of an unpacked package with these files."""
    return 2 * sum(map(max_archive_size, files))  # packed or unpacked, and little else


def _size_of(folder: Path) -> int:
    """Return the total size in bytes of the files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:  # clients rename files when they are complete
            continue
    return total
