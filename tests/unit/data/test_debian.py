import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sidebyside.config.parameters import Source
from sidebyside.core.errors import UserError
from sidebyside.data import debian
from sidebyside.data.archives import SourceError
from sidebyside.data.debian import download_package, read_members
from sidebyside.data.fashion_mnist import TEST_IMAGES, TEST_LABELS
from sidebyside.data.idx import read_raw
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
    monkeypatch.setattr(debian, "APT_TIMEOUT", 1)
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


@pytest.mark.parametrize("kind", ["xz", "gz", "bz2", ""])
def test_members_are_read_from_a_package_of_any_compression(kind: str) -> None:
    assert read_members(deb(CONTENTS, kind), FILES) == CONTENTS


@pytest.mark.skipif(
    not (shutil.which("dpkg-deb") and shutil.which("zstd")), reason="needs dpkg-deb and zstd"
)
def test_members_are_read_from_a_package_compressed_with_zstd() -> None:
    body = subprocess.run(
        ["zstd", "-c"], input=tar(members(ARCHIVES), ""), capture_output=True, check=True
    ).stdout
    control = tar({"./control": b"Package: x\nVersion: 1\nArchitecture: all\n"})
    package = ar({"debian-binary": b"2.0\n", "control.tar.xz": control, "data.tar.zst": body})
    assert read_members(package, FILES) == ARCHIVES


def test_only_the_last_part_of_a_members_path_counts() -> None:
    evil = {f"../../{name}": content for name, content in ARCHIVES.items()}
    package = ar({"debian-binary": b"2.0\n", "data.tar.xz": tar(evil)})
    assert read_members(package, FILES) == ARCHIVES


def test_a_package_without_data_has_no_members() -> None:
    assert read_members(ar({"debian-binary": b"2.0\n"}), FILES) == {}


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        (b"", "the package is damaged (not an ar archive)"),
        (b"<html>", "the package is damaged (not an ar archive)"),
        (deb(ARCHIVES)[:-100], "the package is damaged (data.tar.xz is truncated)"),
        (b"!<arch>\n" + b"x" * 60, "the package is damaged ("),
        (ar({"data.tar.xz": tar({})[:40]}), "the package is damaged ("),
        (ar({"data.tar.zst": b"x"}), "the package is "),
        (
            deb({**ARCHIVES, FIRST: bytes(10**6)}),
            f"{FIRST}: 1,000,000 bytes, expected at most 67,538",
        ),
    ],
    ids=("empty", "HTML", "truncated", "header", "tar", "zst", "large"),
)
def test_a_damaged_package_is_refused(package: bytes, expected: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_members(package, FILES)
    assert str(caught.value).startswith(expected)


@pytest.mark.slow
def test_the_real_package_contains_the_published_files(tmp_path: Path) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("apt-get is not installed")
    root = tmp_path / "with a space"
    lines: list[str] = []
    try:
        fetch([Source(debian=PACKAGE)], 20, root / "data/raw", root, report=lines.append)
    except UserError:
        pytest.skip(f"no Debian mirror provides the package: {lines[-1]}")
    assert sorted(contents_of(root / "data/raw")) == sorted(NAMES)
    split = read_raw(root / "data/raw", TEST_IMAGES, TEST_LABELS)
    assert np.bincount(split.labels).tolist() == [1000] * 10
    assert [path.name for path in (root / "data").iterdir()] == ["raw"]
