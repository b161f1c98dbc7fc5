"""Relate a copy of a checkout, made for an experiment or a rerun, to the original."""

import os
from pathlib import Path

from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths


def original(root: Path) -> Path:
    """Return the checkout that DVC has copied to `root` for an experiment, or else `root`.

    `dvc exp run --temp` and queued experiments run in a temporary copy of the project; DVC_ROOT
    then names the original.
    """
    given = os.environ.get("DVC_ROOT")
    if given and (Path(given) / "dvc.yaml").is_file():
        found = Path(given).resolve()
        if not found.is_relative_to(root.resolve()):  # not a pipeline inside the project
            return found
    return root.resolve()


def link_sources(checkout: Path, copy: Path) -> None:
    """Link the folders of download.sources that git ignores, such as data/local, into a copy.

    Absolute folders are the same in both; folders that git tracks are in the copy already.

    Args:
        checkout: the checkout with the folders.
        copy: a clone or copy of it.

    Raises:
        UserError: params.yaml of the copy is not valid.
    """
    for source in read_parameters(Paths(copy).params).download.sources:
        if not source.folder:
            continue
        folder, link = checkout / source.folder, copy / source.folder
        inside = link.resolve().is_relative_to(copy.resolve())
        if inside and folder.is_dir() and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(folder.resolve())
