"""Classify a picture file with the best model of each architecture: `make predict IMAGE=shirt.jpg`.

The picture may have any size, be grey or coloured, on a light or a dark background; what was
assumed of it is said. The best model is the one with the highest val_accuracy.
"""

import io
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sidebyside.config import schemas
from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.config.parameters import Train, read_parameters
from sidebyside.config.paths import CHECKOUT, ModelName, Paths
from sidebyside.models.tensorflow_setup import configure
from sidebyside.serving.picture import read_picture
from sidebyside.workflow import command

BAR = 20  # characters of a probability of one


def main() -> None:
    """Classify a picture."""
    parser = command.parser(__doc__)
    parser.add_argument("image", type=Path, help="a picture file")
    image = parser.parse_args().image
    paths = Paths(CHECKOUT)
    parameters = read_parameters(paths.params)
    picture = read_picture(image)
    names = best_models(paths, parameters.train)

    configure(parameters.threads)
    from sidebyside.models.inference import predict_probabilities
    from sidebyside.models.saving import load_model  # noqa: PLC0415 (TensorFlow loads in seconds)

    found = {
        str(name): predict_probabilities(load_model(paths.model(name)), picture.pixels[None])[0]
        for name in names
    }
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # bars, or a file's name, that it cannot show
    print(f"{image}: {'; '.join(picture.assumed)}\n\n{table(found)}")


def best_models(paths: Paths, named: Train) -> list[ModelName]:
    """Return the trained model of each architecture with the highest val_accuracy.

    Raises:
        UserError: the scores of a model are missing or damaged.
    """

    def score(name: ModelName) -> float:
        file = paths.training(name) / "metrics.json"
        return schemas.read_record(file, schemas.TrainingScores).val_accuracy

    return [
        max(itertools.starmap(ModelName, itertools.product([model], named.data, named.seeds)),
            key=score)
        for model in named.models
    ]  # fmt: skip


def table(found: Mapping[str, NDArray[np.float32]]) -> str:
    """Return the probabilities as text, a row per class, the likeliest first.

    Args:
        found: model → probabilities of the classes, [10].
    """
    order = np.argsort(-np.mean(list(found.values()), axis=0), kind="stable")
    rows = [
        _cells(CLASS_NAMES[label], [_bar(float(of_class[label])) for of_class in found.values()])
        for label in order
    ]
    answers = [CLASS_NAMES[int(of_class.argmax())] for of_class in found.values()]
    return "\n".join([_cells("", list(found)), *rows, _cells("answer", answers)])


def _cells(first: str, others: Sequence[str]) -> str:
    return "  ".join([f"{first:12}", *(f"{cell:{BAR + 8}}" for cell in others)]).rstrip()


def _bar(probability: float) -> str:
    return f"{probability:6.1%} {'█' * round(probability * BAR)}"


if __name__ == "__main__":
    command.run(main)
