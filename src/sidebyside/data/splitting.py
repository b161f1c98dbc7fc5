"""Divide a split into train and val, and draw a subsample."""

import numpy as np

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.core.errors import UserError
from sidebyside.core.seeding import generator
from sidebyside.data.splits import Split


def stratified_split(split: Split, val_fraction: float, seed: int) -> tuple[Split, Split]:
    """Return (train, val): of each class, `val_fraction` goes to val; both keep file order.

    Drawn class by class with numpy: scikit-learn's splitter does the same, but importing it takes
    longer than the whole stage.

    Raises:
        UserError: a class would be left without an image in train or in val.
    """
    in_val = np.zeros(len(split), bool)
    for label in np.unique(split.labels):
        members = np.flatnonzero(split.labels == label)
        count = round(len(members) * val_fraction)
        if not 0 < count < len(members):
            raise UserError(
                f"preprocess.val_fraction: {val_fraction} of the {len(members)} images of class"
                f" {label} ({CLASS_NAMES[label]}) leaves train or val without one"
            )
        chosen = generator(seed, "split", int(label)).choice(members, count, replace=False)
        in_val[chosen] = True
    return (
        Split(split.images[~in_val], split.labels[~in_val]),
        Split(split.images[in_val], split.labels[in_val]),
    )


def subsample(split: Split, images: int, random: np.random.Generator) -> Split:
    """Return `images` of the split, drawn without replacement and in file order, or all of it."""
    if images >= len(split):
        return split
    chosen = np.sort(random.choice(len(split), images, replace=False))
    return Split(split.images[chosen], split.labels[chosen])
