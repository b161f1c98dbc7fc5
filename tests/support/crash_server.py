"""Run stages that are killed, or run out of disk space, at the N-th change they make on disk.

A change is a file opened for writing, synced, renamed or removed, a folder created or removed, or
a statement that modifies MLflow's database. At a sync, the file is first truncated to half its
size, as if the process had died while it was writing.

The heavy libraries are imported once; each stage runs in a fork, as `python pipeline/<stage>.py`
would run it. The server reads a job per line from standard input, as JSON, and answers each with a
line:

    {"root": …, "script": "train", "arguments": […], "fault": "kill" | "full", "at": N}
    {"status": …, "changes": …, "growths": …, "epochs": …, "output": …, "error": …}

A full disk affects only the changes that need space, the growths; only these count for it. With the
fault "time" the stage is killed after `at` seconds; with "" it runs undisturbed.
"""

import errno
import json
import mmap
import os
import runpy
import signal
import sqlite3.dbapi2
import struct
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, NoReturn

WRITING = os.O_WRONLY | os.O_RDWR
EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
STATEMENTS = ("INSERT", "UPDATE", "DELETE", "CREATE", "COMMIT")


class Changes:
    """Count the changes of a process below a folder, and fail at one of them."""

    def __init__(self, root: Path, fault: str, at: float, counter: mmap.mmap) -> None:
        self.root = f"{root}{os.sep}"
        self.fault, self.at, self.counter = fault, at, counter
        self.changes = self.growths = 0
        self.epochs = 0  # number of checkpoints begun

    def watch(self) -> None:
        fsync = os.fsync

        def counting(file: int) -> None:
            if self.happens(Path(f"/proc/self/fd/{file}").readlink(), space=True):
                os.ftruncate(file, os.fstat(file).st_size // 2)
                self.strike()
            fsync(file)

        def connecting(*arguments: Any, **options: Any) -> Any:
            connection = connect(*arguments, **options)
            connection.set_trace_callback(self.statement)
            return connection

        os.fsync = counting  # type: ignore[assignment]
        connect = sqlite3.dbapi2.connect
        sqlite3.dbapi2.connect = connecting
        sys.addaudithook(self.listen)
        if self.fault == "time":
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process without output
            signal.setitimer(signal.ITIMER_REAL, self.at)

    def listen(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & WRITING:
                self.epochs += str(path).endswith(".npz.tmp") and "/.state/" in str(path)
                if self.happens(path, space=True):
                    self.strike()
        elif event == "os.mkdir" and Path(arguments[0]).is_dir():
            return  # nothing changes
        elif event in EVENTS and self.happens(arguments[0], space=event == "os.mkdir"):
            self.strike()

    def statement(self, text: str) -> None:
        if text.lstrip().upper().startswith(STATEMENTS) and self.happens(f"{self.root}mlflow.db"):
            self.strike()

    def happens(self, path: object, *, space: bool = False) -> bool:
        """Count a change of a file below the folder; return whether to fail at it.

        Args:
            path: the changed file or folder.
            space: whether the change needs disk space; statements of SQLite do not count as such.
        """
        if not isinstance(path, (str, bytes, os.PathLike)):
            return False
        file = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (resolve() asks the disk)
        if not file.startswith(self.root):
            return False
        self.changes += 1
        self.growths += space
        self.counter[:24] = struct.pack("qqq", self.changes, self.growths, self.epochs)
        if self.fault == "full":
            return space and self.growths == self.at
        return self.changes == self.at

    def strike(self) -> None:
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.fault == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def child(job: dict[str, Any], counter: mmap.mmap, files: tuple[int, int]) -> NoReturn:
    sys.dont_write_bytecode = True  # bytecode files would count as changes
    root, script = Path(job["root"]), job["script"]
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
    os.chdir(root)
    sys.path.insert(0, str(root / "src"))
    sys.argv = [f"pipeline/{script}.py", *job["arguments"]]
    Changes(root, job["fault"], job["at"], counter).watch()
    status = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def draw_blank(figure: object, file: Any, **options: object) -> None:
    """Write a blank picture; drawing a figure changes nothing on disk and takes a second."""
    from PIL import Image

    Image.new("L", (2, 2)).save(file, "png")


def serve() -> None:
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_ENABLE_ONEDNN_OPTS": "1"}
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import jinja2  # noqa: F401
    import keras_tuner  # noqa: F401
    import matplotlib.figure
    import matplotlib.style
    import mlflow.pyfunc
    import mlflow.store.tracking.sqlalchemy_store
    import mlflow.tensorflow  # noqa: F401
    import ruamel.yaml  # noqa: F401
    import scipy.ndimage
    import scipy.stats  # noqa: F401
    import sklearn.metrics  # noqa: F401

    matplotlib.figure.Figure.savefig = draw_blank  # type: ignore[assignment]
    print("ready", flush=True)
    for line in sys.stdin:
        counter = mmap.mmap(-1, 24)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
            pid = os.fork()
            if pid == 0:
                child(json.loads(line), counter, (out.fileno(), error.fileno()))
            _, status = os.waitpid(pid, 0)
            changes, growths, epochs = struct.unpack("qqq", counter[:24])
            answer = {
                "status": os.waitstatus_to_exitcode(status),
                "changes": changes,
                "growths": growths,
                "epochs": epochs,
            }
            for name, file in (("output", out), ("error", error)):
                file.seek(0)
                answer[name] = file.read()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
