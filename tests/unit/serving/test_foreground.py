import numpy as np
import pytest
from numpy.typing import NDArray

from sidebyside.serving.foreground import Box, Mask, box, find_object, main_parts, rim


def masked(*boxes: Box, side: int = 200) -> Mask:
    mask = np.zeros((side, side), bool)
    for each in boxes:
        mask[each.slices] = True
    return mask


OBJECT = Box(60, 40, 140, 110)
SECOND = Box(70, 130, 140, 180)  # 70×50 pixels, 20 from the object


def coloured(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.repeat(values.clip(0, 255).astype(np.uint8)[:, :, None], 3, 2)


def test_the_box_of_a_mask_holds_all_its_pixels() -> None:
    assert box(masked(OBJECT, SECOND)) == Box(60, 40, 140, 180)


@pytest.mark.parametrize(
    "other",
    [
        Box(20, 20, 22, 22),  # dust
        Box(0, 0, 12, 200),  # a title bar
        Box(0, 192, 200, 200),  # a scanner's edge
        Box(10, 10, 20, 30),  # small and far
        Box(62, 112, 64, 114),  # dust that nearly touches the object
    ],
)
def test_dust_strips_and_small_parts_are_left_out(other: Box) -> None:
    found = main_parts(masked(OBJECT, other))
    assert found is not None
    assert np.array_equal(found, masked(OBJECT))


def test_the_outline_of_a_frame_is_left_out() -> None:
    frame = masked(Box(5, 5, 195, 195)) & ~masked(Box(6, 6, 194, 194))
    object_ = masked(Box(80, 80, 110, 110))  # of about as many pixels
    found = main_parts(object_ | frame)
    assert found is not None
    assert np.array_equal(found, object_)


def test_two_objects_of_similar_size_and_parts_that_nearly_touch_are_kept() -> None:
    for other in (SECOND, Box(60, 113, 100, 118)):
        both = masked(OBJECT, other)
        found = main_parts(both)
        assert found is not None
        assert np.array_equal(found, both)


def test_a_spot_alone_is_no_object() -> None:
    assert main_parts(masked(Box(100, 100, 103, 103))) is None
    assert main_parts(masked()) is None


def test_the_rim_is_the_edge_of_a_mask() -> None:
    edge = rim(masked(OBJECT))
    assert edge[60, 70]
    assert not edge[63:137, 43:107].any()


@pytest.mark.parametrize("slope", [0, 40, -40])
def test_the_background_is_a_plane_and_the_object_differs_from_it(slope: float) -> None:
    light = 150 + slope * np.linspace(-1, 1, 200)[None] + np.zeros((200, 1))
    found = find_object(coloured(np.where(masked(OBJECT), light - 60, light)))
    assert found is not None
    assert np.array_equal(found.mask, masked(OBJECT))
    assert found.background[..., 0] == pytest.approx(light, abs=3)


@pytest.mark.parametrize("spread", [0, 8])
def test_nothing_stands_out_from_a_plain_or_a_grained_background(spread: float) -> None:
    grain = np.random.default_rng(0).normal(0, spread, (200, 200))
    assert find_object(coloured(150 + grain)) is None


def test_a_faint_object_is_found_on_a_plain_background() -> None:
    found = find_object(coloured(150 + 9.0 * masked(OBJECT)))
    assert found is not None
    assert np.array_equal(found.mask, masked(OBJECT))
