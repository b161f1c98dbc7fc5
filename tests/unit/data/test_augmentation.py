import numpy as np
import pytest
from numpy.typing import NDArray

from sidebyside.config.parameters import Transforms
from sidebyside.core.errors import UserError
from sidebyside.core.seeding import generator
from sidebyside.data.augmentation import (
    Transform,
    allowed_transforms,
    apply_transform,
    augment,
    chosen_classes,
    draw_transform,
)
from sidebyside.data.splits import Split
from tests.support.datasets import dataset

NO_CHANGE = Transforms(rotation=0, zoom=0, shift=0, flip=0)
LIMITS = Transforms(rotation=20, zoom=0.2, shift=3, flip=0.5)
IDENTITY = Transform(angle=0, zoom=1, down=0, right=0, flip=False)

Image = NDArray[np.uint8]


def some_split(count: int = 40) -> Split:
    random = np.random.default_rng(3)
    return Split(
        random.integers(0, 256, (count, 28, 28), dtype=np.uint8),
        (np.arange(count) % 10).astype(np.uint8),
    )


def an_image() -> Image:
    return np.random.default_rng(3).integers(0, 256, (28, 28), dtype=np.uint8)


def a_blob() -> Image:
    """Return a smooth image that ends well inside the frame."""
    rows, columns = np.mgrid[:28, :28] - 13.5
    blob: Image = np.rint(200 * np.exp(-(rows**2 + 2 * (columns - 2) ** 2) / 30)).astype(np.uint8)
    return blob


# One image


def test_the_identity_transform_leaves_the_image_unchanged() -> None:
    assert np.array_equal(apply_transform(IDENTITY, an_image()), an_image())


def test_a_flip_reverses_the_columns() -> None:
    assert np.array_equal(
        apply_transform(IDENTITY._replace(flip=True), an_image()), an_image()[:, ::-1]
    )


@pytest.mark.parametrize(("down", "right"), [(0, 3), (0, -3), (2, 0), (-2, 0), (4, -5)])
def test_a_shift_by_whole_pixels_is_exact_and_fills_with_background(down: int, right: int) -> None:
    padded = np.pad(an_image(), 5)
    expected = padded[5 - down : 33 - down, 5 - right : 33 - right]
    assert np.array_equal(
        apply_transform(IDENTITY._replace(down=down, right=right), an_image()), expected
    )


@pytest.mark.parametrize("quarters", [-2, -1, 1, 2])
def test_a_rotation_by_right_angles_is_exact_and_counter_clockwise(quarters: int) -> None:
    turned = apply_transform(IDENTITY._replace(angle=90.0 * quarters), an_image())
    assert np.array_equal(turned, np.rot90(an_image(), quarters))


def test_a_shift_by_half_a_pixel_averages_neighbours_at_the_border_too() -> None:
    image = np.full((28, 28), 100, np.uint8)
    moved = apply_transform(IDENTITY._replace(right=0.5), image)
    assert set(moved[:, 0]) == {50}  # half of it is background
    assert set(moved[:, 1:].ravel()) == {100}


def test_zoom_enlarges_about_the_centre() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[9:19, 9:19] = 200
    larger = apply_transform(IDENTITY._replace(zoom=1.5), image)
    smaller = apply_transform(IDENTITY._replace(zoom=0.5), image)
    assert larger.sum() == pytest.approx(image.sum() * 1.5**2, rel=0.05)
    assert smaller.sum() == pytest.approx(image.sum() * 0.5**2, rel=0.05)
    for zoomed in (larger, smaller):
        assert np.array_equal(zoomed, zoomed[::-1])
        assert np.array_equal(zoomed, zoomed[:, ::-1])


def test_a_rotation_and_its_inverse_nearly_restore_the_image() -> None:
    there = apply_transform(IDENTITY._replace(angle=15), a_blob())
    back = apply_transform(IDENTITY._replace(angle=-15), there)
    assert np.abs(back.astype(int) - a_blob()).max() <= 12
    assert np.abs(there.astype(int) - a_blob()).max() > 20


def test_the_image_is_flipped_before_it_is_shifted() -> None:
    both = apply_transform(IDENTITY._replace(flip=True, right=3), an_image())
    assert np.array_equal(both, apply_transform(IDENTITY._replace(right=3), an_image()[:, ::-1]))


# Random transforms


def test_random_transforms_cover_the_range_up_to_the_limits() -> None:
    drawn = [draw_transform(LIMITS, generator(1, "x", index)) for index in range(500)]
    for values, centre, limit in (
        ([one.angle for one in drawn], 0, 20),
        ([one.zoom for one in drawn], 1, 0.2),
        ([one.down for one in drawn], 0, 3),
        ([one.right for one in drawn], 0, 3),
    ):
        deviation = np.array(values) - centre
        assert np.abs(deviation).max() <= limit
        assert deviation.min() < -0.95 * limit
        assert deviation.max() > 0.95 * limit
    assert 200 < sum(one.flip for one in drawn) < 300


@pytest.mark.parametrize(("flip", "expected"), [(0, {False}), (1, {True})])
def test_flip_probabilities_0_and_1_are_exact(flip: float, expected: set[bool]) -> None:
    limits = NO_CHANGE.model_copy(update={"flip": flip})
    assert {
        bool(draw_transform(limits, generator(1, index)).flip) for index in range(50)
    } == expected


# A split


def test_new_images_follow_the_original_ones_with_their_labels() -> None:
    split = some_split()
    result = augment(split, (2, 6), 3, LIMITS, seed=1)
    assert len(result) == len(split) + 3 * 8
    assert len(result.images) == len(result.labels)
    assert result.images.dtype == result.labels.dtype == np.uint8
    assert np.array_equal(result.images[: len(split)], split.images)
    assert np.array_equal(result.labels[: len(split)], split.labels)
    assert result.labels[len(split) :].tolist() == [2, 6] * 12


def test_identity_transforms_copy_the_images() -> None:
    split = some_split()
    result = augment(split, (4,), 2, NO_CHANGE, seed=1)
    chosen = split.images[split.labels == 4]
    assert np.array_equal(result.images[len(split) :], np.concatenate([chosen, chosen]))


def test_the_given_split_is_not_changed() -> None:
    split = some_split()
    images, labels = split.images.copy(), split.labels.copy()
    augment(split, (0, 1, 2), 2, LIMITS, seed=1)
    assert np.array_equal(split.images, images)
    assert np.array_equal(split.labels, labels)


def new_images(split: Split, result: Split, label: int) -> Image:
    added: Image = result.images[len(split) :][result.labels[len(split) :] == label]
    return added


def test_the_transform_of_an_image_does_not_depend_on_the_other_classes() -> None:
    split = some_split()
    alone = augment(split, (2,), 2, LIMITS, seed=1)
    both = augment(split, (2, 6), 2, LIMITS, seed=1)
    reversed_ = augment(split, (6, 2), 2, LIMITS, seed=1)
    assert np.array_equal(new_images(split, alone, 2), new_images(split, both, 2))
    assert np.array_equal(reversed_.images, both.images)


def test_the_transform_of_an_image_does_not_depend_on_the_order() -> None:
    split = some_split()
    result = augment(split, (2,), 2, LIMITS, seed=1)
    chosen = np.flatnonzero(split.labels == 2)
    for copy in (1, 0):
        for position in reversed(range(len(chosen))):
            index = int(chosen[position])
            image = apply_transform(
                draw_transform(LIMITS, generator(1, "augment", copy, index)), split.images[index]
            )
            assert np.array_equal(result.images[len(split) + copy * len(chosen) + position], image)


def test_more_copies_do_not_change_the_first_ones() -> None:
    split = some_split()
    one, two = (augment(split, (2, 6), copies, LIMITS, seed=1) for copies in (1, 2))
    assert np.array_equal(two.images[: len(one)], one.images)


def test_copies_differ_from_each_other_and_between_seeds() -> None:
    split = some_split()
    result = augment(split, (2,), 2, LIMITS, seed=1)
    first, second = np.split(result.images[len(split) :], 2)
    assert all(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    other = augment(split, (2,), 2, LIMITS, seed=2)
    assert not np.array_equal(other.images, result.images)
    again = augment(split, (2,), 2, LIMITS, seed=1)
    assert np.array_equal(again.images, result.images)


def test_a_class_without_images_adds_nothing() -> None:
    split = some_split(5)
    assert len(augment(split, (9,), 1, LIMITS, seed=1)) == 5


# Data sets of other shapes and classes


@pytest.mark.parametrize("shape", [(8, 8), (32, 48), (128, 9)])
def test_the_centre_is_that_of_the_images_shape(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    half_turn = apply_transform(IDENTITY._replace(angle=180), image)
    assert np.array_equal(half_turn, image[::-1, ::-1])


def test_each_channel_of_a_colour_image_is_transformed_alike() -> None:
    image = np.random.default_rng(1).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    transform = Transform(angle=11, zoom=1.1, down=1, right=-2, flip=True)
    moved = apply_transform(transform, image)
    assert moved.shape == image.shape
    for channel in range(3):
        alone = apply_transform(transform, np.ascontiguousarray(image[..., channel]))
        assert np.array_equal(moved[..., channel], alone)


def test_colour_images_are_appended_like_grey_ones() -> None:
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 9, 3), dtype=np.uint8)
    split = Split(images, np.array([0, 1, 0, 1], np.uint8))
    assert augment(split, (1,), 2, LIMITS, seed=1).images.shape == (8, 8, 9, 3)


NAMED = dataset(class_names=("cat", "dog", "日本"))


def test_classes_are_chosen_by_name() -> None:
    assert chosen_classes(("日本", "cat"), NAMED) == (2, 0)


def test_the_default_is_the_data_sets_choice_or_all_classes() -> None:
    assert chosen_classes("default", NAMED) == (0, 1, 2)
    own = NAMED.model_copy(update={"augmented_classes": ("dog",)})
    assert chosen_classes("default", own) == (1,)


def test_a_name_that_is_not_a_class_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        chosen_classes(("cat", "Cat"), NAMED)
    assert str(caught.value) == (
        "params.yaml: augment.classes: Made up has no class 'Cat': choose from cat, dog, 日本,"
        " or default"
    )


def test_images_are_not_flipped_where_a_mirror_image_is_of_another_class() -> None:
    assert allowed_transforms(LIMITS, NAMED) == LIMITS
    one_way = NAMED.model_copy(update={"mirror": False})
    assert allowed_transforms(LIMITS, one_way) == LIMITS.model_copy(update={"flip": 0.0})


def test_a_shift_by_more_than_half_the_image_is_refused() -> None:
    limits = LIMITS.model_copy(update={"shift": 4.5})
    assert allowed_transforms(limits, dataset(height=32, width=9 + 1)).shift == 4.5
    with pytest.raises(UserError, match=r"augment\.transforms\.shift: 4\.5 is more than half of"):
        allowed_transforms(limits, dataset(height=32, width=9))
