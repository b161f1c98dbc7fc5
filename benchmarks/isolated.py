"""A measurement in a process of its own: a fresh start for memory, threads and compiled code."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.workloads import ROOT

from fashion.errors import UserError


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


def peak_memory() -> float:
    """Return the MiB this process has had at most.

    Not `ru_maxrss`, which is never below the peak of the process that started this one: Linux keeps
    it across exec.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found  # noqa: S101 (Linux always has the line)
    return int(found[1]) / 1024
