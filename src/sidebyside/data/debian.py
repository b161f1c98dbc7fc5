"""Download a Debian package with apt-get and read the published files in it."""

import io
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from sidebyside.config.dataset_description import RawFile
from sidebyside.data.archives import SourceError
from sidebyside.data.packages import max_package_size, read_tar, run_client

CHUNK = 1 << 20  # bytes per read


def download_package(package: str, timeout: float) -> bytes:
    """Return a package's bytes, downloaded from the mirrors configured on this host.

    apt-get works in a temporary directory, so it needs no privileges and no earlier
    `apt-get update`, and does not change the host's package lists.

    Args:
        package: its name.
        timeout: seconds that apt-get waits for a mirror.

    Raises:
        SourceError: apt-get is not installed, fails, or exceeds the limits of `run_client`.
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
        problems = [
            run_client(["apt-get", *options, *action], state, "E: ")
            for action in (["update"], ["download", package])
        ]
        packages = list(state.glob("*.deb"))
        if problems[-1] or not packages:
            raise SourceError("; ".join(filter(None, problems)) or "apt-get downloaded no package")
        return packages[0].read_bytes()


def read_members(package: bytes, files: Sequence[RawFile]) -> dict[str, bytes]:
    """Return name → content of the members of a .deb that are named like a file or its archive.

    Raises:
        SourceError: the package cannot be unpacked, or it or a member is too large.
    """
    return read_tar(_unpack(package, max_package_size(files)), files)


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
