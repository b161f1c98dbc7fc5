"""Keep the state that a stage resumes from after an interruption: one folder per piece of work.

The folder lies outside the stage's outputs and is named by a key derived from the stage's code,
parameters and inputs, so work is resumed only if none of these has changed. It is kept until DVC
has recorded the result: if a stage is killed between its end and that record, DVC runs it again,
and the completed work is reused.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.core.errors import UserError
from sidebyside.core.files import md5, read_json, write_json
from sidebyside.core.fingerprint import machine_facts
from sidebyside.execution.exclusive import BusyError, exclusive
from sidebyside.workflow import edits
from sidebyside.workflow.graph import code, recorded_outputs

FOLDER = ".state"
DONE = "done.json"  # marks a folder whose work succeeded: output → MD5


def work_key(root: Path, stage: str, inputs: Mapping[str, Any]) -> str:
    """Return the identity of one piece of work: 16 hexadecimal digits.

    It covers the code that dvc.yaml lists for the stage, so changes to other code keep the key, and
    the machine and library versions, because others may give other bits.

    Args:
        root: folder of dvc.yaml.
        stage: the stage's name, without the item.
        inputs: everything else that affects the result, such as parameters and digests of the
            data, as JSON values; `threads`, if given, is the number of intra-op threads.
    """
    machine = machine_facts(inputs.get("threads"))["fingerprint"]
    hasher = hashlib.sha256(json.dumps([stage, inputs, machine], sort_keys=True).encode())
    hasher.update(json.dumps(code(root, stage)).encode())
    return hasher.hexdigest()[:16]


@contextlib.contextmanager
def resumable(root: Path, name: str, key: str, outputs: Sequence[Path]) -> Iterator[Path]:
    """Yield a folder that survives a kill and stays until DVC has recorded the outputs.

    Folders of other keys under the same name are removed: their work can never be resumed. The
    caller has loaded all code and inputs that the key stands for.

    Args:
        root: folder of dvc.yaml.
        name: name of the work; only one process at a time can do it.
        key: identity of the work, as `work_key` returns it.
        outputs: files below the root that the work writes and dvc.yaml lists.

    Raises:
        UserError: another process is doing the same work, or the stage's code or inputs changed
            while they were loaded.
    """
    edits.require_unchanged_since_start()
    parent = root / FOLDER / name
    with alone(root, name):
        for other in parent.iterdir():
            if other.is_dir() and other.name != key:
                shutil.rmtree(other)
        forget_recorded(root)
        folder = parent / key
        folder.mkdir(exist_ok=True)
        if (folder / DONE).exists():
            print(f"{name}: already done, but not recorded by DVC: reusing {FOLDER}/{name}")
        yield folder
        digests = {output.relative_to(root).as_posix(): md5(output) for output in outputs}
        write_json(folder / DONE, digests)


@contextlib.contextmanager
def alone(root: Path, name: str) -> Iterator[None]:
    """Let no other process do the same work during a block.

    A process that outlives its DVC, and so DVC's own locks, still holds this lock.

    Args:
        root: folder of dvc.yaml.
        name: name of the work.

    Raises:
        UserError: another process is doing it; the message names the process.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive(root / FOLDER / name / "lock"))
        except BusyError as busy:
            raise UserError(
                f"{busy.strerror} is already running {name}: wait for it to end, or stop it"
            ) from None
        yield


def forget_recorded(root: Path) -> None:
    """Delete the state of work whose outputs dvc.lock records: a forced rerun starts from scratch.

    Folders that another process is changing are left for the next call.
    """
    completed = list((root / FOLDER).glob(f"*/*/{DONE}"))
    try:
        recorded = recorded_outputs(root) if completed else {}
    except UserError:
        return
    for done in completed:
        with contextlib.suppress(UserError):
            if all(recorded.get(output) == digest for output, digest in read_json(done).items()):
                shutil.rmtree(done.parent, ignore_errors=True)
