"""Run an executor in a process of its own, for libraries that may end the process they are used in.

`executor_process` is what that process runs.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sidebyside.core.errors import UserError
from sidebyside.core.jobs import Event, Executor, Job
from sidebyside.execution import child_process
from sidebyside.execution.child_process import Child

MODULE = "sidebyside.execution.executor_process"


class Signal(Enum):
    """A message without content."""

    READY = "the executor can be used"
    RUN = "run the jobs that are asked for from now on"
    NEXT = "another job can start"
    ENDED = "all jobs have ended"


@contextlib.contextmanager
def detached(
    name: str, arguments: Mapping[str, Any], *, refusal: str, loss: str
) -> Iterator[Executor]:
    """Yield an executor whose process ends with the block, or with this process.

    Args:
        name: package.module:function, of a context manager that yields the executor.
        arguments: of the function; picklable.
        refusal: message for the user if the process ends before the executor can be used.
        loss: message for the user if it ends later.

    Raises:
        UserError: raised by the function, or with one of the messages.
    """
    running = _Detached(name, arguments, refusal, loss)
    try:
        running.start()
        yield running.run
    finally:
        running.end()


@dataclass
class _Detached:
    name: str
    arguments: Mapping[str, Any]
    refusal: str
    loss: str
    child: Child | None = None

    def start(self) -> Child:
        """Start the process, unless it runs."""
        if self.child is None:
            self.child = child_process.start(MODULE, (self.name, self.arguments), {})
            answer = self.receive(self.child, self.refusal)
            if isinstance(answer, UserError):
                raise answer
        return self.child

    def run(self, jobs: Iterable[Job]) -> Iterator[Event]:
        """Yield the events of jobs.

        Args:
            jobs: taken one by one, each when it can start.

        Raises:
            UserError: the process has ended by itself.
        """
        child, source = self.start(), iter(jobs)
        child_process.send(child, Signal.RUN)
        complete = False
        try:
            while (message := self.receive(child, self.loss)) is not Signal.ENDED:
                if message is Signal.NEXT:
                    child_process.send(child, next(source, None))
                else:
                    yield message
            complete = True
        finally:  # the caller may not want all events
            if not complete:
                self.end()

    def receive(self, child: Child, otherwise: str) -> Any:
        try:
            child.connection.poll(None)
            return child.connection.recv()
        except (EOFError, OSError):
            self.end()
            raise UserError(otherwise) from None

    def end(self) -> None:
        """End the process."""
        if self.child is not None:
            child_process.end([self.child])
            self.child = None
