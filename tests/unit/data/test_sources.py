import contextlib
import gzip
import hashlib
import inspect
import io
import os
import random
import shutil
import socket
import sys
import tarfile
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from sidebyside.config.parameters import Source
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_bytes
from sidebyside.data import sources
from sidebyside.data.fashion_mnist import RAW_FILES, TEST_IMAGES, TEST_LABELS, RawFile
from sidebyside.data.idx import read_raw
from sidebyside.data.sources import fetch

NAMES = tuple(file.name for file in RAW_FILES)
CONTENTS = {
    name: random.Random(number).randbytes(2000 + 500 * number)  # noqa: S311 (no secret)
    for number, name in enumerate(NAMES)
}
FILES = tuple(
    RawFile(name, len(content), hashlib.sha256(content).hexdigest())
    for name, content in CONTENTS.items()
)
IMAGES = NAMES[0]
PACKAGE = "dataset-fashion-mnist"

Answer = Callable[[BaseHTTPRequestHandler, str], None]


class Log(list[str]):
    """The lines that fetch reports."""

    def __call__(self, line: str) -> None:
        self.append(line)

    @property
    def failures(self) -> list[str]:
        return [line for line in self if not line.endswith(": fetching")]


def archives() -> dict[str, bytes]:
    return {f"{name}.gz": packed(content) for name, content in CONTENTS.items()}


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def fill(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def get(
    root: Path, *places: Source, timeout: float = 5, files: tuple[RawFile, ...] = FILES
) -> tuple[str | None, Log]:
    log = Log()
    source = fetch(places, timeout, root / "data/raw", root, files=files, report=log)
    return source, log


def reason(root: Path, place: Source, timeout: float = 5) -> str:
    """Return why the only source fails, after seeing that it leaves nothing behind."""
    log = Log()
    with pytest.raises(UserError, match="no source gives the data"):
        fetch([place], timeout, root / "data/raw", root, files=FILES, report=log)
    assert not list((root / "data").iterdir())
    (line,) = log.failures
    prefix = f"{sources.describe(place)}: "
    assert line.startswith(prefix)
    assert "\n" not in line
    return line.removeprefix(prefix)


# What is there already


def test_complete_data_is_not_fetched_again(tmp_path: Path) -> None:
    fill(tmp_path / "data/raw", CONTENTS)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data/raw").iterdir()}
    source, log = get(tmp_path, Source(folder="nowhere"))
    assert source is None
    assert log == ["data/raw: complete and verified, nothing to fetch"]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "data/raw").iterdir()}


@pytest.mark.parametrize("damage", ["missing", "longer", "changed", "empty", "a folder"])
def test_damaged_data_is_fetched_again(tmp_path: Path, damage: str) -> None:
    victim = fill(tmp_path / "data/raw", CONTENTS) / IMAGES
    content = CONTENTS[IMAGES]
    victim.unlink()
    if damage == "a folder":
        victim.mkdir()
        with pytest.raises(OSError, match=IMAGES):
            get(tmp_path, Source(folder=str(fill(tmp_path / "good", archives()))))
        return
    if damage != "missing":
        victim.write_bytes(
            {"longer": content + b"\0", "changed": bytes(len(content)), "empty": b""}[damage]
        )
    source, _ = get(tmp_path, Source(folder=str(fill(tmp_path / "good", archives()))))
    assert source == f"folder {tmp_path / 'good'}"
    assert contents_of(tmp_path / "data/raw") == CONTENTS


def test_the_published_files_are_the_default() -> None:
    assert inspect.signature(fetch).parameters["files"].default is RAW_FILES


# Folders


def test_folder_gives_archives(tmp_path: Path) -> None:
    fill(tmp_path / "data/local", archives())
    source, log = get(tmp_path, Source(folder="data/local"))
    assert source == "folder data/local"
    assert log == []
    assert contents_of(tmp_path / "data/raw") == CONTENTS


def test_folder_gives_unpacked_files_and_archives_mixed(tmp_path: Path) -> None:
    mixed = {**CONTENTS, f"{IMAGES}.gz": archives()[f"{IMAGES}.gz"]}
    del mixed[IMAGES]
    fill(tmp_path / "my files", mixed)
    get(tmp_path, Source(folder="my files"))
    assert contents_of(tmp_path / "data/raw") == CONTENTS


def test_folder_is_relative_to_the_root_not_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "mine", CONTENTS)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert get(tmp_path, Source(folder="mine"))[0] == "folder mine"


def test_missing_folder_is_named_so(tmp_path: Path) -> None:
    assert reason(tmp_path, Source(folder="nowhere")) == "no such folder"


def test_folder_lacking_a_file_names_it(tmp_path: Path) -> None:
    fill(tmp_path / "mine", archives())
    (tmp_path / "mine" / f"{IMAGES}.gz").unlink()
    found = reason(tmp_path, Source(folder="mine"))
    assert found == f"{IMAGES} is missing, and so is {IMAGES}.gz"


def damaged(archive: bytes) -> bytes:
    middle = len(archive) // 2
    return archive[:middle] + bytes(byte ^ 0xFF for byte in archive[middle:])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (f"{IMAGES}.gz", archives()[f"{IMAGES}.gz"][:-9], "the archive is truncated"),
        (f"{IMAGES}.gz", damaged(archives()[f"{IMAGES}.gz"]), "the archive is corrupted (CRC"),
        (f"{IMAGES}.gz", packed(b"")[:10] + b"\xff" * 50, "the archive is corrupted (Error"),
        (f"{IMAGES}.gz", b"\x1f\x8b\x07" + bytes(50), "the archive is corrupted (Unknown"),
        (f"{IMAGES}.gz", archives()[f"{NAMES[2]}.gz"], "unpacks to more than the 2,000 bytes"),
        (f"{IMAGES}.gz", packed(bytes(2000)), "wrong checksum, SHA-256 "),
        (f"{IMAGES}.gz", packed(bytes(1999)), "1,999 bytes, expected 2,000"),
        (f"{IMAGES}.gz", packed(bytes(50_000_000)), "unpacks to more than the 2,000 bytes"),
        (f"{IMAGES}.gz", bytes(10_000_000), "longer than an archive of 2,000 bytes can be"),
        (f"{NAMES[3]}.gz", archives()[f"{IMAGES}.gz"], f"holds {IMAGES} instead"),
        (IMAGES, CONTENTS[IMAGES][:-1], "1,999 bytes, expected 2,000"),
        (IMAGES, b"", "0 bytes, expected 2,000"),
        (IMAGES, bytes(2000), "wrong checksum, SHA-256 "),
        (IMAGES, CONTENTS[NAMES[2]], f"holds {NAMES[2]} instead"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_content_is_refused_with_its_reason(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    fill(tmp_path / "mine", {**archives(), name: content})
    assert reason(tmp_path, Source(folder="mine")).startswith(f"{name}: {expected}")


def test_archive_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    read = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        content = read(self, size)
        taken.append(len(content))
        return content

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    fill(tmp_path / "mine", {**archives(), f"{IMAGES}.gz": packed(bytes(10_000_000))})
    reason(tmp_path, Source(folder="mine"))
    assert max(taken) <= max(file.size for file in FILES) + 1


def test_unreadable_file_is_a_reason_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "mine", CONTENTS)
    if os.geteuid() == 0:  # root may read everything
        real = Path.open

        def refusing(self: Path, *args: str, **options: str) -> object:
            if self == tmp_path / "mine" / IMAGES:
                raise PermissionError(13, "Permission denied", str(self))
            return real(self, *args, **options)  # type: ignore[call-overload]

        monkeypatch.setattr(Path, "open", refusing)
    else:
        (tmp_path / "mine" / IMAGES).chmod(0)
    assert reason(tmp_path, Source(folder="mine")) == f"{IMAGES}: Permission denied"


def test_file_in_place_of_a_folder_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    assert reason(tmp_path, Source(folder="mine")) == "no such folder"


def test_folder_in_place_of_a_file_is_a_reason(tmp_path: Path) -> None:
    (fill(tmp_path / "mine", {}) / IMAGES).mkdir()
    assert reason(tmp_path, Source(folder="mine")) == f"{IMAGES}: Is a directory"


# Several sources


def test_sources_are_tried_in_order_until_one_gives_all(tmp_path: Path) -> None:
    fill(tmp_path / "partial", {IMAGES: CONTENTS[IMAGES]})
    fill(tmp_path / "good", archives())
    fill(tmp_path / "later", archives())
    source, log = get(
        tmp_path, *(Source(folder=name) for name in ("none", "partial", "good", "later"))
    )
    assert source == "folder good"
    assert log == [
        "folder none: no such folder",
        f"folder partial: {NAMES[1]} is missing, and so is {NAMES[1]}.gz",
    ]


def test_the_last_error_says_what_the_user_can_do(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        get(tmp_path, Source(url="ftp://x".replace("ftp", "http")), Source(folder="data/local"))
    message = str(caught.value)
    assert all(name in message for name in NAMES)
    assert "into data/local and run the command again" in message
    assert "\n" not in message


def test_a_folder_that_may_not_be_looked_at_is_passed_over_and_told_of(tmp_path: Path) -> None:
    fill(tmp_path / "good", archives())
    too_long = "x" * 300  # refused by the system as a folder behind a locked door is, to root too
    with pytest.raises(UserError, match=r"File name too long.*; put "):
        get(tmp_path, Source(folder="none"), Source(folder=too_long))
    source, log = get(tmp_path, Source(folder=too_long), Source(folder="good"))
    assert source == "folder good"
    assert log == [f"folder {too_long}: File name too long"]


def test_without_a_folder_among_the_sources_the_error_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a folder named in download\.sources of params\.yaml"):
        get(tmp_path, Source(url=f"http://127.0.0.1:{closed_port()}"))


def test_failure_leaves_older_files_as_they_were(tmp_path: Path) -> None:
    fill(tmp_path / "data/raw", {IMAGES: b"old"})
    fill(tmp_path / "mine", {**archives(), f"{NAMES[3]}.gz": b"x"})
    with pytest.raises(UserError):
        get(tmp_path, Source(folder="mine"))
    assert contents_of(tmp_path / "data/raw") == {IMAGES: b"old"}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw"]


def test_failing_write_leaves_older_files_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "data/raw", {IMAGES: b"old"})
    fill(tmp_path / "mine", archives())
    written: list[Path] = []

    def full(path: Path, content: bytes) -> None:
        if len(written) == 3:
            raise OSError(28, "No space left on device", str(path))
        write_bytes(path, content)
        written.append(path)

    monkeypatch.setattr(sources, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        get(tmp_path, Source(folder="mine"))
    assert contents_of(tmp_path / "data/raw") == {IMAGES: b"old"}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that every user of the machine may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_read_only_target_is_named_and_left_alone(open_folder: Path) -> None:
    fill(open_folder / "mine", archives())
    fill(open_folder / "data/raw", {IMAGES: b"old"})
    (open_folder / "data").chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:  # root may write everywhere
            os.seteuid(65534)
        with pytest.raises(PermissionError) as caught:
            get(open_folder, Source(folder="mine"))
    finally:
        os.seteuid(user)
        (open_folder / "data").chmod(0o755)
    assert str(caught.value.filename).startswith(str(open_folder / "data"))
    assert contents_of(open_folder / "data/raw") == {IMAGES: b"old"}
    assert [path.name for path in (open_folder / "data").iterdir()] == ["raw"]


# Servers


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Start real servers on this machine; each gives back its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.close_connection = True
                with contextlib.suppress(ConnectionError, ValueError):  # the client has gone
                    answer(self, self.path.rpartition("/")[2])

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def send(
    handler: BaseHTTPRequestHandler,
    content: bytes,
    status: int = 200,
    kind: str = "application/gzip",
    length: int | None = None,
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content)


def good(handler: BaseHTTPRequestHandler, name: str) -> None:
    assert "//" not in handler.path.removeprefix("http://")
    send(handler, archives()[name])


def test_server_gives_archives(tmp_path: Path, serve: Callable[[Answer], str]) -> None:
    address = serve(good)
    source, log = get(tmp_path, Source(url=address + "/some/where/"))
    assert source == f"url {address}/some/where/"
    assert log == [f"url {address}/some/where/: fetching"]
    assert contents_of(tmp_path / "data/raw") == CONTENTS


def test_server_may_send_chunks_of_unknown_number(
    tmp_path: Path, serve: Callable[[Answer], str]
) -> None:
    def chunked(handler: BaseHTTPRequestHandler, name: str) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        content = archives()[name]
        for start in range(0, len(content), 700):
            chunk = content[start : start + 700]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n")

    assert get(tmp_path, Source(url=serve(chunked)))[0] is not None
    assert contents_of(tmp_path / "data/raw") == CONTENTS


def test_server_may_declare_the_archive_as_an_encoding(
    tmp_path: Path, serve: Callable[[Answer], str]
) -> None:
    def encoded(handler: BaseHTTPRequestHandler, name: str) -> None:
        content = archives()[name]
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    assert get(tmp_path, Source(url=serve(encoded)))[0] is not None


def test_server_may_redirect(tmp_path: Path, serve: Callable[[Answer], str]) -> None:
    target = serve(good)

    def elsewhere(handler: BaseHTTPRequestHandler, name: str) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{target}/{name}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    assert get(tmp_path, Source(url=serve(elsewhere)))[0] is not None


def test_proxy_of_the_environment_is_used(
    tmp_path: Path, serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", serve(good))
    monkeypatch.setenv("no_proxy", "")
    assert get(tmp_path, Source(url="http://data.invalid/"))[0] is not None


def swapped(handler: BaseHTTPRequestHandler, name: str) -> None:
    other = {f"{NAMES[3]}.gz": f"{IMAGES}.gz", f"{IMAGES}.gz": f"{NAMES[3]}.gz"}
    send(handler, archives()[other.get(name, name)])


def swapped_small(handler: BaseHTTPRequestHandler, name: str) -> None:
    send(handler, archives()[f"{NAMES[1]}.gz" if name == f"{IMAGES}.gz" else name])


def endless(handler: BaseHTTPRequestHandler, name: str) -> None:
    send(handler, b"", length=10**12)
    while True:
        handler.wfile.write(bytes(1 << 16))


FIRST = f"{NAMES[0]}.gz"  # the smallest, so the first to be asked for


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda h, n: send(h, b"no", 404), f"{FIRST}: 404 Not Found"),
        (lambda h, n: send(h, b"oh", 500), f"{FIRST}: 500 Internal Server Error"),
        (lambda h, n: send(h, b"", 204), f"{FIRST}: 204 No Content"),
        (lambda h, n: send(h, b"sorry", kind="text/html; charset=x"), "the answer is a web page"),
        (lambda h, n: send(h, b"\n <!doctype html>"), f"{FIRST}: the answer is a web page"),
        (lambda h, n: send(h, archives()[n][:500], length=len(archives()[n])), "is cut short"),
        (lambda h, n: send(h, archives()[n][:500]), f"{FIRST}: the archive is truncated"),
        (lambda h, n: send(h, damaged(archives()[n])), f"{FIRST}: the archive is corrupted"),
        (lambda h, n: send(h, b""), f"{FIRST}: 0 bytes, expected 2,000"),
        (lambda h, n: send(h, packed(bytes(2000))), f"{FIRST}: wrong checksum"),
        (lambda h, n: send(h, packed(bytes(10**7))), f"{FIRST}: unpacks to more than"),
        (lambda h, n: send(h, packed(packed(b"x"))), f"{FIRST}: "),
        (swapped, f"{FIRST}: unpacks to more than the 2,000 bytes"),
        (lambda h, n: send(h, CONTENTS[NAMES[1]]), f"{FIRST}: holds {NAMES[1]} instead"),
        (endless, f"{FIRST}: longer than an archive of 2,000 bytes can be"),
        (lambda h, n: h.wfile.write(b"SSH-2.0-OpenSSH\r\n"), f"{FIRST}: "),
        (lambda h, n: None, f"{FIRST}: Remote end closed connection without response"),
    ],
)
def test_wrong_answer_is_refused_with_its_reason(
    tmp_path: Path, serve: Callable[[Answer], str], answer: Answer, expected: str
) -> None:
    began = time.monotonic()
    found = reason(tmp_path, Source(url=serve(answer)))
    assert expected in found
    assert " at 0x" not in found
    assert time.monotonic() - began < 4


def test_refused_connection_is_a_reason(tmp_path: Path) -> None:
    found = reason(tmp_path, Source(url=f"http://127.0.0.1:{closed_port()}"))
    assert found == f"{FIRST}: Connection refused"


def test_unknown_host_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo("nowhere.invalid", 80)
    found = reason(tmp_path, Source(url="http://nowhere.invalid"))
    assert found == f"{FIRST}: {caught.value.strerror}"


def test_server_without_encryption_is_a_reason(
    tmp_path: Path, serve: Callable[[Answer], str]
) -> None:
    found = reason(tmp_path, Source(url=serve(good).replace("http:", "https:")))
    assert found.startswith(f"{FIRST}: [SSL")  # whose words differ between releases of OpenSSL


def test_impossible_address_is_a_reason(tmp_path: Path) -> None:
    found = reason(tmp_path, Source(url="http://:0/%"))
    assert found == f"{FIRST}: Invalid URL 'http://:0/%/{FIRST}': No host supplied"


def silent(handler: BaseHTTPRequestHandler, name: str) -> None:
    time.sleep(3)


def stalled(handler: BaseHTTPRequestHandler, name: str) -> None:
    send(handler, archives()[name][:500], length=len(archives()[name]))
    time.sleep(3)


def dripping(handler: BaseHTTPRequestHandler, name: str) -> None:
    send(handler, b"", length=len(archives()[name]))
    for byte in archives()[name]:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)


def dripping_headers(handler: BaseHTTPRequestHandler, name: str) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (silent, "no answer within 0.6 s"),
        (stalled, "no answer within 0.6 s"),
        (dripping, "slower than 16,384 bytes per second"),
        (dripping_headers, "no answer within 0.6 s"),
    ],
)
def test_slow_server_is_given_up(
    tmp_path: Path, serve: Callable[[Answer], str], answer: Answer, expected: str
) -> None:
    began = time.monotonic()
    found = reason(tmp_path, Source(url=serve(answer)), timeout=0.6)
    assert found == f"{FIRST}: {expected}"
    assert time.monotonic() - began < 2.5


def test_socket_that_accepts_nobody_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=5) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        found = reason(tmp_path, Source(url=address), timeout=0.2)
    assert found == f"{FIRST}: no answer within 0.2 s"


def test_steady_server_may_take_longer_than_the_time_out(
    tmp_path: Path, serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SLOWEST", 100)

    def steady(handler: BaseHTTPRequestHandler, name: str) -> None:
        if name != f"{NAMES[3]}.gz":
            good(handler, name)
            return
        send(handler, b"", length=len(archives()[name]))
        for start in range(0, len(archives()[name]), 400):
            handler.wfile.write(archives()[name][start : start + 400])
            time.sleep(0.15)

    began = time.monotonic()
    assert get(tmp_path, Source(url=serve(steady)), timeout=0.8)[0] is not None
    assert time.monotonic() - began > 0.8


# Debian packages, made by an apt-get of our own


def ar(sections: dict[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, body in sections.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n".encode()
        out += body + b"\n" * (len(body) % 2)
    return out


def tar(members: dict[str, bytes], kind: str = "xz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo(f"./{IMAGES}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def members(contents: dict[str, bytes]) -> dict[str, bytes]:
    return {f"./usr/share/datasets/fashion-mnist/{n}": c for n, c in contents.items()}


def deb(contents: dict[str, bytes], kind: str = "xz") -> bytes:
    body = tar({"../evil": b"evil", "/evil": b"evil", **members(contents)}, kind)
    suffix = f".{kind}" if kind else ""
    return ar(
        {
            "debian-binary": b"2.0\n",
            "control.tar.xz": tar({"./control": b"Package: x\n"}),
            f"data.tar{suffix}": body,
        }
    )


@pytest.fixture
def apt_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a program named apt-get first on the PATH; give back the log of its calls."""

    def install(package: bytes | None = None, before_download: str = "", update: str = "") -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        if package is not None:
            (folder / "package").write_bytes(package)
        script = folder / "apt-get"
        program = f"""\
            #!{sys.executable}
            import os, pathlib, shutil, subprocess, sys, time
            here = pathlib.Path(__file__).parent
            settings = dict(w.split("=", 1) for w in sys.argv if "=" in w)
            with (here / "calls").open("a") as log:
                print(os.getcwd(), *sys.argv[1:], sep="|", file=log)
            assert (pathlib.Path(settings["Dir::State::lists"]) / "partial").is_dir()
            if sys.argv[-1] == "update":
                print("W: Download is performed unsandboxed as root", file=sys.stderr)
                {update or "pass"}
            else:
                {before_download or "pass"}
                shutil.copy(here / "package", sys.argv[-1] + "_1_all.deb")
            """
        script.write_text(textwrap.dedent(program))
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        return folder / "calls"

    return install


def test_package_gives_archives(tmp_path: Path, apt_get: Callable[..., Path]) -> None:
    calls = apt_get(deb(archives()))
    source, log = get(tmp_path, Source(debian=PACKAGE))
    assert source == f"debian {PACKAGE}"
    assert log == [f"debian {PACKAGE}: fetching"]
    assert contents_of(tmp_path / "data/raw") == CONTENTS
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw"]
    update, download = calls.read_text().splitlines()
    assert update.endswith("|update")
    assert download.endswith(f"|download|{PACKAGE}")
    for call in (update, download):
        folder = Path(call.partition("|")[0])  # its own, gone by now, and not the host's state
        assert folder.is_relative_to(tempfile.gettempdir())
        assert not folder.exists()
        assert "|Dir::State::status=/dev/null|" in call
        assert "|Acquire::http::Timeout=5|" in call


@pytest.mark.parametrize("kind", ["xz", "gz", "bz2", ""])
def test_package_may_be_compressed_in_any_way_that_tar_knows(
    tmp_path: Path, apt_get: Callable[..., Path], kind: str
) -> None:
    apt_get(deb(CONTENTS, kind))
    assert get(tmp_path, Source(debian=PACKAGE))[0] is not None


@pytest.mark.skipif(
    not (shutil.which("dpkg-deb") and shutil.which("zstd")), reason="needs dpkg-deb and zstd"
)
def test_package_may_be_compressed_with_zstd(tmp_path: Path, apt_get: Callable[..., Path]) -> None:
    import subprocess

    body = subprocess.run(
        ["zstd", "-c"], input=tar(members(archives()), ""), capture_output=True, check=True
    ).stdout
    control = tar({"./control": b"Package: x\nVersion: 1\nArchitecture: all\n"})
    apt_get(ar({"debian-binary": b"2.0\n", "control.tar.xz": control, "data.tar.zst": body}))
    assert get(tmp_path, Source(debian=PACKAGE))[0] is not None


def test_paths_inside_a_package_lead_nowhere(tmp_path: Path, apt_get: Callable[..., Path]) -> None:
    evil = {f"../../{name}": content for name, content in archives().items()}
    apt_get(ar({"debian-binary": b"2.0\n", "data.tar.xz": tar(evil)}))
    before = set(tmp_path.rglob("*"))
    assert get(tmp_path, Source(debian=PACKAGE))[0] is not None
    new = {path.relative_to(tmp_path) for path in set(tmp_path.rglob("*")) - before}
    expected = {Path("data"), Path("data/raw"), Path("bin/calls")}
    assert new == expected | {Path("data/raw") / name for name in NAMES}


def broken_packages() -> dict[str, tuple[bytes, str]]:
    whole = deb(archives())
    lacking = archives()
    del lacking[f"{IMAGES}.gz"]
    big = {**archives(), f"{IMAGES}.gz": bytes(10**6)}
    return {
        "none": (b"", "the package is damaged (no ar archive)"),
        "page": (b"<html>", "the package is damaged (no ar archive)"),
        "cut": (whole[:-100], "the package is damaged (data.tar.xz is cut short)"),
        "header": (whole[:8] + b"x" * 60, "the package is damaged ("),
        "tar": (ar({"data.tar.xz": tar({})[:40]}), "the package is damaged ("),
        "zst": (ar({"data.tar.zst": b"x"}), "the package is "),
        "empty": (ar({"debian-binary": b"2.0\n"}), f"the package holds no {IMAGES}.gz"),
        "lacking": (deb(lacking), f"the package holds no {IMAGES}.gz"),
        "wrong": (deb({**archives(), f"{IMAGES}.gz": b"x"}), f"{IMAGES}.gz: 1 bytes, expected"),
        "big": (deb(big), f"{IMAGES}.gz: 1,000,000 bytes are too many"),
    }


@pytest.mark.parametrize("case", broken_packages())
def test_broken_package_is_a_reason(
    tmp_path: Path, apt_get: Callable[..., Path], case: str
) -> None:
    package, expected = broken_packages()[case]
    apt_get(package)
    assert reason(tmp_path, Source(debian=PACKAGE)).startswith(expected)


def test_apt_error_is_the_reason(tmp_path: Path, apt_get: Callable[..., Path]) -> None:
    apt_get(before_download="sys.exit('W: odd\\nE: Unable to locate package x')")
    assert reason(tmp_path, Source(debian=PACKAGE)) == "Unable to locate package x"


def test_apt_without_a_word_is_a_reason(tmp_path: Path, apt_get: Callable[..., Path]) -> None:
    apt_get(before_download="os._exit(7)")
    assert reason(tmp_path, Source(debian=PACKAGE)) == "apt-get ends with status 7"


def test_apt_without_a_package_is_a_reason(tmp_path: Path, apt_get: Callable[..., Path]) -> None:
    apt_get(before_download="os._exit(0)")
    assert reason(tmp_path, Source(debian=PACKAGE)) == "apt-get left no package"


def test_failed_update_does_not_keep_a_package_away(
    tmp_path: Path, apt_get: Callable[..., Path]
) -> None:
    apt_get(deb(archives()), update="sys.exit('E: The repository x has no Release file.')")
    assert get(tmp_path, Source(debian=PACKAGE))[0] is not None


def test_machine_without_apt_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert reason(tmp_path, Source(debian=PACKAGE)) == "there is no apt-get on this machine"


def test_hanging_apt_is_ended_with_its_children(
    tmp_path: Path, apt_get: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "APT_LIMIT", 1)
    child = "child = subprocess.Popen(['sleep', '60']); (here / 'child').write_text(str(child.pid))"
    apt_get(update=f"{child}; time.sleep(60)")
    found = reason(tmp_path, Source(debian=PACKAGE))
    assert found == "apt-get update: not done after 1 s"
    pid = int((tmp_path / "bin/child").read_text())
    for _ in range(50):
        if not is_running(pid):
            return
        time.sleep(0.05)
    pytest.fail("the child of apt-get goes on")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.slow
def test_real_package_gives_the_published_files(tmp_path: Path) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get on this machine")
    root = tmp_path / "with a space"
    log = Log()
    try:
        fetch([Source(debian=PACKAGE)], 20, root / "data/raw", root, report=log)
    except UserError:
        pytest.skip(f"no Debian mirror gives the package: {log[-1]}")
    assert sorted(contents_of(root / "data/raw")) == sorted(NAMES)
    split = read_raw(root / "data/raw", TEST_IMAGES, TEST_LABELS)
    assert np.bincount(split.labels).tolist() == [1000] * 10
    assert [path.name for path in (root / "data").iterdir()] == ["raw"]
