from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.core.files import write_json
from sidebyside.execution.schedule import Span
from sidebyside.workflow.stage_plan import (
    expected_seconds,
    known_seconds,
    peak_memory,
    save_peak_memory,
    table,
    threads_of,
)

ENTRY = {
    "key": "k",
    "machine": {},
    "source": {"commit": "unknown", "dirty": False},
    "outputs": {},
}


@pytest.mark.parametrize("recorded", ["provenance.json", "reports/provenance.json"])
def test_the_last_run_here_tells_the_duration_before_the_recorded_one(
    tmp_path: Path, recorded: str
) -> None:
    assert known_seconds(tmp_path) == {}
    seconds = {"train@a": 20.0, "train@b": 30.0}
    entries = {stage: {**ENTRY, "seconds": one} for stage, one in seconds.items()}
    write_json(tmp_path / recorded, {**entries, "train@c": ENTRY})
    write_json(tmp_path / ".state/provenance/train@a.json", {**ENTRY, "seconds": 25.0})
    assert known_seconds(tmp_path) == {"train@a": 25.0, "train@b": 30.0}
    write_json(tmp_path / ".state/provenance/train@a.json", {})
    with pytest.raises(UserError, match=r"train@a\.json is damaged"):
        known_seconds(tmp_path)


def test_an_unknown_duration_is_that_of_the_longest_item_of_the_same_matrix() -> None:
    known = {"train@a": 20.0, "train@b": 30.0, "everything": 50.0}
    stages = ["train@a", "train@b", "train@new", "evaluate"]
    assert expected_seconds(stages, known) == {
        "train@a": 20.0,
        "train@b": 30.0,
        "train@new": 30.0,
        "evaluate": 0.0,
    }


@pytest.mark.parametrize(
    ("text", "threads"),
    [("threads: 3", 3), ("seed: 1", 1), ("threads: many", 1), ("threads: 0", 1), ("[]", 1)],
)
def test_the_threads_of_a_stage_are_those_of_the_parameters(
    tmp_path: Path, text: str, threads: int
) -> None:
    assert threads_of(tmp_path) == 1
    (tmp_path / "params.yaml").write_text(text)
    assert threads_of(tmp_path) == threads


def test_the_recorded_peak_is_that_of_the_project(tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    assert peak_memory(study) == 0
    write_json(tmp_path / "reports/run.json", {"runs": {"repro": {"peak_memory_mib": 3}}})
    assert peak_memory(study) == peak_memory(tmp_path) == 3 << 20
    write_json(tmp_path / "reports/run.json", {"runs": {}})
    assert peak_memory(study) == 0


def test_the_peak_is_that_of_the_largest_run(tmp_path: Path) -> None:
    write_json(tmp_path / "reports/run.json", {"runs": {"repro": {"peak_memory_mib": 3}}})
    save_peak_memory(tmp_path, 2 << 20)
    assert peak_memory(tmp_path) == 3 << 20
    for peak in (5 << 20, 4 << 20):
        save_peak_memory(tmp_path, peak)
        assert peak_memory(tmp_path) == 5 << 20


def test_the_table_marks_estimates_and_unknown_durations() -> None:
    spans = {"b": Span(65.0, 70.0), "a@1": Span(0.0, 65.0), "last": Span(70.0, 70.0)}
    assert table(spans, ["a@1"]) == [
        "stage  starts after       takes",
        "a@1             0 s  1 min 05 s",
        "b        1 min 05 s        5 s?",
        "last     1 min 10 s     unknown",
    ]
