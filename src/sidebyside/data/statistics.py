"""Describe a split: class counts, pixel statistics, exact duplicates."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sidebyside.data.splits import Split


def class_counts(split: Split, class_names: Sequence[str]) -> dict[str, int]:
    """Return class name → number of images."""
    counts = np.bincount(split.labels, minlength=len(class_names)).tolist()
    return dict(zip(class_names, counts, strict=True))


def pixel_statistics(images: NDArray[np.uint8]) -> dict[str, float]:
    """Return mean and standard deviation of all pixels (0–255) and the share of background.

    Sums are integers, because the last digits of floating-point sums differ between processors.
    """
    counts = np.bincount(images.reshape(-1), minlength=256).tolist()  # per grey value
    pixels = sum(counts)
    total = sum(value * count for value, count in enumerate(counts))
    squares = sum(value**2 * count for value, count in enumerate(counts))
    return {
        "mean": total / pixels,
        "standard_deviation": math.sqrt((pixels * squares - total**2) / pixels**2),
        "background": counts[0] / pixels,
    }


def count_duplicates(splits: Mapping[str, Split]) -> list[dict[str, str | int]]:
    """Return the numbers of exact duplicates within each split and between each pair of splits.

    Each row counts the images of `split` that equal an earlier image of the same split, or any
    image of another split (`with`), and how many of these have a different label.
    """
    first_label = {
        name: dict(reversed(list(zip(_as_bytes(split), split.labels.tolist(), strict=True))))
        for name, split in splits.items()
    }
    rows: list[dict[str, str | int]] = []
    for name, split in splits.items():
        for other, labels in first_label.items():
            seen: set[bytes] = set()
            repeated = different = 0
            for image, label in zip(_as_bytes(split), split.labels.tolist(), strict=True):
                if (image in seen) if other == name else (image in labels):
                    repeated += 1
                    different += labels[image] != label
                seen.add(image)
            rows.append(
                {"split": name, "with": other, "images": repeated, "label_differs": different}
            )
    return rows


def _as_bytes(split: Split) -> list[bytes]:
    return [image.tobytes() for image in split.images]
