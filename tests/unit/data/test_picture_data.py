"""Pictures as a data set: read_raw, the splits and the near duplicates across them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sidebyside.config.dataset_description import OwnData
from sidebyside.core.errors import UserError
from sidebyside.data import memory, near_duplicates
from sidebyside.data.raw_data import describe, read_raw
from sidebyside.data.splitting import assign_splits, draw_splits
from tests.support.pictures import write_icons


def description(**keys: Any) -> OwnData:
    content = {"name": "icons", "format": "pictures", "path": "data/local/icons", "channels": 1}
    return OwnData.model_validate({**content, **keys})


def leaked(root: Path, **keys: Any) -> int:
    """Return how many test images have near duplicates in the other splits."""
    splits = assign_splits(read_raw(root, description(size=[32, 32], **keys)), 0.25, None, 1)
    return near_duplicates.count_leaked(near_duplicates.find(splits))


def test_a_split_by_drawing_keeps_icons_of_several_sizes_together(tmp_path: Path) -> None:
    write_icons(tmp_path, 12, (24, 32, 48, 64))
    at_random = leaked(tmp_path)
    assert at_random >= 10  # of 20 test images
    assert leaked(tmp_path, group=r"^(\d+)_") == 0


def test_each_image_of_a_split_has_its_file(tmp_path: Path) -> None:
    write_icons(tmp_path, 8, (32, 48))
    raw = read_raw(tmp_path, description(size=[48, 48], resize="stretch"))
    assert raw.sources
    positions = draw_splits(raw, 0.25, 0.25, 1)
    for name, split in assign_splits(raw, 0.25, 0.25, 1).items():
        for index, image in zip(positions[name], split.images, strict=True):
            file = raw.sources.train[index]
            if file.endswith("_48.png"):
                assert np.array_equal(image, np.asarray(Image.open(tmp_path / file)))


def test_a_given_test_split_and_a_table_are_used(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_icons(tmp_path / split, 3, (32,))
    raw = read_raw(tmp_path, description(test="test"))
    assert raw.test is not None
    assert (len(raw.train), len(raw.test)) == (6, 6)
    assert raw.class_names == ("round", "square")
    rows = [
        f"{split}/{label}/{number}_32.png,{label[::-1]},{split},{number}"
        for split in ("test", "train")
        for label in ("round", "square")
        for number in range(3)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,split,group", *rows]))
    table = read_raw(tmp_path, description(list="labels.csv", group="group"))
    assert table.class_names == ("dnuor", "erauqs")
    assert table.test is not None
    assert np.array_equal(table.test.images, raw.test.images)
    assert table.groups is not None
    assert table.groups.tolist() == [0, 1, 2, 0, 1, 2]


def test_class_names_come_from_a_list_or_a_file(tmp_path: Path) -> None:
    write_icons(tmp_path, 3, (32,))
    (tmp_path / "names.txt").write_text("square\nround\n")
    for names in (["square", "round"], "names.txt"):
        raw = read_raw(tmp_path, description(class_names=names))
        assert raw.class_names == ("square", "round")
        assert raw.train.labels.tolist() == [1, 1, 1, 0, 0, 0]


def test_colour_pictures_get_three_channels_and_the_stated_size(tmp_path: Path) -> None:
    write_icons(tmp_path, 4, (20, 50))
    own = description(size=[16, 24], channels=3, resize="crop")
    raw = read_raw(tmp_path, own)
    splits = assign_splits(raw, 0.25, None, 1)
    dataset = describe(own, raw.class_names, splits)
    assert dataset.shape == raw.train.images.shape[1:] == (16, 24, 3)
    assert dataset.preparation == "crop"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "params.yaml: dataset.size is missing, but the pictures have 2 sizes"),
        ({"size": [32, 32], "test": "test"}, "params.yaml: dataset.test: data/local/icons has no"),
        (
            {"size": [32, 32], "list": "x.csv"},
            "params.yaml: dataset.list: data/local/icons/x.csv is not a file",
        ),
        ({"size": [32, 32], "group": "(x)"}, "params.yaml: dataset.group: '(x)' does not match"),
        ({"size": [32, 32], "class_names": ["a", "round"]}, "params.yaml: dataset.class_names: "),
    ],
)
def test_a_key_that_does_not_fit_the_pictures_is_named(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    write_icons(tmp_path, 3, (32, 48))
    with pytest.raises(UserError) as caught:
        read_raw(tmp_path, description(**keys))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unreadable_picture_is_refused_or_skipped_as_stated(tmp_path: Path) -> None:
    write_icons(tmp_path, 4, (32,))
    (tmp_path / "round/x.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"^data/local/icons/round/x\.png is not a PNG, "):
        read_raw(tmp_path, description())
    raw = read_raw(tmp_path, description(unreadable="skip"))
    assert raw.sources
    assert [one.file for one in raw.sources.unreadable] == ["round/x.png"]
    assert len(raw.train) == len(raw.sources.train) == 8


def test_pictures_that_do_not_fit_into_the_memory_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_icons(tmp_path, 3, (32,))
    (tmp_path / "round/0_32.png").write_bytes(b"not read")
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    with pytest.raises(UserError, match="of memory, but only 0 MiB are available"):
        read_raw(tmp_path, description(size=[32, 32]))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"test": True}, "must be a number between 0 and 1, or the name of a folder"),
        ({"test": 1.5}, "must be a number between 0 and 1, or the name of a folder"),
        ({"test": "a/b"}, "must be a number between 0 and 1, or the name of a folder"),
        ({"test": "x", "list": "y.csv"}, "test must be a number between 0 and 1 here, not 'x'"),
        ({"group": "x"}, "group must have a pair of parentheses"),
    ],
)
def test_keys_of_pictures_are_checked_in_params_yaml(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        description(**keys)
