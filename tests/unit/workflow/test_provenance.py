"""Provenance is written beside the outputs and found while the outputs are the same."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sidebyside.core.errors import UserError
from sidebyside.workflow import provenance
from sidebyside.workflow.provenance import Provenance, Source
from tests.support.dvc_project import mend

MACHINE = {"fingerprint": "abc", "processor": "x"}


@pytest.fixture(autouse=True)
def no_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "models/m.keras"
    path.parent.mkdir()
    path.write_text("weights")
    return path


def write(root: Path, model: Path) -> Provenance:
    return provenance.write(root, "train@m", "k1", MACHINE, [model], 12.5)


def test_an_entry_is_found_again(tmp_path: Path, model: Path) -> None:
    written = write(tmp_path, model)
    assert provenance.find(tmp_path, "train@m", [model]) == written
    assert written.source == Source("unknown", dirty=False)
    assert written.seconds == 12.5


def test_an_entry_of_other_outputs_does_not_count(tmp_path: Path, model: Path) -> None:
    write(tmp_path, model)
    model.write_text("others")
    assert provenance.find(tmp_path, "train@m", [model]) is None


def test_another_stage_has_another_entry(tmp_path: Path, model: Path) -> None:
    write(tmp_path, model)
    assert provenance.find(tmp_path, "train@n", [model]) is None


def test_the_entry_of_earlier_outputs_is_found_when_they_come_back(
    tmp_path: Path, model: Path
) -> None:
    written = write(tmp_path, model)
    model.write_text("others")
    provenance.write(tmp_path, "train@m", "k2", MACHINE, [model])
    model.write_text("weights")
    assert provenance.find(tmp_path, "train@m", [model]) == written


def test_the_entry_of_an_experiment_outlives_its_temporary_copy(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy/models/m.keras"
    copy.parent.mkdir(parents=True)
    copy.write_text("of the experiment")
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    written = write(tmp_path / "copy", copy)
    monkeypatch.delenv("DVC_ROOT")
    write(tmp_path, model)
    shutil.move(copy, model)  # as `dvc exp apply` does
    shutil.rmtree(tmp_path / "copy")
    assert provenance.find(tmp_path, "train@m", [model]) == written


def test_an_experiment_finds_the_entry_of_the_checkout_it_was_copied_from(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write(tmp_path, model)
    copy = tmp_path / "copy/models/m.keras"
    copy.parent.mkdir(parents=True)
    copy.write_text("weights")
    assert provenance.find(tmp_path / "copy", "train@m", [copy]) is None
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert provenance.find(tmp_path / "copy", "train@m", [copy]) == written


@pytest.mark.parametrize("name", provenance.RECORDED)
def test_a_recorded_entry_is_found_without_any_other(
    tmp_path: Path, model: Path, name: str
) -> None:
    written = write(tmp_path, model)
    recorded = tmp_path / name
    recorded.parent.mkdir(exist_ok=True)
    recorded.write_text(json.dumps({"train@m": written.content()}))
    (tmp_path / provenance.FOLDER / "train@m.json").unlink()
    assert provenance.find(tmp_path, "train@m", [model]) == written


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"key": "k"}', '{"source": 1}', '{"source": {"x": 1}}']
)
def test_a_damaged_entry_is_removed_by_the_command_in_the_message(
    tmp_path: Path, model: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = write(tmp_path, model)
    entry = tmp_path / provenance.FOLDER / "train@m.json"
    entry.write_text(content)
    damaged = r"provenance/train@m\.json is damaged: `rm "
    with pytest.raises(UserError, match=damaged) as error:
        provenance.find(tmp_path, "train@m", [model])
    with pytest.raises(UserError, match=damaged):
        provenance.written(tmp_path)
    mend(str(error.value))
    assert provenance.find(tmp_path, "train@m", [model]) == written  # it is archived too


def test_unknown_provenance_is_identified_by_the_outputs(tmp_path: Path, model: Path) -> None:
    first = provenance.unknown(tmp_path, [model])
    assert provenance.unknown(tmp_path, [model]) == first
    model.write_text("others")
    assert provenance.unknown(tmp_path, [model]).key != first.key


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=T", "-c", "user.email=t@example.com", *arguments]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit_all(root: Path) -> None:
    for command in (["init", "-q"], ["add", "--all"], ["commit", "-qm", "state"]):
        git(root, *command)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two pipelines, code and results, all committed."""
    for name, text in {
        "dvc.yaml": yaml.safe_dump({"stages": {"s": {"cmd": "", "outs": ["models/x"]}}}),
        "study/dvc.yaml": yaml.safe_dump({"stages": {"s": {"cmd": "", "outs": ["page.md"]}}}),
        "src/code.py": "code",
        "reports/run.json": "{}",
        "dvc.lock": "lock",
        "models/x": "x",
        "study/page.md": "page",
        "study/provenance.json": "{}",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    commit_all(tmp_path)
    provenance.results.cache_clear()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "dirty"),
    [
        ("src/code.py", True),
        ("dvc.yaml", True),
        ("dvc.lock", False),
        ("reports/run.json", False),
        ("models/x", False),
        ("study/page.md", False),
        ("study/provenance.json", False),
    ],
)
def test_changed_code_makes_a_checkout_dirty_and_changed_results_do_not(
    repository: Path, name: str, dirty: bool
) -> None:
    assert provenance.source(repository).dirty is False
    with (repository / name).open("a") as file:
        file.write("\n")
    assert provenance.source(repository).dirty is dirty
    assert provenance.source(repository / "study").dirty is dirty


def test_a_project_in_a_larger_repository_is_clean_and_dirty_by_its_own_files(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    top = tmp_path_factory.mktemp("larger")
    shutil.copytree(repository, top / "a/project", ignore=shutil.ignore_patterns(".git"))
    (top / "other.txt").touch()
    commit_all(top)
    link = top.with_name("link to a project")
    link.symlink_to(top / "a/project")
    for root in (top / "a/project", top / "a/project/study", link):
        assert provenance.source(root) == Source(git(top, "rev-parse", "HEAD"), dirty=False)
    for name in ("other.txt", "a/project/reports/run.json", "a/project/study/page.md"):
        (top / name).write_text("changed")
    assert provenance.source(link).dirty is False
    (top / "a/project/src/code.py").write_text("changed")
    for root in (top / "a/project", top / "a/project/study", link):
        assert provenance.source(root).dirty is True
    link.unlink()


def test_a_project_that_is_not_in_the_commit_has_an_unknown_commit(repository: Path) -> None:
    (repository / "archive").mkdir()
    (repository / "archive/dvc.yaml").touch()
    assert provenance.source(repository / "archive") == Source("unknown", dirty=False)


def test_a_folder_without_git_has_an_unknown_commit(tmp_path: Path) -> None:
    assert provenance.source(tmp_path) == Source("unknown", dirty=False)


def test_the_commit_is_that_of_the_checkout(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert provenance.source(repository) == Source(head, dirty=False)


def test_the_entry_of_an_experiment_names_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "src/code.py").write_text("changed")
    monkeypatch.setenv("DVC_EXP_NAME", "probe")
    written = write(repository, repository / "models/x")
    monkeypatch.delenv("DVC_EXP_NAME")
    assert written.source == Source(git(repository, "rev-parse", "HEAD"), True, "probe")
    assert provenance.find(repository, "train@m", [repository / "models/x"]) == written


def test_only_existing_lock_files_have_a_digest(tmp_path: Path) -> None:
    assert provenance.locks(tmp_path) == {}
    (tmp_path / "dvc.lock").write_text("x")
    assert provenance.locks(tmp_path) == {"dvc.lock": hashlib.sha256(b"x").hexdigest()}
