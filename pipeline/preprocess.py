"""Check the raw files, split the training images, and describe what the data hold.

Reads:  data/raw
Writes: data/processed/{train,val,test}.npz, data/original/train.npz, reports/preprocess/
"""

import sys
from pathlib import Path

from fashion import command, data, plots, stage
from fashion.files import together, write_bytes, write_csv, write_json
from fashion.parameters import read_parameters
from fashion.paths import Paths

SAMPLES_PER_CLASS = 12


def main() -> None:
    """Run the stage."""
    command.parser(__doc__).parse_args()
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)

    published = data.read_raw(paths.raw, data.TRAIN_IMAGES, data.TRAIN_LABELS)
    test = data.read_raw(paths.raw, data.TEST_IMAGES, data.TEST_LABELS)

    train, val = data.stratified_split(
        published, parameters.preprocess.val_fraction, parameters.seed
    )
    splits = {"train": train, "val": val, "test": test}

    summary = {
        "splits": {
            name: {
                "images": len(split),
                "sha256": data.digest(split),
                "pixels": data.pixel_statistics(split.images),
            }
            for name, split in splits.items()
        },
        "duplicates": data.count_duplicates(splits),
    }
    counts = [data.class_counts(split) for split in splits.values()]
    classes = [[name, *(count[name] for count in counts)] for name in data.CLASS_NAMES]
    samples = plots.samples(train, SAMPLES_PER_CLASS, parameters.seed)

    report = paths.report("preprocess")
    with together():
        for name, split in splits.items():
            data.write_split(paths.split(name), split)
        data.write_split(paths.training_data("original"), train)
        write_json(report / "summary.json", summary)
        write_csv(report / "classes.csv", ["class", *splits], classes)
        write_bytes(report / "samples.png", samples)
    for name, split in splits.items():
        print(f"{name}: {len(split)} images")


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
