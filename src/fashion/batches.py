"""The images of an epoch: in a new order, mirrored, shifted and partly hidden where that is asked.

All of it is drawn for the epoch at once and done in NumPy for some batches at a time. There a shift
is a copy of rows; as TensorFlow's gathers it takes a seventh of a CNN's epoch.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fashion.data import IMAGE_SIZE, Split
from fashion.hyperparameters import Hyperparameters
from fashion.randomness import generator

Images = NDArray[np.uint8]  # [N, 28, 28]


class Changes(NamedTuple):
    """What happens to each of N images; an empty row where nothing does."""

    mirrored: NDArray[np.bool_]  # [N], or [0]: none
    moves: NDArray[np.int64]  # [N, 2] pixels down and right, or [0, 2]
    corners: NDArray[np.int64]  # [N, 2] row and column where a hidden square begins, or [0, 2]

    def part(self, start: int, stop: int) -> "Changes":
        """Return what happens to some of the images."""
        return Changes(self.mirrored[start:stop], self.moves[start:stop], self.corners[start:stop])


def draw(count: int, seed: int, epoch: int, *, flip: bool, shift: int, cutout: int) -> Changes:
    """Return what happens to `count` images in an epoch; a function of the seed and the epoch.

    Args:
        count: how many images.
        seed: of the training.
        epoch: counted from 0.
        flip: mirror half of the images left to right.
        shift: most pixels an image is moved each way.
        cutout: side in pixels of a square of background around a random place (DeVries & Taylor
            2017), so that it may hang over the edge; 0 is none.
    """
    size = (count, 2)
    return Changes(
        generator(seed, "flip", epoch).random(count * flip) < 0.5,
        generator(seed, "shift", epoch).integers(-shift, shift + 1, size)[: count * bool(shift)],
        generator(seed, "cutout", epoch).integers(1 - cutout, IMAGE_SIZE, size)[
            : count * bool(cutout)
        ],
    )


def change(images: Images, changes: Changes, *, shift: int, cutout: int) -> Images:
    """Return the images changed; those given may be changed too.

    Args:
        images: uint8 [N, 28, 28].
        changes: what happens to each of them.
        shift: the most that `changes` moves an image.
        cutout: side in pixels of the hidden squares.
    """
    if len(changes.mirrored):
        images[changes.mirrored] = images[changes.mirrored, :, ::-1]
    if len(changes.moves):
        padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift)))
        windows = sliding_window_view(padded, (IMAGE_SIZE, IMAGE_SIZE), axis=(1, 2))
        top, left = (shift - changes.moves).T
        images = windows[np.arange(len(images)), top, left]
    if len(changes.corners):
        pixels, first = np.arange(IMAGE_SIZE), changes.corners[:, :, None]
        inside = (pixels >= first) & (pixels < first + cutout)
        images[inside[:, 0, :, None] & inside[:, 1, None, :]] = 0
    return images


def batches(
    split: Split, h: Hyperparameters, seed: int, epoch: int, steps: int
) -> Iterator[tuple[Images, NDArray[np.uint8]]]:
    """Give all images and labels of an epoch, those of some consecutive steps at a time.

    Args:
        split: the images to learn from; they are not changed.
        h: size of a batch, and what happens to the images.
        seed: of the training.
        epoch: counted from 0.
        steps: how many batches to give at a time.
    """
    order = generator(seed, "order", epoch).permutation(len(split))
    changes = draw(len(split), seed, epoch, flip=h.flip, shift=h.shift, cutout=h.cutout)
    size = steps * h.batch_size
    for start in range(0, len(split), size):
        chosen = order[start : start + size]
        images = change(
            split.images[chosen],
            changes.part(start, start + size),
            shift=h.shift,
            cutout=h.cutout,
        )
        yield images, split.labels[chosen]
