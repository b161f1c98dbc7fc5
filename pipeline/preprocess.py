"""Check the raw files, split the training images, and describe what the data hold.

Reads:  data/raw
Writes: data/processed/{train,val,test}.npz, data/original/train.npz, reports/preprocess/
"""

from pathlib import Path

from fashion import command, data, plots
from fashion.files import write_bytes, write_csv, write_json
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

    for name, split in splits.items():
        data.write_split(paths.split(name), split)
        print(f"{name}: {len(split)} images")
    write_bytes(paths.training_data("original"), paths.split("train").read_bytes())
    report = paths.report("preprocess")
    write_json(
        report / "summary.json",
        {
            "splits": {
                name: {
                    "images": len(split),
                    "sha256": data.digest(split),
                    "pixels": data.pixel_statistics(split.images),
                }
                for name, split in splits.items()
            },
            "duplicates": data.count_duplicates(splits),
        },
    )
    counts = [data.class_counts(split) for split in splits.values()]
    write_csv(
        report / "classes.csv",
        ["class", *splits],
        [[name, *(count[name] for count in counts)] for name in data.CLASS_NAMES],
    )
    write_bytes(report / "samples.png", plots.samples(train, SAMPLES_PER_CLASS, parameters.seed))


if __name__ == "__main__":
    command.run(main)
