import shutil
from pathlib import Path

import pytest
import yaml

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json, write_text
from sidebyside.reproducibility.clones import set_parameters
from tools import checklist
from tools.checklist import LACKING, exists, render

PROJECT = Path(__file__).resolve().parents[3]
SOURCE = PROJECT / "tools/checklist.yaml"
IDS = [
    *(f"D{i}" for i in range(1, 5)),
    *(f"M{i}" for i in range(1, 5)),
    *(f"E{i}" for i in range(1, 8)),
    *(f"C{i}" for i in range(1, 8)),
    *(f"R{i}" for i in range(1, 10)),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_text(tmp_path / "Makefile", "test: install\nNAME := x\n")
    write_text(tmp_path / "tests/unit/test_a.py", "def test_it():\n    pass\n")
    write_text(tmp_path / "README.md", "# Limits\n")
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    set_parameters(tmp_path, {"train.models": ["mlp"], "train.data": ["original"]})
    made_from: dict[str, dict[str, str]] = {"data_sha256": {}, "settings": {}}
    write_json(tmp_path / "reports/train/mlp-original-1/model.json", made_from)
    scores = {split: {"accuracy": 0.9} for split in ("val", "test")}
    write_json(tmp_path / "reports/evaluate/metrics.json", {"mlp-original": scores})
    write_json(
        tmp_path / "reports/reference/metrics.json",
        {f"mlp-original-{seed}": {**scores, "made_from": made_from} for seed in (2, 3)},
    )
    return tmp_path


@pytest.mark.parametrize(
    "evidence",
    ["README.md", "README.md## Limits", "make test", "tests/unit/test_a.py::test_it", "seeds 3"],
)
def test_present_evidence_exists(root: Path, evidence: str) -> None:
    assert exists(root, evidence)


@pytest.mark.parametrize(
    "evidence",
    [
        *("LICENSE", "README.md#Licence", "make install", "make tests"),
        *(
            "tests/unit/test_a.py::test_that",
            "tests/test_b.py::test_it",
            "seeds 4",
            "none yet: a tag",
        ),
    ],
)
def test_absent_evidence_does_not_exist(root: Path, evidence: str) -> None:
    assert not exists(root, evidence)


def test_evidence_of_an_unknown_kind_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="'trust me!' is not evidence of a known kind: w"):
        exists(root, "trust me!")


def test_every_requirement_has_evidence() -> None:
    sections = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    entries = [entry for section in sections.values() for entry in section]
    assert [entry["id"] for entry in entries] == IDS
    assert all(entry["evidence"] for entry in entries)


def test_the_evidence_of_this_project_exists() -> None:
    sections = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    named = [e for section in sections.values() for entry in section for e in entry["evidence"]]
    assert [e for e in named if not e.startswith(LACKING) and not exists(PROJECT, e)] == []


def test_no_requirement_is_met_in_an_empty_project(root: Path) -> None:
    text = render(root)
    rows = [line for line in text.splitlines() if line.startswith("| C")]
    assert len(rows) == 7
    assert all("| – |" in row and "✗" in row for row in rows)
    assert text.endswith(" of 31 requirements are met.\n")


def test_a_requirement_needs_all_of_its_evidence(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [{"id": "A1", "text": "x", "evidence": ["README.md"]},
               {"id": "A2", "text": "x", "evidence": ["README.md", "LICENSE"]}]  # fmt: skip
    monkeypatch.setattr(checklist, "read_yaml", lambda _: {"A": entries})
    text = render(root)
    assert "| A1 | ✓ |" in text
    assert "| A2 | – |" in text
    assert text.endswith("1 of 2 requirements are met.\n")


def test_the_model_with_the_fewest_seeds_counts(root: Path) -> None:
    file = root / "reports/evaluate/metrics.json"
    scores = read_json(file)
    write_json(file, {**scores, "cnn-original": scores["mlp-original"]})
    assert not exists(root, "seeds 2")
    assert exists(root, "seeds 1")


def test_a_prefix_of_a_name_and_a_variable_are_not_evidence(root: Path) -> None:
    write_text(root / "Makefile", "flags := x\n")
    assert not exists(root, "make flags")
    assert not exists(root, "tests/unit/test_a.py::test_i")
