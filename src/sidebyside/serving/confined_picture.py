"""Read a picture in a process of its own, with limits on its memory and time.

A file of a megabyte can keep a decoder busy for hours (a progressive JPEG of many scans) or make it
take gigabytes, and a decoder is C code that no exception can interrupt.
"""

import base64
import contextlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from sidebyside.config.dataset import Dataset
from sidebyside.core.errors import UserError
from sidebyside.serving.picture import Picture, read_picture

MEMORY = 2 << 30  # bytes of address space
SECONDS = 60  # of wall time; the largest pictures take about 10


def read_confined(path: Path, dataset: Dataset) -> Picture:
    """Return the picture in a file, prepared for a classifier of a data set.

    Raises:
        UserError: the file is not a picture that can be read within the limits.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, os.fsencode(path), str(MEMORY)],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each thread takes address space
            input=dataset.model_dump_json().encode(),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{path}: reading it takes more than {SECONDS} s") from None
    if done.returncode:
        raise UserError(f"{path} cannot be read: its decoder ended with status {done.returncode}")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise UserError(answer["error"])
    pixels = np.frombuffer(base64.b64decode(answer["pixels"]), np.uint8)
    return Picture(pixels.reshape(dataset.shape), tuple(answer["steps"]))


def main() -> None:
    """Print the picture in a file, or why it cannot be read, as JSON; stdin has the data set."""
    path, memory = Path(sys.argv[1]), int(sys.argv[2])
    dataset = Dataset.model_validate_json(sys.stdin.buffer.read())
    # The parent may end before it ends this process: a server is stopped during the reading.
    for limit, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, SECONDS)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit is in force; not on macOS
            resource.setrlimit(limit, (value, value))
    try:
        picture = read_picture(path, dataset)
    except UserError as error:
        print(json.dumps({"error": str(error)}))
    except MemoryError:
        print(json.dumps({"error": f"{path}: reading it takes more than {memory:,} bytes"}))
    else:
        pixels = base64.b64encode(picture.pixels.tobytes()).decode()
        print(json.dumps({"pixels": pixels, "steps": picture.steps}))


if __name__ == "__main__":
    main()
