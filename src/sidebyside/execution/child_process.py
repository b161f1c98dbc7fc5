"""Start child processes that run a module of this library and are connected with this process.

A child gets its first message as soon as it has started; it ends with the process that started it.
"""

import contextlib
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

STALLED = 60  # seconds in the middle of a message after which a child counts as lost


class Child(NamedTuple):
    """A child process and the connection to it."""

    process: "subprocess.Popen[bytes]"
    connection: Connection


def start(
    module: str, first: Any, variables: Mapping[str, str], descriptors: Sequence[int] = ()
) -> Child:
    """Start a process that runs a module, with the descriptor of its connection as argument.

    Args:
        module: its full name.
        first: the first message.
        variables: environment variables to set.
        descriptors: of open files that the process inherits.
    """
    ours, theirs = socket.socketpair()
    limit = struct.pack("ll", STALLED, 0)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        ours.setsockopt(socket.SOL_SOCKET, option, limit)
    path = os.pathsep.join(sys.path)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(theirs.fileno())],
            env={**os.environ, **variables, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            process_group=0,  # this process gets the terminal's signals, and ends its children
            pass_fds=[theirs.fileno(), *descriptors],
        )
    child = Child(process, Connection(ours.detach()))
    send(child, first)
    return child


def send(child: Child, message: Any) -> None:
    """Send a message."""
    with contextlib.suppress(OSError):  # the process has ended: receiving will tell
        child.connection.send(message)


def end(children: Sequence[Child]) -> None:
    """Kill processes and close the connections to them."""
    for child in children:
        child.process.kill()
        child.process.wait()
        child.connection.close()


def ending(child: Child) -> str:
    """Wait for the end of a process whose connection is closed, and describe it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(STALLED)
    status = child.process.poll()
    if status is None:
        return "without a connection"
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"


def inbox(connection: Connection) -> "queue.SimpleQueue[Any]":
    """Return the messages that a child receives; when the other end is gone, the child ends.

    It ends in the middle of its work.
    """
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def receive() -> None:
        try:
            while True:
                received.put(connection.recv())
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=receive, daemon=True).start()
    return received
