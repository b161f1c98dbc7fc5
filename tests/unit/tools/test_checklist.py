import shutil
from pathlib import Path

import pytest
import yaml

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json, write_text
from sidebyside.reproducibility.rerun import set_parameters
from tools import checklist
from tools.checklist import is_there, render

PROJECT = Path(__file__).resolve().parents[3]
SOURCE = PROJECT / "tools/checklist.yaml"
LINES = [
    *(f"D{i}" for i in range(1, 5)),
    *(f"M{i}" for i in range(1, 5)),
    *(f"E{i}" for i in range(1, 8)),
    *(f"C{i}" for i in range(1, 8)),
    *(f"R{i}" for i in range(1, 10)),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_text(tmp_path / "Makefile", "test: install\nNAME := x\n")
    write_text(tmp_path / "tests/test_a.py", "def test_it():\n    pass\n")
    write_text(tmp_path / "README.md", "# Limits\n")
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    set_parameters(tmp_path, {"train.models": ["mlp"], "train.data": ["original"]})
    made_from: dict[str, dict[str, str]] = {"data_sha256": {}, "settings": {}}
    write_json(tmp_path / "reports/train/mlp-original-1/model.json", made_from)
    scores = {"test": {"accuracy": 0.9}}
    write_json(tmp_path / "reports/evaluate/metrics.json", {"mlp-original": scores})
    write_json(
        tmp_path / "reports/reference/metrics.json",
        {f"mlp-original-{seed}": {**scores, "made_from": made_from} for seed in (2, 3)},
    )
    return tmp_path


@pytest.mark.parametrize(
    "evidence",
    ["README.md", "README.md## Limits", "make test", "tests/test_a.py::test_it", "seeds 3"],
)
def test_evidence_that_is_there_is_found(root: Path, evidence: str) -> None:
    assert is_there(root, evidence)


@pytest.mark.parametrize(
    "evidence",
    [
        *("LICENSE", "README.md#Licence", "make install", "make tests"),
        *("tests/test_a.py::test_that", "tests/test_b.py::test_it", "seeds 4", "none yet: a tag"),
    ],
)
def test_evidence_that_is_not_there_is_missed(root: Path, evidence: str) -> None:
    assert not is_there(root, evidence)


def test_evidence_of_an_unknown_kind_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="'trust me!' is no evidence"):
        is_there(root, "trust me!")


def test_every_line_of_the_checklist_has_evidence() -> None:
    sections = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    entries = [entry for section in sections.values() for entry in section]
    assert [entry["line"] for entry in entries] == LINES
    assert all(entry["evidence"] for entry in entries)


def test_a_line_holds_only_with_all_of_its_evidence(root: Path) -> None:
    text = render(root)  # a project that has next to nothing
    rows = [line for line in text.splitlines() if line.startswith("| C")]
    assert len(rows) == 7
    assert all("| – |" in row and "✗" in row for row in rows)
    assert text.endswith(" of 31 lines hold.\n")


def test_a_line_with_half_of_its_evidence_does_not_hold(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [{"line": "A1", "text": "x", "evidence": ["README.md"]},
               {"line": "A2", "text": "x", "evidence": ["README.md", "LICENSE"]}]  # fmt: skip
    monkeypatch.setattr(checklist, "read_yaml", lambda _: {"A": entries})
    text = render(root)
    assert "| A1 | ✓ |" in text
    assert "| A2 | – |" in text
    assert text.endswith("1 of 2 lines hold.\n")


def test_the_seeds_are_those_of_the_model_with_the_fewest(root: Path) -> None:
    file = root / "reports/evaluate/metrics.json"
    scores = read_json(file)
    write_json(file, {**scores, "cnn-original": scores["mlp-original"]})
    assert not is_there(root, "seeds 2")
    assert is_there(root, "seeds 1")


def test_part_of_a_name_and_a_variable_are_no_evidence(root: Path) -> None:
    write_text(root / "Makefile", "flags := x\n")
    assert not is_there(root, "make flags")
    assert not is_there(root, "tests/test_a.py::test_i")
