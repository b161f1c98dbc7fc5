"""Run commands whose child processes end with them."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE, INTERVAL = 10.0, 0.1  # seconds for processes to end, and between two looks at them


def start(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start a command in a process group of its own.

    A signal to the group reaches the scripts of DVC's stages as well as DVC.

    Args:
        command: program and arguments.
        folder: the working directory.
        environment: its variables.
    """
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, process_group=0
    )


def call(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> int:
    """Run a command and return its exit status; if this is interrupted, end all its processes.

    Arguments as for `start`.
    """
    process = start(command, folder, environment)
    try:
        return process.wait()
    except BaseException:
        end([process])
        raise


def end(leaders: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Terminate process groups, and kill what has not ended after PATIENCE.

    Args:
        leaders: processes that `start` has returned.
    """
    for leader in leaders:
        _signal(leader, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    for leader in leaders:
        while _exists(leader) and time.monotonic() < deadline:
            time.sleep(INTERVAL)
        _signal(leader, signal.SIGKILL)


def _exists(leader: "subprocess.Popen[bytes]") -> bool:
    leader.poll()  # an ended process exists until its parent has asked for its status
    return _signal(leader, 0)


def _signal(leader: "subprocess.Popen[bytes]", number: int) -> bool:
    """Send a signal to a process group; return whether it has processes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, number)
        return True
    return False
