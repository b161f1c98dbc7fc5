"""Stages side by side with real DVC: the same files as `dvc repro`, whatever happens."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sidebyside.core.files import read_json, write_json
from sidebyside.workflow import command
from tests.support.dvc_project import commit
from tests.support.stages import (
    NAMES,
    REPRO,
    entries,
    finish,
    new_pipeline,
    ran,
    results,
    set_parameters,
    sleeping,
    start,
    wait_for,
)

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

DVC = ("dvc", "repro", "--quiet")
UP_TO_DATE = "Data and pipelines are up to date.\n"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that has not run; read-only."""
    return new_pipeline(tmp_path_factory.mktemp("fresh") / "project", seconds=0.2)


@pytest.fixture(scope="module")
def bare(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline after a plain `dvc repro`; read-only."""
    root = copy(fresh, tmp_path_factory.mktemp("bare"))
    finish(start(root, command=DVC))
    return root


def copy(project: Path, folder: Path) -> Path:
    return Path(shutil.copytree(project, folder / "project", symlinks=True))


@pytest.mark.parametrize("jobs", ["1", "2", "4"])
def test_the_files_are_those_of_a_plain_repro(
    fresh: Path, bare: Path, tmp_path: Path, jobs: str
) -> None:
    root = copy(fresh, tmp_path)
    finish(start(root, "--jobs", jobs))
    assert results(root) == results(bare)
    assert sorted(ran(root)) == sorted(NAMES)
    assert finish(start(root, "--jobs", jobs)) == (UP_TO_DATE, "")
    assert finish(start(root, command=("dvc", "repro")))[0].endswith(UP_TO_DATE)


@pytest.mark.timeout(1200)
def test_the_files_of_the_whole_project_are_those_of_a_plain_repro(
    reproduced: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from()
    line = ("make", "--assume-old", ".venv/installed", "repro", "JOBS=3")
    out = own.run(*line).stdout
    assert re.search(r"^evaluate completed in .*: 10 of 10 stages", out, re.M)
    assert re.search(r"^train@mlp-original-1 +\| .* epoch 2/2: loss ", out, re.M)
    assert own.results() == reproduced.results()
    assert "up to date" in own.run("dvc", "repro").stdout


def test_new_stages_follow_the_recorded_ones_as_in_a_plain_repro(
    bare: Path, tmp_path: Path
) -> None:
    root, plain = copy(bare, tmp_path / "own"), copy(bare, tmp_path / "plain")
    for each, program in ((root, (*REPRO, "--jobs", "3")), (plain, DVC)):
        set_parameters(each, models=["a", "x", "y"], seconds=0.2)
        finish(start(each, command=program))
    assert results(root) == results(plain)
    assert entries(root)[:8] == entries(bare)


def test_a_stage_whose_inputs_come_out_unchanged_is_skipped(bare: Path, tmp_path: Path) -> None:
    root, plain = copy(bare, tmp_path / "own"), copy(bare, tmp_path / "plain")
    for each, program in ((root, (*REPRO, "--jobs", "2")), (plain, DVC)):
        (each / "in.txt").write_text("5\n")
        finish(start(each, command=program))
    assert ran(root) == [*ran(bare), "first"] == ran(plain)
    assert results(root) == results(plain)


def test_a_failure_is_one_line_and_stops_only_its_dependents(
    fresh: Path, bare: Path, tmp_path: Path
) -> None:
    root = copy(fresh, tmp_path)
    (root / "y.txt").mkdir()
    _, error = finish(start(root, "--jobs", "2"), command.EXIT_FAILED)
    assert error.splitlines()[-1] == (
        "repro: error: tune@y failed, for the reasons above: run the same command again to resume"
    )
    assert "train@y-1, train@y-2, last skipped: tune@y has failed" in error
    assert sorted(entries(root)) == ["first", "train@x-1", "train@x-2", "tune@x"]
    (root / "y.txt").rmdir()
    out, _ = finish(start(root, "--jobs", "2"))
    assert "last completed in 0 s: 8 of 8 stages" in re.sub(r"in \d+ s", "in 0 s", out)
    assert results(root) == results(bare)
    assert read_json(root / ".state/provenance/everything.json")["seconds"] > 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_interrupted_after_any_stage_resumes(
    fresh: Path, bare: Path, tmp_path: Path, number: signal.Signals
) -> None:
    root = copy(fresh, tmp_path)
    for _ in NAMES:
        process = start(root, "--jobs", "3")
        assert process.stdout
        for line in process.stdout:
            if " completed in " in line:
                os.kill(process.pid, number)
                break
        _, error = process.communicate()
        status = command.EXIT_TERMINATED if number is signal.SIGTERM else -number
        assert process.returncode in (status, 0), error
    out, _ = finish(start(root, "--jobs", "3"))
    assert out == UP_TO_DATE
    assert results(root) == results(bare)
    assert not sleeping(root)


@pytest.mark.parametrize("delay", [0.3, 0.8, 1.2, 1.6, 2.2, 3.0])
def test_a_run_killed_at_any_moment_resumes(
    fresh: Path, bare: Path, tmp_path: Path, delay: float
) -> None:
    root = copy(fresh, tmp_path)
    process = start(root, "--jobs", "3")
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=delay)
    process.kill()
    process.communicate()
    finish(start(root, "--jobs", "3"))
    assert results(root) == results(bare)


def test_a_second_run_waits_for_the_first_one(fresh: Path, bare: Path, tmp_path: Path) -> None:
    root = copy(fresh, tmp_path)
    first = start(root, "--jobs", "2")
    wait_for(lambda: sleeping(root))
    second = start(root, "--jobs", "2")
    out, error = finish(second)
    assert out == UP_TO_DATE
    assert error.startswith(f"process {first.pid} (`")
    assert error.endswith(" is at work in this folder: waiting for it to end\n")
    finish(first)
    assert sorted(ran(root)) == sorted(NAMES)
    assert results(root) == results(bare)


def test_a_dry_run_prints_the_plan_and_changes_nothing(bare: Path, tmp_path: Path) -> None:
    root = copy(bare, tmp_path)
    assert finish(start(root, "--dry-run"))[0] == UP_TO_DATE
    shutil.rmtree(root / "models")
    entry = {"key": "k", "machine": {}, "source": {"commit": "unknown", "dirty": False}}
    for name, seconds in (("train@x-1", 60.0), ("train@y-1", 130.0), ("last", 10.0)):
        file = root / ".state/provenance" / f"{name}.json"
        write_json(file, {**entry, "outputs": {}, "seconds": seconds})
    out, _ = finish(start(root, "--dry-run", "--jobs", "2"))
    assert out.splitlines() == [
        "stage      starts after        takes",
        "train@x-2           0 s  2 min 10 s?",
        "train@y-1           0 s   2 min 10 s",
        "train@y-2    2 min 10 s  2 min 10 s?",
        "train@x-1    2 min 10 s   1 min 00 s",
        "last         4 min 20 s         10 s",
        "",
        "At most 5 of 8 stages, 2 at once: about 4 min 30 s",
        "Not measured yet: train@x-2, train@y-2",
    ]
    assert not (root / "models").exists()
    assert ran(root) == ran(bare)


def test_fewer_stages_run_at_once_where_the_memory_does_not_suffice(
    fresh: Path, bare: Path, tmp_path: Path
) -> None:
    root = copy(fresh, tmp_path)
    write_json(root / "reports/run.json", {"runs": {"repro": {"peak_memory_mib": 1 << 30}}})
    out, _ = finish(start(root, "--jobs", "3"))
    assert out.startswith("1 at once instead of 3: a stage needs up to 1,073,741,824 MiB of memory")
    assert results(root) == results(bare)


def test_an_experiment_runs_beside_it_and_finds_its_results(bare: Path, tmp_path: Path) -> None:
    root = copy(bare, tmp_path)
    commit(root)
    (root / "in.txt").write_text("8\n")
    running = start(root, "--jobs", "2")
    wait_for(lambda: sleeping(root))
    experiment = ("dvc", "exp", "run", "--temp", "--name", "probe", "-S", "seconds=0.3")
    finish(start(root, command=experiment))
    finish(running)
    assert results(root)["last.txt"] == "4\n" * 4  # not those of the experiment
    assert finish(start(root))[0] == UP_TO_DATE
    assert "probe" in finish(start(root, command=("dvc", "exp", "list", "--name-only")))[0]


def test_it_runs_inside_an_experiment(tmp_path: Path) -> None:
    outer = new_pipeline(tmp_path / "project")
    inner = new_pipeline(tmp_path / "inner")
    shutil.rmtree(inner / ".git")
    shutil.move(inner, outer / "inner")
    (outer / "dvc.yaml").write_text(
        "stages:\n  all:\n    cmd: cd inner && python -m sidebyside.workflow.repro --jobs 2 &&"
        " cp last.txt ../all.txt\n    deps: [inner/in.txt]\n    outs: [all.txt: {cache: false}]\n"
    )
    commit(outer)
    finish(start(outer, command=("dvc", "exp", "run", "--temp", "--name", "probe")))
    finish(start(outer, command=("dvc", "exp", "apply", "probe")))
    assert (outer / "all.txt").read_text() == "2\n" * 4
