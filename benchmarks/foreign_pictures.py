"""Make pictures that do not show what a data set shows, to measure which ones are noticed."""

import io
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits, load_sample_images

from benchmarks.picture_kinds import Maker, Pixels, light_on_black, shop_photo

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def upside_down(image: Pixels, random: np.random.Generator) -> bytes:
    """On white, upside down."""
    return shop_photo(image[::-1], random)


def quarter_turned(image: Pixels, random: np.random.Generator) -> bytes:
    """On white, turned by 90°."""
    return shop_photo(np.rot90(image), random)


def shuffled(image: Pixels, random: np.random.Generator) -> bytes:
    """The image's pixels in random order, on black."""
    return light_on_black(random.permutation(image.ravel()).reshape(image.shape), random)


def noise(image: Pixels, random: np.random.Generator) -> bytes:
    """Random grey values, of the size of the image."""
    return _saved(Image.fromarray(random.integers(0, 256, image.shape).astype(np.uint8)))


def character(image: Pixels, random: np.random.Generator) -> bytes:
    """A printed letter or digit, dark on white."""
    text = CHARACTERS[random.integers(len(CHARACTERS))]
    picture = Image.new("L", (300, 300), 255)
    font = ImageFont.load_default(int(random.integers(120, 260)))
    ImageDraw.Draw(picture).text((150, 150), text, int(random.integers(0, 100)), font, "mm")
    return _saved(picture)


def handwritten_digit(image: Pixels, random: np.random.Generator) -> bytes:
    """A handwritten digit, dark on white."""
    digit = 255 - 255 / 16 * _digits()[random.integers(len(_digits()))]
    enlarged = Image.fromarray(digit.astype(np.uint8)).resize((240, 240), Image.Resampling.BICUBIC)
    return _saved(Image.fromarray(np.pad(np.asarray(enlarged), 30, constant_values=255)))


def shapes(image: Pixels, random: np.random.Generator) -> bytes:
    """Three ellipses or rectangles on white."""
    picture = Image.new("L", (300, 300), 255)
    draw = ImageDraw.Draw(picture)
    for _ in range(3):
        start = random.integers(0, 200, 2)
        end = start + random.integers(30, 200, 2)
        draw_shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        draw_shape((*start.tolist(), *end.tolist()), fill=int(random.integers(0, 175)))
    return _saved(picture)


def photograph(image: Pixels, random: np.random.Generator) -> bytes:
    """A square of a photograph of a building or a flower, as JPEG."""
    whole = _photographs()[random.integers(len(_photographs()))]
    side = int(random.integers(60, 400))
    top, left = (int(random.integers(0, length - side)) for length in whole.shape[:2])
    return _saved(Image.fromarray(whole[top : top + side, left : left + side]), "JPEG", quality=85)


FOREIGN_MAKERS: dict[str, Maker] = {
    "noise": noise,
    "shuffled pixels": shuffled,
    "printed letter or digit": character,
    "handwritten digit": handwritten_digit,
    "ellipses and rectangles": shapes,
    "part of a photograph": photograph,
    "turned by 90°": quarter_turned,
    "upside down": upside_down,
}


@cache
def _digits() -> NDArray[Any]:
    digits: NDArray[Any] = load_digits().images
    return digits


@cache
def _photographs() -> list[NDArray[np.uint8]]:
    photographs: list[NDArray[np.uint8]] = load_sample_images().images
    return photographs


def _saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
