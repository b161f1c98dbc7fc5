"""Run jobs in processes on this machine.

The processes stay alive between jobs, so each imports TensorFlow once. The arrays are in memory
once: the processes map the same files, which have no names and end with the last process.
"""

import contextlib
import tempfile
from collections.abc import Collection, Iterator, Mapping
from multiprocessing.connection import wait
from typing import IO, Any

from numpy.typing import NDArray

from sidebyside.core.cores import share
from sidebyside.core.jobs import Arrays, Event, Executor, Job, News
from sidebyside.execution import child_process
from sidebyside.execution.child_process import Child
from sidebyside.execution.supervision import SILENCE, Lost, Supervisor
from sidebyside.execution.worker import SharedArray

WORKER = "sidebyside.execution.worker"


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


class _Processes:
    """The workers of an executor."""

    def __init__(self, shared: Mapping[str, SharedArray], variables: Mapping[str, str]) -> None:
        self._shared, self._variables = shared, variables
        self._busy: set[Child] = set()
        self._idle: list[Child] = []

    def start(self, job: Job) -> Child:
        worker = self._idle.pop() if self._idle else self._new()
        self._busy.add(worker)
        child_process.send(worker, job)
        return worker

    def began(self, handle: Child) -> bool:
        return handle in self._busy

    def wait(self, handles: Collection[Child], seconds: float) -> list[tuple[Child, Event | Lost]]:
        ready = wait([worker.connection for worker in handles], seconds)
        return [(one, self._receive(one)) for one in [*handles] if one.connection in ready]

    def stop(self, handle: Child) -> None:
        if handle in self._busy:
            self._busy.remove(handle)
            child_process.end([handle])

    def close(self) -> None:
        """End all processes."""
        child_process.end([*self._busy, *self._idle])
        self._busy.clear()
        self._idle.clear()

    def _new(self) -> Child:
        descriptors = [array.descriptor for array in self._shared.values()]
        return child_process.start(WORKER, self._shared, self._variables, descriptors)

    def _receive(self, worker: Child) -> Event | Lost:
        try:
            event: Event = worker.connection.recv()
        except BlockingIOError:
            self.stop(worker)
            return Lost("stopped in the middle of a message")
        except (EOFError, OSError):
            reason = child_process.ending(worker)
            self.stop(worker)
            return Lost(reason)
        if not isinstance(event, News):
            self._busy.remove(worker)
            self._idle.append(worker)
        return event


def _share(array: NDArray[Any], file: IO[bytes]) -> SharedArray:
    """Write the array to a file."""
    array.tofile(file)
    file.flush()
    return SharedArray(file.fileno(), array.dtype.str, array.shape)
