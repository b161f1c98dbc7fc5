"""Inputs of a stage that were changed after DVC recorded them."""

import shutil
from pathlib import Path

import pytest
import yaml

from sidebyside.core.errors import UserError
from sidebyside.workflow import provenance
from sidebyside.workflow.integrity import changed_outputs, require_inputs, require_unchanged, rerun
from tests.support.dvc_project import COPY, MODEL, change, mend, new_project

EVALUATE = {
    "matrix": {"model": ["a", "copy"]},
    "cmd": "python pipeline/evaluate.py ${item.model}",
    "deps": ["pipeline", "models/${item.model}.keras", "reports"],
}
STUDY = {
    "matrix": {"model": ["copy"]},
    "cmd": "python pipeline/study.py all",
    "deps": ["../models/${item.model}.keras", "src"],
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a study in a folder, which uses its models."""
    root = new_project(tmp_path_factory.mktemp("projects") / "original")
    graph = yaml.safe_load((root / "dvc.yaml").read_text())
    graph["stages"]["evaluate"] = EVALUATE
    (root / "dvc.yaml").write_text(yaml.safe_dump(graph))
    (root / "study").mkdir()
    (root / "study/dvc.yaml").write_text(yaml.safe_dump({"stages": {"study": STUDY}}))
    return root


@pytest.fixture
def project(original: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project as the working directory; a test restores what it changes."""
    monkeypatch.chdir(original)
    return original


def test_only_the_inputs_of_the_matrix_item_are_checked(project: Path) -> None:
    change(project / MODEL)
    require_inputs(project, "evaluate", ["copy"])
    with pytest.raises(UserError, match=f"{MODEL} is not as dvc.lock records it") as error:
        require_inputs(project, "evaluate", ["a"])
    mend(str(error.value))
    require_inputs(project, "evaluate", ["a"])


def test_inputs_from_the_surrounding_project_are_checked(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "study")
    require_inputs(project / "study", "study", ["all"])
    change(project / COPY)  # which model the stage uses does not follow from its arguments
    with pytest.raises(UserError, match=f"../{COPY} is not as dvc.lock records it") as error:
        require_inputs(project / "study", "study", ["all"])
    mend(str(error.value))
    require_inputs(project / "study", "study", ["all"])


def test_an_output_with_its_own_provenance_may_differ_from_the_lock(project: Path) -> None:
    change(project / MODEL)
    provenance.write(project, "train", "key", {}, [project / MODEL])
    assert changed_outputs(project) == {}
    change(project / MODEL)
    assert set(changed_outputs(project)) == {MODEL}
    with pytest.raises(UserError) as error:
        require_unchanged(project, [MODEL])
    mend(str(error.value))
    shutil.rmtree(project / ".state")


def test_a_missing_output_is_not_a_changed_one(project: Path) -> None:
    content = (project / MODEL).read_bytes()
    (project / MODEL).unlink()
    assert changed_outputs(project) == {}
    (project / MODEL).write_bytes(content)


def test_a_folder_stands_for_the_outputs_in_it(project: Path) -> None:
    change(project / MODEL)
    require_unchanged(project, ["data"])
    with pytest.raises(UserError) as error:
        require_unchanged(project, ["models"])
    mend(str(error.value))


def test_advice_names_the_stage_of_a_file_that_its_record_contradicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("", "replications"):
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        (root / "dvc.yaml").write_text("stages: {}\n")
        assert rerun(root / "a/b.csv").endswith(" repro`")
        (root / "dvc.lock").write_text(
            "schema: '2.0'\nstages:\n  tune@mlp: {cmd: c, outs: [{path: a, md5: abc.dir}]}\n"
        )
    command = "repro --force --single-item tune@mlp`"
    assert rerun(tmp_path / "a/b.csv") == f"run `dvc {command}"
    assert rerun(tmp_path / "replications/a/b.csv") == f"run `dvc --cd replications {command}"
