"""Convert a picture file of any size and colour to an image like those of Fashion-MNIST.

The steps are those that made the data set from shop photographs (Xiao, Rasul & Vollgraf 2017,
section 2): trim the background, scale the longer edge to 28 pixels, centre, and invert to light on
black. Two steps differ: scaling averages over all pixels instead of skipping some, and nothing is
sharpened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sidebyside.config.dataset import IMAGE_SIZE
from sidebyside.core.errors import UserError
from sidebyside.data.picture import decode, read_content

LIGHT = 128  # lowest grey value of a light background
NOISE = 16  # maximum difference in grey value between a background pixel and the background


@dataclass(frozen=True)
class Picture:
    """An image prepared for a classifier."""

    pixels: NDArray[np.uint8]  # [28, 28], 0 is background
    steps: tuple[str, ...]  # steps of the preparation, for display


def read_picture(path: Path) -> Picture:
    """Return the picture in a file, prepared for a classifier.

    Raises:
        UserError: the file is missing, damaged, too large or not in one of FORMATS, or its image
            is of a single colour.
    """
    image, steps, _ = decode(read_content(path), str(path), channels=1)
    return prepare(np.asarray(image), steps, str(path))


def prepare(grey: NDArray[np.uint8], steps: Sequence[str], name: str) -> Picture:
    """Return an image of 28×28 pixels, light on black and centred.

    Pictures of that size are neither trimmed nor scaled.

    Args:
        grey: grey values of the picture, [height, width].
        steps: steps of the preparation so far.
        name: name of the picture, for error messages.

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
    if grey.shape == (IMAGE_SIZE, IMAGE_SIZE):
        return Picture(grey, tuple(steps))
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    trimmed = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if trimmed.shape != grey.shape:
        steps.append(f"trimmed to {_size(trimmed)} pixels")
    trimmed = np.where(trimmed > background, trimmed - background, 0).astype(np.uint8)
    height, width = trimmed.shape
    scale = IMAGE_SIZE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = np.asarray(Image.fromarray(trimmed).resize(size, Image.Resampling.LANCZOS))
    steps.append(f"scaled to {_size(scaled)} pixels and centred")
    top, left = (IMAGE_SIZE - size[1]) // 2, (IMAGE_SIZE - size[0]) // 2
    pixels = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    pixels[top : top + size[1], left : left + size[0]] = scaled
    return Picture(pixels, tuple(steps))


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]}×{pixels.shape[0]}"
