"""Convert a picture file of any size and colour to an image like those of a data set.

Data sets of pictures are resized by the rule that made their images. The others (`trim`) show an
object or a character light on black. The steps are those that made Fashion-MNIST from shop
photographs (Xiao, Rasul & Vollgraf 2017, section 2): trim the background, scale until the object
reaches the margin, centre, and invert to light on black. Two steps differ: scaling averages over
all pixels instead of skipping some, and nothing is sharpened. In a data set with a margin, the
centre is that of mass, as in MNIST (LeCun et al. 1998, section III.A).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sidebyside.config.dataset import Dataset
from sidebyside.core.errors import UserError
from sidebyside.data.picture import decode, read_content, resized

LIGHT = 128  # lowest grey value of a light background
NOISE = 16  # maximum difference in grey value between a background pixel and the background


@dataclass(frozen=True)
class Picture:
    """An image prepared for a classifier."""

    pixels: NDArray[np.uint8]  # of the shape of the data set's images
    steps: tuple[str, ...]  # steps of the preparation, for display


def read_picture(path: Path, dataset: Dataset) -> Picture:
    """Return the picture in a file, prepared for a classifier of a data set.

    Raises:
        UserError: the file is missing, damaged, too large or not in one of FORMATS, or its image
            is to be trimmed but of a single colour.
    """
    image, steps, _ = decode(read_content(path, str(path)), str(path), dataset.channels)
    if dataset.preparation == "trim":
        return trimmed(np.asarray(image), steps, str(path), dataset)
    pixels = resized(image, dataset.height, dataset.width, dataset.preparation)
    if image.size == (dataset.width, dataset.height):
        return Picture(pixels, steps)
    rule = {"stretch": "stretched", "pad": "padded", "crop": "cropped"}[dataset.preparation]
    return Picture(pixels, (*steps, f"{rule} to {_size(pixels)} pixels"))


def trimmed(grey: NDArray[np.uint8], steps: Sequence[str], name: str, dataset: Dataset) -> Picture:
    """Return an image of the size of a data set's, light on black and centred.

    Pictures of that size are neither trimmed nor scaled.

    Args:
        grey: grey values of the picture, [height, width].
        steps: steps of the preparation so far.
        name: name of the picture, for error messages.
        dataset: the data set, of one channel.

    Raises:
        UserError: the picture is of a single colour, or nearly so.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background = int(np.median(border))
    darker, lighter = grey < background - NOISE, grey > background + NOISE
    light = background >= LIGHT
    # An object on a light background is dark, unless nothing is darker (a white shirt on grey).
    inverted = darker.any() if light else not lighter.any()
    visible = darker if inverted else lighter
    if not visible.any():
        raise UserError(f"{name}: nothing stands out from the background")
    if inverted:
        grey, background = 255 - grey, 255 - background
    background_kind = "light" if light else "dark"
    steps = [*steps, f"{background_kind} background: {'' if inverted else 'not '}inverted"]
    if grey.shape == dataset.shape:
        return Picture(grey, tuple(steps))
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    cut = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if cut.shape != grey.shape:
        steps.append(f"trimmed to {_size(cut)} pixels")
    cut = np.where(cut > background, cut - background, 0).astype(np.uint8)
    height, width = cut.shape
    free = 2 * dataset.margin
    scale = min((dataset.height - free) / height, (dataset.width - free) / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.LANCZOS))
    steps.append(f"scaled to {_size(scaled)} pixels and centred")
    top, left = (dataset.height - size[1]) // 2, (dataset.width - size[0]) // 2
    if dataset.margin:
        top, left = _top_left(scaled, dataset)
    pixels = np.zeros(dataset.shape, np.uint8)
    pixels[top : top + size[1], left : left + size[0]] = scaled
    return Picture(pixels, tuple(steps))


def _top_left(cut: NDArray[np.uint8], dataset: Dataset) -> tuple[int, int]:
    """Return where an object begins if its centre of mass is the middle pixel, as in MNIST."""
    mass = cut.astype(np.float64) / cut.sum()
    starts = [
        round(length // 2 - float(mass.sum(1 - axis) @ np.arange(cut.shape[axis])))
        for axis, length in enumerate(dataset.shape)
    ]
    top, left = np.clip(starts, 0, np.subtract(dataset.shape, cut.shape)).tolist()
    return top, left


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]}×{pixels.shape[0]}"
