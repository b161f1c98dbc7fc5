"""Render the report of a data set: classes, source files, duplicates and near duplicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidebyside.config.dataset import Dataset
from sidebyside.core.errors import printable
from sidebyside.data.near_duplicates import MAX_DISTANCE, NearDuplicate
from sidebyside.data.pictures import Kind, Unreadable
from sidebyside.data.raw_data import PictureSources
from sidebyside.data.splits import Split
from sidebyside.reporting import template
from sidebyside.reporting.formatting import count, percent
from sidebyside.reporting.page import TEMPLATES, Cells
from sidebyside.reporting.plot_style import Pixels

SHOWN_PAIRS = 20  # of the closest near duplicates, in the figure and in the table
SHOWN_CLASSES = 40  # rows in the table of classes
SHOWN_UNREADABLE = 20

End = tuple[int, int]  # of a pair: number of the split and index in it


@dataclass(frozen=True)
class Pair:
    """Two images of different splits that differ little."""

    splits: tuple[str, str]
    images: tuple[int, int]  # indices in the splits
    distance: float
    classes: tuple[str, str]
    files: tuple[str, str]  # paths of the pictures, if the images come from pictures


@dataclass(frozen=True)
class Content:
    """What the report shows."""

    dataset: Dataset
    counts: Mapping[str, Mapping[str, int]]  # split → class → images
    summary: Mapping[str, Any]  # content of summary.json
    leaked: int  # test images with a near duplicate in train or val
    pairs: Sequence[Pair]  # the closest near duplicates across splits
    sources: PictureSources | None  # of data that come from picture files
    grouped: bool  # whether groups of pictures stay within a split
    figures: Mapping[str, bytes]  # path of each figure beside the report → PNG


def closest_pairs(
    found: Sequence[NearDuplicate],
    splits: Mapping[str, Split],
    class_names: Sequence[str],
    files: Mapping[str, Sequence[str]],
) -> list[Pair]:
    """Return the closest near duplicates of different splits, the closest first.

    Args:
        found: all near duplicates.
        splits: name → split.
        class_names: names of the classes.
        files: split → path of each image; empty if the images do not come from pictures.
    """
    order = list(splits)
    across: set[tuple[float, End, End]] = set()
    for row in found:
        if row.split != row.other_split:
            first, second = sorted(
                [(order.index(row.split), row.image), (order.index(row.other_split), row.other)]
            )
            across.add((row.distance, first, second))
    return [
        _pair(distance, (first, second), splits, class_names, files)
        for distance, first, second in sorted(across)[:SHOWN_PAIRS]
    ]


def _pair(
    distance: float,
    ends: tuple[End, End],
    splits: Mapping[str, Split],
    class_names: Sequence[str],
    files: Mapping[str, Sequence[str]],
) -> Pair:
    names = list(splits)
    named = [(names[number], index) for number, index in ends]
    classes = [class_names[splits[name].labels[index]] for name, index in named]
    paths = [printable(files[name][index]) if files else "" for name, index in named]
    return Pair(
        splits=(named[0][0], named[1][0]),
        images=(named[0][1], named[1][1]),
        distance=distance,
        classes=(classes[0], classes[1]),
        files=(paths[0], paths[1]),
    )


def images(pair: Pair, splits: Mapping[str, Split]) -> tuple[Pixels, Pixels]:
    """Return the images of a pair."""
    first, second = (
        splits[name].images[index] for name, index in zip(pair.splits, pair.images, strict=True)
    )
    return first, second


def render(content: Content) -> tuple[str, str]:
    """Return the report as (HTML, Markdown); the HTML embeds its figures."""
    return template.render(TEMPLATES / "data.md.jinja", values(content), content.figures)


def values(content: Content) -> dict[str, Any]:
    """Return the variables of the template."""
    totals = {split: sum(counts.values()) for split, counts in content.counts.items()}
    per_class = {
        name: sum(counts[name] for counts in content.counts.values())
        for name in content.dataset.class_names
    }
    by_size = sorted(per_class, key=lambda name: -per_class[name])
    return {
        "content": content,
        "dataset": content.dataset,
        "totals": totals,
        "images": sum(totals.values()),
        "largest": by_size[0],
        "smallest": by_size[-1],
        "per_class": per_class,
        "test_largest": max(content.counts["test"].values()) / totals["test"],
        "max_distance": MAX_DISTANCE,
        "shown_classes": SHOWN_CLASSES,
        "shown_unreadable": SHOWN_UNREADABLE,
        "tables": {
            "classes": _classes(content, per_class, by_size),
            "pixels": _pixels(content),
            "duplicates": _duplicates(content),
            "pairs": _pairs(content),
            "kinds": _kinds(content.sources.kinds if content.sources else ()),
            "unreadable": _unreadable(content.sources.unreadable if content.sources else ()),
        },
    }


def _classes(content: Content, per_class: Mapping[str, int], by_size: Sequence[str]) -> Cells:
    """Return images per class and split; of many classes, the largest and the smallest."""
    names = list(content.dataset.class_names)
    if len(names) > SHOWN_CLASSES:
        half = SHOWN_CLASSES // 2
        names = [*by_size[:half], *by_size[-half:]]
    images = sum(per_class.values())
    rows = [
        [
            name,
            *(count(counts[name]) for counts in content.counts.values()),
            percent(per_class[name] / images),
        ]
        for name in names
    ]
    return Cells(["class", *content.counts, "share"], rows)


def _pixels(content: Content) -> Cells:
    rows = [
        [
            split,
            f"{pixels['mean']:.1f}",
            f"{pixels['standard_deviation']:.1f}",
            percent(pixels["background"], 1),
        ]
        for split, pixels in (
            (name, values["pixels"]) for name, values in content.summary["splits"].items()
        )
    ]
    return Cells(["split", "mean", "standard deviation", "black pixels"], rows)


def _duplicates(content: Content) -> Cells:
    rows = [
        [
            exact["split"],
            exact["with"],
            count(exact["images"]),
            count(exact["label_differs"]),
            count(near["images"]),
            count(near["label_differs"]),
        ]
        for exact, near in zip(
            content.summary["duplicates"], content.summary["near_duplicates"]["pairs"], strict=True
        )
    ]
    header = ["images of", "with duplicates in", "equal", "of another class", "near"]
    return Cells([*header, "near, of another class"], rows, text_columns=2)


def _pairs(content: Content) -> Cells:
    with_files = any(pair.files[0] for pair in content.pairs)
    rows = [
        [
            *(
                f"{split} {image}" + (f": {file}" if file else f" ({label})")
                for split, image, file, label in zip(
                    pair.splits, pair.images, pair.files, pair.classes, strict=True
                )
            ),
            f"{pair.distance:.3f}",
        ]
        for pair in content.pairs
    ]
    what = "picture" if with_files else "image"
    return Cells([what, f"other {what}", "distance"], rows, text_columns=2)


def _kinds(kinds: Sequence[Kind]) -> Cells:
    rows = [
        [
            kind.format,
            kind.mode,
            "yes" if kind.animated else "no",
            count(kind.pictures),
            _range(kind.min_width, kind.max_width),
            _range(kind.min_height, kind.max_height),
        ]
        for kind in kinds
    ]
    return Cells(["format", "mode", "animated", "pictures", "width", "height"], rows, 3)


def _unreadable(unreadable: Sequence[Unreadable]) -> Cells:
    rows = [[printable(one.reason)] for one in unreadable[:SHOWN_UNREADABLE]]
    return Cells(["picture"], rows)


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
