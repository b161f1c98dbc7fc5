"""Download and verify the published files of a data set, or copy the user's own data.

Reads:  params.yaml (dataset, download), data/local, the data set's other sources
Writes: data/raw/
"""

import sys
from pathlib import Path

from sidebyside.config.dataset_description import BuiltIn, OwnData
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.core.files import keep_only
from sidebyside.data.local_data import copy_local, unused_note
from sidebyside.data.sources import fetch
from sidebyside.workflow import command, stage


def main() -> None:
    """Fill data/raw with the files of the data set, and nothing else."""
    command.parser(__doc__).parse_args()
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)
    print(f"download: {fill(paths, parameters.dataset, parameters.download.timeout)}")


def fill(paths: Paths, description: BuiltIn | OwnData, timeout: float) -> str:
    """Fill data/raw; return what it contains and where it comes from."""
    if isinstance(description, OwnData):
        return f"{copy_local(description, paths.root, paths.raw)}, from {description.path}"
    if note := unused_note(description, paths.root):
        print(note, flush=True)
    files = description.files
    source = fetch(files, description.sources, timeout, paths.raw, paths.root)
    keep_only(paths.raw, [paths.raw / file.name for file in files])
    origin = f"from {source}" if source else "already in data/raw"
    size = sum(file.size for file in files)
    return f"{len(files)} files, {size:,} bytes, {origin}, SHA-256 verified"


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
