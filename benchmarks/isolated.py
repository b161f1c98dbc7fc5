"""A measurement in a process of its own: a fresh start for memory, threads and compiled code."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.workloads import ROOT
from sidebyside.core.errors import UserError


def measure(
    module: str,
    *arguments: object,
    python: Path = Path(sys.executable),
    environment: Mapping[str, str] | None = None,
) -> Any:
    """Run a module of this folder and return the JSON value that it prints last.

    Args:
        module: its name.
        arguments: of its command line.
        python: the interpreter.
        environment: beside that of this process.

    Raises:
        UserError: it fails.
    """
    done = subprocess.run(
        [python, "-m", f"benchmarks.{module}", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "src", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{module} {' '.join(map(str, arguments))} failed: {reason}")
    return json.loads(done.stdout.splitlines()[-1])


def take_turns(module: str, subject: str, kinds: tuple[str, str], rounds: int) -> dict[str, Any]:
    """Return the seconds that `--once SUBJECT KIND` of a module prints, the kinds taking turns.

    Returns:
        `seconds`: kind → one per round; `medians`: kind → their median.
    """
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(1, rounds + 1):
        for kind, seconds in found.items():
            seconds.append(measure(module, "--once", subject, kind))
        last = ", ".join(f"{kind} {seconds[-1]:.2f} s" for kind, seconds in found.items())
        print(f"{subject}, round {number}/{rounds}: {last}", flush=True)
    return {"seconds": found, "medians": {kind: median(found[kind]) for kind in kinds}}


def peak_memory() -> float:
    """Return the MiB this process has had at most.

    Not `ru_maxrss`, which is never below the peak of the process that started this one: Linux keeps
    it across exec.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found  # noqa: S101 (Linux always has the line)
    return int(found[1]) / 1024
