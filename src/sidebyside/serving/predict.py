"""Classify pictures with the best model of each architecture: `make predict IMAGE=shirt.jpg`.

IMAGE is a picture, a folder of pictures or a pattern such as 'photos/*.jpg'. A picture is a PNG,
JPEG, GIF, BMP, WebP or PGM file of at most 100 MB and 89 million pixels. It is prepared like the
images that the models were trained on; the steps are printed, and a page shows the result beside
the picture. Pictures that are unlike the training data are marked. The best model is the one with
the highest validation accuracy.
"""

import glob
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sidebyside.config import result_files
from sidebyside.config.dataset import Dataset, read_dataset
from sidebyside.config.parameters import Train, read_parameters
from sidebyside.config.paths import CHECKOUT, ModelName, Paths
from sidebyside.config.validation import read_record
from sidebyside.core.errors import UserError, printable
from sidebyside.core.files import write_csv, write_text
from sidebyside.data.npz import read_split
from sidebyside.data.picture_files import is_skipped
from sidebyside.models.tensorflow_setup import configure
from sidebyside.serving import prediction_report
from sidebyside.serving.confined_picture import read_all
from sidebyside.serving.out_of_distribution import Distance, reference
from sidebyside.serving.picture import Picture
from sidebyside.serving.prediction_report import Classified, Unreadable
from sidebyside.workflow import command
from sidebyside.workflow.integrity import require_unchanged
from sidebyside.workflow.resume import FOLDER

TABLE, PAGE = "predictions.csv", "predictions.html"


def main() -> None:
    """Classify pictures."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "images", type=Path, nargs="+", metavar="image", help="picture, folder or pattern"
    )
    files = list_files(parser.parse_args().images)
    paths = Paths(CHECKOUT)
    parameters = read_parameters(paths.params)
    dataset = read_dataset(paths.dataset)
    pictures, reasons = read_pictures(files, dataset)
    names = best_models(paths, parameters.train)
    used = [file for name in names for file in (paths.model(name), paths.training(name))]
    used += [paths.dataset, paths.split("train"), paths.split("val")]
    checked = [file.relative_to(paths.root).as_posix() for file in used]
    require_unchanged(paths.root, checked)
    for name in names:
        result_files.require_data(paths.training(name) / "model.json", dataset, "val")

    configure(parameters.threads)
    images = np.stack([each.pixels for each in pictures.values()])
    predicted = predict(paths, names, dataset, images)
    found = distances(paths, dataset, images)
    classified = {
        file: Classified(
            printable(str(file)), picture, {m: rows[i] for m, rows in predicted.items()}, found[i]
        )
        for i, (file, picture) in enumerate(pictures.items())
    }
    shown = list(classified.values())
    print(text(shown, dataset.class_names, several=len(files) > 1))
    unreadable = {file: Unreadable(printable(str(file)), why) for file, why in reasons.items()}
    results = [(classified | unreadable)[file] for file in files]
    folder = paths.root / FOLDER / "predict"
    header, rows = prediction_report.csv_table(results, dataset.class_names)
    write_csv(folder / TABLE, header, rows)
    write_text(folder / PAGE, prediction_report.prediction_page(shown, dataset.class_names))
    print(f"\n{addresses(folder)}")
    if reasons:
        raise UserError(f"{len(reasons)} of {len(files)} pictures cannot be read: see above")


def read_pictures(
    files: Sequence[Path], dataset: Dataset
) -> tuple[dict[Path, Picture], dict[Path, str]]:
    """Return the pictures in files, and why others have none, which is also printed.

    Only the pictures that the page has room for keep their originals.

    Raises:
        UserError: no file has a picture.
    """
    pictures: dict[Path, Picture] = {}
    reasons: dict[Path, str] = {}
    for file, picture in read_all(files, dataset):
        if isinstance(picture, UserError):
            reasons[file] = printable(str(picture))
            if len(files) == 1:
                raise picture
            print(f"predict: error: {reasons[file]}", file=sys.stderr)
        elif len(pictures) < prediction_report.PICTURES:
            pictures[file] = picture
        else:
            pictures[file] = replace(picture, original=picture.original[:1, :1].copy())
    if not pictures:
        raise UserError(f"none of {len(files)} pictures can be read: see above")
    return pictures, reasons


def predict(
    paths: Paths, names: Sequence[ModelName], dataset: Dataset, images: NDArray[np.uint8]
) -> dict[str, NDArray[np.float32]]:
    """Return model → class probabilities of images, [images, classes].

    Raises:
        UserError: a model cannot be loaded, or is one for other images.
    """
    # Imported last, because loading TensorFlow takes seconds.
    from sidebyside.models.inference import predict_probabilities  # noqa: PLC0415
    from sidebyside.models.loading import load_model  # noqa: PLC0415

    return {
        str(name): predict_probabilities(load_model(paths.model(name), dataset), images)
        for name in names
    }


def distances(
    paths: Paths, dataset: Dataset, images: NDArray[np.uint8]
) -> Sequence[Distance | None]:
    """Return the distance of each image to the training images; None if those are not there."""
    try:
        train, val = (read_split(paths.split(name), dataset).images for name in ("train", "val"))
    except UserError as error:  # models alone are enough for predictions
        print(f"predict: not compared with the training data: {error}", file=sys.stderr)
        return [None] * len(images)
    return reference(train, val).distances(images)


def text(classified: Sequence[Classified], class_names: Sequence[str], *, several: bool) -> str:
    """Return the predictions for the terminal: of one picture, with its steps and all classes."""
    if several:
        return prediction_report.picture_table(classified, class_names)
    (one,) = classified
    table = prediction_report.probability_table(one.probabilities, class_names)
    shown = f"{one.file}: {'; '.join(one.picture.steps) or 'unchanged'}\n\n{table}"
    return f"{shown}\n\n{prediction_report.likeness(one.distance)}" if one.distance else shown


def addresses(folder: Path) -> str:
    """Return where the page and the table are."""
    page, table = (os.path.relpath(folder / name) for name in (PAGE, TABLE))
    return f"The pictures beside what the models were given: {page}\nAll probabilities: {table}"


def list_files(images: Sequence[Path]) -> list[Path]:
    """Return the files of pictures, folders and patterns, each once and those of a folder sorted.

    Hidden files and those that file managers leave in folders are left out.

    Raises:
        UserError: a folder has no files.
    """
    files: list[Path] = []
    for image in images:
        if image.is_dir():
            found = sorted(_below(image))
            if not found:
                raise UserError(f"{image} is a folder without pictures")
            files += found
        elif not os.path.lexists(image) and (matches := _matches(image)):
            files += matches
        else:
            files.append(image)
    return list(dict.fromkeys(files))


def _matches(pattern: Path) -> list[Path]:
    """Return the files that a pattern matches, sorted."""
    # Unlike Path.glob, this takes any text and paths from the root.
    matches = map(Path, sorted(glob.glob(str(pattern), recursive=True)))  # noqa: PTH207
    return [path for path in matches if path.is_file()]


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of the folders in it."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_skipped(name)]
        yield from (Path(parent) / name for name in names if not is_skipped(name))


def best_models(paths: Paths, trained: Train) -> list[ModelName]:
    """Return the model of each architecture with the highest validation accuracy.

    Args:
        paths: the checkout.
        trained: the models of params.yaml.

    Raises:
        UserError: the scores of a model are missing or damaged.
    """

    def score(name: ModelName) -> float:
        file = paths.training(name) / "metrics.json"
        return read_record(file, result_files.TrainingScores).val_accuracy

    return [
        max(itertools.starmap(ModelName, itertools.product([model], trained.data, trained.seeds)),
            key=score)
        for model in trained.models
    ]  # fmt: skip


if __name__ == "__main__":
    command.run(main)
