"""Add changed copies of the training images of some classes.

Reads:  data/processed/train.npz
Writes: data/augmented/train.npz, reports/augment/
"""

import sys
from pathlib import Path

import numpy as np

from fashion import command, data, plots, stage
from fashion.augmentation import augment
from fashion.errors import UserError
from fashion.files import together, write_bytes, write_json
from fashion.parameters import read_parameters
from fashion.paths import Paths
from fashion.randomness import generator

SHOWN = 15  # pairs in the figure


def main() -> None:
    """Run the stage."""
    command.parser(__doc__).parse_args()
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)
    settings, seed = parameters.augment, parameters.seed

    train = data.read_split(paths.split("train"))

    augmented = augment(train, settings.classes, settings.copies, settings.transforms, seed)

    sources = np.flatnonzero(np.isin(train.labels, settings.classes))
    if not len(sources):
        raise UserError(f"the train split has no image of classes {list(settings.classes)}")
    summary = {
        "images": len(augmented),
        "new_images": len(augmented) - len(train),
        "sha256": data.digest(augmented),
        "classes": data.class_counts(augmented),
    }
    shown = np.sort(generator(seed, "before and after").permutation(len(sources))[:SHOWN])
    figure = plots.before_after(
        train.images[sources[shown]],
        augmented.images[len(train) + shown],
        train.labels[sources[shown]],
    )

    report = paths.report("augment")
    with together():
        data.write_split(paths.training_data("augmented"), augmented)
        write_json(report / "summary.json", summary)
        write_bytes(report / "before_after.png", figure)
    print(f"{len(train)} images and {len(augmented) - len(train)} new ones: {len(augmented)}")


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
