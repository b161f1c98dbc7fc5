"""Split images into train, val and test, and draw subsamples."""

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.dataset_description import TEST_FRACTION
from sidebyside.core.errors import UserError
from sidebyside.core.seeding import generator
from sidebyside.data.raw_data import RawData
from sidebyside.data.splits import Split, select

SPLITS = ("train", "val", "test")
Groups = NDArray[np.int64] | None  # [N], the group of each image


def draw_splits(
    raw: RawData, val_fraction: float, test_fraction: float | None, seed: int
) -> dict[str, NDArray[np.int64]]:
    """Return the positions in `raw.train` of train and val, and of test if the data have none.

    Args:
        raw: the images, perhaps with a test split.
        val_fraction: share of each class that goes to val.
        test_fraction: share of each class that goes to test before that, if the data have no test
            split; None: TEST_FRACTION.
        seed: seed for the draws.
    """
    labels, groups = raw.train.labels, raw.groups
    rest = np.arange(len(labels))
    positions = {}
    fractions = {"val": ("split", val_fraction)}
    if raw.test is None:
        fraction = TEST_FRACTION if test_fraction is None else test_fraction
        fractions = {"test": ("test split", fraction), **fractions}
    for name, (purpose, fraction) in fractions.items():
        grouped = None if groups is None else groups[rest]
        chosen = draw(labels[rest], grouped, fraction, seed, purpose)
        positions[name], rest = rest[chosen], rest[~chosen]
    return {"train": rest, **positions}


def assign_splits(
    raw: RawData, val_fraction: float, test_fraction: float | None, seed: int
) -> dict[str, Split]:
    """Return train, val and test; each keeps the order of its images.

    Arguments as for `draw_splits`.

    Raises:
        UserError: the groups leave a split without images of a class.
    """
    positions = draw_splits(raw, val_fraction, test_fraction, seed)
    splits = {name: select(raw.train, chosen) for name, chosen in positions.items()}
    if raw.test is not None:
        splits["test"] = raw.test
    splits = {name: splits[name] for name in SPLITS}
    for name, split in splits.items():
        absent = set(range(len(raw.class_names))) - set(split.labels.tolist())
        if absent:
            raise UserError(
                f"{name} has no image of class {raw.class_names[min(absent)]!r}, because the images"
                " of a group stay together: dataset.group must make more groups of this class"
            )
    return splits


def draw(
    labels: NDArray[np.uint8], groups: Groups, fraction: float, seed: int, purpose: str
) -> NDArray[np.bool_]:
    """Return which images to hold out: about `fraction` of each class, and at least one image.

    scikit-learn's `train_test_split` would draw other images for the same seed, and importing it
    takes longer than the rest of the stage.

    Args:
        labels: the class of each image.
        groups: the group of each image; a group is held out as a whole or not at all.
        fraction: share of each class.
        seed: seed for the draw.
        purpose: distinguishes draws with the same seed.
    """
    if groups is not None:
        return _draw_groups(labels, groups, fraction, seed, purpose)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = _share(len(members), fraction)
        drawn = generator(seed, purpose, int(label)).choice(members, count, replace=False)
        chosen[drawn] = True
    return chosen


def subsample(split: Split, images: int, random: np.random.Generator) -> Split:
    """Return a random subsample of `images` images in their original order, or the whole split."""
    if images >= len(split):
        return split
    chosen = np.sort(random.choice(len(split), images, replace=False))
    return Split(split.images[chosen], split.labels[chosen])


def _share(images: int, fraction: float) -> int:
    """Return `fraction` of a number of images, but at least one, and not all of them."""
    return max(0, min(max(round(images * fraction), 1), images - 1))


def _draw_groups(
    labels: NDArray[np.uint8],
    groups: NDArray[np.int64],
    fraction: float,
    seed: int,
    purpose: str,
) -> NDArray[np.bool_]:
    """Draw groups class by class until the class has its share; small classes come first.

    A group with images of several classes counts for each of them.
    """
    chosen = np.zeros(len(labels), bool)
    counts = np.bincount(labels)
    for label in sorted(np.unique(labels).tolist(), key=lambda label: (counts[label], label)):
        wanted = _share(int(counts[label]), fraction)
        names = np.unique(groups[labels == label])
        for group in generator(seed, purpose, int(label)).permutation(names):
            members = groups == group
            taken = int(np.sum(chosen & (labels == label)))
            if taken >= wanted:
                break
            added = int(np.sum(members & ~chosen & (labels == label)))
            remaining = int(counts[label]) - taken - added
            # Not a group that misses the share by more than leaving it out would.
            closer = abs(taken + added - wanted) < abs(taken - wanted) or not taken
            if remaining and closer:
                chosen |= members
    return chosen
