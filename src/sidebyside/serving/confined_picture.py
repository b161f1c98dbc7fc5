"""Read pictures in a process of its own, with limits on its memory and on the time of each picture.

A file of a megabyte can keep a decoder busy for hours (a progressive JPEG of many scans) or make it
take gigabytes, and a decoder is C code that no exception can interrupt. One process reads many
pictures; after one that it does not survive, the next picture gets a new process.
"""

import base64
import contextlib
import json
import math
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.dataset import Dataset
from sidebyside.core.errors import UserError
from sidebyside.serving.picture import Picture, read_picture

MEMORY = 2 << 30  # bytes of address space
SECONDS = 60  # of wall time for a picture; the largest take about 10

Reader = subprocess.Popen[str]


def read_confined(path: Path, dataset: Dataset) -> Picture:
    """Return the picture in a file, prepared for a classifier of a data set.

    Raises:
        UserError: the file is not a picture that can be read within the limits.
    """
    ((_, picture),) = read_all([path], dataset)
    if isinstance(picture, UserError):
        raise picture
    return picture


def read_all(paths: Iterable[Path], dataset: Dataset) -> Iterator[tuple[Path, Picture | UserError]]:
    """Yield each file with its picture, prepared for a classifier, or why there is none.

    Args:
        paths: the files.
        dataset: the data set of the classifier.
    """
    reader: Reader | None = None
    try:
        for path in paths:
            reader = reader or _start(dataset)
            answer = _ask(reader, path, dataset)
            if reader.poll() is not None:
                _end(reader)
                reader = None
            yield path, answer
    finally:
        if reader:
            _end(reader)


def _start(dataset: Dataset) -> Reader:
    reader = subprocess.Popen(
        [sys.executable, "-m", __name__, str(MEMORY)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each thread takes address space
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="ascii",  # JSON escapes the rest
    )
    _send(reader, json.dumps(dataset.model_dump(mode="json")))
    return reader


def _end(reader: Reader) -> None:
    reader.kill()
    reader.communicate()


def _send(reader: Reader, line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has ended
        print(line, file=reader.stdin, flush=True)


def _ask(reader: Reader, path: Path, dataset: Dataset) -> Picture | UserError:
    """Return the picture in a file, or why there is none; a reader that is too slow is killed."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        reader.kill()

    timer = threading.Timer(SECONDS, stop)
    timer.start()
    try:
        _send(reader, json.dumps(str(path)))
        line = next(iter(reader.stdout or ()), "")
    finally:
        timer.cancel()
        timer.join()
    if not line.endswith("\n") or late.is_set():
        status = reader.wait()
        if late.is_set():
            return UserError(f"{path}: reading it takes more than {SECONDS} s")
        return UserError(f"{path} cannot be read: its decoder ended with status {status}")
    answer = json.loads(line)
    if "error" in answer:
        return UserError(answer["error"])
    pixels = _array(answer["pixels"], dataset.shape)
    original = _array(answer["original"], tuple(answer["size"]))
    return Picture(pixels, tuple(answer["steps"]), original)


def _array(text: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape)


def _text(array: NDArray[np.uint8]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def main() -> None:
    """Answer each line of stdin, a path as JSON, with the picture in that file or an error.

    The first line is the data set.
    """
    dataset = Dataset.model_validate_json(sys.stdin.readline())
    memory = int(sys.argv[1])
    _limit(resource.RLIMIT_AS, memory)
    for line in sys.stdin:
        # The parent may end before it ends this process: a server is stopped during the reading.
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + SECONDS)
        print(json.dumps(_answer(Path(json.loads(line)), dataset, memory)), flush=True)


def _limit(resource_: int, value: int) -> None:
    """Limit what this process may take; the limit can be raised again."""
    with contextlib.suppress(ValueError, OSError):  # a lower limit is in force; not on macOS
        _, highest = resource.getrlimit(resource_)
        resource.setrlimit(resource_, (value, highest))


def _answer(path: Path, dataset: Dataset, memory: int) -> dict[str, object]:
    try:
        picture = read_picture(path, dataset)
    except UserError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": f"{path}: reading it takes more than {memory:,} bytes"}
    return {
        "pixels": _text(picture.pixels),
        "steps": picture.steps,
        "original": _text(picture.original),
        "size": picture.original.shape,
    }


if __name__ == "__main__":
    main()
