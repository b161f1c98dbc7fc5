"""Picture files of every format and kind, and damaged versions of them."""

import io
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw


def _picture() -> Image.Image:
    """Return a colourful rectangle on a light background."""
    pixels = np.full((40, 50, 3), 230, np.uint8)
    pixels[8:30, 10:40] = np.random.default_rng(0).integers(0, 120, (22, 30, 3))
    return Image.fromarray(pixels)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the content of a picture file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _samples() -> dict[str, bytes]:
    colour = _picture()
    grey = colour.convert("L")
    clear = colour.copy()
    clear.putalpha(grey)
    palette = colour.quantize(16)
    frames = {"save_all": True, "append_images": [colour.rotate(90), colour.rotate(180)]}
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return {
        "PNG": saved(colour, "PNG", exif=exif),
        "PNG with a palette": saved(palette, "PNG", transparency=3),
        "PNG of 16 bits": saved(deep, "PNG"),
        "PNG of 1 bit": saved(grey.convert("1"), "PNG"),
        "PNG with alpha": saved(clear, "PNG"),
        "grey PNG with alpha": saved(clear.convert("LA"), "PNG"),
        "interlaced PNG": _INTERLACED,
        "animated PNG": saved(colour, "PNG", **frames),
        "JPEG": saved(colour, "JPEG", exif=exif),
        "grey JPEG": saved(grey, "JPEG"),
        "CMYK JPEG": saved(colour.convert("CMYK"), "JPEG"),
        "progressive JPEG": saved(colour, "JPEG", progressive=True),
        "JPEG of several pictures": saved(colour, "MPO", **frames),
        "GIF": saved(palette, "GIF", interlace=0, transparency=3),
        "interlaced GIF": saved(colour, "GIF", interlace=1),
        "animated GIF": saved(colour, "GIF", **frames),
        "BMP": saved(colour, "BMP"),
        "BMP with a palette": saved(palette, "BMP"),
        "BMP of 1 bit": saved(grey.convert("1"), "BMP"),
        "BMP with alpha": saved(clear, "BMP"),
        "WebP": saved(colour, "WEBP"),
        "lossless WebP with alpha": saved(clear, "WEBP", lossless=True),
        "animated WebP": saved(colour, "WEBP", **frames),
    }


# 8×8 grey pixels in seven passes, which Pillow reads but does not write.
_INTERLACED = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000080000000808000000019663d1c1000000344944415478da63"
    "78c60084360ccf9e3118b901995c22402690032158f98184b9e3338418942129a7aca10b6278078446c523a4"
    "00256a2b3faaf2597d0000000049454e44ae426082"
)

SAMPLES = _samples()


def mutations(name: str) -> Iterator[bytes]:
    """Yield damaged versions of a sample without end, the same ones each time."""
    source = random.Random(name)  # noqa: S311 (not a secret)
    change = (_flip, _truncate, _copy_block, _insert, _set_field, _splice)
    while True:
        content = bytearray(SAMPLES[name])
        source.choice(change)(content, source)
        yield bytes(content)


def _flip(content: bytearray, source: random.Random) -> None:
    for _ in range(source.choice([1, 3, 10])):
        content[source.randrange(len(content))] ^= 1 << source.randrange(8)


def _truncate(content: bytearray, source: random.Random) -> None:
    del content[source.randrange(len(content)) :]


def _copy_block(content: bytearray, source: random.Random) -> None:
    start, target = (source.randrange(len(content)) for _ in range(2))
    length = source.randrange(1, 40)
    content[target : target + length] = content[start : start + length]


def _insert(content: bytearray, source: random.Random) -> None:
    start = source.randrange(len(content))
    content[start:start] = source.choice([b"\0", b"\xff", source.randbytes(1)]) * 8


def _set_field(content: bytearray, source: random.Random) -> None:
    """Write an extreme number over a length, size or offset near the beginning."""
    start = source.randrange(min(len(content), 200))
    numbers = [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\xff\xff"]
    content[start : start + 4] = source.choice(numbers)


def _splice(content: bytearray, source: random.Random) -> None:
    """Go on with the end of another sample."""
    other = source.choice(list(SAMPLES.values()))
    content[source.randrange(len(content)) :] = other[source.randrange(len(other)) :]


PHOTOS = {"blue": 30, "green stripes": 12, "лес": 8, "red": 20, "yellow": 10}  # class → pictures


def write_photos(root: Path) -> None:
    """Write JPEGs in colour of many sizes, a folder per class, of unequal numbers."""
    colours = [(40, 60, 200), (40, 160, 60), (10, 80, 20), (200, 40, 40), (220, 210, 60)]
    source = np.random.default_rng(0)
    for (label, pictures), colour in zip(PHOTOS.items(), colours, strict=True):
        (root / label).mkdir(parents=True)
        for number in range(pictures):
            height, width = source.integers(20, 120, 2)
            pixels = source.integers(-40, 41, (height, width, 3)) + np.array(colour)
            if "stripes" in label:
                pixels[::4] = 255
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(root / label / f"photo {number}.jpg", quality=90)


def write_icons(root: Path, drawings: int, sides: Sequence[int]) -> None:
    """Write icons of two classes: each drawing in several sizes, `<class>/<drawing>_<side>.png`."""
    source = np.random.default_rng(0)
    for label in ("round", "square"):
        (root / label).mkdir(parents=True)
        for drawing in range(drawings):
            large = Image.new("L", (480, 480), 255)
            draw = ImageDraw.Draw(large)
            for _ in range(3):
                left, top = source.integers(20, 280, 2).tolist()
                right, bottom = left + 160, top + int(source.integers(80, 180))
                shape = draw.ellipse if label == "round" else draw.rectangle
                shape((left, top, right, bottom), fill=int(source.integers(0, 200)))
            for side in sides:
                icon = large.resize((side, side), Image.Resampling.BICUBIC)
                icon.save(root / label / f"{drawing}_{side}.png")
