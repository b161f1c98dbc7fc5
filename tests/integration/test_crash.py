"""Stages killed, or running out of disk space, at any change they make on disk."""

import json
import math
import random
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support import fork_server
from tests.support.checkout import Checkout

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

POINTS = 2  # evenly spread over the changes of a stage; with --all-crash-points: every change
STAGES: Mapping[str, list[str]] = {
    "download": [],
    "preprocess": [],
    "augment": [],
    "train": ["mlp", "augmented", "1"],
    "tune": ["mlp"],
    "evaluate": [],
}
EPOCHS = {"train": 3, "tune": 3 * 2}  # the total per stage
PARAMETERS = {
    "train.models": ["mlp"],
    "train.data": ["augmented"],
    "train.budget.mlp": {"epochs": 3, "patience": 3},
    "tune.search.strategy": "bayesian",
    "tune.search.trials": 3,
    "tune.search.epochs": 2,
}


@dataclass(frozen=True)
class Outcome:
    """How a stage ended, and the number of changes it made."""

    status: int
    changes: int
    growths: int  # changes that need disk space
    epochs: int
    output: str
    error: str


class Stages:
    """The process of crash_server.py, and copies of a checkout to run its stages in."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.process, self.folder, self.numbers = process, folder, count()

    def run(self, root: Path, stage: str, fault: str = "", at: float = 0) -> Outcome:
        assert self.process.stdin
        assert self.process.stdout
        arguments = STAGES.get(stage, [])
        job = {"root": str(root), "script": stage, "arguments": arguments, "fault": fault, "at": at}
        self.process.stdin.write(f"{json.dumps(job)}\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))

    def copy(self, checkout: Checkout) -> Checkout:
        return checkout.copy(self.folder / str(next(self.numbers)))


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    process = subprocess.Popen(
        [fork_server.programs() / "python", PROJECT / "tests/support/crash_server.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield Stages(process, tmp_path_factory.mktemp("crashes"))
        process.kill()


@pytest.fixture(scope="module")
def starts(stages: Stages, checkout_from: Callable[..., Checkout]) -> dict[str, Checkout]:
    """Stage → a checkout in which it can run, with other runs in its MLflow store."""
    bare: Checkout = checkout_from()
    bare.edit(PARAMETERS)
    first = stages.copy(bare)
    first.edit({"seed": 7})
    for stage in ("download", "preprocess", "augment"):
        assert stages.run(first.root, stage).status == 0
    first.edit({"seed": 1})  # so preprocess and augment replace every output
    split = stages.copy(first)
    assert stages.run(split.root, "preprocess").status == 0
    before = {"download": bare, "preprocess": first, "augment": split}

    first = stages.copy(split)
    for stage in ("augment", "tune"):
        assert stages.run(first.root, stage).status == 0
    again = stages.copy(first)
    again.edit({"seed": 7})  # the search starts over with new trials
    trained = stages.copy(first)
    assert stages.run(trained.root, "train").status == 0
    return {**before, "train": first, "tune": again, "evaluate": trained}


@pytest.fixture(scope="module", params=STAGES)
def stage(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@dataclass(frozen=True)
class Undisturbed:
    """A run of a stage without any fault."""

    done: Outcome
    seconds: float
    results: Mapping[str, str]
    records: Mapping[str, Any]


@pytest.fixture(scope="module")
def undisturbed(stages: Stages, starts: Mapping[str, Checkout], stage: str) -> Undisturbed:
    checkout = stages.copy(starts[stage])
    started = time.monotonic()
    done = stages.run(checkout.root, stage)
    seconds = time.monotonic() - started
    assert (done.status, done.error) == (0, "")
    assert done.epochs == EPOCHS.get(stage, 0)
    return Undisturbed(done, seconds, checkout.results(), records(checkout))


RECORDS = {
    "runs": """SELECT r.name, r.status, p.name FROM runs r
        LEFT JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'mlflow.parentRunId'
        LEFT JOIN runs p ON p.run_uuid = t.value""",
    "metrics": "SELECT r.name, m.key, m.step, m.value FROM metrics m JOIN runs r USING (run_uuid)",
    "parameters": "SELECT r.name, p.key, p.value FROM params p JOIN runs r USING (run_uuid)",
    "models": """SELECT r.name, m.status FROM logged_models m
        JOIN runs r ON r.run_uuid = m.source_run_id WHERE m.lifecycle_stage = 'active'""",
    "versions": "SELECT name, version FROM model_versions",
    "aliases": "SELECT name, alias, version FROM registered_model_aliases",
    "inputs": """SELECT r.name, i.source_type FROM inputs i
        JOIN runs r ON r.run_uuid = i.destination_id""",
}


def records(checkout: Checkout) -> dict[str, Any]:
    """Return the content of the MLflow store, except times and ids."""
    if not (checkout.root / "mlflow.db").exists():  # the stages before tune log nothing
        return {}
    with closing(sqlite3.connect(checkout.root / "mlflow.db")) as database:
        content: dict[str, Any] = {
            table: sorted(map(repr, database.execute(query))) for table, query in RECORDS.items()
        }
    content["files"] = sorted(
        path.name for path in (checkout.root / "mlruns").rglob("*") if path.is_file()
    )
    return content


def points(total: int, request: pytest.FixtureRequest) -> list[int]:
    if request.config.getoption("all_crash_points"):
        return list(range(1, total + 1))
    return [1 + i * (total - 1) // (POINTS - 1) for i in range(POINTS)]


def assert_nothing_is_half_written(
    checkout: Checkout, start: Checkout, undisturbed: Undisturbed, at: object
) -> None:
    before = start.results()
    for path, digest in checkout.results().items():
        if not Path(path).name.startswith("."):
            assert digest in (before.get(path), undisturbed.results.get(path)), (at, path)


def assert_equal_to_the_undisturbed_run(
    checkout: Checkout, undisturbed: Undisturbed, done: Outcome, at: object
) -> None:
    assert (done.status, done.error) == (0, ""), (at, done)
    assert checkout.results() == undisturbed.results, at
    logged = records(checkout)
    for table, expected in undisturbed.records.items():
        assert logged[table] == expected, (at, table)


def test_a_stage_killed_at_any_change_resumes_to_the_same_result(
    stages: Stages,
    starts: Mapping[str, Checkout],
    stage: str,
    undisturbed: Undisturbed,
    request: pytest.FixtureRequest,
) -> None:
    for at in points(undisturbed.done.changes, request):
        checkout = stages.copy(starts[stage])
        killed = stages.run(checkout.root, stage, "kill", at)
        assert (killed.status, killed.changes) == (-9, at)
        assert_nothing_is_half_written(checkout, starts[stage], undisturbed, at)
        done = stages.run(checkout.root, stage)
        assert_equal_to_the_undisturbed_run(checkout, undisturbed, done, at)
        assert killed.epochs + done.epochs <= undisturbed.done.epochs + 1, at


# One stage that starts over, and the two that save checkpoints.
@pytest.mark.parametrize("stage", ["augment", "tune", "train"], indirect=True)
def test_a_stage_killed_repeatedly_resumes_to_the_same_result(
    stages: Stages, starts: Mapping[str, Checkout], stage: str, undisturbed: Undisturbed
) -> None:
    checkout = stages.copy(starts[stage])
    # Each time a little later, or it would never get beyond its start.
    step = math.ceil(undisturbed.done.changes / 3)
    for at in count(step, step):
        done = stages.run(checkout.root, stage, "kill", at)
        if done.status == 0:
            break
        assert_nothing_is_half_written(checkout, starts[stage], undisturbed, at)
    assert_equal_to_the_undisturbed_run(checkout, undisturbed, done, at)


@pytest.mark.parametrize("stage", ["train"], indirect=True)  # the longest
def test_a_stage_killed_at_random_times_resumes_to_the_same_result(
    stages: Stages, starts: Mapping[str, Checkout], stage: str, undisturbed: Undisturbed
) -> None:
    checkout = stages.copy(starts[stage])
    times = random.Random(1)  # noqa: S311 (no secret)
    for attempt in count(1):
        seconds = times.uniform(0.01, (0.5 + attempt / 3) * undisturbed.seconds)
        done = stages.run(checkout.root, stage, "time", seconds)
        if done.status == 0:
            break
        assert done.status == -14
        assert_nothing_is_half_written(checkout, starts[stage], undisturbed, seconds)
    assert_equal_to_the_undisturbed_run(checkout, undisturbed, done, attempt)


def test_a_full_disk_at_any_change_leaves_earlier_results(
    stages: Stages,
    starts: Mapping[str, Checkout],
    stage: str,
    undisturbed: Undisturbed,
    request: pytest.FixtureRequest,
) -> None:
    before = starts[stage].results()
    failed = 0
    for at in points(undisturbed.done.growths, request):
        checkout = stages.copy(starts[stage])
        full = stages.run(checkout.root, stage, "full", at)
        assert "Traceback" not in full.error, (at, full.error)
        if full.status == 0:  # an error in MLflow, which fails no stage
            assert checkout.results() == undisturbed.results, at
            continue
        failed += 1
        assert full.status == 1, at
        assert full.error.splitlines()[-1].startswith(f"{stage}: error: "), at
        assert "No space left on device" in full.error, at
        assert checkout.results() in (before, undisturbed.results), at
        assert stages.run(checkout.root, stage).status == 0
        assert checkout.results() == undisturbed.results, at
    assert failed
