"""Small stand-ins for the four published files, and the ways to publish them."""

import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from sidebyside.config.dataset_description import RawFile, builtin

NAMES = tuple(file.name for file in builtin("fashion-mnist").files)
CONTENTS = {
    name: random.Random(number).randbytes(2000 + 500 * number)  # noqa: S311 (not a secret)
    for number, name in enumerate(NAMES)
}
FILES = tuple(
    RawFile(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    for name, content in CONTENTS.items()
)
ARCHIVES = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}
FIRST = f"{NAMES[0]}.gz"  # the smallest archive, which is requested first

Respond = Callable[[BaseHTTPRequestHandler, str], None]  # handler, file name → writes a response


def damaged(archive: bytes) -> bytes:
    """Return an archive whose second half is inverted."""
    middle = len(archive) // 2
    return archive[:middle] + bytes(byte ^ 0xFF for byte in archive[middle:])


def fill(folder: Path, contents: Mapping[str, bytes]) -> Path:
    """Write files into a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return name → content of the files in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def send(
    handler: BaseHTTPRequestHandler,
    content: bytes,
    status: int = 200,
    kind: str = "application/gzip",
    length: int | None = None,
) -> None:
    """Send a response; `length` announces another length than the real one."""
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content)


def send_archive(handler: BaseHTTPRequestHandler, name: str) -> None:
    """Send the archive that was requested."""
    assert "//" not in handler.path.removeprefix("http://")
    send(handler, ARCHIVES[name])


def ar(sections: Mapping[str, bytes]) -> bytes:
    """Return an ar archive."""
    out = b"!<arch>\n"
    for name, body in sections.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n".encode()
        out += body + b"\n" * (len(body) % 2)
    return out


def tar(members: Mapping[str, bytes], kind: str = "xz") -> bytes:
    """Return a tar archive of files and of a symbolic link named like a published file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo(f"./{NAMES[0]}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def members(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return path in the Debian package → content."""
    return {f"./usr/share/datasets/fashion-mnist/{n}": c for n, c in contents.items()}


def deb(contents: Mapping[str, bytes], kind: str = "xz") -> bytes:
    """Return a Debian package that contains the files and others outside of any folder."""
    body = tar({"../evil": b"evil", "/evil": b"evil", **members(contents)}, kind)
    return package_of(body, kind)


def package_of(body: bytes, kind: str = "") -> bytes:
    """Return a Debian package with any bytes in the place of its files."""
    return ar(
        {
            "debian-binary": b"2.0\n",
            "control.tar.xz": tar({"./control": b"Package: x\n"}),
            f"data.tar{f'.{kind}' if kind else ''}": body,
        }
    )
