"""Decode a picture file with its colours and opacity, which tell an object from its background.

The rules are those for the pictures that models are trained on (`sidebyside.data.picture`), with
two additions: of values in 16 bits, the bits in use are kept, because cameras and scanners often
use 10, 12 or 14 of them; and binary PGM files are read, in which they deliver such values.
"""

import io
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sidebyside.core.errors import UserError
from sidebyside.data import picture

EXPECTED = "a PNG, JPEG, GIF, BMP, WebP or PGM picture"
# Magic number, comments, width, height, largest value.
PGM = re.compile(
    rb"P5(?:\s+#[^\n]*)*\s+(\d{1,9})\s+(\d{1,9})\s+(\d{1,9})\s"
)  # width, height, largest value


class Decoded(NamedTuple):
    """A decoded picture; its transparent parts lie on white."""

    colours: Image.Image  # mode L or RGB
    alpha: Image.Image | None  # mode L; None if the picture is opaque
    steps: tuple[str, ...]  # conversions applied, for display


def decode(content: bytes, name: str) -> Decoded:
    """Return the first frame of a picture.

    Args:
        content: content of the file.
        name: name of the picture, for error messages.

    Raises:
        UserError: the content is damaged, too large or not EXPECTED.
    """
    if content.startswith(b"P5"):
        return _pgm(content, name)
    try:
        image, _, header = picture.decode(content, name, 3)
    except UserError as error:
        raise UserError(str(error).replace(picture.EXPECTED, EXPECTED)) from None
    steps = ("first of several frames",) if header.animated else ()
    opened = _turned(content)
    if header.mode.startswith("I"):
        grey, step = _reduced(np.asarray(opened))
        return Decoded(grey, None, (*steps, step))
    if header.channels == 1:
        image = image.convert("L")
    alpha = opened.convert("RGBA").getchannel("A") if opened.has_transparency_data else None
    if alpha and alpha.getextrema()[0] == 255:
        alpha = None
    return Decoded(image, alpha, steps)


def _turned(content: bytes) -> Image.Image:
    """Return a picture that is known to be valid as its file has it, turned as EXIF says."""
    image = Image.open(io.BytesIO(content), formats=picture.FORMATS)
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _pgm(content: bytes, name: str) -> Decoded:
    """Return the picture in a binary PGM file.

    Raises:
        UserError: the content is damaged or too large.
    """
    if not (header := PGM.match(content)):
        raise UserError(f"{name} is damaged: not a header of a PGM picture")
    width, height, largest = map(int, header.groups())
    if width * height > picture.MAX_PIXELS:
        raise UserError(f"{name}: more than {picture.MAX_PIXELS:,} pixels")
    if not (width and height and 0 < largest < 1 << 16):
        raise UserError(f"{name} is damaged: {width}×{height} pixels of at most {largest}")
    kind = np.dtype("u1" if largest < 256 else ">u2")
    if len(content) - header.end() < width * height * kind.itemsize:
        raise UserError(f"{name} is damaged: fewer than {width}×{height} pixels")
    values = np.frombuffer(content, kind, width * height, header.end()).reshape(height, width)
    if largest == 255:
        return Decoded(Image.fromarray(values), None, ())
    if largest == 65535:
        image, step = _reduced(values)
        return Decoded(image, None, (step,))
    scaled = np.minimum(values, largest).astype(np.uint32) * 255 // largest
    return Decoded(
        Image.fromarray(scaled.astype(np.uint8)), None, (f"values up to {largest}: scaled to 255",)
    )


def _reduced(values: NDArray[np.integer]) -> tuple[Image.Image, str]:
    """Return grey values of 16 bits as values of 8, and the step: the lowest bits are left out.

    Args:
        values: [height, width], at least 0.
    """
    largest = int(values.max())
    bits = next(bits for bits in (8, 10, 12, 14, 16) if largest < 1 << bits)
    image = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    return image, f"16 bits per pixel, {bits} in use: reduced to 8"
