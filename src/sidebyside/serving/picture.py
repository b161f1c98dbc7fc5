"""Convert a picture file of any size and colour to an image like those of a data set.

Data sets of pictures are resized by the rule that made their images. The others (`trim`) show an
object or a character light on black. The steps are those that made Fashion-MNIST from shop
photographs (Xiao, Rasul & Vollgraf 2017, section 2): trim the background, scale until the object
reaches the margin, sharpen, extend the values to 255, centre, and invert to light on black. Two
steps differ: the object is found on any background, and scaling averages over all pixels instead of
skipping some. In a data set with a margin, nothing is sharpened, and the centre is that of mass, as
in MNIST (LeCun et al. 1998, section III.A).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter, ImageOps

from sidebyside.config.dataset import Dataset
from sidebyside.core.errors import UserError
from sidebyside.data import picture
from sidebyside.data.picture import border_colour, read_content, resized
from sidebyside.serving import decoding
from sidebyside.serving.decoding import Decoded, decode
from sidebyside.serving.foreground import box, find_object, is_rectangle, main_parts, rim

LIGHT = 128  # lowest grey value that is light
LUMA = (0.299, 0.587, 0.114)  # of ITU-R 601-2: weights of red, green and blue in a grey value
VISIBLE = 16  # lowest opacity of an object's pixel
EDGE = 0.06  # difference of an object's edge from the object that is more than a shade
DARKER = 0.1  # share of an object's pixels from which on darker ones make it a dark object
SEARCHED = 256  # maximum side of the copy in which the object is searched for, in pixels


@dataclass(frozen=True)
class Picture:
    """An image prepared for a classifier."""

    pixels: NDArray[np.uint8]  # of the shape of the data set's images
    steps: tuple[str, ...]  # steps of the preparation, for display
    original: NDArray[np.uint8]  # small copy of the picture, [height, width, 3]


class _Subject(NamedTuple):
    """The object in a picture."""

    values: Image.Image  # mode L: light on black
    mask: NDArray[np.bool_]  # pixels of a small copy that belong to the object
    hidden: bool  # whether the values outside of the mask are to become black
    step: str


def expected(dataset: Dataset) -> str:
    """Return the kinds of pictures that `read_picture` reads for a data set, for display."""
    return decoding.EXPECTED if dataset.preparation == "trim" else picture.EXPECTED


def read_picture(path: Path, dataset: Dataset) -> Picture:
    """Return the picture in a file, prepared for a classifier of a data set.

    Raises:
        UserError: the file is missing, damaged, too large or not in a known format, or its image is
            to be trimmed but nothing stands out from the background.
    """
    name = str(path)
    content = read_content(path, name)
    if dataset.preparation == "trim":
        return trimmed(decode(content, name), name, dataset)
    image, steps, _ = picture.decode(content, name, dataset.channels)
    pixels = resized(image, dataset.height, dataset.width, dataset.preparation)
    original = np.asarray(_small(image))
    if image.size == (dataset.width, dataset.height):
        return Picture(pixels, steps, original)
    rule = {"stretch": "stretched", "pad": "padded", "crop": "cropped"}[dataset.preparation]
    return Picture(pixels, (*steps, f"{rule} to {_size(pixels.shape)} pixels"), original)


def trimmed(decoded: Decoded, name: str, dataset: Dataset) -> Picture:
    """Return an image of the size of a data set's, light on black and centred.

    Pictures of that size are neither trimmed nor scaled.

    Args:
        decoded: the picture.
        name: name of the picture, for error messages.
        dataset: the data set, of one channel.

    Raises:
        UserError: nothing stands out from the background.
    """
    small = _small(decoded.colours)
    original = np.asarray(small)
    steps = list(decoded.steps)
    same_size = decoded.colours.size == dataset.shape[::-1]
    subject = _cut_out(decoded, small.size)
    if subject is None:
        if decoded.alpha:
            steps.append("transparency: replaced by white")
        if same_size:
            subject = _ready_made(decoded.colours)
        else:
            subject = _photographed(decoded.colours, original)
    if subject is None:
        raise UserError(f"{name}: nothing stands out from the background")
    if (original != original[:, :, :1]).any():
        steps.append("colour: converted to grey")
    steps.append(subject.step)
    if same_size:
        return Picture(np.asarray(subject.values), tuple(steps), original)
    cut = _trimmed_to_mask(subject)
    if cut.size != decoded.colours.size:
        steps.append(f"trimmed to {_size(cut.size[::-1])} pixels")
    free = 2 * dataset.margin
    scale = min((dataset.height - free) / cut.height, (dataset.width - free) / cut.width)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    scaled = np.asarray(cut.resize(size, Image.Resampling.LANCZOS))
    how = "centred" if dataset.margin else "centred and sharpened"
    steps.append(f"scaled to {_size(scaled.shape)} pixels, {how}")
    top, left = (dataset.height - size[1]) // 2, (dataset.width - size[0]) // 2
    if dataset.margin:
        top, left = _top_left(scaled, dataset)
    pixels = np.zeros(dataset.shape, np.uint8)
    pixels[top : top + size[1], left : left + size[0]] = scaled
    return Picture(
        _to_255(pixels if dataset.margin else _sharpened(pixels)), tuple(steps), original
    )


def _cut_out(decoded: Decoded, small: tuple[int, int]) -> _Subject | None:
    """Return the object that is not transparent; None if there is no transparent background.

    A light object is laid on black; a dark one on white, and inverted.
    """
    if decoded.alpha is None:
        return None
    opacity = np.asarray(decoded.alpha.resize(small, Image.Resampling.BOX))
    mask = main_parts(opacity >= VISIBLE)
    if mask is None or is_rectangle(mask):
        return None
    on_white = decoded.colours.convert("L")
    on_black = ImageChops.add(on_white, decoded.alpha, offset=-255)
    light = np.asarray(on_black.resize(small, Image.Resampling.BOX)) / np.maximum(opacity, 1)
    whole, edge = light[mask].mean(), light[rim(mask)].mean()
    # The edge has some of the background that the object was cut out of.
    inverted = whole < (edge if abs(edge - whole) > EDGE else 0.5)
    values = ImageOps.invert(on_white) if inverted else on_black
    step = f"transparent background: {'' if inverted else 'not '}inverted"
    return _Subject(values, mask, hidden=False, step=step)


def _ready_made(colours: Image.Image) -> _Subject | None:
    """Return an opaque picture of the size of a data set's images; None if it is of one value.

    The object may fill it, so that only the border tells what lies behind.
    """
    values = colours.convert("L")
    darkest, lightest = values.getextrema()
    if darkest == lightest:
        return None
    if inverted := bool(border_colour(np.asarray(values)) >= LIGHT):
        values = ImageOps.invert(values)
    step = "light background: inverted" if inverted else "dark background: not inverted"
    return _Subject(values, np.ones(values.size[::-1], bool), hidden=False, step=step)


def _photographed(colours: Image.Image, small: NDArray[np.uint8]) -> _Subject | None:
    """Return the object on an opaque background; None if nothing stands out.

    Args:
        colours: the picture, mode L or RGB.
        small: the copy in which the object is searched for, [height, width, 3].
    """
    if (found := find_object(small)) is None:
        return None
    background = found.background[found.mask] @ LUMA
    darker = (small[found.mask] @ LUMA < background).mean()
    # What was drawn light on dark is lighter everywhere. An article on a grey table is not, even if
    # most of it is.
    inverted = bool(darker >= DARKER)
    values = colours.convert("L")
    if inverted:
        values = ImageOps.invert(values)
    kind = "light" if background.mean() >= LIGHT else "dark"
    step = f"{kind} background: {'' if inverted else 'not '}inverted"
    return _Subject(values, found.mask, hidden=True, step=step)


def _trimmed_to_mask(subject: _Subject) -> Image.Image:
    """Return the values of the object's rectangle."""
    values, mask = subject.values, subject.mask
    vertical, horizontal = values.height / mask.shape[0], values.width / mask.shape[1]
    at = box(mask)
    cut = values.crop((
        math.floor(at.left * horizontal), math.floor(at.top * vertical),
        math.ceil(at.right * horizontal), math.ceil(at.bottom * vertical),
    ))  # fmt: skip
    if not subject.hidden:
        return cut
    shown = Image.fromarray(mask[at.slices].astype(np.uint8) * 255)
    return ImageChops.multiply(cut, shown.resize(cut.size, Image.Resampling.BILINEAR))


def _sharpened(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image sharpened by a Gaussian with a radius of one pixel."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(1, 100, 0)))


def _to_255(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image whose largest value is 255, as nearly all training images have."""
    return (pixels.astype(np.uint16) * 255 // max(1, int(pixels.max()))).astype(np.uint8)


def _top_left(cut: NDArray[np.uint8], dataset: Dataset) -> tuple[int, int]:
    """Return where an object begins if its centre of mass is the middle pixel, as in MNIST."""
    mass = cut.astype(np.float64) / cut.sum()
    starts = [
        round(length // 2 - float(mass.sum(1 - axis) @ np.arange(cut.shape[axis])))
        for axis, length in enumerate(dataset.shape)
    ]
    top, left = np.clip(starts, 0, np.subtract(dataset.shape, cut.shape)).tolist()
    return top, left


def _small(image: Image.Image) -> Image.Image:
    """Return a copy in mode RGB of at most SEARCHED pixels in height and width."""
    scale = min(1, SEARCHED / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX).convert("RGB")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]}"
