"""Classify a picture file with the best model of each architecture: `make predict IMAGE=shirt.jpg`.

The picture is a PNG, JPEG, GIF, BMP or WebP file of at most 100 MB and 89 million pixels, of any
colours, on a light or dark background; the steps of its preparation are printed. The best model is
the one with the highest validation accuracy.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sidebyside.config import result_files
from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.config.parameters import Train, read_parameters
from sidebyside.config.paths import CHECKOUT, ModelName, Paths
from sidebyside.core.errors import printable
from sidebyside.models.tensorflow_setup import configure
from sidebyside.serving.confined_picture import read_confined
from sidebyside.workflow import command
from sidebyside.workflow.integrity import require_unchanged

BAR = 20  # characters of the bar for probability 1


def main() -> None:
    """Classify a picture."""
    parser = command.parser(__doc__)
    parser.add_argument("image", type=Path, help="picture file, such as a JPEG or PNG")
    image = parser.parse_args().image
    paths = Paths(CHECKOUT)
    parameters = read_parameters(paths.params)
    picture = read_confined(image)
    names = best_models(paths, parameters.train)
    used = [file for name in names for file in (paths.model(name), paths.training(name))]
    require_unchanged(paths.root, [file.relative_to(paths.root).as_posix() for file in used])

    configure(parameters.threads)
    # Imported last, because loading TensorFlow takes seconds.
    from sidebyside.models.inference import predict_probabilities  # noqa: PLC0415
    from sidebyside.models.loading import load_model  # noqa: PLC0415

    probabilities = {
        str(name): predict_probabilities(load_model(paths.model(name)), picture.pixels[None])[0]
        for name in names
    }
    print(
        f"{printable(str(image))}: {'; '.join(picture.steps)}\n\n{probability_table(probabilities)}"
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
        return result_files.read_record(file, result_files.TrainingScores).val_accuracy

    return [
        max(itertools.starmap(ModelName, itertools.product([model], trained.data, trained.seeds)),
            key=score)
        for model in trained.models
    ]  # fmt: skip


def probability_table(probabilities: Mapping[str, NDArray[np.float32]]) -> str:
    """Return a table as text: a row per class, the most probable first, and the predicted class.

    Args:
        probabilities: model → class probabilities, [classes].
    """
    order = np.argsort(-np.mean(list(probabilities.values()), axis=0), kind="stable")
    rows = [
        _cells(CLASS_NAMES[label], [_bar(float(row[label])) for row in probabilities.values()])
        for label in order
    ]
    predictions = [CLASS_NAMES[int(row.argmax())] for row in probabilities.values()]
    return "\n".join([_cells("", list(probabilities)), *rows, _cells("prediction", predictions)])


def _cells(first: str, others: Sequence[str]) -> str:
    return "  ".join([f"{first:12}", *(f"{cell:{BAR + 8}}" for cell in others)]).rstrip()


def _bar(probability: float) -> str:
    return f"{probability:6.1%} {'█' * round(probability * BAR)}"


if __name__ == "__main__":
    command.run(main)
