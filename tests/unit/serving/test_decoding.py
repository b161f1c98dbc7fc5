from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sidebyside.core.errors import UserError
from sidebyside.data import picture
from sidebyside.serving.decoding import decode
from tests.support import pictures

GREY = (np.arange(48, dtype=np.uint8) * 5).reshape(6, 8)


def pgm(values: NDArray[np.integer], largest: int, comment: bytes = b"") -> bytes:
    height, width = values.shape
    header = b"P5\n%b%d %d\n%d\n" % (comment, width, height, largest)
    return header + values.astype(">u2" if largest > 255 else "u1").tobytes()


@pytest.mark.parametrize(
    ("content", "step"),
    [
        (pgm(GREY, 255), None),
        (pgm(GREY, 255, b"# a scanner\n# made this\n"), None),
        (pgm(GREY.astype(int) * 257, 65535), "16 bits per pixel, 16 in use: reduced to 8"),
        (pgm(GREY.astype(int) << 4, 65535), "16 bits per pixel, 12 in use: reduced to 8"),
        (pgm(GREY.astype(int) << 2, 65535), "16 bits per pixel, 10 in use: reduced to 8"),
        (pgm(GREY, 65535), "16 bits per pixel, 8 in use: reduced to 8"),
        (pgm(-(-GREY.astype(int) * 4095 // 255), 4095), "values up to 4095: scaled to 255"),
    ],
)
def test_pgm_of_any_depth_gives_the_same_grey_values(content: bytes, step: str | None) -> None:
    image, alpha, steps = decode(content, "x")
    assert np.array_equal(np.asarray(image), GREY)
    assert alpha is None
    assert steps == ((step,) if step else ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"P5", "x is damaged: not a header of a PGM picture"),
        (b"P5 8 6 255", "x is damaged: not a header of a PGM picture"),
        (b"P5 -8 6 255\n", "x is damaged: not a header of a PGM picture"),
        (b"P5 8 0 255\n", "x is damaged: 8×0 pixels of at most 255"),
        (b"P5 8 6 65536\n" + bytes(96), "x is damaged: 8×6 pixels of at most 65536"),
        (b"P5 8 6 0\n" + bytes(96), "x is damaged: 8×6 pixels of at most 0"),
        (pgm(GREY, 255)[:-1], "x is damaged: fewer than 8×6 pixels"),
        (pgm(GREY, 65535)[:-1], "x is damaged: fewer than 8×6 pixels"),
        (b"P5 99999 99999 255\n", f"x: more than {picture.MAX_PIXELS:,} pixels"),
        (b"P5 " + b"9" * 10_000 + b" 1 255\n", "x is damaged: not a header of a PGM picture"),
        (b"P6 1 1 255\n123", "x is not a PNG, JPEG, GIF, BMP, WebP or PGM picture"),
    ],
)
def test_what_is_not_a_pgm_picture_is_refused_in_one_line(content: bytes, message: str) -> None:
    with pytest.raises(UserError) as caught:
        decode(content, "x")
    assert str(caught.value) == message


def test_a_picture_keeps_its_colours_and_opacity() -> None:
    image, alpha, steps = decode(pictures.SAMPLES["PNG with alpha"], "x")
    assert image.mode == "RGB"
    assert alpha is not None
    assert alpha.size == image.size
    assert steps == ()
    grey, opaque, _ = decode(pictures.SAMPLES["grey JPEG"], "x")
    assert (grey.mode, opaque) == ("L", None)


def test_opacity_is_turned_with_the_picture(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGBA", (30, 20))
    content = pictures.saved(image, "PNG", exif=exif)
    decoded = decode(content, "x")
    assert decoded.alpha is not None
    assert decoded.alpha.size == decoded.colours.size == (20, 30)
