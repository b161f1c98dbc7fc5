import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.workflow import git

SOURCES = Path(__file__).parents[3] / "src"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without a repository, and a home with git's user."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for setting in (("user.name", "T"), ("user.email", "t@example.com")):
        subprocess.run(["git", "config", "--global", *setting], check=True)
    root = tmp_path / "repository/a project"
    root.mkdir(parents=True)
    (root / "dvc.yaml").touch()
    return root


def carry_out_advice(message: str, root: Path) -> None:
    """Run the command at the end of an error's message."""
    command = message.rpartition("run `")[2].rpartition("`")[0]
    subprocess.run(["sh", "-c", command], cwd=root, check=True, stdout=subprocess.DEVNULL)


def test_a_repository_of_another_user_is_refused_with_gits_own_cure(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    git.check(project)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(UserError, match="git does not read the repository of") as refused:
        git.check(project)
    assert "\n" not in str(refused.value)
    cure = str(refused.value)[str(refused.value).index("git config --global --add safe.dir") :]
    subprocess.run(shlex.split(cure), check=True)
    git.check(project)


def test_a_link_to_a_repository_that_is_not_there_is_refused(project: Path) -> None:
    (project / ".git").write_text("gitdir: /elsewhere/.git/worktrees/project\n")  # as in containers
    for root in (project, project.parent / "a project"):
        with pytest.raises(UserError, match=r"not a git repository: /elsewhere"):
            git.check(root)


def test_a_folder_outside_any_repository_passes_but_has_no_commit(project: Path) -> None:
    git.check(project)
    assert git.commit(project) is None
    assert git.project(project) == project


@pytest.mark.parametrize("state", ["archive", "no commit", "untracked in a larger repository"])
def test_a_project_without_a_commit_is_refused_and_the_advice_cures_it(
    project: Path, state: str
) -> None:
    if state != "archive":
        top = project if state == "no commit" else project.parent
        subprocess.run(["git", "init", "--quiet"], cwd=top, check=True)
        if top != project:
            subprocess.run(["git", "commit", "-qm", "one", "--allow-empty"], cwd=top, check=True)
    with pytest.raises(UserError, match="is not in a git commit, which results record") as refused:
        git.require_commit(project)
    carry_out_advice(str(refused.value), project)
    git.require_commit(project)
    assert len(git.commit(project) or "") == 40


def test_a_machine_without_git_is_told_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))
    git.check(project)
    with pytest.raises(UserError, match="git is not installed"):
        git.require_commit(project)


def test_the_project_of_a_pipeline_is_the_outermost_one_in_its_repository(project: Path) -> None:
    (project / "study").mkdir()
    (project / "study/dvc.yaml").touch()
    (project.parents[1] / "dvc.yaml").touch()  # outside the repository
    subprocess.run(["git", "init", "--quiet"], cwd=project.parent, check=True)
    assert git.project(project / "study") == project
    assert git.project(project) == project


def test_the_check_needs_no_installed_package(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "sidebyside.workflow.git"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"git: error: {project} is not in a git commit")
    assert len(done.stderr.splitlines()) == 1
