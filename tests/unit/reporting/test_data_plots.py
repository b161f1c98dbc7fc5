import numpy as np
import pytest

from sidebyside.data.splits import Split
from sidebyside.reporting import data_plots
from tests.support.datasets import CLASS_NAMES
from tests.support.figures import pixels, random_split, undecorated


def test_samples_follow_their_seed() -> None:
    split = random_split(20)
    assert data_plots.samples(split, CLASS_NAMES, 3, 1) == data_plots.samples(
        split, CLASS_NAMES, 3, 1
    )
    assert data_plots.samples(split, CLASS_NAMES, 3, 1) != data_plots.samples(
        split, CLASS_NAMES, 3, 2
    )


def test_cells_of_a_class_with_few_images_stay_empty() -> None:
    split = random_split(2)
    split.images[...] = 0  # black
    fewer = Split(split.images[1:], split.labels[1:])  # one image of class 0
    full, found = (
        pixels(data_plots.samples(one, CLASS_NAMES, 2, 1))[..., :3] for one in (split, fewer)
    )
    assert found.shape == full.shape
    changed = (found != full).any(axis=-1)
    rows, columns = changed.any(axis=1), changed.any(axis=0)
    assert changed[np.ix_(rows, columns)].all()  # one square
    assert (found[changed] == 1).all()  # white
    assert changed.sum() == pytest.approx((full == 0).all(axis=-1).sum() / 20, rel=0.1)


def test_a_training_image_is_left_of_the_new_image() -> None:
    old, new = np.zeros((1, 28, 28), np.uint8), np.full((1, 28, 28), 200, np.uint8)
    axes = undecorated(data_plots.before_after, old, new, np.array([0]), CLASS_NAMES).axes[0]
    shown = axes.images[0]
    assert (shown.get_array()[0, 0], shown.get_array()[0, -1]) == (0, 200)
    assert shown.get_clim() == (0, 255)  # grey values mean the same in every image


@pytest.mark.parametrize(("classes", "shape"), [(200, (28, 28)), (47, (16, 24, 3)), (2, (8, 8))])
def test_samples_of_many_classes_stand_side_by_side(classes: int, shape: tuple[int, ...]) -> None:
    labels = np.arange(classes, dtype=np.uint8).repeat(2)
    split = Split(np.zeros((len(labels), *shape), np.uint8), labels)
    names = [f"{label} of a very long name of a class" for label in range(classes)]
    figure = undecorated(data_plots.samples, split, names, 12, 1)
    shown = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert [text.partition(" ")[0] for text in shown] == [str(label) for label in range(classes)]
    assert max(map(len, shown)) == (20 if classes == 2 else 10)
    assert max(figure.get_size_inches()) < 12


def test_near_duplicates_stand_side_by_side() -> None:
    pairs = [(np.full((8, 9, 3), grey, np.uint8), np.zeros((8, 9, 3), np.uint8)) for grey in (1, 2)]
    figure = undecorated(data_plots.near_duplicates, pairs, ["one", "two"])
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    assert figure.axes[1].images[0].get_array()[0, 0].tolist() == [2, 2, 2]
    none = undecorated(data_plots.near_duplicates, [], [])
    assert none.texts[0].get_text() == "No near duplicates across splits"
