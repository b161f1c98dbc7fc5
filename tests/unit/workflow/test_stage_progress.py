import contextlib
import io
import sys
import time
from pathlib import Path

import pytest

from sidebyside.workflow.ledger import Ledger
from sidebyside.workflow.progress import print_epoch
from sidebyside.workflow.stage_progress import StageProgress

PREDECESSORS = {"data": [], "train@a": ["data"], "train@b": ["data"], "evaluate": ["train@b"]}
SECONDS = {"data": 10.0, "train@a": 60.0, "train@b": 120.0, "evaluate": 30.0}


class Clock:
    """A clock that a test sets."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


def progress(folder: Path, at_once: int = 2) -> StageProgress:
    ledger = Ledger(folder, PREDECESSORS, [])
    return StageProgress(ledger, PREDECESSORS, SECONDS, [*PREDECESSORS], at_once=at_once)


def test_each_completed_stage_gives_a_line_with_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with progress(tmp_path) as shown:
        assert shown.seconds_left() == 160.0
        shown.report({"data": "started"})
        clock.seconds = 12.0
        shown.report({"data": "completed"})
        shown.report({"train@a": "started", "train@b": "started"})
        clock.seconds = 22.0
        shown.report({})
        shown.report({"train@b": "completed"})
        shown.report({"train@a": "completed"})
        shown.report({"evaluate": "unchanged"})
    assert capsys.readouterr().out.splitlines() == [
        "data completed in 12 s: 1 of 4 stages, 12 s, about 2 min 30 s left",
        "train@b completed in 10 s: 2 of 4 stages, 22 s, about 50 s left",
        "train@a completed in 10 s: 3 of 4 stages, 22 s, about 30 s left",
        "evaluate skipped: no input has changed",
    ]
    assert shown.failed == []
    assert Ledger(tmp_path, [], []).completed == ["data", "train@a", "train@b"]


def test_a_failure_names_the_stages_that_are_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(tmp_path) as shown:
        for change in ("started", "completed"):
            shown.report({"data": change})
        shown.report({"train@b": "started"})
        shown.report({"train@b": "failed"})
    printed = capsys.readouterr()
    assert printed.err == "evaluate skipped: train@b has failed\n"
    assert printed.out.splitlines()[1] == (
        "train@b failed in 0 s: 1 of 3 stages, 0 s, about 1 min 00 s left"
    )
    assert shown.failed == ["train@b"]


def test_the_lines_of_a_stage_have_its_name_and_dvcs_advice_is_left_out(tmp_path: Path) -> None:
    stream = io.StringIO()
    with progress(tmp_path) as shown:
        for line in (
            "epoch 1/2: loss 1",
            "",
            "\tgit add dvc.lock",
            "Updating lock file 'dvc.lock'",
        ):
            shown.show("data", line, stream)
    assert stream.getvalue() == "data     | epoch 1/2: loss 1\n"


def draw_on_terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Let errors go to a terminal, which is returned."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_a_terminal_has_a_line_for_all_stages_and_one_for_each_running_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = draw_on_terminal(monkeypatch)
    row = {"epoch": 2, "loss": 0.5, "val_loss": 0.4, "val_accuracy": 0.9}
    with contextlib.redirect_stdout(io.StringIO()) as written:
        print_epoch("mlp-original-1", row, 9, 3.0)
    epoch, printed = written.getvalue().strip(), io.StringIO()
    with progress(tmp_path) as shown:
        shown.report({"data": "started"})
        shown.report({"data": "completed"})
        shown.report({"train@a": "started", "train@b": "started"})
        shown.show("train@a", epoch, printed)
        shown.show("train@b", "3 at once instead of 4", printed)
        screen = terminal.getvalue()
    assert printed.getvalue() == "train@b  | 3 at once instead of 4\n"
    assert "1 of 4 stages, 0 s, about 2 min 30 s left" in screen
    assert "train@b" in screen
    assert epoch in screen


def test_a_single_stage_has_the_terminal_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = draw_on_terminal(monkeypatch)
    with progress(tmp_path, at_once=1) as shown:
        shown.report({"data": "started"})
    assert terminal.getvalue() == ""
