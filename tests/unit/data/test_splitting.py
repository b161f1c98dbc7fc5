import numpy as np
import pytest

from sidebyside.core.errors import UserError
from sidebyside.core.seeding import generator
from sidebyside.data.raw_data import RawData
from sidebyside.data.splits import Split
from sidebyside.data.splitting import assign_splits, draw, subsample
from tests.support.splits import equal, random_split

NAMES = tuple("0123456789")
TEST = random_split(per_class=1)


def divided(split: Split, fraction: float = 0.2, seed: int = 1) -> dict[str, Split]:
    return assign_splits(RawData(split, TEST, NAMES), fraction, None, seed)


def counts(split: Split) -> list[int]:
    return [int(count) for count in np.bincount(split.labels, minlength=10)]


def test_the_split_is_stratified_disjoint_and_complete() -> None:
    split = random_split(per_class=20)
    splits = divided(split)
    assert counts(splits["val"]) == [4] * 10
    assert counts(splits["train"]) == [16] * 10
    assert splits["test"] is TEST
    parts = sorted(image.tobytes() for name in ("train", "val") for image in splits[name].images)
    assert parts == sorted(image.tobytes() for image in split.images)


def test_the_split_keeps_the_order_and_the_labels_of_the_images() -> None:
    split = random_split(per_class=20)
    position = {image.tobytes(): index for index, image in enumerate(split.images)}
    splits = divided(split, 0.3)
    for part in (splits["train"], splits["val"]):
        positions = [position[image.tobytes()] for image in part.images]
        assert positions == sorted(positions)
        assert np.array_equal(split.labels[positions], part.labels)


def test_the_split_depends_on_the_seed() -> None:
    split = random_split(per_class=20)
    once, again, other = (divided(split, seed=seed)["val"] for seed in (1, 1, 2))
    assert equal(once, again)
    assert not equal(once, other)


def test_each_class_is_drawn_independently() -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 20)
    chosen = draw(labels, None, 0.25, 1, "split").reshape(10, 20)
    assert len({row.tobytes() for row in chosen}) > 1


@pytest.mark.parametrize(("fraction", "held_out"), [(0.01, 1), (0.4, 2), (0.99, 4)])
def test_each_split_gets_at_least_one_image_of_each_class(fraction: float, held_out: int) -> None:
    splits = divided(random_split(per_class=5), fraction)
    assert counts(splits["val"]) == [held_out] * 10
    assert counts(splits["train"]) == [5 - held_out] * 10


def test_data_without_a_test_split_get_one_of_the_same_share_in_each_class() -> None:
    raw = RawData(random_split(per_class=20), None, NAMES)
    splits = assign_splits(raw, 0.25, 0.4, seed=1)
    assert [counts(split)[0] for split in splits.values()] == [9, 3, 8]
    assert counts(splits["test"]) == [8] * 10
    assert [len(split) for split in assign_splits(raw, 0.25, None, 1).values()] == [120, 40, 40]
    seen = [image.tobytes() for split in splits.values() for image in split.images]
    assert len(set(seen)) == 200


def grouped(sizes: list[int], classes: int = 2) -> RawData:
    """Return data in which each class has groups of these numbers of images."""
    groups = np.concatenate(
        [np.repeat(np.arange(len(sizes)) + label * 100, sizes) for label in range(classes)]
    )
    labels = (groups // 100).astype(np.uint8)
    images = np.zeros((len(labels), 8, 8), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = groups % 100, labels
    return RawData(Split(images, labels), None, NAMES[:classes], groups)


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_images_of_a_group_stay_in_one_split(seed: int) -> None:
    raw = grouped([5, 1, 3, 2, 4, 2, 2, 1, 6, 4])
    splits = assign_splits(raw, 0.25, 0.2, seed)
    members = [{tuple(image[0, :2]) for image in split.images} for split in splits.values()]
    assert not members[0] & members[1]
    assert not members[0] & members[2]
    assert not members[1] & members[2]
    assert sum(map(len, splits.values())) == 60
    for label in (0, 1):
        train, val, test = (int(np.sum(split.labels == label)) for split in splits.values())
        assert 3 <= test <= 9  # of 30, about 6
        assert 3 <= val <= 9
        assert train >= 14


def test_a_group_with_images_of_several_classes_stays_in_one_split() -> None:
    labels = np.tile(np.arange(3, dtype=np.uint8), 20)
    groups = np.repeat(np.arange(10), 6)
    chosen = draw(labels, groups, 0.3, 1, "split")
    assert {int(n) for n in np.bincount(groups[chosen])} <= {0, 6}
    assert 2 <= len(np.unique(groups[chosen])) <= 4


def test_a_class_with_too_few_groups_is_named_with_the_key() -> None:
    with pytest.raises(UserError) as caught:
        assign_splits(grouped([5, 5]), 0.25, 0.2, seed=1)
    assert str(caught.value).startswith("val has no image of class '0', because the images")
    assert "dataset.group" in str(caught.value)


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
