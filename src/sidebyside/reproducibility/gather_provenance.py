"""Gather the provenance of all recorded outputs: .state/provenance/ → reports/provenance.json.

An entry is valid only if its digests are those in dvc.lock. `make record` gathers them after its
run; after `make repro`, run this command to record the provenance of this checkout's results.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.workflow import command
from sidebyside.workflow.graph import LOCK, recorded_stages
from sidebyside.workflow.provenance import FOLDER, RECORDED, Provenance, parse

UNKNOWN = "unknown"


def main() -> None:
    """Write the recorded provenance of a pipeline."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=CHECKOUT, help="folder of a dvc.lock (this one)"
    )
    root = parser.parse_args().folder.resolve()
    print(write_gathered(root))


def write_gathered(root: Path) -> str:
    """Write the recorded provenance of the pipeline in `root`, and return a line about it.

    Entries that belong to no stage, such as the time of a whole run, are retained or updated.

    Raises:
        UserError: there is no dvc.lock, or it or an entry is damaged.
    """
    stages = recorded_stages(root)
    if not stages:
        raise UserError(f"{root / LOCK} is missing: run the pipeline first")
    file = recorded_file(root)
    before = read_json(file) if file.exists() else {}
    own = {path.stem: read_json(path) for path in sorted((root / FOLDER).glob("*.json"))}
    others = {
        name: entry
        for name, entry in {**before, **own}.items()
        if name not in stages and not entry.get("outputs")
    }
    entries = {stage: entry.content() for stage, entry in gather(root).items()}
    write_json(file, {**others, **entries})
    missing = [stage for stage in stages if stage not in entries]
    line = f"{file.relative_to(root)}: provenance of {len(entries)} of {len(stages)} stages"
    return f"{line}; unknown for {', '.join(missing)}" if missing else line


def recorded_file(root: Path) -> Path:
    """Return the file of the recorded provenance: in reports/, if the pipeline has that folder."""
    files = [root / name for name in RECORDED]
    return next(file for file in files if file.parent.is_dir())


def gather(root: Path) -> dict[str, Provenance]:
    """Return stage → provenance, for the stages in dvc.lock whose provenance is known.

    This checkout's own entries have priority over the recorded ones.

    Raises:
        UserError: dvc.lock or an entry is damaged.
    """
    file = recorded_file(root)
    recorded = read_json(file) if file.exists() else {}
    entries = {
        stage: next(_matching(_candidates(root, stage, recorded), outputs), None)
        for stage, outputs in recorded_stages(root).items()
    }
    return {stage: entry for stage, entry in entries.items() if entry is not None}


def _candidates(root: Path, stage: str, recorded: Mapping[str, Any]) -> Iterator[Provenance]:
    own = root / FOLDER / f"{stage}.json"
    if own.is_file():
        yield parse(own, read_json(own))
    if stage in recorded:
        yield parse(recorded_file(root), recorded[stage])


def _matching(entries: Iterable[Provenance], outputs: Mapping[str, str]) -> Iterator[Provenance]:
    """Yield the entries about these outputs."""
    for entry in entries:
        if entry.outputs and entry.outputs.items() <= outputs.items():
            yield entry


class Machine(NamedTuple):
    """The machine that trained the models; values of several machines, separated by commas."""

    fingerprint: str
    processor: str  # its architecture and a digest of its instruction sets

    @property
    def known(self) -> bool:
        """Whether every model has provenance, and all the same machine.

        Which of several machines did which part of a training is not recorded.
        """
        return UNKNOWN not in self.fingerprint and ", " not in self.fingerprint


def training_machine(root: Path) -> Machine:
    """Return the machine that trained the models in dvc.lock.

    The machine of a model without provenance is "unknown".
    """
    entries = gather(root)
    stages = [stage for stage in recorded_stages(root) if stage.startswith("train@")]
    machines = [entries[stage].machine if stage in entries else {} for stage in stages]
    return Machine(
        *(
            ", ".join(sorted({one for m in machines for one in m.get(fact, UNKNOWN).split(", ")}))
            or UNKNOWN
            for fact in Machine._fields
        )
    )


if __name__ == "__main__":
    command.run(main)
