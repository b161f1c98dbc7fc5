"""Measure in a new process, with its own memory, threads and compiled functions."""

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
    """Run a module of this folder in a new process and return the JSON value in its last line.

    Args:
        module: name of the module.
        arguments: its command-line arguments.
        python: the interpreter.
        environment: additional environment variables.

    Raises:
        UserError: the process failed.
    """
    done = subprocess.run(
        [python, "-m", f"benchmarks.{module}", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "src:replications/src", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{module} {' '.join(map(str, arguments))} failed: {reason}")
    return json.loads(done.stdout.splitlines()[-1])


def alternate(module: str, subject: str, kinds: tuple[str, str], rounds: int) -> dict[str, Any]:
    """Return the seconds that a module prints with `--once SUBJECT KIND`, alternating two kinds.

    Returns:
        `seconds`: kind → a value per round; `medians`: kind → their median.
    """
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(1, rounds + 1):
        for kind, seconds in found.items():
            seconds.append(measure(module, "--once", subject, kind))
        last = ", ".join(f"{kind} {seconds[-1]:.2f} s" for kind, seconds in found.items())
        print(f"{subject}, round {number}/{rounds}: {last}", flush=True)
    return {"seconds": found, "medians": {kind: median(found[kind]) for kind in kinds}}


def peak_memory() -> float:
    """Return the peak memory of this process in MiB.

    `ru_maxrss` would include the peak of the parent process, as Linux keeps it across exec.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found  # noqa: S101 (the line is always there on Linux)
    return int(found[1]) / 1024
