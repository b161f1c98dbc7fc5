import io
import itertools
import os
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from sidebyside.config.dataset import Dataset
from sidebyside.core.errors import UserError
from sidebyside.data import picture
from sidebyside.data.picture import FORMATS, Resize, border_colour, decode, resized
from sidebyside.serving.decoding import Decoded
from sidebyside.serving.picture import Picture, read_picture, trimmed
from tests.support import pictures
from tests.support.datasets import FASHION_MNIST, dataset
from tests.support.images import made_up


def shirt(height: int = 28, width: int = 28, background: int = 0) -> NDArray[np.uint8]:
    """Return a bright block with a gradient in the middle of a background."""
    pixels = np.full((height, width), background, np.uint8)
    h, w = height // 2, width // 4
    block = 120 + np.arange(h)[:, None] * 100 // h + np.zeros((1, w), int)
    pixels[h // 2 : h // 2 + h, w : w + w] = block
    return pixels


def read(path: Path, dataset: Dataset = FASHION_MNIST) -> Picture:
    return read_picture(path, dataset)


def trim(grey: NDArray[np.uint8], dataset: Dataset = FASHION_MNIST) -> Picture:
    return trimmed(Decoded(Image.fromarray(grey), None, ()), "x", dataset)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_an_image_like_those_of_the_data_set_stays_unchanged(tmp_path: Path) -> None:
    found = read(saved(tmp_path / "x.png", Image.fromarray(shirt())))
    assert np.array_equal(found.pixels, shirt())
    assert found.steps == ("dark background: not inverted",)


def test_a_light_background_is_inverted(tmp_path: Path) -> None:
    found = read(saved(tmp_path / "x.png", Image.fromarray(255 - shirt())))
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
    found = trim(grey)
    assert found.steps[:2] == (step, "trimmed to 20×20 pixels")
    assert (found.pixels > 0).all()


@pytest.mark.parametrize(("height", "width"), [(400, 200), (200, 400), (56, 56), (9, 14)])
def test_a_picture_of_any_size_is_trimmed_scaled_and_centred(height: int, width: int) -> None:
    found = trim(shirt(height, width, background=7))
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
    assert found.steps[2].endswith(" pixels, centred and sharpened")


@pytest.mark.parametrize("kind", FORMATS)
def test_all_formats_give_the_same_pixels(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(shirt(280, 280)).convert("RGB")
    found = read(saved(tmp_path / "x", image, format=kind))
    expected = trim(shirt(280, 280)).pixels.astype(int)
    assert np.abs(found.pixels - expected).mean() < 6


def test_colour_transparency_and_orientation_are_normalised(tmp_path: Path) -> None:
    colour = Image.merge("RGB", [Image.fromarray(shirt() // k) for k in (1, 2, 3)])
    assert "colour: converted to grey" in read(saved(tmp_path / "c.png", colour)).steps
    clear = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (8, 8, 20, 20))
    found = read(saved(tmp_path / "t.png", clear))
    assert found.steps == ("transparency: replaced by white", "light background: inverted")
    assert found.pixels[14, 14] == 255
    assert found.pixels[0, 0] == 0
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    lying = Image.fromarray(np.rot90(shirt()))
    turned = read(saved(tmp_path / "e.png", lying, exif=exif))
    assert np.array_equal(turned.pixels, shirt())


def test_other_bit_depths_give_the_same_pixels(tmp_path: Path) -> None:
    deep = Image.fromarray(shirt().astype(np.uint16) * 257)
    found = read(saved(tmp_path / "x.png", deep))
    assert np.array_equal(found.pixels, shirt())
    assert "16 bits" in found.steps[0]
    black_and_white = Image.fromarray(shirt()).point(lambda value: 255 * (value > 0), "1")
    assert read(saved(tmp_path / "b.png", black_and_white)).pixels.max() == 255


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "MPO"])
def test_the_first_of_several_frames_is_used(tmp_path: Path, kind: str) -> None:
    first, second = Image.fromarray(shirt()), Image.fromarray(shirt()[::-1])
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100}
    path = saved(
        tmp_path / "x", first, format=kind, save_all=True, append_images=[second], **options
    )
    found = read(path)
    assert found.steps[0] == "first of several frames"
    assert np.abs(found.pixels.astype(int) - shirt()).max() < (9 if kind == "MPO" else 1)


def broken() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(shirt(280, 280)).save(buffer, "PNG")
    return buffer.getvalue()[:-200]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a PNG"),
        (b"shirt", "is not a PNG"),
        (b"%PDF-1.7", "is not a PNG"),
        (broken(), "is damaged"),
    ],
)
def test_a_file_that_is_not_an_image_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["EPS", "TIFF", "PPM", "ICO", "DDS", "JPEG2000", "TGA", "PCX"])
def test_other_formats_of_pillow_are_refused(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(shirt(60, 60)).convert("RGB")
    with pytest.raises(UserError, match=r"x is not a PNG, JPEG, GIF, BMP, WebP or PGM picture$"):
        read(saved(tmp_path / "x", image, format=kind))


def test_no_program_is_started_for_a_postscript_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    path = saved(tmp_path / "shirt.png", Image.new("RGB", (30, 30)), format="EPS")
    with pytest.raises(UserError, match="is not a PNG"):
        read(path)
    assert not (tmp_path / "started").exists()


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.png is missing"):
        read(tmp_path / "x.png")
    with pytest.raises(UserError, match="is a folder"):
        read(tmp_path)


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UserError, match=f"^{path}: Not a regular file$"):
            read(path)


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to("x.png")
    with pytest.raises(UserError, match=r"/x\.png: Too many levels of symbolic links$"):
        read(tmp_path / "x.png")


def test_a_file_of_a_terabyte_is_not_read_whole(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.fromarray(shirt()))
    os.truncate(path, 1 << 40)  # sparse: on no disk
    with pytest.raises(UserError, match="more than 100,000,000 bytes"):
        read(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = saved(tmp_path / "x", Image.fromarray(shirt(30, 30)), format=kind)
    monkeypatch.setattr(picture, "MAX_PIXELS", 899)
    with pytest.raises(UserError, match=r"x: more than 899 pixels$"):
        read(path)


def test_a_header_that_announces_gigabytes_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.bmp", Image.fromarray(shirt()))
    content = bytearray(path.read_bytes())
    content[18:26] = struct.pack("<ii", 60_000, 60_000)
    path.write_bytes(content)
    with pytest.raises(UserError, match="more than 89,478,485 pixels"):
        read(path)


def test_only_the_first_of_thousands_of_frames_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "x.gif"
    second = Image.fromarray(255 - shirt())
    Image.fromarray(shirt()).save(path, save_all=True, append_images=[second], duration=50)
    content = path.read_bytes()
    start = content.index(b"\x21\xf9", content.index(b"\x21\xf9") + 1)
    path.write_bytes(content[:start] + content[start:-1] * 50_000 + b";")
    began = time.process_time()
    assert read(path).steps[0] == "first of several frames"
    assert time.process_time() - began < 0.5


def test_a_compressed_text_of_a_gigabyte_is_not_unpacked(tmp_path: Path) -> None:
    text = zlib.compress(bytes(10**7), 1)
    path = saved(tmp_path / "x.png", Image.fromarray(shirt()))
    content = path.read_bytes()
    chunk = b"zTXtComment\0\0" + text
    path.write_bytes(
        content[:33] + struct.pack(">I", len(chunk) - 4) + chunk
        + struct.pack(">I", zlib.crc32(chunk)) + content[33:]
    )  # fmt: skip
    with pytest.raises(UserError, match="is damaged: Decompressed data too large"):
        read(path)


@pytest.mark.parametrize("name", pictures.SAMPLES)
def test_a_mutated_picture_gives_pixels_or_one_line(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x"
    for content in itertools.islice(pictures.mutations(name), 25):
        path.write_bytes(content)
        try:
            assert read(path).pixels.shape == (28, 28)
        except UserError as error:
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("value", [0, 100, 255])
def test_a_single_colour_is_refused(tmp_path: Path, value: int) -> None:
    with pytest.raises(UserError, match="nothing stands out"):
        read(saved(tmp_path / "x.png", Image.new("L", (50, 50), value)))


def test_an_object_that_touches_the_border_is_not_mistaken_for_the_background() -> None:
    grey = np.zeros((60, 60), np.uint8)
    grey[30:, 5:55] = 250  # over 110 of the 240 pixels of the border
    assert trim(grey).steps[0] == "dark background: not inverted"
    grey = np.full((60, 60), 100, np.uint8)
    grey[30:, 5:55] = 250  # the mean of the border is light, its median is not
    assert trim(grey).steps[0] == "dark background: not inverted"


def test_an_object_with_dark_parts_on_a_grey_ground_is_inverted_even_if_it_is_lighter() -> None:
    grey = np.full((60, 60), 120, np.uint8)
    grey[15:45, 20:40] = 180
    assert trim(grey).steps[0] == "dark background: not inverted"
    grey[15:20, 20:40] = 40  # a sixth of it
    assert trim(grey).steps[0] == "dark background: inverted"


def test_an_image_of_the_size_of_the_data_set_may_be_filled_by_its_object() -> None:
    for image in made_up(20, 1).images:
        inverted = bool(border_colour(image) >= 128)
        found = trim(image)
        assert np.array_equal(found.pixels, 255 - image if inverted else image)
        assert found.steps[0].endswith("background: inverted") == inverted
    with pytest.raises(UserError, match="nothing stands out"):
        trim(np.full((28, 28), 100, np.uint8))


def test_an_object_from_edge_to_edge_has_its_background_at_the_sides() -> None:
    grey = np.zeros((60, 60), np.uint8)
    grey[:, 10:50] = 250
    found = trim(grey)
    assert found.steps[:2] == ("dark background: not inverted", "trimmed to 40×60 pixels")


def test_the_background_becomes_black() -> None:
    grey = np.full((60, 60), 40, np.uint8)
    grey[10:50, 10:20] = grey[40:50, 10:50] = 240  # an L
    grey[20, 40] = 30  # noise, darker than the background
    found = trim(grey)
    assert (found.pixels[:15, 12:] == 0).all()
    assert found.pixels.max() == 255


def test_a_thin_object_keeps_one_pixel() -> None:
    grey = np.zeros((100, 100), np.uint8)
    grey[:, 50] = 250
    assert trim(grey).pixels.any(0).sum() == 1


def test_a_fine_pattern_becomes_grey_when_scaled_down() -> None:
    grey = np.zeros((132, 132), np.uint8)
    grey[10:122, 10:122] = np.indices((112, 112)).sum(0) % 2 * 200
    inside = trim(grey).pixels[2:-2, 2:-2]
    assert inside.min() > 200


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 48), (48, 16), (128, 128)])
def test_an_object_is_centred_in_images_of_any_size(height: int, width: int) -> None:
    grey = np.full((90, 60), 255, np.uint8)
    grey[20:60, 20:40] = 0  # twice as high as wide
    found = trim(grey, dataset(height, width)).pixels
    assert found.shape == (height, width)
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    scale = min(height / 40, width / 20)
    assert (len(rows), len(columns)) == (round(40 * scale), round(20 * scale))
    assert abs(rows[0] - (height - 1 - rows[-1])) <= 1
    assert abs(columns[0] - (width - 1 - columns[-1])) <= 1


@pytest.mark.parametrize("rule", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_a_data_set_of_pictures_are_resized_by_its_rule(
    tmp_path: Path, rule: Resize, channels: int
) -> None:
    colours = np.full((30, 60, 3), (10, 90, 250), np.uint8)
    colours[:, :30] = (200, 40, 20)
    path = saved(tmp_path / "x.png", Image.fromarray(colours))
    pictures = dataset(16, 24, channels, preparation=rule)
    found = read(path, pictures)
    image, _, _ = decode(path.read_bytes(), "x", pictures.channels)
    assert np.array_equal(found.pixels, resized(image, 16, 24, rule))
    assert found.pixels.shape == pictures.shape
    name = {"stretch": "stretched", "pad": "padded", "crop": "cropped"}[rule]
    assert found.steps[-1] == f"{name} to 24×16 pixels"
    assert ("colour: converted to grey" in found.steps) == (channels == 1)


def test_a_picture_of_the_right_size_and_a_single_colour_stays_unchanged(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.new("RGB", (24, 16), "red"))
    found = read(path, dataset(16, 24, 3, preparation="pad"))
    assert (found.pixels == (255, 0, 0)).all()
    assert found.steps == ()


MNIST = FASHION_MNIST.model_copy(update={"margin": 4})


def test_an_object_keeps_the_margin_of_the_data_set() -> None:
    grey = np.zeros((60, 60), np.uint8)
    grey[10:50, 20:30] = 250
    rows = np.flatnonzero(trim(grey, MNIST).pixels.any(1))
    assert len(rows) == 20
    assert rows[0] in {4, 5}  # the middle is between two pixels


@pytest.mark.parametrize(("dataset", "shift"), [(MNIST, 2), (FASHION_MNIST, 0)])
def test_a_data_set_with_a_margin_has_its_centre_of_mass_in_the_middle(
    dataset: Dataset, shift: int
) -> None:
    grey = np.zeros((60, 60), np.uint8)
    grey[10:50, 20:24] = grey[10:18, 20:40] = 250  # heavy at the top and on the left
    columns = np.flatnonzero(trim(grey, dataset).pixels.any(0))
    left, right = columns[0], 27 - columns[-1]
    assert left - right == pytest.approx(2 * shift, abs=1)


def on(background: NDArray[np.uint8] | int, size: int = 200) -> NDArray[np.uint8]:
    """Return a dark L with a light spot in the middle of a background, [size, size]."""
    grey = np.zeros((size, size), np.uint8) + np.asarray(background, np.uint8)
    start, end, arm = size // 4, 3 * size // 4, size // 8
    grey[start:end, start : start + arm] = grey[end - arm : end, start:end] = 40
    grey[start + 4 : start + 12, start + 4 : start + 12] = 90
    return grey


def similar(found: Picture, expected: Picture, correlation: float = 0.97) -> bool:
    return bool(np.corrcoef(found.pixels.ravel(), expected.pixels.ravel())[0, 1] > correlation)


@pytest.mark.parametrize("side", [60, 400])
def test_a_dark_pixel_on_a_light_object_neither_inverts_nor_trims(side: int) -> None:
    grey = np.full((side, side), 200, np.uint8)
    grey[side // 4 : side // 2, side // 4 : 3 * side // 4] = 250
    expected = trim(grey)
    grey[side // 3, side // 2] = 3
    found = trim(grey)
    assert found.steps == expected.steps
    assert found.steps[0] == "light background: not inverted"


@pytest.mark.parametrize(("value", "width"), [(0, 1), (0, 2), (0, 8), (120, 4)])
def test_a_frame_around_the_picture_is_left_out(value: int, width: int) -> None:
    framed = np.pad(on(255), width, constant_values=value)
    assert similar(trim(framed), trim(on(255)))


def test_a_frame_of_an_enlarged_picture_is_left_out() -> None:
    framed = np.pad(on(255, 1000), 2, constant_values=0)
    assert similar(trim(framed), trim(on(255, 1000)))


def test_an_object_on_a_grained_table_lit_from_one_side_is_trimmed() -> None:
    random = np.random.default_rng(0)
    light = np.linspace(140, 210, 200)
    grain = np.repeat(random.normal(0, 4, 200), 200).reshape(200, 200)
    table = light + grain + random.normal(0, 3, (200, 200))
    found = trim(on(table.astype(np.uint8)))
    assert found.steps[:2] == ("light background: inverted", "trimmed to 100×100 pixels")
    assert similar(found, trim(on(255)), 0.9)


def test_dust_lines_of_text_and_a_dark_edge_are_left_out() -> None:
    grey = on(240)
    grey[::40, ::40] = 20
    grey[:, :6] = 30
    for row in (170, 180, 190):
        grey[row : row + 4, 60:140] = np.arange(80) % 7 * 40
    assert similar(trim(grey), trim(on(240)))


def test_an_object_in_a_window_is_found() -> None:
    page = np.full((400, 400), 255, np.uint8)
    page[90:310, 90:310] = 180
    page[100:300, 100:300] = on(228)
    assert similar(trim(page), trim(on(228)))
    page[90:310, 90:310] = 60
    assert trim(page).steps[1].startswith("trimmed to 22")  # the window itself: it is empty


def cut_out(values: NDArray[np.uint8] | int, opacity: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(np.zeros_like(opacity) + np.asarray(values, np.uint8)).convert("RGB")
    image.putalpha(Image.fromarray(opacity))
    return image


def test_the_opacity_says_what_the_object_is_whatever_its_colour(tmp_path: Path) -> None:
    light = 255 - on(255)
    opacity = np.where(light > 0, 255, 0).astype(np.uint8)
    expected = trim(light)
    for name, image in {
        "dark": cut_out(255 - light, opacity),
        "light": cut_out(light, opacity),
        "white and soft": cut_out(255, light),
        "black and soft": cut_out(0, light),
    }.items():
        found = read(saved(tmp_path / "x.png", image))
        assert similar(found, expected), name
        assert found.steps[0].startswith("transparent background")


def test_a_cut_out_with_a_fringe_of_its_background_is_as_light_as_that_one_says() -> None:
    values = on(255).copy()
    object_ = values < 255
    fringe = ndimage.binary_dilation(object_, iterations=3)
    for fringed, step in ((250, "inverted"), (0, "not inverted")):
        colours = np.where(object_, 128, fringed).astype(np.uint8)
        image = cut_out(colours, np.where(fringe, 255, 0).astype(np.uint8))
        colour, alpha = image.convert("RGB"), image.getchannel("A")
        white = Image.new("RGB", image.size, "white")
        white.paste(colour, mask=alpha)
        found = trimmed(Decoded(white, alpha, ()), "x", FASHION_MNIST)
        assert found.steps[0] == f"transparent background: {step}"


def test_a_spot_of_opacity_is_left_out(tmp_path: Path) -> None:
    opacity = np.where(on(255) < 255, 255, 0).astype(np.uint8)
    expected = read(saved(tmp_path / "x.png", cut_out(30, opacity)))
    opacity[2, 190] = 255
    assert np.array_equal(
        read(saved(tmp_path / "x.png", cut_out(30, opacity))).pixels, expected.pixels
    )


def test_a_photograph_with_transparent_margins_is_one(tmp_path: Path) -> None:
    opacity = np.zeros((300, 300), np.uint8)
    opacity[50:250, 50:250] = 255
    values = np.full((300, 300), 255, np.uint8)
    values[50:250, 50:250] = on(215)
    found = read(saved(tmp_path / "x.png", cut_out(values, opacity)))
    assert similar(found, trim(on(215)))


def test_a_wholly_transparent_picture_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.new("RGBA", (50, 50)))
    with pytest.raises(UserError, match=r"/x\.png: nothing stands out from the background$"):
        read(path)


@pytest.mark.parametrize("ground", [255, 0])
def test_a_faint_object_has_the_contrast_of_the_training_images(ground: int) -> None:
    grey = np.full((200, 200), ground, np.uint8)
    grey[50:150, 80:120] = 245 if ground else 10
    found = trim(grey)
    assert found.pixels.max() == 255


def test_a_red_object_on_a_green_ground_of_equal_brightness_is_found() -> None:
    colours = np.full((100, 100, 3), (0, 130, 0), np.uint8)
    colours[30:70, 40:60] = (255, 0, 0)
    decoded = Decoded(Image.fromarray(colours), None, ())
    found = trimmed(decoded, "x", FASHION_MNIST)
    assert found.steps[0] == "colour: converted to grey"
    assert found.steps[2] == "trimmed to 20×40 pixels"


def test_twelve_bits_in_a_file_of_sixteen_give_the_same_pixels(tmp_path: Path) -> None:
    deep = Image.fromarray(on(255).astype(np.uint16) << 4)
    found = read(saved(tmp_path / "x.png", deep))
    assert np.array_equal(found.pixels, trim(on(255)).pixels)
    assert found.steps[0] == "16 bits per pixel, 12 in use: reduced to 8"


def test_the_original_is_kept_small_and_in_colour(tmp_path: Path) -> None:
    image = Image.new("RGB", (900, 600), "white")
    image.paste("red", (300, 200, 600, 400))
    found = read(saved(tmp_path / "x.png", image))
    assert found.original.shape == (171, 256, 3)
    assert found.original[85, 128].tolist() == [255, 0, 0]
