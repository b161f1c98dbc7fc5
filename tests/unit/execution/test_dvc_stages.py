"""Stages side by side, run by DVC in a folder of stages that do next to nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from sidebyside.execution.dvc_stages import longest_first, run, stale

# Its only output is when it began and ended.
STAGE = """
import sys, time
began = time.monotonic()
time.sleep(float(sys.argv[2]))
open(f"{sys.argv[1]}.txt", "w").write(f"{began} {time.monotonic()}")
"""
RUN = """
import sys
from pathlib import Path
from sidebyside.execution import dvc_stages
from sidebyside.workflow import command
command.run(lambda: dvc_stages.run(Path.cwd(), sys.argv[1:], {}, lambda ended: None, at_once=2))
"""


def pipeline(folder: Path, seconds: Mapping[str, float], failing: str = "") -> Path:
    """Make a DVC repository with a stage per name."""
    commands = {
        name: f"{sys.executable} stage.py {name} {duration}" if name != failing else "false"
        for name, duration in seconds.items()
    }
    content = {
        "stages": {
            name: {"cmd": command, "outs": [{f"{name}.txt": {"cache": False}}]}
            for name, command in commands.items()
        }
    }
    (folder / "stage.py").write_text(STAGE)
    (folder / "dvc.yaml").write_text(json.dumps(content))
    subprocess.run(["dvc", "init", "--quiet", "--no-scm"], cwd=folder, check=True)
    return folder


def span(folder: Path, name: str) -> tuple[float, float]:
    """Return when a stage began and ended."""
    began, ended = (folder / f"{name}.txt").read_text().split()
    return float(began), float(ended)


@pytest.mark.slow
def test_two_stages_run_at_once_and_a_stage_after_its_predecessor(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, {"search": 4, "winner": 0, "first": 4, "second": 0})
    names = ("search", "winner", "first", "second")
    reported: dict[str, bool] = {}
    run(folder, names, {"winner": ["search"]}, reported.update, at_once=2)
    assert reported == dict.fromkeys(names, True)
    search, winner, first = (span(folder, name) for name in ("search", "winner", "first"))
    assert first[0] < search[1]
    assert search[0] < first[1]
    assert winner[0] > search[1]
    assert span(folder, "second")[0] > min(search[1], first[1])
    assert stale(folder, names) == []


@pytest.mark.slow
def test_a_failure_stops_only_the_stages_that_depend_on_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = pipeline(tmp_path, {"good": 0, "bad": 0, "after": 0, "last": 0}, failing="bad")
    names = ("bad", "after", "last", "good")
    reported: dict[str, bool] = {}
    run(folder, names, {"after": ["bad"], "last": ["after"]}, reported.update, at_once=2)
    assert reported == {"good": True, "bad": False}
    assert "failed to reproduce 'bad'" in capfd.readouterr().err
    assert stale(folder, names) == ["bad", "after", "last"]


def test_stages_that_depend_on_each_other_are_refused(tmp_path: Path) -> None:
    predecessors = {"one": ["two"], "two": ["one"]}
    with pytest.raises(UserError, match="stages depend on each other: one, two"):
        run(tmp_path, ["one", "two"], predecessors, lambda ended: None, at_once=2)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_running_stages(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    folder = pipeline(tmp_path, {"one": 60, "two": 60, "three": 60})
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "one", "two", "three"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        start_new_session=True,
    )
    wait_for(lambda: len(running(folder)) == 2)
    os.kill(process.pid, number)
    assert process.wait(30) == status
    wait_for(lambda: not running(folder))
    assert not list(folder.glob("*.txt"))


def running(folder: Path) -> list[str]:
    """Return the command lines of stage scripts that run in a folder."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve():
                lines.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # has ended, or belongs to another user
            continue
    return [line for line in lines if re.fullmatch(r"\S+ stage\.py \w+ \d+ ", line)]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_stages_of_unknown_duration_come_first_then_the_longest() -> None:
    seconds = {"search": 20.0, "long": 30.0, "medium": 25.0, "short": 20.0}
    stages = ["search", "long", "short", "new", "medium"]
    assert longest_first(stages, seconds) == ["new", "long", "medium", "search", "short"]


def test_stale_stages_are_those_that_dvc_would_run(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, {"one": 0, "two": 0})
    assert stale(folder, ["two"]) == ["two"]
    (folder / "dvc.yaml").write_text("stages: 3")
    with pytest.raises(UserError, match=r"^`dvc status` fails: .*validation failed"):
        stale(folder, ["two"])
