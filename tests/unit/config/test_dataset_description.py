from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from sidebyside.config.dataset_description import (
    BUILT_IN_NAMES,
    BuiltIn,
    DatasetDescription,
    OwnData,
    Source,
    builtin,
)
from sidebyside.config.validation import explain

ADAPTER: TypeAdapter[BuiltIn | OwnData] = TypeAdapter(DatasetDescription)
OWN = {"name": "icons", "format": "idx", "path": "data/local/icons"}
PICTURES = {**OWN, "format": "pictures", "channels": 3}


def refusal(content: object) -> str:
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python(content)
    message = explain(caught.value, "dataset")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", BUILT_IN_NAMES)
def test_a_built_in_data_set_has_a_source_a_licence_and_a_citation(name: str) -> None:
    description = ADAPTER.validate_python(name)
    assert isinstance(description, BuiltIn)
    assert description.name == name
    assert all((description.title, description.licence, description.source, description.citation))
    assert description.class_names == tuple(dict.fromkeys(description.class_names))
    assert set(description.augmented_classes) <= set(description.class_names)
    assert description.sources[0] == Source(folder="data/local")
    assert len({file.sha256 for file in description.files}) == len(description.files)


def test_the_built_in_data_sets_are_these_four() -> None:
    assert BUILT_IN_NAMES == ("digits", "fashion-mnist", "kmnist", "mnist")


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist"])
def test_the_files_have_the_sizes_of_their_images(name: str) -> None:
    sizes = [file.size for file in builtin(name).files]
    assert sizes == [16 + 60_000 * 784, 8 + 60_000, 16 + 10_000 * 784, 8 + 10_000]


def test_the_users_own_data_have_defaults() -> None:
    description = ADAPTER.validate_python(OWN)
    assert isinstance(description, OwnData)
    assert description.title == "icons"
    assert description.preparation == "pad"
    assert not description.mirror
    assert ADAPTER.validate_python({**OWN, "title": "My icons"}).title == "My icons"


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {"first": 1, "column": 0}, "transposed": True},
        {"class_names": ["a b", "ä", "日本"]},
        {"class_names": "names.txt", "test": 0.3, "mirror": True, "resize": "trim"},
        {"format": "npz", "path": "data/local/icons.npz"},
        {**PICTURES, "size": [32, 40], "resize": "crop", "unreadable": "skip"},
        {**PICTURES, "group": r"(person\d+)", "list": "labels.csv"},
    ],
)
def test_a_valid_description_is_accepted(change: dict[str, Any]) -> None:
    assert ADAPTER.validate_python({**OWN, **change})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("fashion", "dataset: unknown data set: choose from digits, fashion-mnist, kmnist, mnist"),
        (3, "dataset: must be digits or fashion-mnist or kmnist or mnist, or a mapping"),
        (None, "dataset: must be digits"),
        ([], "dataset: must be digits"),
        ({}, "dataset.name: is missing"),
        (
            {**OWN, "name": "My Icons"},
            "dataset.name: must be lower-case letters, digits and hyphens, such as my-icons, not"
            " 'My Icons'",
        ),
        ({**OWN, "name": "日本"}, "and hyphens, such as my-icons, not '日本'"),
        ({**OWN, "name": "mnist"}, "dataset: name 'mnist' is that of a built-in data set"),
        ({**OWN, "format": "csv"}, "dataset.format: Input should be 'idx', 'npz' or 'pictures'"),
        ({**OWN, "formt": "idx"}, "dataset.formt: unknown key: did you mean format?"),
        ({**OWN, "zoom": 1}, "dataset.zoom: unknown key: choose from name, title, format, "),
        ({**OWN, "path": "/data/icons"}, "dataset: path must be a folder or file below data/local"),
        ({**OWN, "path": "data/local/../x"}, "path must be a folder or file below data/local"),
        ({**OWN, "path": "data/local"}, "below data/local, not data/local itself"),
        ({**OWN, "path": "data/local/a\nb"}, "dataset.path: must be printable text"),
        ({**OWN, "test": 0}, "dataset.test: must be a number between 0 and 1, or the"),
        ({**OWN, "mirror": "no"}, "dataset.mirror: Input should be a valid boolean, not 'no'"),
        ({**OWN, "size": [28, 28]}, "dataset: size is for format pictures: remove it"),
        ({**OWN, "group": "(.)"}, "dataset: group is for format pictures: remove it"),
        ({**PICTURES, "transposed": True}, "dataset: transposed is for format idx: remove it"),
        ({**OWN, "format": "pictures"}, "dataset: channels is missing: 1 for grey or 3 for colour"),
        ({**OWN, "class_names": "../x.txt"}, "class_names must be the path of a file relative to"),
        (
            {**PICTURES, "list": "/x.csv"},
            "relative to data/local/icons, such as x.csv, not '/x.csv'",
        ),
        (
            {**PICTURES, "list": "data/local/icons/x.csv"},
            "dataset: list must be the path of a file relative to data/local/icons, such as x.csv,",
        ),
        ({**PICTURES, "channels": 4}, "dataset.channels: Input should be 1 or 3, not 4"),
        ({**PICTURES, "resize": "trim"}, "resize must be stretch, pad or crop for pictures"),
        ({**PICTURES, "group": "("}, "dataset: group '(' is not a regular expression: "),
        ({**PICTURES, "group": r"[\d"}, r"dataset: group '[\d' is not a regular expression: "),
        ({**OWN, "path": r"data\local\x"}, r"below data/local, not 'data\local\x'"),
        ({**OWN, "mirror": r"\n"}, r"valid boolean, not '\n'"),
        ({**PICTURES, "group": "x"}, "dataset: group must have a pair of parentheses"),
    ],
)
def test_an_invalid_description_is_refused(content: object, expected: str) -> None:
    assert expected in refusal(content)


@pytest.mark.parametrize("size", [32, [7, 28], [28, 129], [1, 1], [32], [8.5, 8], ["8", "8"], "8"])
def test_a_size_that_is_not_a_pair_of_sides_is_refused_in_one_line(size: Any) -> None:
    assert refusal({**PICTURES, "size": size}) == (
        "dataset.size: must be [height, width], whole numbers from 8 to 128, such as [32, 32], not"
        f" {size!r}"
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a"], "at least 2 items"),
        ([str(index) for index in range(201)], "at most 200 items"),
        (["a", "b", "a"], "class_names must be distinct, but 'a' occurs twice"),
        (["a", " "], "class 1 has an empty name"),
        (["a", "b\x1b[2J"], "must be printable text"),
        (["a", 2], "class_names.1: Input should be a valid string, not 2"),
    ],
)
def test_invalid_class_names_are_refused(names: list[Any], expected: str) -> None:
    assert expected in refusal({**OWN, "class_names": names})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "give exactly one of folder, python, url, debian, npm"),
        ({"folder": "a", "url": "http://b"}, "give exactly one of folder, python, url"),
        ({"folder": ""}, "give exactly one of"),
        ({"url": "ftp://x"}, "url must begin with http:// or https://, not 'ftp://x'"),
        ({"path": "a"}, "path: unknown key"),
        ({"folder": "a\nb"}, "folder: must be printable text"),
    ],
)
def test_a_source_is_exactly_one_location(content: dict[str, str], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Source.model_validate(content)
    assert expected in explain(caught.value)
