"""Run jobs in processes on this machine.

The processes stay alive between jobs, so each imports TensorFlow once. The arrays are in memory
once: the processes map the same files, which have no names and end with the last process.
"""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import IO, Any, NamedTuple

from numpy.typing import NDArray

from sidebyside.core.cores import share
from sidebyside.core.jobs import Arrays, Event, Executor, Job, News
from sidebyside.execution.supervision import SILENCE, Lost, Supervisor
from sidebyside.execution.worker import SharedArray

WORKER = "sidebyside.execution.worker"
STALLED = 60  # seconds in the middle of a message after which a worker counts as lost


@contextlib.contextmanager
def processes(arrays: Arrays, *, at_once: int, silence: float = SILENCE) -> Iterator[Executor]:
    """Yield an executor whose processes end with the block, or with this process.

    Args:
        arrays: name → array, for all jobs.
        at_once: maximum number of processes.
        silence: seconds without an event after which a process is replaced.
    """
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context(tempfile.TemporaryFile()) for name in arrays}
        shared = {name: _share(arrays[name], files[name]) for name in arrays}
        workers = _Processes(shared, share(at_once))
        stack.callback(workers.close)
        yield Supervisor(workers, at_once, silence).run


class _Worker(NamedTuple):
    process: "subprocess.Popen[bytes]"
    connection: Connection


class _Processes:
    """The workers of an executor."""

    def __init__(self, shared: Mapping[str, SharedArray], variables: Mapping[str, str]) -> None:
        self._shared, self._variables = shared, variables
        self._busy: set[_Worker] = set()
        self._idle: list[_Worker] = []

    def start(self, job: Job) -> _Worker:
        worker = self._idle.pop() if self._idle else _start(self._shared, self._variables)
        self._busy.add(worker)
        _send(worker, job)
        return worker

    def began(self, handle: _Worker) -> bool:
        return handle in self._busy

    def wait(
        self, handles: Collection[_Worker], seconds: float
    ) -> list[tuple[_Worker, Event | Lost]]:
        ready = wait([worker.connection for worker in handles], seconds)
        return [(one, self._receive(one)) for one in [*handles] if one.connection in ready]

    def stop(self, handle: _Worker) -> None:
        if handle in self._busy:
            self._busy.remove(handle)
            _end([handle])

    def close(self) -> None:
        """End all processes."""
        _end([*self._busy, *self._idle])
        self._busy.clear()
        self._idle.clear()

    def _receive(self, worker: _Worker) -> Event | Lost:
        try:
            event: Event = worker.connection.recv()
        except BlockingIOError:
            self.stop(worker)
            return Lost("stopped in the middle of a message")
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(STALLED)
            self.stop(worker)
            return Lost(_ending(worker.process.returncode))
        if not isinstance(event, News):
            self._busy.remove(worker)
            self._idle.append(worker)
        return event


def _share(array: NDArray[Any], file: IO[bytes]) -> SharedArray:
    """Write the array to a file."""
    array.tofile(file)
    file.flush()
    return SharedArray(file.fileno(), array.dtype.str, array.shape)


def _start(shared: Mapping[str, SharedArray], variables: Mapping[str, str]) -> _Worker:
    ours, theirs = socket.socketpair()
    limit = struct.pack("ll", STALLED, 0)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        ours.setsockopt(socket.SOL_SOCKET, option, limit)
    path = os.pathsep.join(sys.path)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER, str(theirs.fileno())],
            env={**os.environ, **variables, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            process_group=0,  # signals of the terminal are for this process, which ends its workers
            pass_fds=[theirs.fileno(), *(array.descriptor for array in shared.values())],
        )
    started = _Worker(process, Connection(ours.detach()))
    _send(started, shared)
    return started


def _send(worker: _Worker, message: Any) -> None:
    with contextlib.suppress(OSError):  # the process has ended: receiving will tell
        worker.connection.send(message)


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.kill()
        worker.process.wait()
        worker.connection.close()


def _ending(status: int) -> str:
    """Describe the exit status of a process that has ended, as `subprocess` gives it."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
