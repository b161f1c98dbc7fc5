"""Validate the raw files, split the training images, and compute statistics of the data.

Reads:  data/raw
Writes: data/processed/{train,val,test}.npz, data/processed/dataset.json,
        data/original/train.npz, reports/preprocess/
"""

import sys
from pathlib import Path

from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.core.files import write_atomically, write_bytes, write_csv, write_json
from sidebyside.data import near_duplicates
from sidebyside.data.npz import write_split
from sidebyside.data.raw_data import describe, read_raw
from sidebyside.data.splits import split_digest
from sidebyside.data.splitting import assign_splits
from sidebyside.data.statistics import class_counts, count_duplicates, pixel_statistics
from sidebyside.reporting import data_plots
from sidebyside.workflow import command, stage

SAMPLES_PER_CLASS = 12


def main() -> None:
    """Run the stage."""
    command.parser(__doc__).parse_args()
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)

    description, fraction = parameters.dataset, parameters.preprocess.val_fraction
    raw = read_raw(paths.raw, description)
    splits = assign_splits(raw, fraction, description.test_fraction, parameters.seed)
    dataset = describe(description, raw.class_names, splits)
    near = near_duplicates.find(splits)
    summary = {
        "splits": {
            name: {
                "images": len(split),
                "sha256": split_digest(split),
                "pixels": pixel_statistics(split.images),
            }
            for name, split in splits.items()
        },
        "duplicates": count_duplicates(splits),
        "near_duplicates": {
            "max_distance": near_duplicates.MAX_DISTANCE,
            "pairs": near_duplicates.count(near, list(splits)),
        },
    }
    counts = [class_counts(split, dataset.class_names) for split in splits.values()]
    classes = [[name, *(count[name] for count in counts)] for name in dataset.class_names]
    samples = data_plots.samples(
        splits["train"], dataset.class_names, SAMPLES_PER_CLASS, parameters.seed
    )

    report = paths.report("preprocess")
    with write_atomically():
        for name, split in splits.items():
            write_split(paths.split(name), split)
        write_split(paths.training_data("original"), splits["train"])
        write_json(paths.dataset, dataset.model_dump(mode="json"))
        write_json(report / "summary.json", summary)
        write_csv(report / "classes.csv", ["class", *splits], classes)
        write_csv(report / "near_duplicates.csv", near_duplicates.COLUMNS, near)
        write_bytes(report / "samples.png", samples)
    for name, split in splits.items():
        print(f"{name}: {len(split)} images")


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
