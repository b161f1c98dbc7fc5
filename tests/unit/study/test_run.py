from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.core.files import write_json
from study.run import Ledger, expected_seconds

ENTRY = {
    "key": "k",
    "machine": {},
    "source": {"commit": "unknown", "dirty": False},
    "outputs": {},
}


def test_the_last_run_here_tells_the_expected_duration_before_the_recorded_one(
    tmp_path: Path,
) -> None:
    assert expected_seconds(tmp_path) == {}
    recorded = {"train@a": 20.0, "train@b": 30.0}
    entries = {stage: {**ENTRY, "seconds": seconds} for stage, seconds in recorded.items()}
    write_json(tmp_path / "provenance.json", {**entries, "train@c": ENTRY})
    write_json(tmp_path / ".state/provenance/train@a.json", {**ENTRY, "seconds": 25.0})
    assert expected_seconds(tmp_path) == {"train@a": 25.0, "train@b": 30.0}
    write_json(tmp_path / ".state/provenance/train@a.json", {})
    with pytest.raises(UserError, match=r"train@a\.json is damaged"):
        expected_seconds(tmp_path)


def test_an_interrupted_run_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Ledger(tmp_path, ["one", "two", "three"]).record({"one": True})
    write_json(tmp_path / "seconds.json", 100.0)
    again = Ledger(tmp_path, ["two", "three"])
    assert again.stopwatch.seconds > 100
    again.record({"two": True, "three": False})
    assert again.completed == ["one", "two"]
    assert again.failed == ["three"]
    assert capsys.readouterr().out.splitlines() == [
        "one completed: 1 of 3 stages, 0 s",
        "two completed: 2 of 3 stages, 1 min 40 s",
        "three failed: 2 of 3 stages, 1 min 40 s",
    ]


def test_the_time_before_the_first_completed_stage_counts(tmp_path: Path) -> None:
    Ledger(tmp_path, ["one"]).record({})
    write_json(tmp_path / "seconds.json", 100.0)
    assert Ledger(tmp_path, ["one"]).stopwatch.seconds > 100


def test_a_new_run_begins_if_all_completed_stages_are_due_again(tmp_path: Path) -> None:
    Ledger(tmp_path, ["one", "two"]).record({"one": True})
    write_json(tmp_path / "seconds.json", 100.0)
    again = Ledger(tmp_path, ["one", "two"])
    assert again.completed == []
    assert again.stopwatch.seconds < 100


def test_a_damaged_ledger_is_named_in_the_error(tmp_path: Path) -> None:
    write_json(tmp_path / "stages.json", 3)
    with pytest.raises(UserError, match=r"stages\.json is damaged: delete it to begin a new run"):
        Ledger(tmp_path, ["one"])
