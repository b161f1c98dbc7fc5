import gzip
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidebyside.config.dataset_description import BuiltIn, OwnData, builtin
from sidebyside.core.errors import UserError
from sidebyside.data import memory
from sidebyside.data.raw_data import RawData, describe, read_raw
from sidebyside.data.splits import Split
from sidebyside.data.splitting import assign_splits
from tests.support.images import idx_images, idx_labels, made_up

TRAIN, TEST = made_up(30, 1), made_up(10, 2)
NONE = Split(TRAIN.images[:0], TRAIN.labels[:0])
FILES = {
    "my-train-images.idx": idx_images(TRAIN),
    "my-train-labels.idx": idx_labels(TRAIN),
    "my-test-images.idx": idx_images(TEST),
    "my-test-labels.idx": idx_labels(TEST),
}


def own(**changes: Any) -> OwnData:
    content = {"name": "mine", "format": "idx", "path": "data/local/mine", **changes}
    return OwnData.model_validate(content)


def read(folder: Path, files: Mapping[str, bytes | None], description: Any = None) -> RawData:
    for name, content in files.items():
        if content is not None:
            (folder / name).write_bytes(content)
    return read_raw(folder, own() if description is None else description)


def refusal(folder: Path, files: Mapping[str, bytes | None], description: Any = None) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, files, description)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def labels(*values: int) -> bytes:
    return struct.pack(">2I", 0x801, len(values)) + bytes(values)


def test_idx_files_are_found_by_their_names(tmp_path: Path) -> None:
    raw = read(tmp_path, {**FILES, "README.txt": b""})
    assert np.array_equal(raw.train.images, TRAIN.images)
    assert raw.test is not None
    assert np.array_equal(raw.test.labels, TEST.labels)
    assert raw.class_names == tuple("0123456789")
    assert raw.train.labels.dtype == np.uint8


def test_files_may_be_packed_and_have_the_names_of_other_data_sets(tmp_path: Path) -> None:
    files = {
        "emnist-letters-train-images-idx3-ubyte.gz": gzip.compress(idx_images(TRAIN)),
        "emnist-letters-train-labels-idx1-ubyte.gz": gzip.compress(
            labels(*(TRAIN.labels + 1).tolist())
        ),
    }
    raw = read(tmp_path, files, own(labels={"first": 1}, transposed=True))
    assert raw.test is None
    assert raw.class_names == tuple(str(label) for label in range(1, 11))
    assert np.array_equal(raw.train.images, TRAIN.images.transpose(0, 2, 1))
    assert np.array_equal(raw.train.labels, TRAIN.labels)


def test_class_names_are_given_or_read_from_a_file(tmp_path: Path) -> None:
    names = tuple("あいうえおかきくけこ")
    assert read(tmp_path, {**FILES}, own(class_names=names)).class_names == names
    (tmp_path / "names.txt").write_text("\ufeff" + " \r\n".join(names) + "\n\n", encoding="utf-8")
    assert read(tmp_path, {}, own(class_names="names.txt")).class_names == names


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"my-train-images.idx": None},
            "data/local/mine must have one IDX file of train images (a name with “train” and"
            " “images”), but has none",
        ),
        (
            {"my-test-labels.idx": None},
            "data/local/mine must have one IDX file of test labels (a name with “test” or “t10k”"
            " and “labels”), but has none",
        ),
        (
            {"t10k-images": b""},
            "but has several: my-test-images.idx, t10k-images",
        ),
        (
            {"my-train-labels.idx": labels(*range(10))},
            "data/local/mine/my-train-images.idx contains 30 images, but"
            " data/local/mine/my-train-labels.idx contains 10 labels",
        ),
        (
            {
                "my-test-images.idx": struct.pack(">4I", 0x803, 0, 28, 28),
                "my-test-labels.idx": labels(),
            },
            "my-test-images.idx contains no images",
        ),
        (
            {"my-train-labels.idx": labels(*(TRAIN.labels + 1).tolist())},
            "class '0' has no images, needs at least 2 for train and val: add images or remove the"
            " class (if labels start at 1, set dataset.labels.first)",
        ),
        (
            {"my-train-labels.idx": labels(10, *TRAIN.labels[1:].tolist())},
            "class '10' has 1 image, needs at least 2 for train and val: add images or remove",
        ),
        (
            {"my-train-labels.idx": labels(250, *TRAIN.labels[1:].tolist())},
            "data/local/mine: label 250 is too large: at most 200 classes",
        ),
        (
            {"my-test-labels.idx": labels(*[1] * 10)},
            "the test split has no image of class '0': add some, or remove the class",
        ),
    ],
)
def test_data_that_do_not_fit_together_are_refused(
    tmp_path: Path, change: dict[str, bytes | None], expected: str
) -> None:
    message = refusal(tmp_path, {**FILES, **change})
    assert expected in message


def test_a_label_outside_of_the_class_names_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, {**FILES}, own(class_names=tuple("abcdefghi")))
    assert "is outside 0–8, the 9 classes" in message
    assert message.startswith("data/local/mine/my-train-labels.idx: label 9 at ")


def test_a_test_fraction_for_data_with_a_test_split_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, {**FILES}, own(test=0.2))
    assert message == (
        "params.yaml: dataset.test: the data have a test split already: remove the key"
    )


def test_a_class_needs_three_images_where_the_test_split_is_drawn(tmp_path: Path) -> None:
    files: dict[str, bytes | None] = {
        "images": idx_images(Split(TRAIN.images[:5], TRAIN.labels[:5])),
        "labels": labels(0, 0, 0, 1, 1),
    }
    assert refusal(tmp_path, files).startswith(
        "class '1' has 2 images, needs at least 3 for train, val and test"
    )


def test_npz_files_are_read(tmp_path: Path) -> None:
    colour = np.repeat(TRAIN.images[..., None], 3, -1)
    np.savez(tmp_path / "x.npz", x_train=colour, y_train=TRAIN.labels)
    raw = read(tmp_path, {}, own(format="npz", path="data/local/x.npz"))
    assert raw.train.images.shape == (30, 28, 28, 3)
    assert raw.test is None


def test_a_folder_with_several_npz_files_is_refused(tmp_path: Path) -> None:
    assert "must have one .npz file, but has a.npz, b.npz" in refusal(
        tmp_path, {"b.npz": b"", "a.npz": b""}, own(format="npz")
    )


def test_digits_are_scaled_to_all_grey_values(tmp_path: Path) -> None:
    rows = [[16, 8, 0, *[0] * 61, label] for label in range(10)] * 3
    (tmp_path / "digits.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
    raw = read_raw(tmp_path, builtin("digits"))
    assert raw.train.images.shape == (30, 8, 8)
    assert raw.train.images[0, 0, :3].tolist() == [255, 128, 0]
    assert raw.train.labels.tolist() == [*range(10)] * 3


@pytest.mark.parametrize("name", ["digits", "fashion-mnist"])
def test_a_missing_published_file_names_the_command_that_gets_it(tmp_path: Path, name: str) -> None:
    file = tmp_path / builtin(name).files[0].name
    message = refusal(tmp_path, {}, builtin(name))
    assert message == f"{file} is missing: run `dvc repro download`"


def test_published_images_that_exceed_the_memory_are_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 1)
    names = [file.name for file in builtin("fashion-mnist").files]
    files: dict[str, bytes | None] = dict(zip(names, FILES.values(), strict=True))
    message = refusal(tmp_path, files, builtin("fashion-mnist"))
    assert message.endswith("are available: use fewer or smaller images, or end other programs")


def test_published_images_of_another_shape_are_refused(tmp_path: Path) -> None:
    names = [file.name for file in builtin("fashion-mnist").files]
    files: dict[str, bytes | None] = dict(zip(names, FILES.values(), strict=True))
    changed: BuiltIn = builtin("fashion-mnist").model_copy(update={"width": 30})
    message = refusal(tmp_path, files, changed)
    assert message.startswith("train-images-idx3-ubyte: images are 28×28 pixels, expected 28×30")


# The record of the data set


def test_the_record_has_the_shape_and_the_names(tmp_path: Path) -> None:
    raw = read(tmp_path, {**FILES})
    splits = assign_splits(raw, 0.2, None, seed=1)
    dataset = describe(own(title="Mine", licence="CC0"), raw.class_names, splits)
    assert (dataset.height, dataset.width, dataset.channels) == (28, 28, 1)
    assert (dataset.name, dataset.title, dataset.licence) == ("mine", "Mine", "CC0")
    assert (dataset.preparation, dataset.mirror) == ("pad", False)
    assert {name: split.images for name, split in dataset.splits.items()} == {
        "train": 20,
        "val": 10,
        "test": 10,
    }


def splits_of(*shapes: tuple[int, ...]) -> dict[str, Split]:
    names = ("train", "val", "test")
    return {
        name: Split(np.zeros((1, *shape), np.uint8), np.zeros(1, np.uint8))
        for name, shape in zip(names, shapes, strict=True)
    }


@pytest.mark.parametrize(
    ("shapes", "changes", "expected"),
    [
        ([(7, 9)] * 3, {}, "mine: height: Input should be greater than or equal to 8, not 7"),
        ([(28, 129)] * 3, {}, "mine: width: Input should be less than or equal to 128, not 129"),
        ([(8, 8), (8, 8), (8, 9)], {}, "images of test are 8×9, but those of train are 8×8"),
        ([(8, 8, 3)] * 3, {"resize": "trim"}, "params.yaml: dataset.resize: trim is for grey"),
    ],
)
def test_images_of_an_impossible_shape_are_refused(
    shapes: list[tuple[int, ...]], changes: dict[str, str], expected: str
) -> None:
    with pytest.raises(UserError) as caught:
        describe(own(**changes), ("a", "b"), splits_of(*shapes))
    assert str(caught.value).startswith(expected)


def test_missing_own_data_name_the_command_that_copies_them(tmp_path: Path) -> None:
    message = refusal(tmp_path / "raw", {})
    assert message == f"{tmp_path}/raw is missing: run `dvc repro download`"


@pytest.mark.parametrize("path", ["data/local/mine", "data/local/mine/x.npz"])
def test_a_damaged_file_is_named_as_the_user_knows_it(tmp_path: Path, path: str) -> None:
    description = own(format="npz", path=path, class_names="a/names.txt")
    message = refusal(tmp_path, {"x.npz": b"x"}, description)
    assert message.startswith("data/local/mine/x.npz is not a valid .npz file: ")
    np.savez(tmp_path / "x.npz", x_train=TRAIN.images, y_train=TRAIN.labels)
    message = refusal(tmp_path, {}, description)
    assert message == (
        "params.yaml: dataset.class_names: data/local/mine/a/names.txt is not a file"
    )
