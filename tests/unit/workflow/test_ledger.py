import errno
from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.workflow.ledger import Ledger


def interrupted(folder: Path, *completed: str) -> None:
    """Begin a run of three stages, complete some, and let 100 seconds pass."""
    ledger = Ledger(folder, ["one", "two", "three"], ["old"])
    for stage in completed:
        ledger.start(stage)
        ledger.complete(stage)
    write_json(folder / "seconds.json", 100.0)


def test_an_interrupted_run_is_resumed_with_its_time_and_what_was_recorded_before(
    tmp_path: Path,
) -> None:
    interrupted(tmp_path, "one")
    again = Ledger(tmp_path, ["two", "three"], ["old", "one"])
    again.start("two")
    again.complete("two")
    assert again.completed == ["one", "two"]
    assert again.recorded == ["old"]
    assert again.stopwatch.seconds > 100


def test_a_stage_counts_that_dvc_has_recorded_but_the_interrupted_run_has_not_seen(
    tmp_path: Path,
) -> None:
    interrupted(tmp_path, "one")
    Ledger(tmp_path, ["two", "three"], ["old", "one"]).start("two")
    assert Ledger(tmp_path, ["three"], ["old", "one", "two"]).completed == ["one", "two"]


def test_the_time_before_the_first_completed_stage_counts(tmp_path: Path) -> None:
    interrupted(tmp_path)
    assert Ledger(tmp_path, ["one"], []).stopwatch.seconds > 100


def test_a_new_run_begins_if_all_completed_stages_are_due_again(tmp_path: Path) -> None:
    interrupted(tmp_path, "one")
    again = Ledger(tmp_path, ["one", "two"], ["old", "one"])
    assert again.completed == []
    assert again.recorded == ["old", "one"]
    assert again.stopwatch.seconds < 100


def test_a_run_after_a_closed_one_is_new(tmp_path: Path) -> None:
    interrupted(tmp_path, "one")
    Ledger(tmp_path, ["two"], []).close()
    again = Ledger(tmp_path, ["two"], ["one"])
    assert again.recorded == ["one"]
    assert again.completed == []
    assert again.stopwatch.seconds < 100


@pytest.mark.parametrize("content", [3, {"completed": 1, "recorded": []}, {"completed": []}])
def test_a_damaged_ledger_is_named_in_the_error(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "stages.json", content)
    with pytest.raises(UserError, match=r"stages\.json is damaged: delete it to begin a new run"):
        Ledger(tmp_path, ["one"], [])
    assert read_json(tmp_path / "stages.json") == content


def test_a_full_disk_does_not_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path, ["one"], [])

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sidebyside.workflow.ledger.write_json", fail)
    ledger.complete("one")
    assert ledger.completed == ["one"]
