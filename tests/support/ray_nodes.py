"""Ray clusters on this machine: RAY_ADDRESS, jobs that run on nodes, processes that are left."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidebyside.workflow.local_cluster import local_cluster, processes_of, variables

os.environ.update(variables())  # before Ray is imported
ray = pytest.importorskip("ray", reason="Ray is not installed: run `make ray`")

PREFIX = "ray::"  # of the title of a process
OTHERS = {f"{PREFIX}{name}" for name in ("IDLE", "DashboardAgent", "RuntimeEnvAgent")}


@contextlib.contextmanager
def nodes(number: int) -> Iterator[Any]:
    """Start a cluster of nodes with one core each; RAY_ADDRESS is its address."""
    with local_cluster(number, 1) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", running.address)
        yield running


def lose(running: Any, node: Any) -> None:
    """Kill a node of a cluster."""
    processes = processes_of(node)
    running.remove_node(node, allow_graceful=False)
    for process in processes:
        process.wait()


def jobs_on(node: Any) -> dict[int, str]:
    """Return process → name, of the jobs that run on a node."""
    raylet = node.all_processes["raylet"][0].process.pid
    children = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
    titles = {pid: _title(pid) for pid in map(int, children)}
    return {
        pid: title.removeprefix(PREFIX)
        for pid, title in titles.items()
        if title.startswith(PREFIX) and title not in OTHERS
    }


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    except OSError:  # it has ended
        return ""
