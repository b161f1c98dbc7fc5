"""What a stage needs to go on after it was stopped: a folder per piece of work.

It lies outside the stage's outputs and is named by a key made of the stage's code, its parameters
and its inputs. So work is taken up only where it would be done in exactly the same way, and
whatever changed starts afresh. The folder stays until DVC has recorded the result: killed between
the end of a stage and that record, DVC runs the stage again, which then finds it all done.
"""

import contextlib
import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.core.errors import UserError
from sidebyside.core.files import md5, read_json, write_json
from sidebyside.workflow import provenance
from sidebyside.workflow import stage as stages

FOLDER = ".state"
DONE = "done.json"  # in a folder whose work has ended well: output → MD5


class Stopwatch:
    """How long a piece of work has taken all processes that were at it, the killed ones too."""

    def __init__(self, file: Path) -> None:
        """Start, from what the file says of earlier processes.

        Raises:
            UserError: the file is damaged.
        """
        self._file = file
        self._before = read_json(file) if file.exists() else 0.0
        if not isinstance(self._before, float):
            raise UserError(f"{file} is damaged: delete it to count from zero")
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Without what a killed process did after its last `save`: that is done again."""
        return self._before + time.perf_counter() - self._started

    def save(self) -> None:
        """Write the seconds to the file: call it wherever the work can be taken up from."""
        write_json(self._file, self.seconds)


def work_key(root: Path, stage: str, inputs: Mapping[str, Any]) -> str:
    """Return a name for one piece of work: 16 hexadecimal digits.

    The code is that which dvc.yaml lists for the stage, so that a change elsewhere leaves the key.
    The machine and the library versions are part of it: on others the bits would be different.

    Args:
        root: the checkout.
        stage: the name of the stage's script.
        inputs: whatever else decides the result: parameters, digests of the data. JSON values;
            `threads`, if given, is the number of intra-op threads.
    """
    machine = provenance.machine(inputs.get("threads"))["fingerprint"]
    hasher = hashlib.sha256(json.dumps([stage, inputs, machine], sort_keys=True).encode())
    hasher.update(json.dumps(stages.code(root, stage)).encode())
    return hasher.hexdigest()[:16]


@contextlib.contextmanager
def resumable(root: Path, name: str, key: str, outputs: Sequence[Path]) -> Iterator[Path]:
    """Give a folder that survives a kill and stays until DVC has recorded what the work made.

    Folders that other keys left under the same name are removed: their work can never be taken up.

    Args:
        root: the checkout.
        name: of the work; two processes cannot be at it at the same time.
        key: the work's key.
        outputs: files below the root that the work makes and dvc.yaml lists.

    Raises:
        UserError: another process is at the same work.
    """
    parent = root / FOLDER / name
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is already at {name}: wait for it to end, or stop it"
            ) from None
        for other in parent.iterdir():
            if other.is_dir() and other.name != key:
                shutil.rmtree(other)
        forget_recorded(root)
        folder = parent / key
        folder.mkdir(exist_ok=True)
        if (folder / DONE).exists():
            print(f"{name}: done before, but not recorded by DVC; taken from {FOLDER}/{name}")
        yield folder
        digests = {output.relative_to(root).as_posix(): md5(output) for output in outputs}
        write_json(folder / DONE, digests)


def forget_recorded(root: Path) -> None:
    """Delete the folders of work whose result dvc.lock holds: if asked for again, it is redone.

    What another process writes or deletes at this moment is left for the next time.
    """
    finished = list((root / FOLDER).glob(f"*/*/{DONE}"))
    try:
        recorded = stages.recorded_outputs(root) if finished else {}
    except UserError:
        return
    for done in finished:
        with contextlib.suppress(UserError):
            if all(recorded.get(output) == digest for output, digest in read_json(done).items()):
                shutil.rmtree(done.parent, ignore_errors=True)
