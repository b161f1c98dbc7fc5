"""Make pictures of images in the ways in which people make them, for `make predict`.

An image of a data set shows an object light on black. A picture shows the same object larger, in
the colours of the negative unless said otherwise, on a background of some kind.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.uint8]  # [height, width]
Maker = Callable[[Pixels, np.random.Generator], bytes]  # image of a data set → picture file


def shop_photo(image: Pixels, random: np.random.Generator) -> bytes:
    """On white, as JPEG."""
    return _saved(_on_white(image), "JPEG", quality=85)


def photo_on_table(image: Pixels, random: np.random.Generator) -> bytes:
    """Off centre on a wooden table, lit from one side, with noise."""
    height, width = 360, 480
    x = np.linspace(-1, 1, width)
    grain = np.repeat(random.normal(0, 5, height), width).reshape(height, width)
    light = 1 + random.uniform(-0.2, 0.2) * x
    table = random.uniform(90, 190) * light + grain
    colours = table[:, :, None] * np.array([1.1, 1, 0.8])
    side = int(random.integers(150, 240))
    top, left = (
        int(random.integers(30, height - side - 30)),
        int(random.integers(30, width - side - 30)),
    )
    object_, opacity = _enlarged(255 - image, side), _enlarged(_mask(image), side) / 255
    at = (slice(top, top + side), slice(left, left + side))
    share = opacity[:, :, None]
    colours[at] = (1 - share) * colours[at] + share * object_[:, :, None]
    noisy = colours + random.normal(0, 3, colours.shape)
    return _saved(_image(noisy), "JPEG", quality=85)


def screenshot(image: Pixels, random: np.random.Generator) -> bytes:
    """A shop's page: a title bar, the photograph in a thin frame, and lines of text, as PNG."""
    page = Image.new("RGB", (480, 460), (255, 255, 255))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, 480, 28), fill=(60, 70, 90))
    draw.rectangle((89, 59, 390, 360), outline=(200, 200, 200), fill=(245, 245, 245))
    photo = np.minimum(_enlarged(255 - image, 280), 245)
    page.paste(Image.fromarray(photo).convert("RGB"), (100, 70))
    for row in range(3):
        for word in range(6):
            left = 90 + 50 * word
            draw.rectangle((left, 380 + 22 * row, left + 38, 388 + 22 * row), fill=(40, 40, 40))
    return _saved(page, "PNG")


def dark_cut_out(image: Pixels, random: np.random.Generator) -> bytes:
    """On a transparent ground, as PNG."""
    return _cut_out(255 - image, _mask(image))


def light_cut_out(image: Pixels, random: np.random.Generator) -> bytes:
    """In the image's own values on a transparent ground, as PNG."""
    return _cut_out(image, _mask(image))


def white_cut_out(image: Pixels, random: np.random.Generator) -> bytes:
    """White; the opacity alone is the image's. As PNG."""
    return _cut_out(np.full_like(image, 255), image)


def scan(image: Pixels, random: np.random.Generator) -> bytes:
    """Small on a scanned sheet with dust, turned by a few degrees, with the sheet's dark edge."""
    sheet = np.full((700, 500), 236.0)
    turned = Image.fromarray(_enlarged(image, 200)).rotate(
        random.uniform(-3, 3), Image.Resampling.BICUBIC, expand=True
    )
    ink = np.asarray(turned) / 255
    top, left = int(random.integers(60, 400)), int(random.integers(60, 220))
    sheet[top : top + ink.shape[0], left : left + ink.shape[1]] -= 210 * ink
    for _ in range(20):
        row, column = int(random.integers(0, 697)), int(random.integers(0, 497))
        sheet[row : row + 3, column : column + 3] = random.uniform(60, 160)
    sheet[:, :9] = 40
    return _saved(_image(sheet + random.normal(0, 3, sheet.shape)), "JPEG", quality=75)


def light_on_black(image: Pixels, random: np.random.Generator) -> bytes:
    """In the image's own values on black, as PNG."""
    return _saved(Image.fromarray(_enlarged(image, 280)), "PNG")


def exif_rotated(image: Pixels, random: np.random.Generator) -> bytes:
    """On white, lying on its side in the file, with EXIF's note of it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = _on_white(image).transpose(Image.Transpose.ROTATE_90)
    return _saved(lying, "JPEG", quality=85, exif=exif)


def framed(image: Pixels, random: np.random.Generator) -> bytes:
    """On white, with a black frame of two pixels around it, as PNG."""
    picture = _on_white(image)
    ImageDraw.Draw(picture).rectangle((0, 0, 299, 299), outline=0, width=2)
    return _saved(picture, "PNG")


def dark_pixel(image: Pixels, random: np.random.Generator) -> bytes:
    """Light on grey, with one dark pixel, as JPEG."""
    values = 150 + _enlarged(image, 280) * 0.4
    values[_enlarged(_mask(image), 280) < 128] = 120
    row, column = random.integers(90, 190, 2)
    values[row, column] = 0
    return _saved(_image(np.pad(values, 10, constant_values=120)), "JPEG", quality=90)


def twelve_bits(image: Pixels, random: np.random.Generator) -> bytes:
    """On white, as PGM with values up to 4095 of 65535."""
    values = np.asarray(_on_white(image)).astype(np.uint32) * 4095 // 255
    header = b"P5\n%d %d\n65535\n" % values.shape[::-1]
    return header + values.astype(">u2").tobytes()


def own_size(image: Pixels, random: np.random.Generator) -> bytes:
    """The image itself, as PNG."""
    return _saved(Image.fromarray(image), "PNG")


def own_size_negative(image: Pixels, random: np.random.Generator) -> bytes:
    """The negative of the image, in its own size, as PNG."""
    return _saved(Image.fromarray(255 - image), "PNG")


MAKERS: dict[str, Maker] = {
    "the image as a file": own_size,
    "its negative as a file": own_size_negative,
    "shop photo on white": shop_photo,
    "photo on a table": photo_on_table,
    "screenshot of a page": screenshot,
    "cut-out, dark": dark_cut_out,
    "cut-out, light": light_cut_out,
    "cut-out, white": white_cut_out,
    "scan": scan,
    "light on black": light_on_black,
    "turned by EXIF": exif_rotated,
    "black frame": framed,
    "light with a dark pixel": dark_pixel,
    "12 bits in PGM": twelve_bits,
}


def _mask(image: Pixels) -> Pixels:
    return np.where(image > 0, 255, 0).astype(np.uint8)


def _on_white(image: Pixels) -> Image.Image:
    """Return the negative with a margin of ten pixels, 300×300."""
    return Image.fromarray(np.pad(_enlarged(255 - image, 280), 10, constant_values=255))


def _cut_out(values: Pixels, opacity: Pixels) -> bytes:
    enlarged = [Image.fromarray(_enlarged(each, 280)) for each in (values, values, values, opacity)]
    return _saved(Image.merge("RGBA", enlarged), "PNG")


def _enlarged(pixels: Pixels, side: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def _image(values: NDArray[np.floating[Any]]) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
