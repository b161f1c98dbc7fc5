"""dvc.yaml: dependencies, outputs and descriptions of the stages, compared with their code."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import sidebyside
from sidebyside.config.dataset import Dataset
from tests.support.source_code import LIBRARY, PROJECT, closure, deciding_code
from tests.support.source_code import STAGES as SCRIPTS

REPLICATIONS = PROJECT / "replications"
NAMES = [path.stem for path in SCRIPTS]
STAGES: Mapping[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
REPLICATED: Mapping[str, Any] = {
    stage: content.get("do", content)
    for stage, content in yaml.safe_load((REPLICATIONS / "dvc.yaml").read_text())["stages"].items()
}
MAXIMUM_LINES = 150


def test_dvc_yaml_has_at_most_150_lines() -> None:
    assert len((PROJECT / "dvc.yaml").read_text().splitlines()) <= MAXIMUM_LINES


def test_stages_scripts_and_sections_of_the_parameters_have_the_same_names() -> None:
    assert sorted(STAGES) == NAMES
    sections = yaml.safe_load((PROJECT / "params.yaml").read_text())
    assert sorted(set(sections) - {"dataset", "seed", "threads", "parts"}) == NAMES


def listed_code(stage: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the code among a stage's dependencies, as paths below PROJECT, in their order."""
    paths = [(folder / name).resolve().relative_to(PROJECT) for name in stage["deps"]]
    return [path.as_posix() for path in paths if {"pipeline", "src"} & set(path.parts)]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_script_and_the_packages_that_decide_its_bytes(stage: str) -> None:
    script = f"pipeline/{stage}.py"
    needed = {script} | deciding_code(PROJECT / script)
    listed = listed_code(STAGES[stage], PROJECT)
    missing, unused = sorted(needed - set(listed)), sorted(set(listed) - needed)
    assert not (missing or unused), f"dvc.yaml, {stage}: add {missing}, remove {unused}"
    order = [f"src/sidebyside/{name}" for name in sidebyside.DECIDES_BYTES]
    assert listed == [script, *(folder for folder in order if folder in listed)]


@pytest.mark.parametrize("stage", REPLICATED)
def test_a_replication_depends_on_the_code_that_decides_its_bytes(stage: str) -> None:
    script = f"replications/pipeline/{ {'winner': 'train'}.get(stage, stage) }.py"
    needed = {script} | deciding_code(PROJECT / script)
    listed = listed_code(REPLICATED[stage], REPLICATIONS)
    missing, unused = sorted(needed - set(listed)), sorted(set(listed) - needed)
    assert not (missing or unused), f"replications, {stage}: add {missing}, remove {unused}"
    assert len(listed) == len(set(listed))


# Fields of dataset.json that a stage reads through a property of its record.
BEHIND = {"shape": {"height", "width", "channels"}, "classes": {"class_names"}}
DATASET = "data/processed/dataset.json"
CHECKS_OF_RESULTS = LIBRARY / "config/result_files.py"


def fields_read(stage: str) -> set[str]:
    """Return the fields of dataset.json that a stage's code reads, from variables named `dataset`.

    Left out are the title, which is in messages only, and the checks of results, which evaluate
    calls.
    """
    script = PROJECT / f"pipeline/{stage}.py"
    modules = closure(script, ("", *sidebyside.DECIDES_BYTES)) - {CHECKS_OF_RESULTS}
    names = {
        node.attr
        for file in (script, *modules)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("dataset")
    }
    fields = set[str]().union(*(BEHIND.get(name, {name}) for name in names))
    return (fields & set(Dataset.model_fields)) - {"title"}


@pytest.mark.parametrize("stage", ["augment", "tune", "train"])
def test_a_stage_depends_on_the_parts_of_the_description_that_it_reads(stage: str) -> None:
    (listed,) = [one[DATASET] for one in STAGES[stage]["params"] if isinstance(one, dict)]
    # The results of a renamed data set are logged to another experiment.
    logged = {"name"} if stage in ("tune", "train") else set()
    assert set(listed) == fields_read(stage) | logged
    assert listed == sorted(listed)
    assert DATASET not in STAGES[stage]["deps"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_a_description_and_runs_its_script(stage: str) -> None:
    assert len(STAGES[stage]["desc"].split()) > 3
    assert STAGES[stage]["cmd"].startswith(f"PYTHONPATH=src python pipeline/{stage}.py")


def outputs(stage: str) -> dict[str, Mapping[str, Any]]:
    """Return path → options."""
    options: dict[str, Mapping[str, Any]] = {}
    for kind in ("outs", "metrics", "plots"):
        for entry in STAGES[stage].get(kind, []):
            options |= {entry: {}} if isinstance(entry, str) else entry
    return options


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_keeps_the_outputs_of_a_stage_while_it_runs(stage: str) -> None:
    assert all(options.get("persist") for options in outputs(stage).values())


@pytest.mark.parametrize("stage", STAGES)
def test_small_results_are_in_git_and_large_ones_in_dvcs_cache(stage: str) -> None:
    for path, options in outputs(stage).items():
        assert options.get("cache", True) != path.startswith("reports/"), path


def test_only_evaluate_depends_on_the_test_split() -> None:
    test_files = {"data/processed/test.npz", "data/processed"}
    users = {stage for stage, content in STAGES.items() if test_files & set(content["deps"])}
    assert users == {"evaluate"}
    for script in SCRIPTS:
        nodes = ast.walk(ast.parse(script.read_text(encoding="utf-8")))
        names = {ast.unparse(node) for node in nodes if isinstance(node, ast.expr)}
        named = any(
            re.search(r"split\('test'\)|assign_splits|t10k|test\.npz", name)
            for name in names
            if not name.startswith(("'", '"'))
        )
        assert named == (script.stem in ("preprocess", "evaluate")), script
