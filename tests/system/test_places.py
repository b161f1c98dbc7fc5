"""The pipeline in folders, and for users, that the tools it consists of do not expect."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidebyside.execution.exclusive import DVC_WITHOUT_LOCKS
from tests.support.checkout import Checkout, new_checkout
from tests.support.pipeline import NAMES, TRAINING, by_name

pytestmark = pytest.mark.timeout(1200)

NOBODY = 54321  # a user id without a name
WITHOUT_NAME = ("env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME")
# Root's folders, in which Python may be installed, stay readable.
READ_ALL = ("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override")
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", "--clear-groups", *READ_ALL)
# With the environment of the tests. Through a shell, as make does not find programs in root's
# folders itself.
MAKE = ("make", "--old-file=.venv/installed", "SHELL=/usr/bin/sh")
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
# A file system without locks, for every Python program that runs in a folder named `network`.
WITHOUT_LOCKS = """
import errno, fcntl, os
flock = fcntl.flock
def refuse(file, operation):
    number = file if isinstance(file, int) else file.fileno()
    if "/network/" in os.readlink(f"/proc/self/fd/{number}"):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    flock(file, operation)
fcntl.flock = refuse
"""


@pytest.fixture
def nested() -> Iterator[Checkout]:
    """A project in a subfolder of a larger repository, reached through a link."""
    with tempfile.TemporaryDirectory() as name:  # pytest's folders are closed to other users
        project = new_checkout(Path(name) / "larger/work/a project")
        shutil.rmtree(project.root / ".git")
        top = Checkout(Path(name) / "larger")
        top.run("git", "init", "--quiet")
        for setting in (("user.name", "Tester"), ("user.email", "tester@example.com")):
            top.run("git", "config", *setting)
        (top.root / "other.py").touch()
        top.commit()
        (top.root / "other.py").write_text("changed")
        link = Path(name) / "link"
        link.symlink_to(project.root)
        yield Checkout(link)


@is_root
def test_a_nested_project_runs_for_a_user_without_a_name_and_a_home(nested: Checkout) -> None:
    top = nested.root.resolve().parents[1]
    head = nested.run("git", "rev-parse", "HEAD").stdout.strip()
    for folder, folders, files in os.walk(top.parent):
        for name in ("", *folders, *files):
            os.chown(Path(folder, name), NOBODY, NOBODY, follow_symlinks=False)
    command = (*AS_NOBODY, *WITHOUT_NAME, *MAKE, "repro")
    done = nested.run(*command, forked=False, environment={"TF_CPP_MIN_LOG_LEVEL": "3"})
    assert "No recorded outputs to compare with" in done.stdout
    for run in by_name(nested, TRAINING).values():
        assert run.info.run_name in {*NAMES, "comparison", *(n[:-2] for n in NAMES)}
        assert run.data.tags.get("git.commit", head) == head
        assert run.data.tags.get("git.dirty", "false") == "false"


@is_root
def test_a_project_of_another_user_is_refused_before_anything_runs(tmp_path: Path) -> None:
    project = new_checkout(tmp_path / "a project")
    for path in (project.root, project.root / ".git"):
        os.chown(path, NOBODY, NOBODY)
    cure = f"git config --global --add safe.directory '{project.root}'"
    home = {"HOME": str(tmp_path)}
    for command in (("dvc", "repro", "download"), (*MAKE, "smoke")):
        assert cure in project.run(*command, fails=True, environment=home).stderr
    assert not (project.root / "data/raw").exists()
    assert not (project.root / ".state/smoke").exists()
    subprocess.run(["sh", "-c", cure], env={**os.environ, **home}, check=True)
    project.run("dvc", "repro", "download", environment=home)


def test_copies_of_a_project_find_data_that_lie_only_in_data_local(nested: Checkout) -> None:
    nested.run("dvc", "exp", "run", "--temp", "preprocess")
    nested.run(
        *("python", "-m", "sidebyside.reproducibility.clones", ".state/copy"),
        environment={"PYTHONPATH": "src"},
    )
    copy = Checkout(nested.root / ".state/copy")
    copy.run("dvc", "exp", "run", "preprocess")
    assert (copy.root / "data/processed/train.npz").is_file()
    assert not (nested.root / "data/processed").exists()


def test_the_advice_for_a_file_system_without_locks_lets_dvc_run(tmp_path: Path) -> None:
    project = new_checkout(tmp_path / "network/a project")
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_LOCKS)
    with (project.root / "dvc.yaml").open("r+") as file:  # stages set PYTHONPATH
        text = file.read().replace("PYTHONPATH=src ", f"PYTHONPATH=src:{tmp_path} ")
        file.seek(0)
        file.write(text)
    options: dict[str, Any] = {"environment": {"PYTHONPATH": f"src:{tmp_path}"}, "forked": False}
    repro = ("python", "-m", "sidebyside.workflow.in_turn", "repro", "dvc", "repro", "preprocess")
    refused = project.run(*repro, fails=True, **options)
    assert DVC_WITHOUT_LOCKS in refused.stderr
    project.run("sh", "-c", DVC_WITHOUT_LOCKS, **options)
    project.run(*repro, **options)
    assert (project.root / "data/processed/train.npz").is_file()
