from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.data.class_names import of_pictures, read_names
from sidebyside.data.picture_files import PictureFile


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\n\nb\n", "names.txt: class 1 has an empty name"),
        (b"a\nb\na\n", "names.txt: class_names must be distinct, but 'a' occurs twice"),
        (b"a\n", "names.txt: List should have at least 2 items"),
        (b"\xff\xfe", "names.txt is not text in UTF-8: save it as UTF-8"),
        (b"a" * 2_000_000, "names.txt: larger than any list of 200 names"),
        (None, "params.yaml: dataset.class_names: names.txt is not a file"),
    ],
)
def test_a_file_without_class_names_is_refused(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_names(path, "names.txt")
    assert str(caught.value).startswith(expected)


def pictures_of(*labels: str) -> list[PictureFile]:
    return [PictureFile(f"{label}/1.png", label, test=False, group="") for label in labels]


def test_classes_are_ordered_by_number_by_code_point_or_as_named() -> None:
    assert of_pictures(pictures_of("10", "9", "0"), "own", None) == ("0", "9", "10")
    assert of_pictures(pictures_of("ä", "Z", "a"), "own", None) == ("Z", "a", "ä")
    assert of_pictures(pictures_of("a", "b"), "own", ["b", "a"]) == ("b", "a")


@pytest.mark.parametrize(
    ("files", "named", "expected"),
    [
        (
            ["a/1.png", "a/2.png"],
            None,
            "own has one class, expected at least 2: add pictures of a class beside 'a'",
        ),
        (
            ["icons/cat/1.png", "icons/dog/1.png"],
            None,
            "own has one class, expected at least 2: if 'cat', 'dog' are classes, set dataset.path"
            " to own/icons",
        ),
        (
            [f"{number}/1.png" for number in range(201)],
            None,
            "own has 201 classes, expected at most 200: merge some or leave some out",
        ),
        (
            ["circle/1.png", "square/1.png"],
            ["cirlce", "square"],
            "params.yaml: dataset.class_names: no pictures of 'cirlce'; not listed, but with"
            " pictures: 'circle'",
        ),
        (
            ["a/1.png", "b/1.png"],
            ["a", "b", "c"],
            "params.yaml: dataset.class_names: no pictures of 'c'",
        ),
    ],
)
def test_classes_that_cannot_be_used_are_named(
    files: list[str], named: list[str] | None, expected: str
) -> None:
    pictures = [PictureFile(file, file.partition("/")[0], test=False, group="") for file in files]
    with pytest.raises(UserError) as caught:
        of_pictures(pictures, "own", named)
    assert str(caught.value) == expected
