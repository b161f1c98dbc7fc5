"""What a stage needs to go on after it was stopped: a folder per piece of work.

It lies outside the stage's outputs and is named by a key made of the stage's code, its parameters
and its inputs. So work is taken up only where it would be done in exactly the same way, and
whatever changed starts afresh.
"""

import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fashion import provenance
from fashion import stage as stages
from fashion.errors import UserError

FOLDER = ".state"


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
def resumable(root: Path, name: str, key: str) -> Iterator[Path]:
    """Give a folder that survives a kill and goes when the work ends well.

    Folders that other keys left under the same name are removed: their work can never be taken up.

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
        folder = parent / key
        folder.mkdir(exist_ok=True)
        yield folder
        shutil.rmtree(folder)
