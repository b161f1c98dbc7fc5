"""Unpack and verify the published files."""

import gzip
import io
import zlib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from sidebyside.config.dataset_description import RawFile

GZIP_MAGIC = b"\x1f\x8b"


class SourceError(Exception):
    """A source does not provide the files; the message gives the reason."""


class SourceNotFoundError(SourceError):
    """The source does not exist on this machine."""


def verify(content: bytes, name: str, file: RawFile, files: Sequence[RawFile]) -> bytes:
    """Return the bytes of a published file, unpacked if it is published so, after checking them.

    Args:
        content: the file, or a gzip archive of it.
        name: prefix of error messages.
        file: expected size and checksum.
        files: all published files, to recognize one under the name of another.

    Raises:
        SourceError: the archive is damaged, or the bytes are not the published ones.
    """
    if content[:2] == GZIP_MAGIC and not file.name.endswith(".gz"):
        content = unpack(content, name, file.size)
    digest = _digest(content)
    if digest == file.sha256:
        return content
    for other in files:
        if digest == other.sha256:
            raise SourceError(f"{name}: contains {other.name} instead")
    if len(content) != file.size:
        raise SourceError(f"{name}: {len(content):,} bytes, expected {file.size:,}")
    raise SourceError(f"{name}: wrong checksum, SHA-256 {digest[:12]}…, not {file.sha256[:12]}…")


def is_intact(path: Path, file: RawFile) -> bool:
    """Return whether `path` exists and has the published bytes."""
    try:
        return path.stat().st_size == file.size and _digest(path.read_bytes()) == file.sha256
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def max_archive_size(file: RawFile) -> int:
    """Return an upper limit of the size in bytes of a gzip archive of the file.

    Deflate adds 5 bytes per block of 16 KiB or more to incompressible data (RFC 1951); the constant
    leaves room for gzip's header.
    """
    return file.size + file.size // 1000 + (1 << 16)


def unpack(content: bytes, name: str, size: int) -> bytes:
    """Return the content of a gzip archive.

    Args:
        content: the archive.
        name: prefix of error messages.
        size: maximum size of the content in bytes.

    Raises:
        SourceError: the archive is damaged, or unpacks to more than `size` bytes.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as archive:
            # One more byte than expected is enough to detect an archive bomb.
            unpacked = archive.read(size + 1)
    except EOFError:
        raise SourceError(f"{name}: the archive is truncated") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(f"{name}: the archive is corrupted ({error})") from None
    if len(unpacked) > size:
        raise SourceError(f"{name}: unpacks to more than the expected {size:,} bytes")
    return unpacked


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()
