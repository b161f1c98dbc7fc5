"""Measure how many pictures `make predict` classifies correctly, by the way they were made.

The pictures are made of test images: see `picture_kinds`. They are prepared as `make predict`
prepares them, and classified by the same models. For comparison, the test images themselves are
classified as well.

Reads:  params.yaml, data/processed/, models/, reports/train/
Writes: reports/benchmarks/pictures.json
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from sidebyside.serving.picture import trimmed
from sidebyside.serving.predict import best_models, predict
from sidebyside.workflow import command

IMAGES, SEED = 200, 1


def main() -> None:
    """Measure and write the results."""
    command.parser(__doc__).parse_args()
    paths = Paths(ROOT)
    parameters = read_parameters(paths.params)
    dataset = read_dataset(paths.dataset)
    test = read_split(paths.split("test"), dataset)
    chosen = generator(SEED, "pictures").choice(len(test), IMAGES, replace=False)
    images, labels = test.images[chosen], test.labels[chosen]
    names = best_models(paths, parameters.train)
    configure(parameters.threads)

    def shares(prepared: NDArray[np.uint8], found: NDArray[np.bool_]) -> dict[str, float]:
        predicted = predict(paths, names, dataset, prepared)
        return {
            name: float(((rows.argmax(1) == labels) & found).mean())
            for name, rows in predicted.items()
        }

    result: dict[str, Any] = {
        "images": IMAGES,
        "themselves": shares(images, np.ones(IMAGES, bool)),
        "kinds": {},
    }
    for kind, maker in MAKERS.items():
        prepared, found = prepare(images, kind, maker, dataset)
        made = {"refused": int((~found).sum()), "correct": shares(prepared, found)}
        result["kinds"][kind] = made
        print(f"{kind}: {made}", flush=True)
    write_json(paths.report("benchmarks") / "pictures.json", result)


def prepare(
    images: NDArray[np.uint8], kind: str, maker: Maker, dataset: Dataset
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the images that the models are given for pictures of a kind, and which ones there are.

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
    return prepared, found


if __name__ == "__main__":
    command.run(main)
