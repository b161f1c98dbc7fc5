"""Split the training images into train and val, and draw subsamples."""

from collections.abc import Sequence

import numpy as np

from sidebyside.core.errors import UserError
from sidebyside.core.seeding import generator
from sidebyside.data.splits import Split


def stratified_split(
    split: Split, val_fraction: float, seed: int, class_names: Sequence[str]
) -> tuple[Split, Split]:
    """Return (train, val), stratified by class; both keep the order of `split`.

    scikit-learn's `train_test_split` would draw other images for the same seed, and importing it
    takes longer than the rest of the stage.

    Args:
        split: the images to distribute.
        val_fraction: share of each class that goes to val.
        seed: seed for the draw.
        class_names: names of the classes.

    Raises:
        UserError: train or val would have no images of a class.
    """
    in_val = np.zeros(len(split), bool)
    for label in np.unique(split.labels):
        members = np.flatnonzero(split.labels == label)
        count = round(len(members) * val_fraction)
        if not 0 < count < len(members):
            raise UserError(
                f"preprocess.val_fraction: {val_fraction} of the {len(members)} images of class"
                f" {label} ({class_names[label]}) leaves train or val without images of this class"
            )
        chosen = generator(seed, "split", int(label)).choice(members, count, replace=False)
        in_val[chosen] = True
    return (
        Split(split.images[~in_val], split.labels[~in_val]),
        Split(split.images[in_val], split.labels[in_val]),
    )


def subsample(split: Split, images: int, random: np.random.Generator) -> Split:
    """Return a random subsample of `images` images in their original order, or the whole split."""
    if images >= len(split):
        return split
    chosen = np.sort(random.choice(len(split), images, replace=False))
    return Split(split.images[chosen], split.labels[chosen])
