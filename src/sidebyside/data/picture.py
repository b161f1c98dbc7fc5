"""Decode a picture file and resize it to an image of a data set.

Rules for pictures of every kind: the orientation of EXIF is honoured; of several frames the first
is used; values of 16 bits are reduced to 8; transparency is replaced by white; colours become grey
(ITU-R 601-2 luma) in a data set of one channel, grey becomes three equal channels in one of three.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from sidebyside.core.errors import UserError
from sidebyside.core.files import open_regular

# The decoders in use; Pillow has dozens more, of which one starts Ghostscript and others print.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
EXPECTED = "a PNG, JPEG, GIF, BMP or WebP picture"

MAX_BYTES = 100_000_000  # size of a file
MAX_PIXELS = 89_478_485  # width times height, Pillow's own limit

ORIENTATION = 0x0112  # EXIF tag
GREY_MODES = ("1", "L", "LA", "La", "I", "F")

Resize = Literal["stretch", "pad", "crop"]


class Decoded(NamedTuple):
    """A decoded picture."""

    image: Image.Image  # mode L or RGB
    steps: tuple[str, ...]  # conversions applied, for display
    header: "Header"


class Header(NamedTuple):
    """A picture file's header."""

    format: str  # one of FORMATS
    mode: str  # Pillow's name, such as L, RGB, RGBA, P or CMYK
    width: int  # pixels, after turning the picture as EXIF says
    height: int
    animated: bool

    @property
    def channels(self) -> Literal[1, 3]:
        """Number of channels that keeps the picture's colours."""
        return 1 if self.mode.startswith(("I;16", *GREY_MODES)) else 3


def read_content(path: Path, name: str) -> bytes:
    """Return the content of a picture file.

    Args:
        path: the file.
        name: name of the picture, for error messages.

    Raises:
        UserError: the file is missing, too large, or not a file.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{name} is missing") from None
    except IsADirectoryError:
        raise UserError(f"{name} is a folder, not an image file") from None
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{name}: more than {MAX_BYTES:,} bytes")
    return content


def decode(content: bytes, name: str, channels: Literal[1, 3]) -> Decoded:
    """Return the first frame of a picture in grey or in colour.

    Args:
        content: content of the file.
        name: name of the picture, for error messages.
        channels: 1 for grey, 3 for red, green and blue.

    Raises:
        UserError: the content is damaged, too large or not in one of FORMATS.
    """
    with _one_line(name):
        image = _open(content, name)
        image.load()
        header = _header(image)
        ImageOps.exif_transpose(image, in_place=True)
        converted, steps = _converted(image, channels)
    if header.animated:
        steps = ["first of several frames", *steps]
    return Decoded(converted, tuple(steps), header)


def resized(image: Image.Image, height: int, width: int, rule: Resize) -> NDArray[np.uint8]:
    """Return a decoded picture with the given size, uint8 [height, width(, 3)].

    Scaling is bicubic, and averages over all pixels when it reduces. A picture of that size stays
    as it is.

    Args:
        image: mode L or RGB.
        height: pixels.
        width: pixels.
        rule: `stretch` ignores the ratio of the sides; `pad` shows the whole picture, centred on
            the median colour of its border; `crop` fills the size with the centre of the picture.
    """
    size = (width, height)
    if image.size == size:
        return np.asarray(image)
    if rule == "stretch":
        return np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    if rule == "crop":
        return np.asarray(ImageOps.fit(image, size, Image.Resampling.BICUBIC))
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    scaled = np.asarray(image.resize(inner, Image.Resampling.BICUBIC))
    padded = np.empty((height, width, *scaled.shape[2:]), np.uint8)
    padded[:] = border_colour(np.asarray(image))
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    padded[top : top + inner[1], left : left + inner[0]] = scaled
    return padded


def border_colour(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the median of the pixels at the four edges, per channel, rounded down."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.asarray(np.median(border, axis=0), np.uint8)


def read_header(content: bytes, name: str) -> Header:
    """Return the format, mode and size of a picture without decoding it.

    Raises:
        UserError: the content is damaged, too large or not in one of FORMATS.
    """
    with _one_line(name):
        return _header(_open(content, name))


@contextlib.contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Raise the errors of a decoder as one line, and ignore its warnings."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise UserError(f"{name}: more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UserError(f"{name} is not {EXPECTED}") from None
    except Exception as error:  # a damaged file raises errors of about ten types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name} is damaged: {reason}") from None


def _open(content: bytes, name: str) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise UserError(f"{name}: more than {MAX_PIXELS:,} pixels")
    return image


def _header(image: Image.Image) -> Header:
    width, height = image.size
    if image.getexif().get(ORIENTATION) in (5, 6, 7, 8):  # turned by 90°
        width, height = height, width
    animated = bool(getattr(image, "is_animated", False))
    return Header(str(image.format).replace("MPO", "JPEG"), image.mode, width, height, animated)


def _converted(image: Image.Image, channels: Literal[1, 3]) -> tuple[Image.Image, list[str]]:
    """Return a picture in mode L or RGB, and the steps of its conversion."""
    mode, steps = ("L" if channels == 1 else "RGB"), []
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        steps.append("16 bits per pixel: reduced to 8")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
        steps.append("transparency: replaced by white")
    if channels == 1 and image.mode not in ("L", "1"):
        red, *others = image.convert("RGB").split()
        if any(ImageChops.difference(red, other).getbbox() for other in others):
            steps.append("colour: converted to grey")
    return image.convert(mode), steps
