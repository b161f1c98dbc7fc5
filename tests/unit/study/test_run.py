"""Stages run two at a time, by real DVC in a folder of a few that do next to nothing."""

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

from sidebyside.core.errors import UserError
from sidebyside.core.files import write_json
from study.run import Ledger, longest_first, run, stale

SOURCES = Path(__file__).parents[3] / "src"
# Notes when it began and ended, which is all that it makes.
STAGE = """
import sys, time
began = time.monotonic()
time.sleep(float(sys.argv[2]))
open(f"{sys.argv[1]}.txt", "w").write(f"{began} {time.monotonic()}")
"""
RUN = """
import sys
from pathlib import Path
from sidebyside.workflow import command
from study import run as replicate
command.run(lambda: replicate.run(Path.cwd(), sys.argv[1:], {}, lambda ended: None))
"""


def stages(folder: Path, seconds: Mapping[str, float], failing: str = "") -> Path:
    """Make a repository of DVC's with a stage per name."""
    commands = {
        name: f"{sys.executable} stage.py {name} {long}" if name != failing else "false"
        for name, long in seconds.items()
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
def test_two_run_at_a_time_and_a_winner_after_its_search(tmp_path: Path) -> None:
    folder = stages(tmp_path, {"search": 4, "winner": 0, "first": 4, "second": 0})
    told: dict[str, bool] = {}
    run(folder, ["search", "winner", "first", "second"], {"winner": "search"}, told.update)
    assert told == dict.fromkeys(("search", "winner", "first", "second"), True)
    search, winner, first = (span(folder, name) for name in ("search", "winner", "first"))
    assert first[0] < search[1]
    assert search[0] < first[1]
    assert winner[0] > search[1]
    assert span(folder, "second")[0] > min(search[1], first[1])
    assert stale(folder, ["search", "winner", "first", "second"]) == []


@pytest.mark.slow
def test_one_that_fails_leaves_the_others_to_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = stages(tmp_path, {"good": 0, "bad": 0, "late": 0}, failing="bad")
    told: dict[str, bool] = {}
    run(folder, ["bad", "good", "late"], {}, told.update)
    assert told == {"good": True, "bad": False, "late": True}
    assert "failed to reproduce 'bad'" in capfd.readouterr().err
    assert stale(folder, ["good", "bad", "late"]) == ["bad"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_it_stops_the_stages_that_are_running(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    folder = stages(tmp_path, {"one": 60, "two": 60, "three": 60})
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "one", "two", "three"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        start_new_session=True,
    )
    wait_for(lambda: len(running(folder)) == 2)
    os.kill(process.pid, number)
    assert process.wait(30) == status
    wait_for(lambda: not running(folder))
    assert not list(folder.glob("*.txt"))


def running(folder: Path) -> list[str]:
    """Return the command lines of stages' scripts that run in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # has ended, or is another user's
            continue
    return [line for line in found if re.fullmatch(r"\S+ stage\.py \w+ \d+ ", line)]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_longest_comes_first_and_before_it_what_never_ran(tmp_path: Path) -> None:
    seconds = {"search-2-cnn": 20.0, "train-2-cnn": 30.0, "train-2-found": 25.0, "train-a": 20.0}
    for name, value in seconds.items():
        write_json(tmp_path / f"{name}.json", {"seconds": value})
    asked = ["search@2-cnn", "train@2-cnn", "train@a", "train@new", "winner@2-found"]
    expected = ["train@new", "train@2-cnn", "winner@2-found", "search@2-cnn", "train@a"]
    assert longest_first(asked, tmp_path) == expected
    write_json(tmp_path / "train-a.json", {})
    with pytest.raises(UserError, match=r"train-a\.json: expected seconds"):
        longest_first(asked, tmp_path)


def test_a_run_that_was_stopped_is_taken_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Ledger(tmp_path, ["one", "two", "three"]).note({"one": True})
    write_json(tmp_path / "seconds.json", 100.0)
    again = Ledger(tmp_path, ["two", "three"])
    assert again.stopwatch.seconds > 100
    again.note({"two": True, "three": False})
    assert again.done == ["one", "two"]
    assert again.failed == ["three"]
    assert capsys.readouterr().out.splitlines() == [
        "one done: 1 of 3 stages, 0 s",
        "two done: 2 of 3 stages, 1 min 40 s",
        "three failed: 2 of 3 stages, 1 min 40 s",
    ]


def test_a_run_stopped_before_anything_was_done_took_its_time_too(tmp_path: Path) -> None:
    Ledger(tmp_path, ["one"]).note({})
    write_json(tmp_path / "seconds.json", 100.0)
    assert Ledger(tmp_path, ["one"]).stopwatch.seconds > 100


def test_where_all_that_was_done_is_due_again_another_run_begins(tmp_path: Path) -> None:
    Ledger(tmp_path, ["one", "two"]).note({"one": True})
    write_json(tmp_path / "seconds.json", 100.0)
    again = Ledger(tmp_path, ["one", "two"])
    assert again.done == []
    assert again.stopwatch.seconds < 100


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "stages.json", 3)
    with pytest.raises(UserError, match=r"stages\.json is damaged: delete it to begin another run"):
        Ledger(tmp_path, ["one"])


def test_what_is_stale_is_asked_of_dvc(tmp_path: Path) -> None:
    folder = stages(tmp_path, {"one": 0, "two": 0})
    assert stale(folder, ["two"]) == ["two"]
    (folder / "dvc.yaml").write_text("stages: 3")
    with pytest.raises(UserError, match=r"^`dvc status` fails: .*validation failed"):
        stale(folder, ["two"])
