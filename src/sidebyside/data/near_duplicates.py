"""Find near duplicates: images that differ little, within a split and across splits.

The distance of two images is the root mean square of the differences of their pixels, divided by
the smaller of the two standard deviations of their pixels, each from the mean of its channel: 0 for
equal images, about √2 for unrelated ones. Two images are near duplicates if their distance is at
most MAX_DISTANCE. The division makes the limit a share of what is visible in the images, so that
faint images and images with a few thin lines are not taken for copies of each other.

MAX_DISTANCE was chosen by looking at pairs of Fashion-MNIST: up to 0.12 nearly all are the same
article photographed, cropped or coloured slightly differently; above 0.15 they are different
trousers of the same shape. Versions of an icon of 24 and 48 pixels differ by 0.05 to 0.15.

All decisions are made with integers, so they are the same on every processor. Comparing each pair
pixel by pixel would take minutes; instead, a lower bound of the distance is computed for all pairs
from GRID × GRID means per image, and only pairs below the limit are compared pixel by pixel.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidebyside.data.splits import Split

MAX_DISTANCE = 0.15
GRID = 8  # cells per row and column; products of 64 means of 8 bits are exact in float32
ROWS = 512  # images whose lower bounds are computed at once
CANDIDATES = 1000  # images of a split compared with an image, those of the smallest lower bounds
PIXELS = 1 << 22  # values compared at once

# MAX_DISTANCE² as a fraction of integers.
NUMERATOR, DENOMINATOR = 9, 400

# Of a table of near duplicates; the fields of NearDuplicate in their order.
COLUMNS = ("split", "image", "with", "other", "distance", "same_label")

Integers = NDArray[np.int64]


class NearDuplicate(NamedTuple):
    """An image and its closest near duplicate in one split."""

    split: str
    image: int  # index in `split`
    other_split: str
    other: int  # index in `other_split`
    distance: float  # at most MAX_DISTANCE
    same_label: bool


@dataclass(frozen=True)
class _Images:
    """All images, split after split, with what the search needs of each."""

    pixels: NDArray[np.uint8]  # [N, values]
    split: Integers  # [N], number of the split
    index: Integers  # [N], index in the split
    contrast: Integers  # [N], values² times the variance of the pixels within their channels
    cells: NDArray[np.float32]  # [N, GRID²], integers from 0 to 255: means, weighted by size
    length: NDArray[np.float64]  # [N], Euclidean norm of the cells
    radius: NDArray[np.float64]  # [N], upper bound of the distance of a near duplicate's cells


class _Pairs(NamedTuple):
    """Pairs of near duplicates, as positions among all images."""

    image: Integers
    other: Integers
    distance: NDArray[np.float64]


def find(splits: Mapping[str, Split]) -> list[NearDuplicate]:
    """Return each image that has near duplicates, with its closest one in each split.

    Rows are ordered by split, image and the split of the duplicate; of equally close duplicates,
    the first counts. Of an image's candidates in a split, at most CANDIDATES are compared.

    Args:
        splits: name → split, all of the same shape of images.
    """
    names = list(splits)
    images = _prepared(list(splits.values()))
    labels = np.concatenate([split.labels for split in splits.values()])
    closest = _Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    for pairs in _all_pairs(images):
        closest = _closest(images, _joined(closest, pairs))
    return [
        NearDuplicate(
            names[images.split[image]],
            int(images.index[image]),
            names[images.split[other]],
            int(images.index[other]),
            round(float(distance), 4),
            bool(labels[image] == labels[other]),
        )
        for image, other, distance in zip(*closest, strict=True)
    ]


def count(found: Sequence[NearDuplicate], splits: Sequence[str]) -> list[dict[str, str | int]]:
    """Return the numbers of images with near duplicates, for each pair of splits.

    Each row counts the images of `split` that have a near duplicate in `with`, and how many of
    these have another label than the closest one there.

    Args:
        found: result of `find`.
        splits: names of the splits.
    """
    rows: list[dict[str, str | int]] = []
    for name in splits:
        for other in splits:
            members = [row for row in found if (row.split, row.other_split) == (name, other)]
            different = sum(not row.same_label for row in members)
            rows.append(
                {"split": name, "with": other, "images": len(members), "label_differs": different}
            )
    return rows


def count_leaked(found: Sequence[NearDuplicate]) -> int:
    """Return the number of test images with a near duplicate in train or val."""
    return len({row.image for row in found if row.split == "test" and row.other_split != "test"})


def _prepared(splits: Sequence[Split]) -> _Images:
    pixels = np.concatenate([split.images.reshape(len(split), -1) for split in splits])
    values = pixels.shape[1]
    channels = splits[0].images.shape[3] if splits[0].images.ndim == 4 else 1
    totals = pixels.reshape(len(pixels), -1, channels).sum(1, dtype=np.int64)
    squares = np.concatenate(
        [
            np.square(pixels[part], dtype=np.uint32).sum(1, dtype=np.int64)
            for part in _parts(len(pixels), values)
        ]
    )
    contrast = values * squares - channels * (totals**2).sum(1)
    means = [_cells(split.images) for split in splits]
    cells = np.concatenate([cell for cell, _ in means]).astype(np.float32)
    size = means[0][1]
    # Rounding moves each of the two images by at most half a unit per cell.
    radius = MAX_DISTANCE * np.sqrt(contrast / values / size) + GRID + 1
    return _Images(
        pixels,
        np.repeat(np.arange(len(splits)), [len(split) for split in splits]),
        np.concatenate([np.arange(len(split)) for split in splits]),
        contrast,
        cells,
        np.sqrt(np.square(cells, dtype=np.float64).sum(1)),
        radius,
    )


def _cells(images: NDArray[np.uint8]) -> tuple[Integers, int]:
    """Return the means of the cells of each image as integers, and the values of a full cell.

    A cell smaller than the largest one counts less: the Euclidean distance of the means, times the
    root of the largest cell's number of values, is at most that of the images.
    """
    count, height, width = images.shape[:3]
    tops, lefts = (np.arange(GRID) * side // GRID for side in (height, width))
    sums = np.add.reduceat(images, tops, axis=1, dtype=np.int64)
    sums = np.add.reduceat(sums, lefts, axis=2).reshape(count, GRID, GRID, -1).sum(3)
    heights, widths = np.diff(tops, append=height), np.diff(lefts, append=width)
    channels = images[0].size // (height * width)
    sizes = np.outer(heights, widths) * channels
    largest = int(sizes.max())
    means = np.rint(sums / np.sqrt(sizes * largest)).astype(np.int64)
    return means.reshape(count, -1), largest


def _parts(count: int, values: int) -> Iterator[slice]:
    """Yield slices of `count` images of `values` values each, PIXELS values at a time."""
    step = max(1, PIXELS // values)
    yield from (slice(start, start + step) for start in range(0, count, step))


def _all_pairs(images: _Images) -> Iterator[_Pairs]:
    """Yield all pairs of near duplicates, each pair in both directions."""
    # Sorted by length, an image's candidates lie side by side: lengths differ less than cells.
    order = np.argsort(images.length, kind="stable")
    half = -np.square(images.length, dtype=np.float64).astype(np.float32)[:, None] / 2
    one = np.ones_like(half)
    # The product of a row of `left` and a row of `right` is -½ times the squared distance of the
    # cells: multiples of ½ below 2²³, so exact in float32 whatever the order of additions.
    left = np.hstack([images.cells, half, one])
    right = np.hstack([images.cells, one, half])
    for split in range(int(images.split.max()) + 1):
        columns = order[images.split[order] == split]
        lengths = images.length[columns]
        for start in range(0, len(order), ROWS):
            rows = order[start : start + ROWS]
            length, radius = images.length[rows], images.radius[rows]
            first = np.searchsorted(lengths, (length - radius).min())
            last = np.searchsorted(lengths, (length + radius).max(), side="right")
            window = columns[first:last]
            nearness = left[rows] @ right[window].T
            limit = -np.ceil(radius**2 / 2).astype(np.float32)
            row, column = _candidates(nearness, limit)
            yield _compared(images, rows[row], window[column])


def _candidates(
    nearness: NDArray[np.float32], limit: NDArray[np.float32]
) -> tuple[Integers, Integers]:
    """Return rows and columns of at least the row's limit, at most CANDIDATES of each row."""
    row, column = np.divmod(np.flatnonzero(nearness >= limit[:, None]), max(1, nearness.shape[1]))
    counts = np.bincount(row, minlength=len(nearness))
    if len(row) and counts.max() > CANDIDATES:
        order = np.lexsort((column, -nearness[row, column], row))
        rank = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        row, column = row[order[rank < CANDIDATES]], column[order[rank < CANDIDATES]]
    return row, column


def _compared(images: _Images, first: Integers, second: Integers) -> _Pairs:
    """Return the near duplicates among pairs of images, in both directions."""
    # The limit follows from the fainter image, whose candidates include the other.
    ours = (images.contrast[first] <= images.contrast[second]) & (first != second)
    first, second = first[ours], second[ours]
    values = images.pixels.shape[1]
    squares = [
        np.square(np.subtract(images.pixels[first[part]], images.pixels[second[part]],
                              dtype=np.int32)).sum(1, dtype=np.int64)
        for part in _parts(len(first), values)
    ]  # fmt: skip
    scaled = values * np.concatenate([np.zeros(0, np.int64), *squares])
    contrast = images.contrast[first]
    near = DENOMINATOR * scaled <= NUMERATOR * contrast
    first, second, scaled, contrast = (each[near] for each in (first, second, scaled, contrast))
    distance = np.sqrt(scaled / np.maximum(contrast, 1))  # equal images may have no contrast
    return _joined(_Pairs(first, second, distance), _Pairs(second, first, distance))


def _joined(first: _Pairs, second: _Pairs) -> _Pairs:
    return _Pairs(*(np.concatenate(columns) for columns in zip(first, second, strict=True)))


def _closest(images: _Images, pairs: _Pairs) -> _Pairs:
    """Return the closest pair of each image and each split of the other, in this order."""
    split = images.split[pairs.other]
    order = np.lexsort((pairs.other, pairs.distance, split, pairs.image))
    image, split = pairs.image[order], split[order]
    new = np.ones(len(order), bool)
    new[1:] = (image[1:] != image[:-1]) | (split[1:] != split[:-1])
    kept = order[new]
    return _Pairs(pairs.image[kept], pairs.other[kept], pairs.distance[kept])
