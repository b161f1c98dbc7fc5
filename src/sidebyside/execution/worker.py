"""A local worker: a process that runs jobs until the process that started it ends.

It is started as `python -m sidebyside.execution.worker <descriptor>` and gets the shared arrays,
then jobs, over a connection, into which it writes their events.
"""

import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidebyside.core.jobs import Job, perform
from sidebyside.execution.child_process import inbox


class SharedArray(NamedTuple):
    """An array in an open file that the worker inherits."""

    descriptor: int
    dtype: str
    shape: tuple[int, ...]

    def map(self) -> NDArray[Any]:
        """Return the array; a page is copied when it is changed."""
        if 0 in self.shape:  # cannot be mapped
            return np.empty(self.shape, self.dtype)
        with os.fdopen(self.descriptor, "rb", closefd=False) as file:
            return np.memmap(file, self.dtype, "c", 0, self.shape).view(np.ndarray)


def serve(connection: Connection) -> None:
    """Run jobs one after the other; never returns."""
    received = inbox(connection)
    shared: Mapping[str, SharedArray] = received.get()
    arrays = {name: array.map() for name, array in shared.items()}
    while True:
        job: Job = received.get()
        for event in perform(job, arrays):
            connection.send(event)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
