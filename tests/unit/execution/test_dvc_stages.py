"""Stages side by side, run by DVC in a folder of stages that do next to nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import pytest

from sidebyside.config.paths import CHECKOUT
from sidebyside.execution.dvc_pipeline import predecessors, stale
from sidebyside.execution.dvc_stages import Change, run, without_dependents
from tests.support.stages import new_pipeline, ran, sleeping, wait_for

RUN = """
from pathlib import Path
from sidebyside.execution import dvc_pipeline, dvc_stages
from sidebyside.workflow import command
before = dvc_pipeline.predecessors(Path.cwd())
def nothing(*_):
    pass
command.run(lambda: dvc_stages.run(Path.cwd(), before, before, nothing, nothing, at_once=3))
"""
pytestmark = pytest.mark.slow


class Recorder:
    """What a run reports and shows."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, Change]] = []
        self.lines: list[tuple[str, str, bool]] = []  # stage, line, whether it is an error

    def report(self, changes: Mapping[str, Change]) -> None:
        self.changes.extend(changes.items())

    def show(self, stage: str, line: str, stream: TextIO) -> None:
        self.lines.append((stage, line, stream is sys.stderr))


def reproduce(root: Path, at_once: int = 2) -> Recorder:
    recorder, before = Recorder(), predecessors(root)
    due = stale(root, before)
    run(root, before, due, recorder.report, recorder.show, at_once=at_once)
    return recorder


def test_stages_run_at_once_and_after_their_predecessors(tmp_path: Path) -> None:
    root = new_pipeline(tmp_path / "project", ["first", "tune"], seconds=2)
    recorder = reproduce(root)
    assert recorder.changes[:4] == [
        *(("first", "started"), ("first", "completed"), ("tune@x", "started")),
        ("tune@y", "started"),
    ]
    assert {*recorder.changes[4:]} == {("tune@x", "completed"), ("tune@y", "completed")}
    assert ("tune@x", "Running stage 'tune@x':", False) in recorder.lines
    assert stale(root, predecessors(root)) == set()


def test_a_stage_whose_inputs_come_out_unchanged_is_skipped(tmp_path: Path) -> None:
    root = new_pipeline(tmp_path / "project", ["first", "tune"])
    reproduce(root)
    (root / "in.txt").write_text("5\n")  # halved, it is the same number
    recorder = reproduce(root, at_once=1)
    assert recorder.changes == [
        *(("first", "started"), ("first", "completed")),
        *(("tune@x", "unchanged"), ("tune@y", "unchanged")),
    ]
    assert recorder.lines == []  # alone, it has the terminal to itself
    assert ran(root).count("first") == 2
    assert ran(root).count("tune@x") == 1


def test_a_failure_stops_only_the_stages_that_depend_on_it(tmp_path: Path) -> None:
    root = new_pipeline(tmp_path / "project", ["first", "tune", "train"], seeds=[1])
    (root / "y.txt").mkdir()
    recorder = reproduce(root)
    ended = {stage: change for stage, change in recorder.changes if change != "started"}
    assert ended == {
        "first": "completed",
        "tune@x": "completed",
        "train@x-1": "completed",
        "tune@y": "failed",
    }
    errors = [line for stage, line, is_error in recorder.lines if stage == "tune@y" and is_error]
    assert any("failed to reproduce 'tune@y'" in line for line in errors)


def test_all_dependents_of_a_failed_stage_are_left_out() -> None:
    before = {"a": ["b"], "b": ["c"], "d": [], "e": ["d"]}
    assert without_dependents(before, {"c"}, before) == ["d", "e"]
    assert without_dependents(before, {"d"}, before) == ["a", "b"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_ends_the_running_stages(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    root = new_pipeline(tmp_path / "project", ["first", "tune"], seconds=60)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        start_new_session=True,
    )
    wait_for(lambda: len(sleeping(root)) == 2)
    os.kill(process.pid, number)
    assert process.wait(30) == status
    wait_for(lambda: not sleeping(root))
    assert ran(root) == ["first"]
