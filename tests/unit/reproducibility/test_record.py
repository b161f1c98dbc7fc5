"""The record of a whole run, with a Makefile whose targets take no time."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from sidebyside.workflow.graph import recorded_outputs
from sidebyside.workflow.provenance import machine

PROJECT = Path(__file__).resolve().parents[3]
MAKEFILE = """
install:
\ttouch installed
repro:
\trm -r reports/train; mkdir -p reports/train .dvc/cache/files
\techo '{stages: {train: {outs: [{path: reports/train/a.json, md5: new}]}}}' > dvc.lock
\techo new > reports/train/a.json; echo new > .dvc/cache/files/a
\techo "$$PYTHONPATH" > reports/train/path
readme:
\techo new > README.md
verify:
\tgit show HEAD:dvc.lock > reports/verification.md
test:
\tgit diff --exit-code && test "$$(git show HEAD:README.md)" = new
bfloat16:
	mkdir reports/bfloat16; echo new > reports/bfloat16/metrics.json
smoke:
\tfalse
"""
NEW = {"reports/train/a.json": "new"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "a project"
    shutil.copytree(PROJECT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "Makefile").write_text(MAKEFILE)
    (root / ".gitignore").write_text("__pycache__\n")
    (root / "dvc.lock").write_text("old\n")
    (root / "README.md").write_text("old\n")
    (root / "reports/train").mkdir(parents=True)
    (root / "reports/train/stale.json").write_text("old\n")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    Repo.init(str(root))
    commit(root)
    return root


def commit(root: Path) -> None:
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    message = ["commit", "--quiet", "--message", "a"]
    subprocess.run(["git", *author, *message], cwd=root, check=True)


def record(project: Path, *targets: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sidebyside.reproducibility.record", *targets],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_results_of_a_clone_replace_those_here(project: Path) -> None:
    done = record(project, "install", "repro", "verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert recorded_outputs(project) == NEW
    assert (project / ".dvc/cache/files/a").read_text() == "new\n"
    verified = (project / "reports/verification.md").read_text()
    assert "md5: new" in verified  # what was just made, not what is recorded here
    assert sorted(path.name for path in (project / "reports/train").iterdir()) == ["a.json", "path"]
    assert (project / "reports/train/path").read_text() == "\n"  # not this checkout's code
    assert not (project / "installed").exists()


def test_the_tests_in_the_clone_see_pages_of_the_new_results(project: Path) -> None:
    done = record(project, "repro", "test")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_other_commands_left_here_stays(project: Path) -> None:
    others = ("reports/benchmarks/growth.json", "reports/verification_elsewhere.md")
    for name in others:
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("recorded\n")
    commit(project)
    for name in others:
        (project / name).write_text("newer\n")
    done = record(project, "repro", "verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert [(project / name).read_text() for name in others] == ["newer\n", "newer\n"]
    assert (project / "reports/verification.md").exists()


def test_an_object_that_the_cache_has_is_not_written_again(project: Path) -> None:
    there = project / ".dvc/cache/files/a"
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text("there\n")
    there.chmod(0o444)  # as DVC leaves it; root could write it all the same
    done = record(project, "repro")
    assert (done.returncode, done.stderr) == (0, "")
    assert there.read_text() == "there\n"


def test_what_a_user_has_git_do_at_a_commit_is_not_done_in_the_clone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = tmp_path / "hooks/pre-commit"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(
        f"[core]\nhooksPath = {hook.parent}\n[commit]\ngpgsign = true\n[gpg]\nprogram = false\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    done = record(project, "repro")
    assert (done.returncode, done.stderr) == (0, "")
    assert recorded_outputs(project) == NEW


def test_a_cache_that_all_checkouts_share_is_left_as_it_is(project: Path, tmp_path: Path) -> None:
    with (project / ".dvc/config").open("a") as config:
        config.write(f"[cache]\ndir = {tmp_path / 'shared'}\n")
    commit(project)
    done = record(project, "install", "repro")
    assert (done.returncode, done.stderr) == (0, "")
    assert recorded_outputs(project) == NEW
    assert not (project / ".dvc/cache").exists()


def test_an_experiments_scores_are_kept_and_nothing_else(project: Path) -> None:
    record(project, "bfloat16")
    assert (project / "reports/bfloat16/metrics.json").read_text() == "new\n"
    assert (project / "reports/train/stale.json").exists()
    assert (project / "dvc.lock").read_text() == "old\n"


def test_time_memory_and_machine_are_kept_for_each_target(project: Path) -> None:
    record(project, "install")
    record(project, "repro")
    content = json.loads((project / "reports/run.json").read_text())
    assert list(content["runs"]) == ["install", "repro"]
    done = content["runs"]["repro"]
    assert set(done) == {
        *("seconds", "peak_memory_mib"),
        *("processor", "instructions", "cores", "python"),
    }
    assert 0 < done["peak_memory_mib"] < 50  # a shell's, not that of what measures it
    assert done["cores"] == os.cpu_count()
    assert done["processor"]
    assert done["instructions"] == machine()["processor"]


def test_a_time_keeps_the_machine_it_was_measured_on(project: Path) -> None:
    record(project, "install")
    path = project / "reports/run.json"
    content = json.loads(path.read_text())
    content["runs"]["install"]["processor"] = "another"
    path.write_text(json.dumps(content))
    commit(project)
    record(project, "repro")
    runs = json.loads(path.read_text())["runs"]
    assert runs["install"]["processor"] == "another"
    assert runs["repro"]["processor"] != "another"


def test_a_failing_target_is_named_and_nothing_is_kept(project: Path) -> None:
    done = record(project, "smoke")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "record: error: `make smoke` failed in a clone of the last commit"
    )
    assert not (project / "reports/run.json").exists()


def test_results_that_git_does_not_take_are_an_error(project: Path) -> None:
    locked = MAKEFILE.replace("echo new > README.md", "touch .git/index.lock")
    (project / "Makefile").write_text(locked)
    commit(project)
    done = record(project, "repro")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == "record: error: git could not commit the results in the clone"
    assert not (project / "reports/run.json").exists()


def test_a_target_whose_results_would_go_with_the_clone_is_refused(project: Path) -> None:
    done = record(project, "replications")
    assert done.returncode == 2
    assert "invalid choice: 'replications'" in done.stderr


def test_what_is_not_committed_is_not_recorded(project: Path) -> None:
    (project / "Makefile").write_text("other")
    done = record(project, "install")
    assert done.returncode == 1
    assert "tracked files differ from the last commit" in done.stderr


def test_what_is_no_repository_is_refused(project: Path) -> None:
    shutil.rmtree(project / ".git")
    done = record(project, "install")
    assert done.returncode == 1
    assert "cannot be cloned" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
