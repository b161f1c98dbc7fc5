"""Remove files of models that params.yaml no longer names.

DVC cannot template a list of dependencies, so `evaluate` depends on the whole folders that its
inputs lie in. A file of a dropped model in one of them would make this checkout's dependencies
differ from those of a fresh clone.
"""

import re
from collections.abc import Collection
from pathlib import Path

from sidebyside.config.paths import ModelName, Paths

NAME = re.compile(r"\w+-(original|augmented)-\d+")  # of a model that train wrote
SEARCH = ("hyperparameters.json", "search.json", "trials.csv")  # in reports/tune/<model>
TRAINING = ("history.csv", "metrics.json", "model.json")  # in reports/train/<name>


def remove_dropped_models(paths: Paths, names: Collection[ModelName]) -> list[str]:
    """Delete the outputs of `tune` and `train` for models that are not among `names`.

    Files that neither stage writes stay. DVC's cache and git keep the deleted ones: naming the
    model in params.yaml again restores them.

    Args:
        paths: paths of the checkout.
        names: the models that params.yaml names.

    Returns:
        The deleted files and folders, relative to the root.
    """
    trained = {str(name) for name in names}
    searched = {name.model for name in names}
    removed = [
        file
        for file in sorted((paths.root / "models").glob("*.keras"))
        if NAME.fullmatch(file.stem) and file.stem not in trained
    ]
    for file in removed:
        file.unlink()
    for stage, written, kept in (("tune", SEARCH, searched), ("train", TRAINING, trained)):
        removed += [
            folder
            for folder in sorted(paths.report(stage).glob("*/"))
            if folder.name not in kept and _remove_files(folder, written)
        ]
    return [path.relative_to(paths.root).as_posix() for path in removed]


def _remove_files(folder: Path, names: Collection[str]) -> bool:
    """Delete some files of a folder, and the folder if it is empty then; tell if there were any."""
    files = [folder / name for name in names if (folder / name).is_file()]
    for file in files:
        file.unlink()
    if files and not any(folder.iterdir()):
        folder.rmdir()
    return bool(files)
