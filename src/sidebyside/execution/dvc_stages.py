"""Run the stages of a DVC pipeline, several at once."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import IO, Literal, TextIO

from sidebyside.core.cores import share
from sidebyside.execution import dvc_pipeline, process_group
from sidebyside.execution.schedule import Predecessors

REPORT_INTERVAL = 60.0  # seconds; a killed run loses at most this much of its measured time

Change = Literal["started", "completed", "failed", "unchanged"]
Show = Callable[[str, str, TextIO], None]  # stage, line, stream


def run(
    folder: Path,
    predecessors: Predecessors,
    due: Collection[str],
    report: Callable[[Mapping[str, Change]], None],
    show: Show,
    *,
    at_once: int,
) -> None:
    """Run the stages that are due, each in a DVC process of its own.

    A stage is due if DVC would run it once its predecessors have ended: as with `dvc repro`, one
    whose inputs came out unchanged is skipped. After a failure, only stages that depend on it are
    skipped. If this function is interrupted, it terminates the running stages.

    Args:
        folder: the folder of dvc.yaml.
        predecessors: stage → stages that must end before it starts, in the order in which stages
            start that could start at the same time.
        due: stages that DVC would run now.
        report: called with stage → change after every change, and every REPORT_INTERVAL.
        show: called from several threads for each line that a stage prints; not called if one
            stage at a time has the terminal to itself.
        at_once: maximum number of stages that run at the same time.
    """
    due = {*due}
    waiting, ran, failed = [*predecessors], set[str](), set[str]()
    running: dict[Future[int], str] = {}
    guard = dvc_pipeline.lock_file(folder)  # held while DVC writes its files
    with ThreadPoolExecutor(at_once) as pool, process_group.calls(guard) as calls:
        while waiting or running:
            blocked = {*waiting, *running.values()}
            ready = [s for s in waiting if not blocked.intersection(predecessors[s])]
            # The state of a stage is that at the beginning, until a predecessor has run.
            again = [stage for stage in ready if ran.intersection(predecessors[stage])]
            due = due.difference(again).union(dvc_pipeline.stale(folder, again))
            if unchanged := [stage for stage in ready if stage not in due]:
                waiting = [stage for stage in waiting if stage not in unchanged]
                report(dict.fromkeys(unchanged, "unchanged"))
                continue
            # Stages that start at the same time, or beside others, share the cores.
            variables = share(min(at_once, len(running) + len(ready)))
            for stage in ready[: at_once - len(running)]:
                waiting.remove(stage)
                report({stage: "started"})
                follow = None if at_once == 1 else partial(_follow, stage, show)
                running[pool.submit(_run, calls, folder, stage, variables, follow)] = stage
            ended, _ = wait(running, timeout=REPORT_INTERVAL, return_when=FIRST_COMPLETED)
            changes: dict[str, Change] = {
                running.pop(one): "failed" if one.result() else "completed" for one in ended
            }
            ran.update(changes)
            failed |= {stage for stage, change in changes.items() if change == "failed"}
            waiting = without_dependents(waiting, failed, predecessors)
            report(changes)


def without_dependents(
    stages: Iterable[str], failed: Collection[str], predecessors: Predecessors
) -> list[str]:
    """Return the stages that neither failed nor depend on one, also through other stages."""
    blocked, left = {*failed}, [stage for stage in stages if stage not in failed]
    while more := [stage for stage in left if blocked.intersection(predecessors[stage])]:
        blocked.update(more)
        left = [stage for stage in left if stage not in blocked]
    return left


def _run(
    calls: process_group.Calls,
    folder: Path,
    stage: str,
    variables: Mapping[str, str],
    follow: Callable[["subprocess.Popen[bytes]"], None] | None,
) -> int:
    """Run a stage and return the exit status of DVC."""
    command = ["dvc", "--wait-for-lock", "repro", "--single-item", stage]
    return calls.call(command, folder, {**os.environ, **variables}, follow)


def _follow(stage: str, show: Show, process: "subprocess.Popen[bytes]") -> None:
    """Show the lines that a stage prints, until it ends."""

    def copy(source: IO[bytes] | None, target: TextIO) -> None:
        with source or contextlib.nullcontext(()) as lines:
            for line in lines:
                show(stage, line.decode(errors="replace").rstrip(), target)

    errors = threading.Thread(target=copy, args=(process.stderr, sys.stderr))
    errors.start()
    copy(process.stdout, sys.stdout)
    errors.join()
