from pathlib import Path

import pytest
import yaml

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.reproducibility.gather_provenance import gather, write_gathered
from sidebyside.workflow.provenance import FOLDER, Provenance, Source


def entry(key: str, **outputs: str) -> Provenance:
    return Provenance(key, {"fingerprint": "f"}, Source("commit", dirty=False), outputs, 1.5)


def pipeline(root: Path, **stages: dict[str, str]) -> Path:
    """Write a dvc.lock: stage → output → digest."""
    lock = {
        stage: {"outs": [{"path": path, "md5": md5} for path, md5 in outputs.items()]}
        for stage, outputs in stages.items()
    }
    root.mkdir(exist_ok=True)
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": lock}, sort_keys=False))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A pipeline of two stages; of the first both its own and recorded provenance is known."""
    (tmp_path / "reports").mkdir()
    pipeline(tmp_path, tune={"a": "1", "b": "2"}, train={"c": "3"})
    write_json(tmp_path / FOLDER / "tune.json", entry("own", a="1", b="2").content())
    recorded = {"tune": entry("recorded", a="1", b="2"), "train": entry("recorded", c="3")}
    contents = {stage: one.content() for stage, one in recorded.items()}
    write_json(tmp_path / "reports/provenance.json", contents)
    return tmp_path


def test_entries_of_the_checkout_come_before_recorded_ones(root: Path) -> None:
    assert {stage: one.key for stage, one in gather(root).items()} == {
        "tune": "own",
        "train": "recorded",
    }


@pytest.mark.parametrize("outputs", [{"a": "1", "b": "other"}, {"a": "1", "z": "2"}, {}])
def test_entries_about_other_outputs_do_not_count(root: Path, outputs: dict[str, str]) -> None:
    write_json(root / FOLDER / "tune.json", entry("own", **outputs).content())
    assert gather(root)["tune"].key == "recorded"
    (root / "reports/provenance.json").unlink()
    assert gather(root) == {}


def test_gathered_entries_are_written_in_the_order_of_the_stages(root: Path) -> None:
    line = write_gathered(root)
    content = read_json(root / "reports/provenance.json")
    assert list(content) == ["tune", "train"]
    assert content["tune"] == {
        "key": "own",
        "machine": {"fingerprint": "f"},
        "source": {"commit": "commit", "dirty": False},
        "outputs": {"a": "1", "b": "2"},
        "seconds": 1.5,
    }
    assert line == "reports/provenance.json: provenance of 2 of 2 stages"


def test_stages_without_provenance_are_named_and_former_stages_removed(root: Path) -> None:
    pipeline(root, train={"c": "3"}, evaluate={"d": "4"})
    line = write_gathered(root)
    assert line.endswith("provenance of 1 of 2 stages; unknown for evaluate")
    assert list(read_json(root / "reports/provenance.json")) == ["train"]


def test_entries_without_outputs_are_retained(root: Path) -> None:
    whole = {"everything": entry("everything").content()}
    write_json(root / "reports/provenance.json", whole)
    write_gathered(root)
    assert list(read_json(root / "reports/provenance.json")) == ["everything", "tune"]


def test_entries_without_a_stage_are_updated(root: Path) -> None:
    recorded = {"everything": entry("recorded").content()}
    write_json(root / "reports/provenance.json", recorded)
    write_json(root / FOLDER / "everything.json", entry("own").content())
    write_gathered(root)
    assert read_json(root / "reports/provenance.json")["everything"]["key"] == "own"


def test_a_pipeline_without_a_reports_folder_has_the_file_beside_its_lock(tmp_path: Path) -> None:
    root = pipeline(tmp_path / "study", tune={"a": "1"})
    write_json(root / FOLDER / "tune.json", entry("own", a="1").content())
    assert write_gathered(root) == "provenance.json: provenance of 1 of 1 stages"
    assert read_json(root / "provenance.json")["tune"]["key"] == "own"


def test_a_damaged_entry_is_named(root: Path) -> None:
    (root / FOLDER / "tune.json").write_text("[]")
    with pytest.raises(UserError, match=r"tune\.json is damaged"):
        gather(root)


def test_without_a_lock_recorded_entries_are_not_overwritten(root: Path) -> None:
    (root / "dvc.lock").unlink()
    with pytest.raises(UserError, match=r"dvc\.lock is missing: run the pipeline first"):
        write_gathered(root)
    assert list(read_json(root / "reports/provenance.json")) == ["tune", "train"]
