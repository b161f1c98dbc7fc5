import errno
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sidebyside.core.errors import UserError
from sidebyside.serving.picture import prepare, read_picture


def shirt(height: int = 28, width: int = 28, background: int = 0) -> NDArray[np.uint8]:
    """Return a bright block with a gradient in the middle of a background."""
    pixels = np.full((height, width), background, np.uint8)
    h, w = height // 2, width // 4
    block = 120 + np.arange(h)[:, None] * 100 // h + np.zeros((1, w), int)
    pixels[h // 2 : h // 2 + h, w : w + w] = block
    return pixels


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_an_image_like_those_of_the_data_set_stays_unchanged(tmp_path: Path) -> None:
    found = read_picture(saved(tmp_path / "x.png", Image.fromarray(shirt())))
    assert np.array_equal(found.pixels, shirt())
    assert found.steps == ("dark background: not inverted",)


def test_a_light_background_is_inverted(tmp_path: Path) -> None:
    found = read_picture(saved(tmp_path / "x.png", Image.fromarray(255 - shirt())))
    assert np.array_equal(found.pixels, shirt())
    assert found.steps == ("light background: inverted",)


@pytest.mark.parametrize(
    ("background", "value", "step"),
    [
        (200, 255, "light background: not inverted"),
        (200, 90, "light background: inverted"),
        (60, 0, "dark background: inverted"),
        (60, 180, "dark background: not inverted"),
    ],
)
def test_light_on_light_and_dark_on_dark_objects_are_detected(
    background: int, value: int, step: str
) -> None:
    grey = np.full((60, 60), background, np.uint8)
    grey[20:40, 20:40] = value
    found = prepare(grey, [], "x")
    assert found.steps[:2] == (step, "trimmed to 20×20 pixels")
    assert (found.pixels > 0).all()


@pytest.mark.parametrize(("height", "width"), [(400, 200), (200, 400), (56, 56), (9, 14)])
def test_a_picture_of_any_size_is_trimmed_scaled_and_centred(height: int, width: int) -> None:
    found = prepare(shirt(height, width, background=7), [], "x")
    assert found.pixels.shape == (28, 28)
    assert found.pixels.dtype == np.uint8
    inside = np.argwhere(found.pixels)
    top, left = inside.min(0)
    bottom, right = 27 - inside.max(0)
    assert abs(top - bottom) <= 1
    assert abs(left - right) <= 1
    tall = (height // 2) / (width // 4)
    assert (bottom == top == 0) if tall >= 1 else (left == right == 0)
    rows, columns = inside.max(0) - inside.min(0) + 1
    assert rows / columns == pytest.approx(tall, rel=0.15)
    assert found.pixels.max() > 150
    assert found.steps[1].startswith("trimmed to ")
    assert found.steps[2].endswith(" and centred")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"])
def test_common_file_formats_give_the_same_pixels(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(shirt(280, 280)).convert("RGB")
    found = read_picture(saved(tmp_path / "x", image, format=kind))
    expected = prepare(shirt(280, 280), [], "x").pixels.astype(int)
    assert np.abs(found.pixels - expected).mean() < 6


def test_colour_transparency_and_orientation_are_normalised(tmp_path: Path) -> None:
    colour = Image.merge("RGB", [Image.fromarray(shirt() // k) for k in (1, 2, 3)])
    assert "colour: converted to grey" in read_picture(saved(tmp_path / "c.png", colour)).steps
    clear = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (8, 8, 20, 20))
    found = read_picture(saved(tmp_path / "t.png", clear))
    assert found.steps == ("transparency: replaced by white", "light background: inverted")
    assert found.pixels[14, 14] == 255
    assert found.pixels[0, 0] == 0
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    lying = Image.fromarray(np.rot90(shirt()))
    turned = read_picture(saved(tmp_path / "e.png", lying, exif=exif))
    assert np.array_equal(turned.pixels, shirt())


def test_other_bit_depths_give_the_same_pixels(tmp_path: Path) -> None:
    deep = Image.fromarray(shirt().astype(np.uint16) * 257)
    found = read_picture(saved(tmp_path / "x.png", deep))
    assert np.array_equal(found.pixels, shirt())
    assert "16 bits" in found.steps[0]
    black_and_white = Image.fromarray(shirt()).point(lambda value: 255 * (value > 0), "1")
    assert read_picture(saved(tmp_path / "b.png", black_and_white)).pixels.max() == 255


def test_the_first_of_several_frames_is_used(tmp_path: Path) -> None:
    frames = [Image.fromarray(shirt()), Image.fromarray(shirt()[::-1])]
    path = tmp_path / "x.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert read_picture(path).steps[0] == "first of 2 frames"


def broken() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(shirt(280, 280)).save(buffer, "PNG")
    return buffer.getvalue()[:-200]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an image"),
        (b"shirt", "is not an image"),
        (b"%PDF-1.7", "is not an image"),
        (broken(), "is damaged"),
    ],
)
def test_a_file_that_is_not_an_image_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_picture(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_errors_and_warnings_of_pillow_become_one_line(tmp_path: Path) -> None:
    unknown = bytearray(saved(tmp_path / "a.dds", Image.new("RGB", (30, 40))).read_bytes())
    unknown[80:84] = (1).to_bytes(4, "little")
    (tmp_path / "unknown.dds").write_bytes(unknown)
    with pytest.raises(UserError, match="is damaged: Unknown pixel format flags 1"):
        read_picture(tmp_path / "unknown.dds")
    tiff = saved(tmp_path / "a.tif", Image.new("RGB", (30, 40)), compression="tiff_lzw")
    (tmp_path / "cut.tif").write_bytes(tiff.read_bytes()[:-20])
    with pytest.raises(UserError, match="is not an image that Pillow can read"):
        read_picture(tmp_path / "cut.tif")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.png is missing"):
        read_picture(tmp_path / "x.png")
    with pytest.raises(UserError, match="is a folder"):
        read_picture(tmp_path)


def test_a_file_without_read_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> Image.Image:  # root may read everything
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(Image, "open", refused)
    with pytest.raises(UserError, match=r"/x\.png: Permission denied$"):
        read_picture(tmp_path / "x.png")


def test_an_image_with_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for side in (12, 28):  # Pillow warns of the first and refuses the second
        with pytest.raises(UserError, match="more than 100 pixels"):
            read_picture(saved(tmp_path / "x.png", Image.new("L", (side, side))))


def test_floating_point_images_are_refused(tmp_path: Path) -> None:
    image = Image.fromarray(shirt().astype(np.float32))
    with pytest.raises(UserError, match="32 bits per pixel are not supported"):
        read_picture(saved(tmp_path / "x.tiff", image))


@pytest.mark.parametrize("value", [0, 100, 255])
def test_a_single_colour_is_refused(tmp_path: Path, value: int) -> None:
    with pytest.raises(UserError, match="nothing stands out"):
        read_picture(saved(tmp_path / "x.png", Image.new("L", (50, 50), value)))


def test_an_object_that_touches_the_border_is_not_mistaken_for_the_background() -> None:
    grey = np.zeros((60, 60), np.uint8)
    grey[30:, 5:55] = 250  # over 110 of the 240 pixels of the border
    assert prepare(grey, [], "x").steps[0] == "dark background: not inverted"
    grey = np.full((60, 60), 100, np.uint8)
    grey[30:, 5:55] = 250  # the mean of the border is light, its median is not
    assert prepare(grey, [], "x").steps[0] == "dark background: not inverted"


def test_an_object_from_edge_to_edge_has_its_background_at_the_sides() -> None:
    grey = np.zeros((60, 60), np.uint8)
    grey[:, 10:50] = 250
    found = prepare(grey, [], "x")
    assert found.steps[:2] == ("dark background: not inverted", "trimmed to 40×60 pixels")


def test_the_background_becomes_black() -> None:
    grey = np.full((60, 60), 40, np.uint8)
    grey[10:50, 10:20] = grey[40:50, 10:50] = 240  # an L
    grey[20, 40] = 30  # noise, darker than the background
    found = prepare(grey, [], "x")
    assert (found.pixels[:15, 12:] == 0).all()
    assert found.pixels.max() < 210


def test_a_thin_object_keeps_one_pixel() -> None:
    grey = np.zeros((100, 100), np.uint8)
    grey[:, 50] = 250
    assert prepare(grey, [], "x").pixels.any(0).sum() == 1


def test_a_fine_pattern_becomes_grey_when_scaled_down() -> None:
    grey = np.zeros((132, 132), np.uint8)
    grey[10:122, 10:122] = np.indices((112, 112)).sum(0) % 2 * 200
    inside = prepare(grey, [], "x").pixels[2:-2, 2:-2]
    assert np.abs(inside.astype(int) - 100).max() < 20


def test_32_bit_integer_images_are_refused(tmp_path: Path) -> None:
    Image.new("I", (30, 30)).save(tmp_path / "x.tiff")
    with pytest.raises(UserError, match="32 bits per pixel are not supported"):
        read_picture(tmp_path / "x.tiff")
