"""Measure how many pictures `make predict` classifies correctly, by the way they were made.

The pictures are made of validation images: see `picture_kinds`. They are prepared as `make predict`
prepares them, classified by the same models, and compared with the training images. The images
themselves are measured as well. Of `foreign_pictures`, which do not show what the data set shows,
only the comparison with the training images is measured.

The rules of the preparation are chosen with --tune, which uses other images and writes nothing. The
test split is not read.

Reads:  params.yaml, data/processed/, models/, reports/train/
Writes: reports/benchmarks/pictures.json
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.foreign_pictures import FOREIGN_MAKERS
from benchmarks.picture_kinds import MAKERS, Maker
from benchmarks.workloads import ROOT
from sidebyside.config.dataset import Dataset, read_dataset
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_json
from sidebyside.core.seeding import generator
from sidebyside.data.npz import read_split
from sidebyside.models.tensorflow_setup import configure
from sidebyside.serving.decoding import decode
from sidebyside.serving.out_of_distribution import Reference, reference
from sidebyside.serving.picture import trimmed
from sidebyside.serving.predict import best_models, predict
from sidebyside.workflow import command

IMAGES, SEED = 500, 1


@dataclass(frozen=True)
class Prepared:
    """The images that the models are given for pictures of a kind."""

    images: NDArray[np.uint8]  # [N, height, width]; black if the picture is refused
    found: NDArray[np.bool_]  # [N], whether the picture is not refused


def main() -> None:
    """Measure and write the results."""
    parser = command.parser(__doc__)
    parser.add_argument("--tune", action="store_true", help="use other images; write nothing")
    tune = parser.parse_args().tune
    paths = Paths(ROOT)
    parameters = read_parameters(paths.params)
    dataset = read_dataset(paths.dataset)
    train, val = (read_split(paths.split(name), dataset) for name in ("train", "val"))
    order = generator(SEED, "pictures").permutation(len(val))
    tuning, reported, rest = np.split(order, [IMAGES, 2 * IMAGES])
    chosen = tuning if tune else reported
    images, labels = val.images[chosen], val.labels[chosen]
    compared = reference(train.images, val.images[rest])
    names = best_models(paths, parameters.train)
    configure(parameters.threads)

    def measured(prepared: Prepared) -> dict[str, Any]:
        predicted = predict(paths, names, dataset, prepared.images)
        correct = {
            name: share((rows.argmax(1) == labels) & prepared.found)
            for name, rows in predicted.items()
        }
        return {"correct": correct, **noticed(prepared, compared)}

    result = {
        "images": IMAGES,
        "distance_limit": compared.limit,
        "themselves": measured(Prepared(images, np.ones(IMAGES, bool))),
        "kinds": each(MAKERS, lambda kind, maker: measured(prepare(images, kind, maker, dataset))),
        "foreign": each(
            FOREIGN_MAKERS,
            lambda kind, maker: noticed(prepare(images, kind, maker, dataset), compared),
        ),
    }
    if not tune:
        write_json(paths.report("benchmarks") / "pictures.json", result)


def each(
    makers: dict[str, Maker], measure: Callable[[str, Maker], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return kind → result of `measure`, and print the results as they come."""
    results = {}
    for kind, maker in makers.items():
        results[kind] = measure(kind, maker)
        print(f"{kind}: {results[kind]}", flush=True)
    return results


def prepare(images: NDArray[np.uint8], kind: str, maker: Maker, dataset: Dataset) -> Prepared:
    """Return the images that the models are given for pictures of a kind.

    Args:
        images: images of the data set, [N, height, width].
        kind: name of the kind.
        maker: makes a picture of that kind of an image.
        dataset: the data set.
    """
    random = generator(SEED, "pictures", kind)
    prepared, found = np.zeros_like(images), np.zeros(len(images), bool)
    for index, image in enumerate(images):
        content = maker(image, random)
        try:
            prepared[index] = trimmed(decode(content, kind), kind, dataset).pixels
        except UserError:
            continue
        found[index] = True
    return Prepared(prepared, found)


def noticed(prepared: Prepared, compared: Reference) -> dict[str, float]:
    """Return the shares of pictures that are refused, and that are unlike the training data."""
    unlike = np.array([one.is_unlike for one in compared.distances(prepared.images)])
    return {"refused": share(~prepared.found), "unlike": share(unlike & prepared.found)}


def share(values: NDArray[np.bool_]) -> float:
    """Return the share of true values."""
    return float(values.mean())


if __name__ == "__main__":
    command.run(main)
