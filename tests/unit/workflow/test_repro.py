import re
import signal
import sys
from pathlib import Path

import pytest

from sidebyside.core.files import read_json, write_json
from sidebyside.execution import choice
from sidebyside.workflow import command, repro
from tests.support.stages import NAMES, finish, new_pipeline, ran, start

ENTRY = {"key": "k", "machine": {}, "source": {"commit": "unknown", "dirty": False}, "outputs": {}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that has not run, with the durations of two stages."""
    root = new_pipeline(tmp_path_factory.mktemp("pipeline") / "project", threads=2)
    for stage, seconds in (("train@y-1", 130.0), ("tune@x", 60.0)):
        write_json(root / f".state/provenance/{stage}.json", {**ENTRY, "seconds": seconds})
    write_json(root / "reports/run.json", {"runs": {"repro": {"peak_memory_mib": 1000}}})
    return root


def test_the_plan_has_the_longest_chain_first(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = repro.make_plan(root, 2)
    assert {*plan.due} == {*NAMES} == {*plan.affected} == {*plan.predecessors}
    assert plan.affected[0] == "first"
    assert plan.seconds["train@x-2"] == 130.0  # as the longest of the same matrix
    repro.show_plan(plan)
    printed = capsys.readouterr().out
    assert "\nAt most 8 of 8 stages, 2 at once: about 5 min 20 s\n" in printed
    assert "\nNot measured yet: first, tune@y, " in printed
    assert ran(root) == []


@pytest.mark.parametrize(("cores", "at_once"), [(1, 1), (2, 1), (4, 2), (9, 4)])
def test_as_many_stages_run_at_once_as_there_are_cores_for_their_threads(
    root: Path, monkeypatch: pytest.MonkeyPatch, cores: int, at_once: int
) -> None:
    monkeypatch.setenv("CORES", str(cores))
    monkeypatch.setattr(choice, "available_memory", lambda: None)
    assert repro.at_once(root, None)[0] == at_once
    assert repro.at_once(root, 3) == (3, None)


def test_fewer_run_at_once_where_the_memory_does_not_suffice(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "available_memory", lambda: 2500 << 20)
    assert repro.at_once(root, 3) == (
        2,
        "2 at once instead of 3: a stage needs up to 1,000 MiB of memory, and 2,500 MiB are"
        " available",
    )


def test_no_stage_at_once_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["repro", "--jobs", "0"])
    with pytest.raises(SystemExit, match="2"):
        repro.main()
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "repro: error: --jobs 0: give the number of stages at once, 1 or more"


@pytest.mark.slow
def test_the_time_of_an_interrupted_run_counts(tmp_path: Path) -> None:
    root = new_pipeline(tmp_path / "project", ["first", "tune"], seconds=1)
    process = start(root, "--jobs", "1")
    assert process.stdout
    for line in process.stdout:
        if ": 1 of 3 stages" in line:
            process.send_signal(signal.SIGTERM)
            break
    process.communicate()
    assert process.returncode == command.EXIT_TERMINATED
    saved = root / ".state/repro/seconds.json"
    assert read_json(saved) > 0
    write_json(saved, 1000.0)
    output, _ = finish(start(root, "--jobs", "2"))
    assert re.search(r"completed in .*: 3 of 3 stages, 1[67] min ", output)
    whole = read_json(root / ".state/provenance/everything.json")
    assert whole["seconds"] > 1000


@pytest.mark.slow
def test_a_run_of_some_stages_keeps_the_time_of_everything(tmp_path: Path) -> None:
    root = new_pipeline(tmp_path / "project", ["first", "tune"])
    write_json(root / ".state/provenance/everything.json", {**ENTRY, "seconds": 1000.0})
    before = finish(start(root, command=("dvc", "repro", "--quiet", "first", "tune@x")))
    assert before == ("", "")
    output, _ = finish(start(root))
    assert re.search("tune@y completed in .*: 1 of 1 stages", output)
    assert read_json(root / ".state/provenance/everything.json")["seconds"] == 1000.0
