"""A picture file of any size and colour → pixels as Fashion-MNIST has them.

The steps follow those by which the dataset was made of shop photographs (Xiao, Rasul & Vollgraf
2017, section 2): trim what is like the background, scale the longer edge to 28 pixels, centre, and
turn to light on black. Scaling weighs all pixels where the dataset's skips some, and nothing is
sharpened afterwards.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from sidebyside.config.dataset import IMAGE_SIZE
from sidebyside.core.errors import UserError

LIGHT = 128  # a background from this grey value on is light
LIKE_BACKGROUND = 16  # grey values from the background that a photograph's noise stays within


# What Pillow's many readers raise of broken pictures.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, TypeError, MemoryError)


@dataclass(frozen=True)
class Picture:
    """What a classifier is shown, and how it came about."""

    pixels: NDArray[np.uint8]  # [28, 28], 0 is background
    assumed: tuple[str, ...]  # what was taken for granted and done, in words


def read_picture(path: Path) -> Picture:
    """Return the picture in a file, prepared for a classifier.

    Raises:
        UserError: the file is missing or no picture, it is too large to be one, or it shows
            nothing.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is said in one line
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                frames = getattr(image, "n_frames", 1)
                turned = ImageOps.exif_transpose(image)
                grey, assumed = _grey(turned, path)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except UnidentifiedImageError:
        raise UserError(f"{path} is no picture of a kind that Pillow reads, or cut off") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, expected a picture") from None
    except PermissionError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is no whole picture: {reason}") from None
    if frames > 1:
        assumed.insert(0, f"the first of {frames} frames")
    return prepare(grey, assumed, str(path))


def prepare(grey: NDArray[np.uint8], assumed: list[str], name: str) -> Picture:
    """Return grey values of any size, uint8 [height, width], as Fashion-MNIST would have them.

    Pictures of 28×28 pixels are neither trimmed nor scaled.

    Args:
        grey: the picture.
        assumed: what was done to it before.
        name: what an error message begins with.

    Raises:
        UserError: it is of one colour, or nearly so.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background = int(np.median(border))
    values = grey.astype(int)
    darker, lighter = values < background - LIKE_BACKGROUND, values > background + LIKE_BACKGROUND
    light = background >= LIGHT
    # On a light background things are dark; if nothing is, as of a white shirt on grey, light.
    inverted = darker.any() if light else not lighter.any()
    shown = darker if inverted else lighter
    if not shown.any():
        raise UserError(f"{name} shows nothing that stands out from its background")
    if inverted:
        grey, background = 255 - grey, 255 - background
    done = "inverted" if inverted else "left as it is"
    assumed = [*assumed, f"{'light' if light else 'dark'} background: {done}"]
    if grey.shape == (IMAGE_SIZE, IMAGE_SIZE):
        return Picture(grey, tuple(assumed))
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    trimmed = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if trimmed.shape != grey.shape:
        assumed.append(f"trimmed to {_size(trimmed)} pixels")
    trimmed = np.where(trimmed > background, trimmed - background, 0).astype(np.uint8)
    height, width = trimmed.shape
    scale = IMAGE_SIZE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = np.asarray(Image.fromarray(trimmed).resize(size, Image.Resampling.LANCZOS))
    assumed.append(f"scaled to {_size(scaled)} pixels and centred")
    top, left = (IMAGE_SIZE - size[1]) // 2, (IMAGE_SIZE - size[0]) // 2
    pixels = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    pixels[top : top + size[1], left : left + size[0]] = scaled
    return Picture(pixels, tuple(assumed))


def _grey(image: Image.Image, path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the grey values of a picture and what was done to get them."""
    if image.mode.startswith("I;16"):
        return (np.asarray(image) >> 8).astype(np.uint8), ["16 bits per pixel, of which 8 are used"]
    if image.mode in ("I", "F"):
        raise UserError(f"{path}: pictures of 32 bits per pixel are not read; save it with 8")
    assumed = []
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
        assumed.append("transparent: laid on white")
    if image.mode not in ("L", "1"):
        grey = np.asarray(image.convert("L"))
        channels = np.asarray(image.convert("RGB"))
        if (channels != channels[:, :, :1]).any():
            assumed.append("colour: turned to grey")
        return grey, assumed
    return np.asarray(image.convert("L")), assumed


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]}×{pixels.shape[0]}"
