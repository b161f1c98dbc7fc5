"""Run the stages of a DVC pipeline concurrently."""

import json
import os
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from sidebyside.core.errors import UserError
from sidebyside.execution import process_group

REPORT_INTERVAL = 60.0  # seconds; a killed run loses at most this much of its measured time
# One inter-op thread per stage saves time if stages share the cores, and does not change results.
ENVIRONMENT = {"TF_NUM_INTEROP_THREADS": "1"}


def stale(folder: Path, stages: Sequence[str]) -> list[str]:
    """Return the stages that DVC would run, in the given order.

    Args:
        folder: the folder of dvc.yaml.
        stages: names as `dvc repro` accepts them.

    Raises:
        UserError: `dvc status` fails.
    """
    command = ["dvc", "--wait-for-lock", "status", "--json"]
    status = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if status.returncode:
        raise UserError(f"`dvc status` fails: {' '.join(status.stderr.split())}")
    changed = json.loads(status.stdout)
    return [stage for stage in stages if stage in changed]


def longest_first(stages: Sequence[str], seconds: Mapping[str, float]) -> list[str]:
    """Return stages by decreasing duration, a near-optimal order for few workers (Graham 1969).

    Args:
        stages: names; stages of the same duration keep their order.
        seconds: stage → expected duration. Stages without one come first, as they may take longest.
    """
    return sorted(stages, key=lambda stage: seconds.get(stage, float("inf")), reverse=True)


def run(
    folder: Path,
    stages: Sequence[str],
    predecessors: Mapping[str, Collection[str]],
    report: Callable[[Mapping[str, bool]], None],
    *,
    at_once: int,
) -> None:
    """Run each stage in a DVC process; after a failure, only stages that depend on it are skipped.

    If this function is interrupted, it terminates the running stages.

    Args:
        folder: the folder of dvc.yaml.
        stages: the stages to run, in the order in which to start them.
        predecessors: stage → stages that must succeed before it starts, if they are to run as well.
        report: called when stages have ended, and every REPORT_INTERVAL, with stage → success.
        at_once: maximum number of stages that run at the same time.
    """
    waiting, failed = [*stages], set[str]()
    running: dict[Future[int], tuple[str, subprocess.Popen[bytes]]] = {}
    with ThreadPoolExecutor(at_once) as pool:
        try:
            while waiting or running:
                pending = {*waiting, *(stage for stage, _ in running.values())}
                ready = [s for s in waiting if not pending.intersection(predecessors.get(s, ()))]
                for stage in ready[: at_once - len(running)]:
                    waiting.remove(stage)
                    process = _start(folder, stage)
                    running[pool.submit(process.wait)] = (stage, process)
                if not running:
                    raise UserError(f"stages depend on each other: {', '.join(waiting)}")
                ended, _ = wait(running, timeout=REPORT_INTERVAL, return_when=FIRST_COMPLETED)
                successes = {running.pop(future)[0]: future.result() == 0 for future in ended}
                failed |= {stage for stage, success in successes.items() if not success}
                waiting = _without_dependents(waiting, failed, predecessors)
                report(successes)
        finally:
            process_group.end([process for _, process in running.values()])


def _without_dependents(
    stages: Sequence[str], failed: Collection[str], predecessors: Mapping[str, Collection[str]]
) -> list[str]:
    """Return the stages that depend on no failed stage, directly or through other stages."""
    blocked = {*failed}
    while more := [
        stage
        for stage in stages
        if stage not in blocked and blocked.intersection(predecessors.get(stage, ()))
    ]:
        blocked.update(more)
    return [stage for stage in stages if stage not in blocked]


def _start(folder: Path, stage: str) -> "subprocess.Popen[bytes]":
    command = ["dvc", "--wait-for-lock", "repro", "--single-item", stage]
    return process_group.start(command, folder, {**os.environ, **ENVIRONMENT})
