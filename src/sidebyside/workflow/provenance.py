"""Record the provenance of results: the commit, machine and work that produced them.

Outputs contain results only. A stage writes its provenance to `.state/provenance/<stage>.json`,
which git ignores; MLflow stores it as tags, and `make record` gathers that of all stages in a
committed file. Earlier entries are kept below `archive/`, also those of experiments in temporary
copies, because `dvc exp apply` and `dvc checkout` bring their outputs back.
"""

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sidebyside.config.dataset_description import FOLDER as FOLDER_OF_OWN_DATA
from sidebyside.core.errors import UserError
from sidebyside.core.files import path_digest, read_json, write_json
from sidebyside.core.fingerprint import short_digest
from sidebyside.workflow import copies, git
from sidebyside.workflow.graph import outputs_of, shell_path

FOLDER = ".state/provenance"
ARCHIVE = f"{FOLDER}/archive"  # stage → digest of the outputs.json
RECORDED = ("reports/provenance.json", "provenance.json")  # written by `make record`


class Source(NamedTuple):
    """A state of the code."""

    commit: str  # 40 hexadecimal digits; "unknown" outside a git repository
    dirty: bool  # tracked files other than results differ from the commit
    experiment: str | None = None  # DVC's experiment, which keeps the differences


class Provenance(NamedTuple):
    """Provenance of a stage's outputs."""

    key: str  # identity of the work: its code, parameters, inputs and machine
    machine: Mapping[str, str]  # as `machine_facts` returns it
    source: Source
    outputs: Mapping[str, str]  # path below the root → MD5, as in dvc.lock
    seconds: float | None = None  # computing time, without interruptions; None: not measured

    def content(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return _known({**self._asdict(), "source": _known(self.source._asdict())})


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def write(
    root: Path,
    stage: str,
    key: str,
    facts: Mapping[str, str],
    outputs: Sequence[Path],
    seconds: float | None = None,
) -> Provenance:
    """Write the provenance of a stage's outputs, and return it.

    Args:
        root: folder of the stage's dvc.yaml.
        stage: the stage's name, such as train@mlp-original-1.
        key: identity of the work.
        facts: properties of the machine, as `machine_facts` returns them.
        outputs: the stage's files and folders below the root.
        seconds: computing time.
    """
    entry = Provenance(key, facts, loaded_source(root), digests(root, outputs), seconds)
    write_json(root / FOLDER / f"{stage}.json", entry.content())
    name = short_digest(json.dumps(entry.outputs, sort_keys=True))
    write_json(copies.original(root) / ARCHIVE / stage / f"{name}.json", entry.content())
    return entry


def find(root: Path, stage: str, outputs: Sequence[Path]) -> Provenance | None:
    """Return the provenance of a stage's outputs; None if it is unknown.

    An entry is valid only if its digests match the present files. This checkout's own entry has
    priority, then that of the checkout that DVC copied for an experiment, then the recorded one,
    then those of earlier outputs.

    Args:
        root: folder of the stage's dvc.yaml.
        stage: the stage's name.
        outputs: some or all of the stage's outputs, files and folders below the root.

    Raises:
        UserError: an output is missing, or an entry is damaged.
    """
    now = digests(root, outputs)
    folders = dict.fromkeys((root, copies.original(root)))
    files = [folder / FOLDER / f"{stage}.json" for folder in folders]
    entries = [_read(file) for file in files if file.is_file()]
    recorded = {file: read_json(file) for name in RECORDED if (file := root / name).is_file()}
    entries += [parse(file, found[stage]) for file, found in recorded.items() if stage in found]
    entries += [
        _read(file) for file in sorted((copies.original(root) / ARCHIVE / stage).glob("*.json"))
    ]
    for entry in entries:
        if now.items() <= entry.outputs.items():
            return entry
    return None


def written(root: Path) -> frozenset[tuple[str, str]]:
    """Return (output, MD5) of all outputs in this checkout's own entries.

    Raises:
        UserError: an entry is damaged.
    """
    entries = (_read(file) for file in (root / FOLDER).glob("*.json"))
    return frozenset(item for entry in entries for item in entry.outputs.items())


def _read(file: Path) -> Provenance:
    """Return an entry of a checkout.

    Raises:
        UserError: it is damaged.
    """
    try:
        return parse(file, read_json(file))
    except UserError:
        path = shell_path(file)
        raise UserError(f"{path} is damaged: `rm {path}` removes it") from None


def unknown(root: Path, outputs: Sequence[Path]) -> Provenance:
    """Return the provenance of outputs of which only the digests are known.

    Args:
        root: folder of dvc.yaml.
        outputs: files and folders below the root.

    Raises:
        UserError: an output is missing.
    """
    found = digests(root, outputs)
    key = f"outputs-{short_digest(json.dumps(found, sort_keys=True))}"
    return Provenance(key, {"fingerprint": "unknown"}, Source("unknown", dirty=False), found)


def parse(file: Path, content: Any) -> Provenance:
    """Return an entry from its JSON values.

    Raises:
        UserError: the values do not form an entry; the message names the file.
    """
    try:
        entry = Provenance(**{**content, "source": Source(**content["source"])})
        if not all(isinstance(part, dict) for part in (entry.machine, entry.outputs)):
            raise TypeError
    except (TypeError, KeyError):
        raise UserError(f"{file} is damaged: delete it") from None
    return entry


def digests(root: Path, outputs: Sequence[Path]) -> dict[str, str]:
    """Return path below the root → MD5, as DVC computes it.

    Raises:
        UserError: an output is missing.
    """
    return {path.relative_to(root).as_posix(): path_digest(path) for path in outputs}


def source(root: Path) -> Source:
    """Return the commit of the checkout at `root`, whether its tracked files differ, and why.

    Results are ignored: a pipeline that has run halfway has not changed its source.
    """
    commit = git.commit(root)
    if commit is None:
        return Source("unknown", dirty=False)
    top = git.project(root)
    # DVC records the user's own data; if data/ is a link, git misses the page in its folder.
    excluded = [f":(exclude){name}" for name in (*results(top), FOLDER_OF_OWN_DATA)]
    status = ("status", "--porcelain", "--untracked-files=no", "--", ".")
    dirty = bool(git.ask(top, *status, *excluded))
    return Source(commit, dirty, os.environ.get("DVC_EXP_NAME"))


@functools.cache
def loaded_source(root: Path) -> Source:
    """Return the source as of the first call in this process: the code that it has loaded.

    A stage calls it at its start, because another branch may be checked out while the stage runs.
    """
    return source(root)


@functools.cache
def results(top: Path) -> tuple[str, ...]:
    """Return the tracked paths below a project's folder that contain results.

    They are reports/ and, of each tracked dvc.yaml, the outputs, dvc.lock and recorded provenance.
    """
    found = {"reports"}
    for graph in (git.ask(top, "ls-files", "--", "dvc.yaml", "*/dvc.yaml") or "").splitlines():
        folder = Path(graph).parent
        names = {"dvc.lock", *RECORDED, *outputs_of(top / folder)}
        found |= {(folder / name).as_posix() for name in names}
    return tuple(sorted(found))


def locks(root: Path) -> dict[str, str]:
    """Return file → SHA-256 of dvc.lock and requirements.lock; a missing file has no entry."""
    files = (root / name for name in ("dvc.lock", "requirements.lock"))
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()
    }
