"""Jobs and a search on a real Ray cluster of two nodes on this machine."""

import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from sidebyside.core.fingerprint import machine_facts
from sidebyside.core.jobs import Done, Event, Executor, Failed, Job, News, inline
from sidebyside.execution.choice import executor
from sidebyside.workflow.local_cluster import add_node
from tests.support.ray_nodes import jobs_on, lose, nodes
from tests.support.searches import ARRAYS, outcome

MACHINE = machine_facts(1)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> object:
    return outcome(tmp_path_factory.mktemp("inline"), inline(ARRAYS))


@pytest.mark.parametrize("number", [1, 2])
def test_any_number_of_nodes_gives_the_same_bytes(
    number: int, expected: object, tmp_path: Path
) -> None:
    with nodes(number), executor(ARRAYS, MACHINE, 4) as execute:
        assert outcome(tmp_path, execute) == expected


def test_a_node_and_a_worker_that_are_killed_change_no_byte(
    expected: object, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with nodes(2) as running, executor(ARRAYS, MACHINE, 4) as run:
        epochs = itertools.count(1)

        def execute(jobs: Iterable[Job]) -> Iterator[Event]:
            for event in run(jobs):
                if isinstance(event, News) and event.checkpoint:
                    number = next(epochs)
                    if number == 2:
                        lose(running, running.list_all_nodes()[1])
                        add_node(running, 1)
                    if number == 8:
                        kill_a_worker(running.head_node)
                yield event

        assert outcome(tmp_path, execute) == expected
    assert capfd.readouterr().err.count("continues from its last checkpoint") >= 2


def kill_a_worker(node: Any) -> None:
    """Kill a process of a node that runs a job."""
    pid = next(pid for pid, name in jobs_on(node).items() if name.startswith("trial"))
    os.kill(pid, signal.SIGKILL)


def test_all_processes_listen_on_the_loopback_interface_alone() -> None:
    with nodes(2), executor({}, MACHINE, 1) as execute:
        ends(execute, Job("a", "sidebyside.core.jobs:missing", None))  # its worker stays
        here = psutil.Process()
        ports = [
            connection.laddr.ip
            for process in (here, *here.children(recursive=True))
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
    assert len(ports) > 6
    assert {*ports} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_a_local_cluster_ends_with_its_command_and_gives_its_exit_status() -> None:
    program = (
        "import ray\nray.init(log_to_driver=False, logging_level=40)\n"
        "raise SystemExit(len(ray.nodes()) + 1)"
    )
    line = [
        sys.executable,
        "-m",
        "sidebyside.workflow.local_cluster",
        sys.executable,
        "-c",
        program,
    ]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    address = done.stdout.splitlines()[0].removeprefix("RAY_ADDRESS=127.0.0.1:")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address)), 10)


def ends(execute: Executor, job: Job) -> list[Event]:
    return [event for event in execute([job]) if isinstance(event, (Done, Failed))]


def test_a_failing_job_is_not_repeated() -> None:
    job = Job("a", "sidebyside.core.jobs:missing", None)
    with nodes(1), executor({}, MACHINE, 1) as execute:
        (end,) = ends(execute, job)
    assert isinstance(end, Failed)
    assert isinstance(end.error, AttributeError)


def test_a_node_that_would_give_other_bytes_is_refused() -> None:
    other = {**MACHINE, "fingerprint": "other", "tensorflow": "1.0"}
    with nodes(1), executor({}, other, 1) as execute:
        (end,) = ends(execute, Job("a", "sidebyside.core.jobs:missing", None))
    assert isinstance(end, Failed)
    assert isinstance(end.error, UserError)
    assert f"(tensorflow {MACHINE['tensorflow']} instead of 1.0)" in str(end.error)


def test_another_machine_is_used_if_the_user_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Mapping[str, str]] = []
    monkeypatch.setenv("ANY_MACHINE", "1")
    other = {**MACHINE, "fingerprint": "other", "tensorflow": "1.0"}
    with nodes(1), executor({}, other, 1, seen.append) as execute:
        (end,) = execute([Job("a", "sidebyside.core.jobs:missing", None)])
    assert isinstance(end, Failed)
    assert isinstance(end.error, AttributeError)  # of the job, which has run
    assert seen == [MACHINE]


def test_the_recipe_for_the_launcher_is_valid() -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    recipe = yaml.safe_load((CHECKOUT / "docs/cluster/ray-up.yaml").read_text())
    validate_config(prepare_config(recipe))
    with pytest.raises(ValidationError):
        validate_config(prepare_config({**recipe, "unknown": 1}))


def test_a_wrong_value_of_any_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANY_MACHINE", "yes")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"^ANY_MACHINE='yes' is not 1"), executor({}, MACHINE, 1):
        pass


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", "127.0.0.1:1: no Ray cluster answers ("),
        ("auto", "auto: no Ray cluster answers ("),
        ("ray://127.0.0.1:1", "ray://127.0.0.1:1 is not `auto` or <host>:<port> of the head node"),
        ("head", "head is not `auto` or <host>:<port> of the head node"),
    ],
)
def test_an_address_without_a_cluster_is_named(
    address: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError) as error, executor({}, MACHINE, 1):
        pass
    assert str(error.value).startswith(f"RAY_ADDRESS={told}")
