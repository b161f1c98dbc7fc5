"""A process that runs an executor for another process, until that one ends the connection.

It is started as `python -m sidebyside.execution.executor_process <descriptor>` and gets the name
and the arguments of the executor. Over the same connection, it asks for jobs and returns events.
"""

import os
import pkgutil
import sys
from multiprocessing.connection import Connection

from sidebyside.core.errors import UserError
from sidebyside.core.jobs import Job
from sidebyside.execution.child_process import inbox
from sidebyside.execution.detached import Signal


def serve(connection: Connection) -> None:
    """Run jobs; returns only if the executor cannot be used."""
    received = inbox(connection)
    name, arguments = received.get()

    def ask() -> Job | None:
        connection.send(Signal.NEXT)
        job: Job | None = received.get()
        return job

    try:
        with pkgutil.resolve_name(name)(**arguments) as run:
            connection.send(Signal.READY)
            while received.get() is Signal.RUN:
                for event in run(iter(ask, None)):
                    connection.send(event)
                connection.send(Signal.ENDED)
    except UserError as error:
        connection.send(error)


def discard_messages_of_libraries() -> None:
    """Discard what libraries print, but not what Python prints on standard error."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    os.close(null)


if __name__ == "__main__":
    discard_messages_of_libraries()
    serve(Connection(int(sys.argv[1])))
