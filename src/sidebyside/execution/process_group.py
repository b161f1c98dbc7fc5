"""Run commands whose child processes end with them, and with this process.

A signal to a command's process group reaches the scripts of DVC's stages as well as DVC. A watchdog
ends the groups if this process is killed.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

PATIENCE, INTERVAL = 10.0, 0.1  # seconds for processes to end, and between two looks at them


class Calls:
    """Commands that several threads run at the same time, each in a process group of its own."""

    def __init__(self, watchdog: "subprocess.Popen[str]", guard: Path | None) -> None:
        """Begin without a command.

        Args:
            watchdog: the process that `calls` starts.
            guard: a file that a command locks while it must not be ended.
        """
        self._lock = threading.Lock()
        self._running: list[subprocess.Popen[bytes]] = []
        self._ended = False
        self._watchdog, self._guard = watchdog, guard

    def call(
        self,
        command: Sequence[str | Path],
        folder: Path,
        environment: Mapping[str, str],
        follow: Callable[["subprocess.Popen[bytes]"], None] | None = None,
    ) -> int:
        """Run a command and return its exit status; a negative one if `end` was called before.

        Args:
            command: program and arguments.
            folder: the working directory.
            environment: its variables.
            follow: reads the pipes of its output and errors until they are closed; without it, both
                go where those of this process go.
        """
        pipe = subprocess.PIPE if follow else None
        with self._lock:  # so that `end` misses no process
            if self._ended:
                return -signal.SIGTERM
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                process_group=0,
            )
            self._running.append(process)
            self._tell("+", process.pid)
        if follow:
            follow(process)
        status = process.wait()
        with self._lock:
            self._running.remove(process)
            self._tell("-", process.pid)
        return status

    def _tell(self, sign: str, group: int) -> None:
        with contextlib.suppress(OSError):  # the watchdog has been killed
            print(sign, group, file=self._watchdog.stdin, flush=True)

    def end(self) -> None:
        """End all processes of the commands, and start no other command."""
        with self._lock:
            self._ended = True
            running = [*self._running]
        groups = [process.pid for process in running]
        end(groups, self._guard, lambda: [process.poll() for process in running])


@contextlib.contextmanager
def calls(guard: Path | None = None) -> Iterator[Calls]:
    """Yield calls that end with the block.

    Args:
        guard: a file that a command locks while it must not be ended, as it writes files in place.
    """
    with subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, *([guard.resolve()] if guard else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # a reader of this process's output does not wait for it
        stderr=subprocess.DEVNULL,
        text=True,
        close_fds=False,  # an inheritable lock is held until all processes have ended
        start_new_session=True,
        cwd="/",
    ) as watchdog:
        running = Calls(watchdog, guard)
        try:
            yield running
        finally:
            running.end()


def call(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> int:
    """Run a command and return its exit status; if this is interrupted, end all its processes.

    Args:
        command: program and arguments.
        folder: the working directory.
        environment: its variables.
    """
    with calls() as running:
        return running.call(command, folder, environment)


def end(
    groups: Sequence[int], guard: Path | None = None, reap: Callable[[], object] = lambda: None
) -> None:
    """Terminate process groups, and kill what has not ended after PATIENCE.

    Args:
        groups: ids of the groups.
        guard: as for `calls`.
        reap: asks for the status of their ended processes, which exist until then.
    """
    with _locked(guard):
        for group in groups:
            _signal(group, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    for group in groups:
        while _exists(group, reap) and time.monotonic() < deadline:
            time.sleep(INTERVAL)
        _signal(group, signal.SIGKILL)


@contextlib.contextmanager
def _locked(path: Path | None) -> Iterator[None]:
    """Hold the lock of a file, if there is one and it becomes free within PATIENCE."""
    if path is None or not path.is_file():
        yield
        return
    deadline = time.monotonic() + PATIENCE
    with path.open("a") as file:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(INTERVAL)
        yield


def _exists(group: int, reap: Callable[[], object]) -> bool:
    reap()
    return _signal(group, 0)


def _signal(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether it has processes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
        return True
    return False


def watch(lines: Iterable[str], guard: Path | None) -> None:
    """End the process groups that are left when the process that reports them has ended.

    Args:
        lines: `+ id` for a group that begins, `- id` for one that has ended.
        guard: as for `calls`.
    """
    groups: dict[int, None] = {}
    for line in lines:
        sign, group = line.split()
        if sign == "+":
            groups[int(group)] = None
        else:
            groups.pop(int(group))
    end([*groups], guard)


if __name__ == "__main__":
    watch(sys.stdin, Path(sys.argv[1]) if sys.argv[1:] else None)
