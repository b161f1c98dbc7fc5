import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sidebyside.core.errors import UserError
from sidebyside.data import pictures
from sidebyside.data.picture import FORMATS
from sidebyside.data.picture_files import PictureFile
from sidebyside.data.pictures import Shape, Unreadable, count_kinds, find_size, read
from tests.support.pictures import SAMPLES, mutations, saved

GREY, COLOUR = Image.new("L", (20, 10), 90), Image.new("RGB", (20, 10), (200, 100, 0))


def folder(root: Path, contents: dict[str, bytes]) -> list[PictureFile]:
    """Write files; return them as pictures of one class."""
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return [PictureFile(name, "a", test=False, group="") for name in contents]


def test_pictures_of_every_kind_become_images_of_one_shape(tmp_path: Path) -> None:
    files = folder(tmp_path, SAMPLES)
    for shape in (Shape(32, 24, 3), Shape(8, 128, 1)):
        found = read(tmp_path, "own", files, shape, "pad", skip=False)
        assert found.images.dtype == np.uint8
        axes = (3,) if shape.channels == 3 else ()
        assert found.images.shape == (len(SAMPLES), shape.height, shape.width, *axes)
        assert found.files == files
        assert not found.unreadable
    kinds = {(one.format, one.animated) for one in found.headers}
    assert {one[0] for one in kinds} == set(FORMATS)
    assert ("GIF", True) in kinds


def test_the_orientation_of_exif_counts_for_the_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    files = folder(tmp_path, {"a": saved(COLOUR, "JPEG", exif=exif)})
    assert find_size(tmp_path, "own", files, skip=False) == (20, 10)
    (header,) = read(tmp_path, "own", files, Shape(20, 10, 3), "pad", skip=False).headers
    assert (header.width, header.height) == (10, 20)


def test_pictures_of_several_sizes_need_a_stated_size(tmp_path: Path) -> None:
    contents = {"a\n1": saved(GREY, "PNG"), "b": saved(GREY.resize((30, 30)), "PNG")}
    with pytest.raises(UserError) as caught:
        find_size(tmp_path, "own", folder(tmp_path, contents), skip=False)
    assert str(caught.value) == (
        r"params.yaml: dataset.size is missing, but the pictures have 2 sizes, such as 20×10"
        r" (a\n1) and 30×30 (b): give a height and width from 8 to 128, such as size: [32, 32]"
    )


@pytest.mark.parametrize("size", [(7, 20), (20, 129)])
def test_a_size_out_of_range_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    files = folder(tmp_path, {"a": saved(GREY.resize(size), "PNG")})
    with pytest.raises(UserError, match=rf"are {size[0]}×{size[1]} \(a\): .* from 8 to 128"):
        find_size(tmp_path, "own", files, skip=False)


def test_colour_becomes_grey_and_grey_becomes_colour(tmp_path: Path) -> None:
    files = folder(tmp_path, {"a": saved(GREY, "PNG"), "b": saved(COLOUR, "PNG")})
    grey = read(tmp_path, "own", files, Shape(10, 20, 1), "pad", skip=False).images
    assert np.unique(grey[1]).tolist() == [118]  # 0.299 · 200 + 0.587 · 100
    colour = read(tmp_path, "own", files, Shape(10, 20, 3), "pad", skip=False).images
    assert np.unique(colour[0]).tolist() == [90]


BAD = {
    "empty": (b"", "empty is not a PNG, JPEG, GIF, BMP or WebP picture"),
    "text": (b"Hello", "text is not a PNG, JPEG, GIF, BMP or WebP picture"),
    "cut": (SAMPLES["JPEG"][:600], "cut is damaged: "),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unreadable_picture_is_named(tmp_path: Path, name: str) -> None:
    content, reason = BAD[name]
    files = folder(tmp_path, {"good": saved(GREY, "PNG"), name: content})
    with pytest.raises(UserError) as caught:
        read(tmp_path, "own", files, Shape(10, 20, 1), "pad", skip=False)
    assert str(caught.value).startswith(f"own/{reason}")
    assert str(caught.value).endswith("or let `dataset.unreadable: skip` skip such pictures")


def test_unreadable_pictures_are_skipped_and_listed_on_request(tmp_path: Path) -> None:
    contents = {name: content for name, (content, _) in BAD.items()}
    files = folder(tmp_path, {"a": saved(GREY, "PNG"), **contents, "b": saved(GREY, "PNG")})
    files.insert(1, PictureFile("gone", "a", test=False, group=""))
    found = read(tmp_path, "own", files, Shape(10, 20, 1), "pad", skip=True)
    assert [one.file for one in found.files] == ["a", "b"]
    assert found.images.shape == (2, 10, 20)
    assert (found.images == 90).all()
    assert [one.file for one in found.unreadable] == ["gone", *BAD]
    assert found.unreadable[0] == Unreadable("gone", "own/gone is missing")
    assert find_size(tmp_path, "own", files, skip=True) == (10, 20)


def test_a_folder_without_a_readable_picture_is_refused(tmp_path: Path) -> None:
    files = folder(tmp_path, {"a": b"x"})
    for call in (
        lambda: read(tmp_path, "own", files, Shape(10, 20, 1), "pad", skip=True),
        lambda: find_size(tmp_path, "own", files, skip=True),
    ):
        with pytest.raises(UserError, match=r"^own: no picture can be read$"):
            call()


def test_the_first_unreadable_picture_is_named_whatever_thread_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "BATCH", 3)
    good = {f"{number}": saved(GREY, "PNG") for number in range(4)}
    files = folder(tmp_path, {**good, "x": b"x", "y": b"y"})
    with pytest.raises(UserError, match=r"^own/x is not"):
        read(tmp_path, "own", files, Shape(10, 20, 1), "pad", skip=False)


def test_formats_modes_and_sizes_are_counted(tmp_path: Path) -> None:
    contents = {
        "a": saved(GREY, "PNG"),
        "b": saved(GREY.resize((8, 50)), "PNG"),
        "c": SAMPLES["animated GIF"],
    }
    files = folder(tmp_path, contents)
    headers = read(tmp_path, "own", files, Shape(8, 8, 1), "crop", skip=False).headers
    assert count_kinds(headers) == [
        ("PNG", "L", False, 2, 8, 20, 10, 50),
        ("GIF", headers[2].mode, True, 1, 50, 50, 40, 40),
    ]


@pytest.mark.parametrize("name", ["PNG", "JPEG", "GIF", "BMP", "WebP", "PNG with a palette"])
def test_mutated_pictures_are_read_or_skipped_with_a_reason_in_one_line(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    contents = dict(zip(map(str, range(20)), itertools.islice(mutations(name), 20), strict=True))
    files = folder(tmp_path, {"good": SAMPLES[name], **contents})
    found = read(tmp_path, "own", files, Shape(16, 16, 3), "stretch", skip=True)
    assert len(found.files) + len(found.unreadable) == 21
    assert not [one for one in found.unreadable if "\n" in one.reason]
    assert capfd.readouterr() == ("", "")
