import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sidebyside.config.dataset_description import LabelColumn, Source, builtin
from sidebyside.core.errors import UserError
from sidebyside.data import packages
from sidebyside.data.archives import SourceError
from sidebyside.data.debian import download_package, read_members
from sidebyside.data.idx import read_labels
from sidebyside.data.sources import fetch
from tests.support.published_files import (
    ARCHIVES,
    CONTENTS,
    FILES,
    FIRST,
    NAMES,
    ar,
    contents_of,
    deb,
    members,
    package_of,
    tar,
)

PACKAGE = "dataset-fashion-mnist"
AptGet = Callable[..., Path]


def refusal(timeout: float = 5) -> str:
    with pytest.raises(SourceError) as caught:
        download_package(PACKAGE, timeout)
    return str(caught.value)


def test_apt_get_works_in_a_temporary_folder(apt_get: AptGet) -> None:
    calls = apt_get(b"a package")
    assert download_package(PACKAGE, 5) == b"a package"
    update, download = calls.read_text().splitlines()
    assert update.endswith("|update")
    assert download.endswith(f"|download|{PACKAGE}")
    for call in (update, download):
        folder = Path(call.partition("|")[0])
        assert folder.is_relative_to(tempfile.gettempdir())
        assert not folder.exists()
        assert "|Dir::State::status=/dev/null|" in call
        assert "|Acquire::http::Timeout=5|" in call


@pytest.mark.parametrize(
    ("before_download", "expected"),
    [
        (
            "sys.exit('W: odd\\nE: Unable to locate package x')",
            "Unable to locate package x",
        ),
        ("os._exit(7)", "apt-get exited with status 7"),
        ("os._exit(0)", "apt-get downloaded no package"),
    ],
)
def test_a_failure_of_apt_get_is_reported(
    apt_get: AptGet, before_download: str, expected: str
) -> None:
    apt_get(before_download=before_download)
    assert refusal() == expected


def test_a_failed_update_does_not_prevent_the_download(apt_get: AptGet) -> None:
    apt_get(b"a package", update="sys.exit('E: The repository x has no Release file.')")
    assert download_package(PACKAGE, 5) == b"a package"


def test_a_machine_without_apt_get_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal() == "apt-get is not installed"


def test_a_hanging_apt_get_is_killed_with_its_children(
    tmp_path: Path, apt_get: AptGet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "CLIENT_TIMEOUT", 1)
    child = "child = subprocess.Popen(['sleep', '60']); (here / 'child').write_text(str(child.pid))"
    apt_get(update=f"{child}; time.sleep(60)")
    assert refusal() == "apt-get update: timed out after 1 s"
    pid = int((tmp_path / "bin/child").read_text())
    for _ in range(50):
        if not is_running(pid):
            return
        time.sleep(0.05)
    pytest.fail("the child of apt-get is still running")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# Packages are unpacked by dpkg-deb, which every machine with apt-get has.

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


@pytest.mark.parametrize("kind", ["xz", "gz", "bz2", ""])
def test_members_are_read_from_a_package_of_any_compression(kind: str) -> None:
    assert read_members(deb(CONTENTS, kind), FILES) == CONTENTS


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs zstd")
def test_members_are_read_from_a_package_compressed_with_zstd() -> None:
    body = subprocess.run(
        ["zstd", "-c"], input=tar(members(ARCHIVES), ""), capture_output=True, check=True
    ).stdout
    assert read_members(package_of(body, "zst"), FILES) == ARCHIVES


def test_only_the_last_part_of_a_members_path_counts() -> None:
    evil = {f"../../{name}": content for name, content in ARCHIVES.items()}
    assert read_members(package_of(tar(evil, "")), FILES) == ARCHIVES


def header(size: bytes, kind: bytes = tarfile.REGTYPE, name: str = FIRST) -> bytes:
    """Return a tar header with any size and a valid checksum."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    block[124:136], block[156:157], block[148:156] = size.ljust(12, b"\0"), kind, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


DAMAGED = "the package is damaged (dpkg-deb"
HUGE = b"77777777777\0"  # 8 GiB


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        (b"", DAMAGED),
        (b"<html>", DAMAGED),
        (deb(ARCHIVES)[:-100], DAMAGED),
        (b"!<arch>\n" + b"x" * 60, DAMAGED),
        (ar({"debian-binary": b"2.0\n"}), DAMAGED),
        (package_of(tar({})[:40], "xz"), DAMAGED),
        (package_of(b"x", "zst"), DAMAGED),
        (deb(ARCHIVES).replace(b"`\n", b"9`\n"), DAMAGED),
        (package_of(bytes(1000)).replace(b"1000      `", b"9999999999`"), DAMAGED),
        (package_of(tar({"x": bytes(10**7)}, "xz"), "xz"), "the package unpacks to more than "),
        (package_of(header(HUGE, tarfile.XHDTYPE) + bytes(1024)), "the package is damaged ("),
        (package_of(header(HUGE, tarfile.GNUTYPE_LONGNAME) + bytes(999)), "the package is damage"),
        (package_of(header(HUGE)), f"{FIRST}: 8,589,934,591 bytes, expected at most 67,538"),
        (
            deb({**ARCHIVES, FIRST: bytes(10**5)}),
            f"{FIRST}: 100,000 bytes, expected at most 67,538",
        ),
    ],
    ids=[
        *("empty", "HTML", "truncated", "header", "without files", "tar", "zst", "wrong header"),
        *("size in ar", "bomb", "size of extension", "size of name"),
        *("size in tar", "large"),
    ],
)
def test_a_damaged_package_is_refused(package: bytes, expected: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_members(package, FILES)
    assert str(caught.value).startswith(expected)


def test_a_negative_size_does_not_lead_back_to_its_own_header() -> None:
    negative = (-512).to_bytes(12, "big", signed=True)
    tar_file = header(b"0", name="x") + header(negative) + bytes(1024)
    with pytest.raises(SourceError, match="the package is damaged"):
        read_members(package_of(tar_file), FILES)


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.BLKTYPE, b"5", b"6"])
def test_links_devices_folders_and_pipes_are_skipped(kind: bytes) -> None:
    assert read_members(package_of(header(b"00000000000\0", kind) + bytes(1024)), FILES) == {}


def test_a_machine_without_dpkg_deb_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="dpkg-deb is not installed"):
        read_members(b"", FILES)


def test_an_apt_get_that_downloads_without_end_is_killed(
    apt_get: AptGet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "MAX_TRANSFER", 10**6)
    apt_get(b"", "open('x', 'wb').write(bytes(2 * 10**6)); time.sleep(60)")
    assert refusal() == f"apt-get {PACKAGE}: wrote more than 1,000,000 bytes"


@pytest.mark.slow
def test_the_real_package_contains_the_published_files(tmp_path: Path) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("apt-get is not installed")
    root = tmp_path / "with a space"
    lines: list[str] = []
    try:
        files = builtin("fashion-mnist").files
        fetch(files, [Source(debian=PACKAGE)], 20, root / "data/raw", root, report=lines.append)
    except UserError:
        pytest.skip(f"no Debian mirror provides the package: {lines[-1]}")
    assert sorted(contents_of(root / "data/raw")) == sorted(NAMES)
    name = "t10k-labels-idx1-ubyte"
    labels = read_labels(root / f"data/raw/{name}", name, LabelColumn())
    assert np.bincount(labels).tolist() == [1000] * 10
    assert [path.name for path in (root / "data").iterdir()] == ["raw"]
