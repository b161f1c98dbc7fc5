"""Folders in which the project may lie: archives, others' clones, larger repositories, copies."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.checkout import PROJECT

COMMITTED = ("repro", "smoke", "verify", "verify-smoke", "reference", "replications", "record")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A source archive: no repository and no environment."""
    root = tmp_path / "an archive"
    root.mkdir()
    for name in ("Makefile", "dvc.yaml", "src", "tools", "requirements.lock"):
        (root / name).symlink_to(PROJECT / name)
    return root


def make(root: Path, target: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", COMMITTED)
def test_a_source_archive_is_refused_before_the_environment_is_installed(
    archive: Path, target: str
) -> None:
    error, *rest = make(archive, target).stderr.splitlines()
    assert error.startswith(f"git: error: {archive} is not in a git commit, which results record")
    assert "run `git init && git add . && git commit" in error
    assert len(rest) == 1  # make's own line
    assert not list(archive.glob(".venv*"))


def test_a_clone_of_another_user_is_refused_with_gits_own_cure(archive: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=archive, check=True)
    done = make(archive, "smoke", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert "git config --global --add safe.directory" in done.stderr
    assert not (archive / ".state").exists()


def test_a_checkout_with_converted_line_ends_has_the_same_bytes(tmp_path: Path) -> None:
    for setting in ("true", "false"):
        command = ["git", "-c", f"core.autocrlf={setting}", "checkout-index", "--all"]
        folder = f"--prefix={tmp_path / setting}/"
        subprocess.run([*command, folder], cwd=PROJECT, check=True)
    files = [file for file in (tmp_path / "true").rglob("*") if file.is_file()]
    assert len(files) > 100
    for file in files:
        same = tmp_path / "false" / file.relative_to(tmp_path / "true")
        assert file.read_bytes() == same.read_bytes(), file
