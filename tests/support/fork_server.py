"""Run Python programs as forks of a process that has loaded the large libraries already.

TensorFlow and MLflow load for five seconds, and a stage on the tests' data computes for one. The
server loads them once per pytest process. `programs()` returns a folder with a `python` and a `dvc`
to put on a command's PATH: each hands its arguments, environment, working directory and standard
streams to the server, waits for the fork, passes signals on to it and ends as it ends. Everything
below that runs as in a process of its own; the checkout's modules are never loaded in the server.

Options such as -I need a process of their own and get it by themselves. What Python and the
libraries read at their start (PYTHONHASHSEED) needs a server of its own, see `programs`, or a
process of its own, see `Checkout.start(forked=False)`.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import resource
import runpy
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple

CLIENT = Path(__file__).with_name("fork_client.py")
ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "GIT_PYTHON_REFRESH": "quiet",
}
LIBRARIES = (
    *("jinja2", "pandas", "pydantic", "ruamel.yaml", "scipy.ndimage", "scipy.stats"),
    *("sklearn.metrics", "matplotlib.figure", "matplotlib.style", "keras", "keras_tuner"),
    *("mlflow.entities", "mlflow.pyfunc", "mlflow.tensorflow"),
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.tracking"),
    *("dvc.cli.parser", "dvc.repo", "dvc.commands.repro", "dvc.stage", "dvc_data"),
)
LONGEST = 1 << 20  # bytes of a request: arguments and environment


def programs(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the programs of a server that starts with these variables.

    This pytest process starts it once.
    """
    return _programs(tuple(sorted((environment or {}).items())))


@functools.cache
def _programs(environment: tuple[tuple[str, str], ...]) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fork-server-"))
    address = folder / "socket"
    for name in ("python", "dvc"):
        words = shlex.join([sys.executable, "-I", "-S", str(CLIENT), str(address), name])
        (folder / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (folder / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    server = subprocess.Popen(
        [sys.executable, "-P", __file__, str(address)],
        env={**kept, **ENVIRONMENT, **dict(environment)},
        cwd="/",
        stdin=subprocess.PIPE,  # closed when this process ends, which ends the server
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for _ in range(600):
        if address.exists():
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise RuntimeError(f"the fork server ended with {server.wait(0.1)}")

    def stop() -> None:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return folder


class Request(NamedTuple):
    """A program to run: what the client sends, as JSON, beside its three standard streams."""

    arguments: list[str]  # those of `python`: a script, -c or -m, and its own
    folder: str
    environment: dict[str, str]
    umask: int
    file_size: tuple[int, int]  # bytes, soft and hard limit
    ignores_interrupt: bool


class Server:
    """The process that loads the libraries and forks."""

    def __init__(self, address: str) -> None:
        self.base = list(sys.path)
        self.clients: dict[int, socket.socket] = {}  # by the process that runs for them
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(address)
        self.listener.listen(64)
        self.wake, self.waker = socket.socketpair()
        self.waker.setblocking(False)
        signal.set_wakeup_fd(self.waker.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for source in (self.listener, self.wake, sys.stdin):
            self.selector.register(source, selectors.EVENT_READ)

    def wait(self) -> Request | None:
        """Serve until the test process ends (None), or in a fork return what it is to run."""
        while True:
            for key, _ in self.selector.select():
                source: Any = key.fileobj
                if source is sys.stdin:
                    for pid in self.clients:
                        _kill(pid)
                    return None
                if source is self.wake:
                    self.wake.recv(LONGEST)
                    self.report()
                elif source is self.listener:
                    if request := self.accept():
                        return request
                elif key.data in self.clients:  # its client was killed
                    _kill(key.data)

    def accept(self) -> Request | None:
        """Fork for a new client; return the request in the fork and None in the server."""
        client, _ = self.listener.accept()
        message, files, _, _ = socket.recv_fds(client, LONGEST, 3)
        if not message:
            client.close()
            return None
        pid = os.fork()
        if pid == 0:
            self.leave(client, files)
            return Request(**json.loads(message))
        for file in files:
            os.close(file)
        self.clients[pid] = client
        self.selector.register(client, selectors.EVENT_READ, pid)
        client.send(str(pid).encode())
        return None

    def leave(self, client: socket.socket, files: list[int]) -> None:
        """Let go of the server's files and signals, and take the client's standard streams."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.selector.close()
        for source in (self.listener, self.wake, self.waker, client, *self.clients.values()):
            source.close()
        os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)

    def report(self) -> None:
        """Tell the clients of ended processes how these ended."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                pid, status = ended
                client = self.clients.pop(pid)
                self.selector.unregister(client)
                with contextlib.suppress(OSError):  # killed by its test
                    client.send(str(os.waitstatus_to_exitcode(status)).encode())
                client.close()


def _kill(session: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)


def run(request: Request, base: list[str]) -> None:
    """Run a program in this process as `python` would."""
    os.chdir(request.folder)
    os.umask(request.umask)
    resource.setrlimit(resource.RLIMIT_FSIZE, request.file_size)
    os.environ.clear()
    os.environ.update(request.environment)
    interrupt = signal.SIG_IGN if request.ignores_interrupt else signal.default_int_handler
    signal.signal(signal.SIGINT, interrupt)
    first, *rest = request.arguments
    added = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    here = str(Path(first).resolve().parent) if first not in ("-c", "-m") else str(Path.cwd())
    sys.orig_argv = [sys.executable, *request.arguments]
    folders = [str(Path(part).absolute()) for part in added]
    sys.path[:] = [here, *folders, *base]
    if PathFinder.find_spec("sitecustomize", folders):
        importlib.import_module("sitecustomize")  # as Python does at its start
    if first == "-c":
        code, *rest = rest
        sys.argv = ["-c", *rest]
        exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))  # noqa: S102
    elif first == "-m":
        module, *rest = rest
        sys.argv = [module, *rest]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def main() -> None:
    """Load the libraries and serve."""
    status: list[int] = []

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status[0] if status else 0)

    # Runs after every other exit handler, and skips the half second that it takes to clear modules.
    atexit.register(leave)
    server = Server(sys.argv[1])
    gc.disable()
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()
    if request := server.wait():
        try:
            run(request, server.base)
        except SystemExit as leaving:
            status.append(leaving.code if isinstance(leaving.code, int) else bool(leaving.code))
            raise
        except BaseException:
            status.append(1)
            raise


if __name__ == "__main__":
    main()
