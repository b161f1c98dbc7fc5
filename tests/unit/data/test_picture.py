import numpy as np
import pytest
from PIL import Image

from sidebyside.data.picture import Resize, border_colour, decode, resized
from tests.support.pictures import saved


def picture(height: int, width: int) -> Image.Image:
    """Return a white picture with a black frame of two pixels."""
    pixels = np.full((height, width), 255, np.uint8)
    pixels[:2] = pixels[-2:] = pixels[:, :2] = pixels[:, -2:] = 0
    return Image.fromarray(pixels)


def test_a_picture_of_the_size_stays_as_it_is() -> None:
    for rule in ("stretch", "pad", "crop"):
        image = picture(20, 30)
        assert np.array_equal(resized(image, 20, 30, rule), np.asarray(image))


def test_stretching_ignores_the_ratio_of_the_sides() -> None:
    pixels = resized(picture(80, 40), 40, 80, "stretch")
    assert pixels.shape == (40, 80)
    assert pixels[3:-3, 6:-6].min() > 200
    assert max(pixels[0].max(), pixels[:, 0].max()) < 20  # the frame, at all four edges


@pytest.mark.parametrize(("height", "width"), [(100, 40), (40, 100), (16, 8), (3, 1000)])
def test_padding_shows_the_whole_picture_on_the_colour_of_its_border(
    height: int, width: int
) -> None:
    pixels = resized(picture(height, width), 20, 24, "pad")
    assert pixels.shape == (20, 24)
    assert pixels[0, 0] == pixels[-1, -1] == 0
    inside = np.argwhere(pixels > 128)
    if len(inside):
        low, high = inside.min(0), np.array(pixels.shape) - 1 - inside.max(0)
        assert np.abs(low - high).max() <= 1  # centred


def test_cropping_fills_the_size_with_the_centre() -> None:
    pixels = resized(picture(100, 40), 20, 20, "crop")
    assert pixels.shape == (20, 20)
    assert pixels[0].max() == 255  # the frame at the top is cut off
    assert pixels[:, 0].max() < 128


@pytest.mark.parametrize("rule", ["stretch", "pad", "crop"])
def test_colours_stay_in_their_channels(rule: Resize) -> None:
    pixels = resized(Image.new("RGB", (50, 31), (250, 3, 77)), 16, 20, rule)
    assert pixels.shape == (16, 20, 3)
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[250, 3, 77]]


def test_a_fine_pattern_becomes_its_mean_when_reduced() -> None:
    board = np.indices((200, 200)).sum(0) % 2 * 200
    pixels = resized(Image.fromarray(board.astype(np.uint8)), 10, 10, "stretch")
    assert np.abs(pixels.astype(int) - 100).max() <= 1


def test_the_border_has_the_median_colour_of_the_edges() -> None:
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[0, :] = (9, 9, 9)
    assert border_colour(pixels).tolist() == [0, 0, 0]
    assert border_colour(np.array([[1, 2], [1, 2]], np.uint8)) == 1  # rounded down


def test_transparency_becomes_white_and_sixteen_bits_become_eight() -> None:
    clear = Image.new("RGBA", (9, 9), (0, 0, 0, 0))
    for channels in (1, 3):
        image, steps, _ = decode(saved(clear, "PNG"), "x", channels)
        assert np.unique(np.asarray(image)).tolist() == [255]
        assert steps == ("transparency: replaced by white",)
    deep = Image.fromarray(np.full((9, 9), 0x1234, np.uint16))
    image, steps, header = decode(saved(deep, "PNG"), "x", 3)
    assert image.mode == "RGB"
    assert np.unique(np.asarray(image)).tolist() == [0x12]
    assert steps == ("16 bits per pixel: reduced to 8",)
    assert header.channels == 1


def test_the_first_frame_of_an_animation_is_used() -> None:
    frames = [Image.new("L", (9, 9), grey) for grey in (10, 200)]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    image, steps, header = decode(content, "x", 1)
    assert np.unique(np.asarray(image)).tolist() == [10]
    assert steps[0] == "first of several frames"
    assert header.animated
