"""Add randomly transformed copies of the training images of some classes.

Reads:  data/processed/train.npz, data/processed/dataset.json
Writes: data/augmented/train.npz, reports/augment/
"""

import sys
from pathlib import Path

import numpy as np

from sidebyside.config.dataset import read_dataset
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.core.files import write_atomically, write_bytes, write_json
from sidebyside.core.seeding import generator
from sidebyside.data.augmentation import allowed_transforms, augment, chosen_classes
from sidebyside.data.npz import read_split, write_split
from sidebyside.data.splits import split_digest
from sidebyside.data.statistics import class_counts
from sidebyside.reporting import data_plots
from sidebyside.workflow import command, stage

SHOWN = 15  # image pairs in the figure


def main() -> None:
    """Run the stage."""
    command.parser(__doc__).parse_args()
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)
    settings, seed = parameters.augment, parameters.seed

    dataset = read_dataset(paths.dataset)
    train = read_split(paths.split("train"), dataset)

    classes = chosen_classes(settings.classes, dataset)
    transforms = allowed_transforms(settings.transforms, dataset)
    if transforms != settings.transforms:
        print("no flips: the data set has `mirror: false`")

    augmented = augment(train, classes, settings.copies, transforms, seed)

    summary = {
        "images": len(augmented),
        "new_images": len(augmented) - len(train),
        "sha256": split_digest(augmented),
        "classes": class_counts(augmented, dataset.class_names),
    }
    sources = np.flatnonzero(np.isin(train.labels, classes))
    shown = np.sort(generator(seed, "before and after").permutation(len(sources))[:SHOWN])
    figure = data_plots.before_after(
        train.images[sources[shown]],
        augmented.images[len(train) + shown],
        train.labels[sources[shown]],
        dataset.class_names,
    )

    report = paths.report("augment")
    with write_atomically():
        write_split(paths.training_data("augmented"), augmented)
        write_json(report / "summary.json", summary)
        write_bytes(report / "before_after.png", figure)
    print(
        f"{len(augmented)} images: {len(train)} original, {len(augmented) - len(train)} augmented"
    )


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
