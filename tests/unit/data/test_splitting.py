import numpy as np
import pytest

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.core.errors import UserError
from sidebyside.core.seeding import generator
from sidebyside.data.splits import Split
from sidebyside.data.splitting import stratified_split, subsample
from sidebyside.data.statistics import class_counts
from tests.support.splits import equal, random_split


def test_the_split_is_stratified_disjoint_and_complete() -> None:
    split = random_split(per_class=20)
    train, val = stratified_split(split, 0.2, 1, CLASS_NAMES)
    assert set(class_counts(val, CLASS_NAMES).values()) == {4}
    assert set(class_counts(train, CLASS_NAMES).values()) == {16}
    parts = sorted(image.tobytes() for part in (train, val) for image in part.images)
    assert parts == sorted(image.tobytes() for image in split.images)


def test_the_split_keeps_the_order_and_the_labels_of_the_images() -> None:
    split = random_split(per_class=20)
    position = {image.tobytes(): index for index, image in enumerate(split.images)}
    for part in stratified_split(split, 0.3, 1, CLASS_NAMES):
        positions = [position[image.tobytes()] for image in part.images]
        assert positions == sorted(positions)
        assert np.array_equal(split.labels[positions], part.labels)


def test_the_split_depends_on_the_seed() -> None:
    split = random_split(per_class=20)
    once, again, other = (stratified_split(split, 0.2, seed, CLASS_NAMES)[1] for seed in (1, 1, 2))
    assert equal(once, again)
    assert not equal(once, other)


def test_each_class_is_drawn_independently() -> None:
    split = random_split(per_class=20)
    order = np.lexsort((np.arange(len(split)), split.labels)).reshape(10, 20)
    numbered = Split(split.images.copy(), split.labels)
    numbered.images[:, 0, 0] = np.arange(len(split))
    _, val = stratified_split(numbered, 0.25, 1, CLASS_NAMES)
    chosen = {tuple(np.flatnonzero(np.isin(row, val.images[:, 0, 0]))) for row in order}
    assert len(chosen) > 1


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_a_fraction_that_empties_a_class_is_refused(fraction: float) -> None:
    with pytest.raises(UserError) as caught:
        stratified_split(random_split(per_class=5), fraction, 1, CLASS_NAMES)
    assert str(caught.value) == (
        f"preprocess.val_fraction: {fraction} of the 5 images of class 0 (T-shirt/top)"
        " leaves train or val without images of this class"
    )


def test_a_subsample_has_distinct_images_in_their_original_order() -> None:
    split = random_split()
    drawn = subsample(split, 40, generator(1, "x"))
    position = {image.tobytes(): index for index, image in enumerate(split.images)}
    positions = [position[image.tobytes()] for image in drawn.images]
    assert len(set(positions)) == 40
    assert positions == sorted(positions)
    assert np.array_equal(split.labels[positions], drawn.labels)
    assert equal(drawn, subsample(split, 40, generator(1, "x")))
    assert not equal(drawn, subsample(split, 40, generator(2, "x")))


def test_a_subsample_larger_than_the_split_is_the_whole_split() -> None:
    split = random_split()
    assert equal(subsample(split, 1000, generator(1, "x")), split)
