"""Validate the raw files, split the training images, and compute statistics of the data.

Reads:  data/raw
Writes: data/processed/{train,val,test}.npz, data/processed/dataset.json,
        data/original/train.npz, reports/preprocess/
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.core.files import write_atomically, write_bytes, write_csv, write_json, write_text
from sidebyside.data import near_duplicates
from sidebyside.data.npz import write_split
from sidebyside.data.pictures import Kind, Unreadable
from sidebyside.data.raw_data import RawData, describe, read_raw
from sidebyside.data.splits import split_digest
from sidebyside.data.splitting import assign_splits, draw_splits
from sidebyside.data.statistics import class_counts, count_duplicates, pixel_statistics
from sidebyside.reporting import data_plots, data_report
from sidebyside.workflow import command, stage

SAMPLES_PER_CLASS = 12


def main() -> None:
    """Run the stage."""
    command.parser(__doc__).parse_args()
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)

    description, seed = parameters.dataset, parameters.seed
    fractions = parameters.preprocess.val_fraction, description.test_fraction
    raw = read_raw(paths.raw, description)
    splits = assign_splits(raw, *fractions, seed)
    dataset = describe(description, raw.class_names, splits)
    files = picture_files(raw, draw_splits(raw, *fractions, seed))
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
    counts = {name: class_counts(split, raw.class_names) for name, split in splits.items()}
    classes = [[name, *(count[name] for count in counts.values())] for name in raw.class_names]
    pairs = data_report.closest_pairs(near, splits, raw.class_names, files)
    figures = {
        "samples.png": data_plots.samples(
            splits["train"], raw.class_names, SAMPLES_PER_CLASS, seed
        ),
        "near_duplicates.png": data_plots.near_duplicates(
            [data_report.images(pair, splits) for pair in pairs],
            [f"{pair.distance:.3f}, {' and '.join(pair.splits)}" for pair in pairs],
        ),
    }
    html, markdown = data_report.render(
        data_report.Content(
            dataset=dataset,
            counts=counts,
            summary=summary,
            leaked=near_duplicates.count_leaked(near),
            pairs=pairs,
            sources=raw.sources,
            grouped=raw.groups is not None,
            figures=figures,
        )
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
        write_csv(report / "sources.csv", Kind._fields, raw.sources.kinds if raw.sources else [])
        write_csv(
            report / "unreadable.csv",
            Unreadable._fields,
            raw.sources.unreadable if raw.sources else [],
        )
        for name, png in figures.items():
            write_bytes(report / name, png)
        write_text(report / "report.html", html)
        write_text(report / "report.md", markdown)
    for name, split in splits.items():
        print(f"{name}: {len(split)} images")


def picture_files(
    raw: RawData, positions: Mapping[str, NDArray[np.int64]]
) -> dict[str, Sequence[str]]:
    """Return split → path of the picture of each image; empty if the data are not pictures."""
    if not raw.sources:
        return {}
    train = raw.sources.train
    drawn = {name: [train[index] for index in indices] for name, indices in positions.items()}
    return {"test": raw.sources.test, **drawn}


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
