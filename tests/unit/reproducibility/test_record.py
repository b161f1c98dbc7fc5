"""Record runs of a repository whose Makefile has targets that take no time."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.core.fingerprint import machine_facts
from sidebyside.reproducibility import record as module
from sidebyside.reproducibility.record import record
from sidebyside.workflow.graph import recorded_outputs
from sidebyside.workflow.provenance import FOLDER, Provenance, Source

ENTRY = Provenance("key", {}, Source("commit", dirty=False), {"reports/train/a.json": "new"})
MAKEFILE = f"""
install:
\ttouch installed
repro:
\trm -r reports/train; mkdir -p reports/train .dvc/cache/files {FOLDER}
\techo '{{stages: {{train: {{outs: [{{path: reports/train/a.json, md5: new}}]}}}}}}' > dvc.lock
\techo new > reports/train/a.json; echo new > .dvc/cache/files/a
\techo "$$PYTHONPATH" > reports/train/path
\techo '{json.dumps(ENTRY.content())}' > {FOLDER}/train.json
readme:
\techo new > README.md
verify:
\tgit show HEAD:dvc.lock > reports/verification.md
test:
\tgit diff --exit-code && test "$$(git show HEAD:README.md)" = new
bfloat16:
\tmkdir reports/bfloat16; echo new > reports/bfloat16/metrics.json
smoke:
\tfalse
"""
OTHERS = ("reports/benchmarks/growth.json", "reports/verification_other_machine.md")


def commit(root: Path) -> None:
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    message = ["commit", "--quiet", "--message", "a"]
    subprocess.run(["git", *author, *message], cwd=root, check=True)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the results of a former run; changed in a copy only."""
    root = tmp_path_factory.mktemp("template") / "a project"
    (root / "reports/train").mkdir(parents=True)
    files = {
        "Makefile": MAKEFILE,
        ".gitignore": "/.state/\n",
        "dvc.yaml": "stages: {train: {cmd: ''}}\n",
        "params.yaml": (Path(__file__).parents[3] / "params.yaml").read_text(),
        "dvc.lock": "old\n",
        "README.md": "old\n",
        "reports/train/stale.json": "old\n",
        **dict.fromkeys(OTHERS, "recorded\n"),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    Repo.init(str(root))
    commit(root)
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "a project", symlinks=True))


@pytest.fixture(scope="module")
def recorded(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository after a recorded run; before it, other commands changed their results."""
    root = tmp_path_factory.mktemp("recorded") / "a project"
    shutil.copytree(template, root, symlinks=True)
    for name in OTHERS:
        (root / name).write_text("newer\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", "of this checkout")
        record(root, ["install", "repro", "test", "verify"])
    return root


def test_results_of_the_clone_replace_the_former_ones(recorded: Path) -> None:
    assert recorded_outputs(recorded) == {"reports/train/a.json": "new"}
    assert sorted(path.name for path in (recorded / "reports/train").iterdir()) == [
        *("a.json", "path")
    ]
    assert (recorded / ".dvc/cache/files/a").read_text() == "new\n"
    assert not (recorded / "installed").exists()


def test_the_clone_runs_without_this_checkouts_python_path(recorded: Path) -> None:
    assert (recorded / "reports/train/path").read_text() == "\n"


def test_provenance_of_the_clone_is_recorded(recorded: Path) -> None:
    assert read_json(recorded / "reports/provenance.json") == {"train": ENTRY.content()}


def test_verify_compares_with_the_new_results(recorded: Path) -> None:
    assert "md5: new" in (recorded / "reports/verification.md").read_text()


def test_results_of_other_commands_are_retained(recorded: Path) -> None:
    assert [(recorded / name).read_text() for name in OTHERS] == ["newer\n", "newer\n"]


def test_time_memory_and_machine_are_recorded_for_each_target(recorded: Path) -> None:
    runs = read_json(recorded / "reports/run.json")["runs"]
    assert list(runs) == ["install", "repro", "test", "verify"]
    measured = runs["repro"]
    assert measured.keys() == {
        *("seconds", "peak_memory_mib"),
        *("processor", "instructions", "cores", "python"),
    }
    assert 0 < measured["peak_memory_mib"] < 50  # that of a shell, not of the measuring process
    assert measured["cores"] == os.cpu_count()
    assert measured["processor"]
    assert measured["instructions"] == machine_facts()["processor"]


def test_a_measurement_keeps_its_machine_when_another_target_is_recorded(project: Path) -> None:
    file = project / "reports/run.json"
    write_json(file, {"runs": {"install": {"processor": "another"}}})
    commit(project)
    record(project, ["bfloat16"])
    runs = read_json(file)["runs"]
    assert runs["install"] == {"processor": "another"}
    assert runs["bfloat16"]["processor"] != "another"


def test_an_experiment_adds_its_folder_and_changes_no_other_result(project: Path) -> None:
    record(project, ["bfloat16"])
    assert (project / "reports/bfloat16/metrics.json").read_text() == "new\n"
    assert (project / "reports/train/stale.json").exists()
    assert (project / "dvc.lock").read_text() == "old\n"


def test_a_file_in_the_cache_is_not_overwritten(project: Path) -> None:
    cached = project / ".dvc/cache/files/a"
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_text("cached\n")
    cached.chmod(0o444)  # as DVC protects it; root could write to it all the same
    record(project, ["repro"])
    assert cached.read_text() == "cached\n"


def test_hooks_and_signatures_of_the_user_are_not_used_in_the_clone(
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
    record(project, ["repro"])
    assert recorded_outputs(project) == {"reports/train/a.json": "new"}


def test_a_cache_that_checkouts_share_is_left_unchanged(project: Path, tmp_path: Path) -> None:
    with (project / ".dvc/config").open("a") as config:
        config.write(f"[cache]\ndir = {tmp_path / 'shared'}\n")
    commit(project)
    record(project, ["repro"])
    assert recorded_outputs(project) == {"reports/train/a.json": "new"}
    assert not (project / ".dvc/cache").exists()


def test_a_failing_target_is_named_and_not_recorded(project: Path) -> None:
    with pytest.raises(UserError, match=r"^`make smoke` failed in a clone of the last commit$"):
        record(project, ["smoke"])
    assert not (project / "reports/run.json").exists()


def test_a_failing_commit_in_the_clone_is_an_error(project: Path) -> None:
    locked = MAKEFILE.replace("echo new > README.md", "touch .git/index.lock")
    (project / "Makefile").write_text(locked)
    commit(project)
    with pytest.raises(UserError, match=r"^git cannot commit in .*/clone: see the lines above$"):
        record(project, ["repro"])
    assert not (project / "reports/run.json").exists()


def test_a_target_whose_results_would_be_lost_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["record", "replications"])
    with pytest.raises(SystemExit):
        module.main()
    assert "replications cannot be recorded: choose from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "targets"),
    [([], module.TARGETS), (["repro", "bfloat16"], ["repro", "bfloat16"])],
)
def test_the_command_records_the_given_targets_or_the_usual_ones(
    monkeypatch: pytest.MonkeyPatch, words: list[str], targets: list[str]
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(module, "record", lambda _, targets: calls.append(targets))
    monkeypatch.setattr(sys, "argv", ["record", *words])
    module.main()
    assert calls == [targets]


def test_uncommitted_changes_are_refused(project: Path) -> None:
    (project / "Makefile").write_text("other")
    with pytest.raises(UserError, match="tracked files differ from the last commit"):
        record(project, ["install"])


def test_a_folder_that_is_not_a_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not in a git commit"):
        record(tmp_path, ["install"])
