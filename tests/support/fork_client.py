"""Run a Python program in a fork of the server at an address; see fork_server.py.

`fork_client.py <socket> python|dvc <argument>…`
"""

import json
import os
import resource
import signal
import socket
import sys

LONGEST = 64  # bytes of an answer: a process or an exit status


def main() -> None:
    """Hand the program to the server and end as it ends."""
    address, name, *arguments = sys.argv[1:]
    if name == "dvc":
        arguments = ["-m", "dvc", *arguments]
    elif not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-c", "-m")):
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
    umask = os.umask(0)
    request = {
        "arguments": arguments,
        "folder": os.getcwd(),  # noqa: PTH109 (pathlib takes longer to load than all else)
        "environment": dict(os.environ),
        "umask": umask,
        "file_size": resource.getrlimit(resource.RLIMIT_FSIZE),
        "ignores_interrupt": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(address)
        socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
        process = int(server.recv(LONGEST))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(process, number))
        status = int(server.recv(LONGEST) or -signal.SIGKILL)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


main()
