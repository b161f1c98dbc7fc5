"""Relate a copy of a checkout, made for an experiment or a rerun, to the original."""

import os
from pathlib import Path

from sidebyside.config.dataset_description import FOLDER


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


def link_local_data(checkout: Path, copy: Path) -> None:
    """Link the content of data/local that git ignores into a copy.

    Args:
        checkout: the checkout with the data.
        copy: a clone or copy of it.
    """
    folder, target = checkout / FOLDER, copy / FOLDER
    if folder.resolve() == target.resolve():
        return
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        link = target / entry.name
        if not os.path.lexists(link):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(checkout.resolve() / FOLDER / entry.name)
