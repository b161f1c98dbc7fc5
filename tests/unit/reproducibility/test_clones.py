import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from sidebyside.core.errors import UserError
from sidebyside.reproducibility import clones
from sidebyside.workflow import git as workflow_git
from sidebyside.workflow.graph import recorded_outputs
from tests.support.dvc_project import commit, git

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

PROJECT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_results_of_a_clone_are_restored_from_git_and_the_cache_and_deleted(
    own: "Checkout", tmp_path: Path
) -> None:
    own.commit()
    recorded = clones.clone(own.root, tmp_path / "recorded")
    shared = (own.root / ".dvc/cache").rename(tmp_path / "shared")
    own.run("dvc", "config", "--local", "cache.dir", str(shared))
    clones.restore_results(recorded, own.root)
    for output in recorded_outputs(own.root):
        assert (recorded / output).exists(), output
    model = "models/mlp-original-1.keras"
    assert (recorded / model).read_bytes() == (own.root / model).read_bytes()
    clones.delete_results(recorded)
    assert not [output for output in recorded_outputs(own.root) if (recorded / output).exists()]
    assert not (recorded / "dvc.lock").exists()


def test_restoring_results_without_a_lock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the last commit has no dvc\.lock"):
        clones.restore_results(tmp_path, tmp_path)


def test_a_damaged_lock_in_the_last_commit_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("stages: {train: {outs: [{path: models/")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    with pytest.raises(UserError, match=r"^dvc\.lock of the last commit is damaged: commit a"):
        clones.restore_results(tmp_path, tmp_path)
    with pytest.raises(UserError, match=r"^dvc\.lock of the last commit is damaged: commit a"):
        clones.delete_results(tmp_path)


def test_a_failing_dvc_cache_dir_is_reported_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`dvc cache dir` fails: ERROR: configuration error"):
        clones.cache_folder(tmp_path)


@pytest.fixture(params=["", "a larger/repository"])
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A committed project with data, at the top of its repository or below."""
    root = tmp_path / "top" / str(request.param)
    for name, content in {
        "dvc.yaml": "stages: {s: {cmd: ''}}",
        "params.yaml": (PROJECT / "params.yaml").read_text(),
        "dvc.lock": "recorded",
        "code.py": "committed",
        ".gitignore": (PROJECT / ".gitignore").read_text(),
        "data/local/images": "own",
        "data/raw/images": "raw",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "link.py").symlink_to("code.py")
    (tmp_path / "top/other é.py").touch()
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path / "top", check=True)
    clones.commit_all(tmp_path / "top", "test")
    return root


def test_a_clone_has_the_last_commit_and_the_users_own_data(project: Path, tmp_path: Path) -> None:
    (project / "code.py").write_text("changed")
    clone = clones.clone(project, tmp_path / "clone")
    assert (clone / "code.py").read_text() == "committed"
    assert (clone / "data/local/images").read_text() == "own"
    assert not (clone / "data/raw").exists()
    assert workflow_git.commit(clone) == workflow_git.commit(project)


def test_a_copy_has_the_working_tree_and_all_data_in_a_repository_of_its_own(
    project: Path, tmp_path: Path
) -> None:
    (project / "code.py").write_text("changed")
    (project / " new é.py").touch()
    copy = project / ".state/copy"
    for _ in range(2):  # a copy may be updated
        clones.copy(project, copy)
        assert (copy / "code.py").read_text() == "changed"
        assert (copy / " new é.py").exists()
        assert (copy / "link.py").readlink() == Path("code.py")
        assert (copy / "data/local/images").read_text() == "own"
        assert (copy / "data/raw/images").read_text() == "raw"
        assert not (copy / "dvc.lock").exists()
        assert (copy / "other é.py").exists() == (project == tmp_path / "top")
        assert workflow_git.ask(copy, "rev-parse", "--show-toplevel") == str(copy.resolve())
        assert workflow_git.ask(copy, "status", "--porcelain") == ""
    (project / "link.py").unlink()  # deleted, but still in the commit
    clones.copy(project, tmp_path / "another")
    assert not (tmp_path / "another/link.py").is_symlink()


def test_a_copy_may_have_other_parameters(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clones, "CHECKOUT", project)
    monkeypatch.setattr(sys, "argv", ["clones", str(tmp_path / "copy"), "--seeds", "[2, 3]"])
    clones.main()
    here, there = (
        yaml.safe_load((folder / "params.yaml").read_text())
        for folder in (project, tmp_path / "copy")
    )
    assert (here["train"].pop("seeds"), there["train"].pop("seeds")) == ([1], [2, 3])
    assert here == there
    assert workflow_git.ask(tmp_path / "copy", "status", "--porcelain") == ""


@pytest.mark.parametrize("target", [".", "..", "../other"])
def test_a_copy_does_not_replace_files_of_the_user(
    project: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(project)
    (project.parent / "other").mkdir()
    (project.parent / "other/code.py").write_text("mine")
    with pytest.raises(UserError, match=f"^{re.escape(target)} is not an empty folder"):
        clones.copy(project, Path(target))
    assert (project.parent / "other/code.py").read_text() == "mine"
    assert (project / "code.py").read_text() == "committed"


@pytest.mark.parametrize("make", [clones.clone, clones.copy])
def test_the_users_hooks_do_not_run(
    make: Callable[[Path, Path], object],
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "hooks").mkdir()
    for name in ("post-checkout", "pre-commit", "prepare-commit-msg", "post-commit"):
        (tmp_path / "hooks" / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran; exit 1\n")
        (tmp_path / "hooks" / name).chmod(0o755)
    (tmp_path / "settings").write_text(f"[core]\n hooksPath = {tmp_path}/hooks\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
    make(project, tmp_path / "copy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["data", "models"])
def test_results_behind_a_link_are_not_shared_with_a_copy(
    project: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "large disk").mkdir()
    if (project / name).exists():
        (project / name).rename(tmp_path / "large disk" / name)
    (project / name).symlink_to(tmp_path / "large disk" / name)
    clones.copy(project, tmp_path / "copy")
    assert not (tmp_path / "copy" / name).is_symlink()


@pytest.mark.parametrize("make", [clones.clone, clones.copy])
def test_a_folder_that_is_not_committed_is_refused(
    make: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is not in a git commit"):
        make(tmp_path, tmp_path / "clone")
    assert not (tmp_path / "clone").exists()


def test_the_smoke_parameters_exist_in_params_yaml() -> None:
    parameters = yaml.safe_load((PROJECT / "params.yaml").read_text())
    assert clones.smoke_parameters()["train.budget.cnn.epochs"] == 1
    for key in clones.smoke_parameters():
        section: Any = parameters
        for name in key.split("."):
            section = section[name]


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "DVC_ROOT", "MAKEFLAGS"])
def test_redirecting_variables_are_not_passed_to_a_clone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    assert name not in clones.clean_environment()


def test_a_failing_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`dvc repro` failed"):
        clones.reproduce(tmp_path)  # not a repository
