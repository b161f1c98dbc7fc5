"""Convert a picture file of any size and colour to an image like those of Fashion-MNIST.

The steps are those that made the data set from shop photographs (Xiao, Rasul & Vollgraf 2017,
section 2): trim the background, scale the longer edge to 28 pixels, centre, and invert to light on
black. Two steps differ: scaling averages over all pixels instead of skipping some, and nothing is
sharpened.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from sidebyside.config.dataset import IMAGE_SIZE
from sidebyside.core.errors import UserError
from sidebyside.core.files import open_regular

LIGHT = 128  # lowest grey value of a light background
NOISE = 16  # maximum difference in grey value between a background pixel and the background

# The decoders in use; Pillow has dozens more, of which one starts Ghostscript and others print.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
EXPECTED = "a PNG, JPEG, GIF, BMP or WebP picture"

MAX_BYTES = 100_000_000  # size of a file
MAX_PIXELS = 89_478_485  # width times height, Pillow's own limit


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
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not an image file") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: more than {MAX_BYTES:,} bytes")
    grey, steps = _decode(content, path)
    return prepare(grey, steps, str(path))


def _decode(content: bytes, path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the grey values of the first frame, [height, width], and the steps to get them."""
    try:
        with warnings.catch_warnings(action="ignore"):  # an error gives one line
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise UserError(f"{path}: more than {MAX_PIXELS:,} pixels")
            image.load()
            animated = getattr(image, "is_animated", False)
            ImageOps.exif_transpose(image, in_place=True)
            grey, steps = _grey(image)
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise UserError(f"{path}: more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UserError(f"{path} is not {EXPECTED}") from None
    except Exception as error:  # a damaged file raises errors of about ten types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged: {reason}") from None
    return grey, ["first of several frames", *steps] if animated else steps


def prepare(grey: NDArray[np.uint8], steps: list[str], name: str) -> Picture:
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


def _grey(image: Image.Image) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the grey values of a picture, and the steps of their conversion."""
    if image.mode.startswith("I;16"):
        return (np.asarray(image) >> 8).astype(np.uint8), ["16 bits per pixel: reduced to 8"]
    steps = []
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
        steps.append("transparency: replaced by white")
    if image.mode not in ("L", "1"):
        red, *others = image.convert("RGB").split()
        if any(ImageChops.difference(red, other).getbbox() for other in others):
            steps.append("colour: converted to grey")
    return np.asarray(image.convert("L")), steps


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]}×{pixels.shape[0]}"
