import io
import math
import struct
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.core.errors import UserError
from sidebyside.core.seeding import generator
from sidebyside.data.fashion_mnist import RAW_FILES, RawFile
from sidebyside.data.idx import parse_images, parse_labels, read_raw
from sidebyside.data.npz import ALIGNMENT, read_split, write_split
from sidebyside.data.splits import Split, split_digest
from sidebyside.data.splitting import stratified_split, subsample
from sidebyside.data.statistics import class_counts, count_duplicates, pixel_statistics

IMAGES = RawFile("some-images", 0, "")
LABELS = RawFile("some-labels", 0, "")


def images_file(count: int, height: int = 28, width: int = 28, magic: int = 0x803) -> bytes:
    pixels = np.arange(count * height * width, dtype=np.uint32).astype(np.uint8)
    return struct.pack(">4I", magic, count, height, width) + pixels.tobytes()


def labels_file(labels: list[int], magic: int = 0x801) -> bytes:
    return struct.pack(">2I", magic, len(labels)) + bytes(labels)


def some_split(per_class: int = 5, seed: int = 1) -> Split:
    labels = np.tile(np.arange(10, dtype=np.uint8), per_class)
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
    return Split(images, labels)


def only(images: list[int], labels: list[int]) -> Split:
    """Return images of one grey each."""
    pixels = np.full((len(images), 28, 28), np.array(images, np.uint8)[:, None, None], np.uint8)
    return Split(pixels, np.array(labels, np.uint8))


def equal(first: Split, second: Split) -> bool:
    return np.array_equal(first.images, second.images) and np.array_equal(
        first.labels, second.labels
    )


# IDX


def test_images_keep_their_order_and_rows() -> None:
    images = parse_images(images_file(3), "x")
    assert images.shape == (3, 28, 28)
    assert images.dtype == np.uint8
    assert images[0, 0, :3].tolist() == [0, 1, 2]
    assert images[0, 1, 0] == 28
    assert images[1, 0, 0] == 784 % 256


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "x: 0 bytes are too few for an IDX header of 16"),
        (images_file(1)[:15], "x: 15 bytes are too few for an IDX header of 16"),
        (images_file(1, magic=0x801), "x: magic number is 0x00000801, expected 0x00000803"),
        (b"\x1f\x8b" + bytes(30), "x: magic number is 0x1f8b0000, expected 0x00000803"),
        (images_file(2, 32, 30), "x: images are 32×30 pixels, expected 28×28"),
        (images_file(2)[:-1], "x: 1567 bytes of data, its header announces 1568"),
        (images_file(2) + b"x", "x: 1569 bytes of data, its header announces 1568"),
        (struct.pack(">4I", 0x803, 2**32 - 1, 28, 28), "x: 0 bytes of data, its header announces"),
    ],
)
def test_malformed_images_are_refused(content: bytes, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_images(content, "x")
    assert str(caught.value).startswith(expected)


def test_labels_are_returned_in_order() -> None:
    labels = parse_labels(labels_file([9, 0, 3]), "x")
    assert labels.tolist() == [9, 0, 3]
    assert labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"1234567", "x: 7 bytes are too few for an IDX header of 8"),
        (labels_file([1], magic=0x803), "x: magic number is 0x00000803, expected 0x00000801"),
        (labels_file([1, 2])[:-1], "x: 1 bytes of data, its header announces 2"),
        (labels_file([1, 2]) + b"\0", "x: 3 bytes of data, its header announces 2"),
        (labels_file([1, 10, 255]), "x: label 10 at 1 is outside 0–9"),
        (labels_file([9, 10]), "x: label 10 at 1 is outside 0–9"),
    ],
)
def test_malformed_labels_are_refused(content: bytes, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_labels(content, "x")
    assert str(caught.value) == expected


def write_pair(folder: Path, images: bytes | None, labels: bytes | None) -> None:
    for file, content in ((IMAGES, images), (LABELS, labels)):
        if content is not None:
            (folder / file.name).write_bytes(content)


def test_pair_of_files_becomes_a_split(tmp_path: Path) -> None:
    write_pair(tmp_path, images_file(2), labels_file([4, 7]))
    split = read_raw(tmp_path, IMAGES, LABELS)
    assert len(split) == 2
    assert split.images.shape == (2, 28, 28)
    assert split.labels.tolist() == [4, 7]


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (None, labels_file([1]), r"some-images is missing: run `dvc repro download`"),
        (images_file(1), None, r"some-labels is missing: run `dvc repro download`"),
        (images_file(2), labels_file([1]), "some-images holds 2 images, some-labels holds 1 label"),
        (images_file(0), labels_file([]), "some-images holds no image"),
        (images_file(1)[:-1], labels_file([1]), "^some-images: 783 bytes of data"),
        (images_file(1), labels_file([11]), "^some-labels: label 11 at 0"),
        (labels_file([1]) + bytes(9), images_file(1), "^some-images: magic number"),
    ],
)
def test_pair_that_is_no_split_is_refused(
    tmp_path: Path, images: bytes | None, labels: bytes | None, expected: str
) -> None:
    write_pair(tmp_path, images, labels)
    with pytest.raises(UserError, match=expected) as caught:
        read_raw(tmp_path, IMAGES, LABELS)
    assert "\n" not in str(caught.value)


def test_published_files_have_the_sizes_that_their_shapes_ask_for() -> None:
    sizes = [file.size for file in RAW_FILES]
    assert sizes == [60_000 * 784 + 16, 60_000 + 8, 10_000 * 784 + 16, 10_000 + 8]
    assert len({file.sha256 for file in RAW_FILES}) == 4
    assert all(len(file.sha256) == 64 for file in RAW_FILES)


# Splits


def test_split_is_stratified_disjoint_and_complete() -> None:
    split = some_split(per_class=20)
    train, val = stratified_split(split, 0.2, seed=1)
    assert set(class_counts(val).values()) == {4}
    assert set(class_counts(train).values()) == {16}
    parts = sorted(image.tobytes() for part in (train, val) for image in part.images)
    assert parts == sorted(image.tobytes() for image in split.images)


def test_split_keeps_file_order_and_labels_with_their_images() -> None:
    split = some_split(per_class=20)
    place = {image.tobytes(): index for index, image in enumerate(split.images)}
    for part in stratified_split(split, 0.3, seed=1):
        places = [place[image.tobytes()] for image in part.images]
        assert places == sorted(places)
        assert np.array_equal(split.labels[places], part.labels)


def test_split_depends_on_the_seed_alone() -> None:
    split = some_split(per_class=20)
    once, again, other = (stratified_split(split, 0.2, seed)[1] for seed in (1, 1, 2))
    assert equal(once, again)
    assert not equal(once, other)


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_fraction_that_empties_a_class_is_refused(fraction: float) -> None:
    with pytest.raises(UserError) as caught:
        stratified_split(some_split(per_class=5), fraction, seed=1)
    assert str(caught.value) == (
        f"preprocess.val_fraction: {fraction} of the 5 images of class 0 (T-shirt/top)"
        " leaves train or val without one"
    )


def test_sample_draws_distinct_images_in_file_order() -> None:
    split = some_split()
    drawn = subsample(split, 40, generator(1, "x"))
    place = {image.tobytes(): index for index, image in enumerate(split.images)}
    places = [place[image.tobytes()] for image in drawn.images]
    assert len(set(places)) == 40
    assert places == sorted(places)
    assert np.array_equal(split.labels[places], drawn.labels)
    assert equal(drawn, subsample(split, 40, generator(1, "x")))
    assert not equal(drawn, subsample(split, 40, generator(2, "x")))


def test_sample_of_more_than_there_are_is_the_whole_split() -> None:
    split = some_split()
    assert equal(subsample(split, 1000, generator(1, "x")), split)


def test_class_counts_name_every_class() -> None:
    counts = class_counts(only([1, 2, 3], [0, 9, 9]))
    assert list(counts) == list(CLASS_NAMES)
    assert counts["T-shirt/top"] == 1
    assert counts["Ankle boot"] == 2
    assert counts["Bag"] == 0


def test_pixel_statistics_match_their_definitions() -> None:
    found = pixel_statistics(only([0, 0, 0, 200], [0, 1, 2, 3]).images)
    expected = {"mean": 50, "standard_deviation": 50 * 3**0.5, "background": 0.75}
    assert found == pytest.approx(expected)


def test_pixel_statistics_have_the_same_last_digit_on_every_processor() -> None:
    images = np.random.default_rng(1).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    pixels = [int(pixel) for pixel in images.reshape(-1)]
    mean = Fraction(sum(pixels), len(pixels))
    variance = Fraction(sum(pixel**2 for pixel in pixels), len(pixels)) - mean**2
    found = pixel_statistics(images)
    assert found["mean"] == float(mean)
    assert found["standard_deviation"] == math.sqrt(variance)
    assert found["background"] == pixels.count(0) / len(pixels)


def test_duplicates_are_counted_within_and_across_splits() -> None:
    splits = {"train": only([1, 1, 1, 2], [0, 0, 5, 6]), "val": only([2, 3, 1], [6, 6, 4])}
    assert count_duplicates(splits) == [
        {"split": "train", "with": "train", "images": 2, "label_differs": 1},
        {"split": "train", "with": "val", "images": 4, "label_differs": 3},
        {"split": "val", "with": "train", "images": 2, "label_differs": 1},
        {"split": "val", "with": "val", "images": 0, "label_differs": 0},
    ]


def test_digest_sees_every_pixel_every_label_and_the_shape() -> None:
    split = some_split()
    digests = {split_digest(split)}
    for index in (0, len(split) - 1):
        images, labels = split.images.copy(), split.labels.copy()
        images[index, 27, 27] ^= 1
        labels[index] = (labels[index] + 1) % 10
        digests |= {split_digest(Split(images, split.labels))}
        digests |= {split_digest(Split(split.images, labels))}
    digests |= {split_digest(Split(split.images.reshape(-1, 14, 56), split.labels))}
    assert len(digests) == 6
    strided = Split(np.asfortranarray(split.images), split.labels.repeat(2)[::2])
    assert split_digest(strided) == split_digest(split)
    assert len(split_digest(split)) == 64


# Files of splits


def test_written_split_is_read_back(tmp_path: Path) -> None:
    split = some_split()
    write_split(tmp_path / "deep/er/x.npz", split)
    assert equal(read_split(tmp_path / "deep/er/x.npz"), split)


def test_equal_splits_are_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_split(tmp_path / "a.npz", some_split())
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    write_split(tmp_path / "b.npz", some_split())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:  # which counts two seconds as one
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


GOOD = some_split(per_class=1)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"images": GOOD.images}, "is not a valid split"),
        ({"labels": GOOD.labels}, "is not a valid split"),
        ({"images": GOOD.images.astype(float), "labels": GOOD.labels}, "images are float64"),
        ({"images": GOOD.images[:, :27], "labels": GOOD.labels}, r"images are uint8 \[10, 27, 28"),
        ({"images": GOOD.images[:9], "labels": GOOD.labels}, r"expected uint8 \[10, 28, 28\]"),
        ({"images": GOOD.images, "labels": GOOD.labels.astype(int)}, "labels must be a non-empty"),
        ({"images": GOOD.images, "labels": GOOD.labels[:, None]}, "labels must be a non-empty"),
        ({"images": GOOD.images, "labels": np.uint8(3)}, "labels must be a non-empty"),
        ({"images": GOOD.images[:0], "labels": GOOD.labels[:0]}, "must be a non-empty"),
        ({"images": GOOD.images, "labels": GOOD.labels + 1}, "a label is outside 0–9"),
        ({"images": np.array([None]), "labels": GOOD.labels}, "is not a valid split"),
    ],
)
def test_file_that_holds_no_split_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], expected: str
) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=expected) as caught:
        read_split(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def garbage(path: Path) -> None:
    path.write_bytes(b"not a zip file")


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def bare_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, GOOD.images)


def cut(path: Path) -> None:
    write_split(path, GOOD)
    path.write_bytes(path.read_bytes()[:-200])


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("damage", [garbage, nothing, bare_array, cut, folder])
def test_damaged_file_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(tmp_path / "x.npz")
    with pytest.raises(UserError, match="is not a valid split") as caught:
        read_split(tmp_path / "x.npz")
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.npz is missing: run `dvc repro`"):
        read_split(tmp_path / "x.npz")


@pytest.mark.parametrize("images", [2, 2000])  # less and more than is read at once
def test_images_lie_where_tensorflow_can_use_them(tmp_path: Path, images: int) -> None:
    split = Split(
        np.random.default_rng(1).integers(0, 256, (images, 28, 28), dtype=np.uint8),
        np.zeros(images, np.uint8),
    )
    write_split(tmp_path / "x.npz", split)
    found = read_split(tmp_path / "x.npz")
    assert equal(found, split)
    assert found.images.ctypes.data % ALIGNMENT == 0


def test_an_array_in_another_order_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.asfortranarray(GOOD.images), labels=GOOD.labels)
    with pytest.raises(
        UserError, match="is not a valid split: images is not an array of numbers in C order"
    ):
        read_split(tmp_path / "x.npz")


def test_an_array_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    lying = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        lying, {"descr": "|u1", "fortran_order": False, "shape": (10**4, 28, 28)}
    )
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", lying.getvalue() + bytes(28 * 28))
    with pytest.raises(UserError, match="is not a valid split: images is truncated"):
        read_split(tmp_path / "x.npz")


def test_no_changed_byte_makes_a_file_crash_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    split = only([7] * 3, [1, 2, 3])
    write_split(path, split)
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            found = read_split(path)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert equal(found, split), f"byte {place} changes the split unnoticed"


def test_images_of_another_shape_with_as_many_pixels_are_refused() -> None:
    content = bytes.fromhex("00000803 00000001 0000000e 00000038") + bytes(784)
    with pytest.raises(UserError, match="images are 14×56 pixels"):
        parse_images(content, "x")


def test_every_class_is_drawn_by_itself() -> None:
    split = some_split(per_class=20)
    order = np.lexsort((np.arange(len(split)), split.labels)).reshape(10, 20)
    numbered = Split(split.images.copy(), split.labels)
    numbered.images[:, 0, 0] = np.arange(len(split))
    _, val = stratified_split(numbered, 0.25, seed=1)
    chosen = {tuple(np.flatnonzero(np.isin(row, val.images[:, 0, 0]))) for row in order}
    assert len(chosen) > 1


def test_a_repeated_image_is_held_against_its_first_label() -> None:
    split = Split(np.zeros((3, 28, 28), np.uint8), np.array([0, 6, 6], np.uint8))
    assert count_duplicates({"train": split}) == [
        {"split": "train", "with": "train", "images": 2, "label_differs": 2}
    ]


def test_a_split_is_stored_as_it_is(tmp_path: Path) -> None:
    write_split(tmp_path / "x.npz", some_split(1))
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


def test_an_array_that_is_longer_than_it_says_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path / "x.npz", some_split(1))
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content + b"\0")
    with pytest.raises(UserError, match="is longer than its header announces"):
        read_split(tmp_path / "y.npz")
