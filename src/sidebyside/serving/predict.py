"""Classify a picture file with the best model of each architecture: `make predict IMAGE=shirt.jpg`.

The picture is a PNG, JPEG, GIF, BMP or WebP file of at most 100 MB and 89 million pixels. It is
prepared like the images that the models were trained on; the steps are printed. The best model is
the one with the highest validation accuracy.
"""

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sidebyside.config import result_files
from sidebyside.config.dataset import read_dataset
from sidebyside.config.parameters import Train, read_parameters
from sidebyside.config.paths import CHECKOUT, ModelName, Paths
from sidebyside.config.validation import read_record
from sidebyside.core.errors import printable
from sidebyside.models.tensorflow_setup import configure
from sidebyside.serving.confined_picture import read_confined
from sidebyside.workflow import command
from sidebyside.workflow.integrity import require_unchanged

BAR, BARS = 20, 40  # maximum characters of the bar for probability 1, and of all bars in a row
SHOWN = 10  # maximum number of classes that have a row
NAME = 30  # maximum width of a class name, in columns of a terminal


def main() -> None:
    """Classify a picture."""
    parser = command.parser(__doc__)
    parser.add_argument("image", type=Path, help="picture file, such as a JPEG or PNG")
    image = parser.parse_args().image
    paths = Paths(CHECKOUT)
    parameters = read_parameters(paths.params)
    dataset = read_dataset(paths.dataset)
    picture = read_confined(image, dataset)
    names = best_models(paths, parameters.train)
    used = [file for name in names for file in (paths.model(name), paths.training(name))]
    files = [file.relative_to(paths.root).as_posix() for file in (paths.dataset, *used)]
    require_unchanged(paths.root, files)
    for name in names:
        result_files.require_data(paths.training(name) / "model.json", dataset, "val")

    configure(parameters.threads)
    # Imported last, because loading TensorFlow takes seconds.
    from sidebyside.models.inference import predict_probabilities  # noqa: PLC0415
    from sidebyside.models.loading import load_model  # noqa: PLC0415

    probabilities = {
        str(name): predict_probabilities(
            load_model(paths.model(name), dataset), picture.pixels[None]
        )[0]
        for name in names
    }
    print(
        f"{printable(str(image))}: {'; '.join(picture.steps) or 'unchanged'}\n\n"
        f"{probability_table(probabilities, dataset.class_names)}"
    )


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


def probability_table(
    probabilities: Mapping[str, NDArray[np.float32]], class_names: Sequence[str]
) -> str:
    """Return a table as text: a row per class, the most probable first, and the predicted class.

    Of more than SHOWN classes, the least probable ones share a row.

    Args:
        probabilities: model → class probabilities, [classes].
        class_names: name of each class.
    """
    order = np.argsort(-np.mean(list(probabilities.values()), axis=0), kind="stable")
    shown = SHOWN if len(order) > SHOWN + 1 else len(order)
    named, rest = order[:shown], order[shown:]
    names = [_shortened(printable(name)) for name in class_names]
    bar = min(BAR, BARS // len(probabilities))
    rows = [
        [names[label], *(_bar(float(row[label]), bar) for row in probabilities.values())]
        for label in named
    ]
    if len(rest):
        others = [_bar(float(row[rest].sum()), bar) for row in probabilities.values()]
        rows.append([f"{len(rest)} others", *others])
    predictions = [names[int(row.argmax())] for row in probabilities.values()]
    table = [["", *probabilities], *rows, ["prediction", *predictions]]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(map(_padded, row, widths)).rstrip() for row in table)


def _shortened(text: str) -> str:
    """Return a text of at most NAME columns."""
    if _width(text) <= NAME:
        return text
    while _width(text) > NAME - 1:
        text = text[:-1]
    return f"{text}…"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _bar(probability: float, length: int) -> str:
    return f"{probability:6.1%} {'█' * round(probability * length)}"


if __name__ == "__main__":
    command.run(main)
