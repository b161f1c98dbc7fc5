from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.data.picture_files import PictureFile, list_folders, list_table


def filled(root: Path, *files: str) -> Path:
    """Create empty files below a folder."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def test_pictures_are_listed_by_code_points_and_classes_are_folders(tmp_path: Path) -> None:
    names = ["b/Z.png", "b/a 1.png", "b/ä.png", "b/深/x\n1.jpg", "a/1.png", "Ö/1.png"]
    root = filled(tmp_path, *names, "a/.DS_Store", "a/Thumbs.db", ".git/x.png", "README.md")
    found = list_folders(root, "own", (), None)
    assert [one.file for one in found] == [
        "a/1.png", "b/Z.png", "b/a 1.png", "b/ä.png", "b/深/x\n1.jpg", "Ö/1.png"
    ]  # fmt: skip
    assert [one.label for one in found] == ["a", "b", "b", "b", "b", "Ö"]
    assert not any(one.test or one.group for one in found)


def test_a_test_split_is_a_folder_beside_the_others(tmp_path: Path) -> None:
    root = filled(tmp_path, "train/a/1.png", "more/a/2.png", "test/a/3.png")
    found = list_folders(root, "own", ["test"], None)
    assert [(one.file, one.test) for one in found] == [
        ("more/a/2.png", False),
        ("test/a/3.png", True),
        ("train/a/1.png", False),
    ]


def test_a_group_is_found_in_the_path_below_the_class(tmp_path: Path) -> None:
    root = filled(tmp_path, "x/a/key_16.png", "x/a/key_32.png", "y/a/set/door_16.png")
    found = list_folders(root, "own", ["y"], r"(\w+)_\d+\.png$")
    assert [one.group for one in found] == ["key", "key", "door"]


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ([], {}, "has no pictures: expected a sub-folder with pictures per class"),
        (["README.md"], {}, "has no pictures: expected a sub-folder with pictures per class"),
        (["a/.x"], {}, "/a has no pictures: put some there, or delete the folder"),
        (["a/1.png", "2.PNG"], {}, ": 2.PNG is in no class: move it to the folder of its class"),
        (
            ["1.png"],
            {},
            ": 1.png is in no class: move it to the folder of its class, or set dataset.path to the"
            " folder that contains those of the classes",
        ),
        (
            ["a/1.png"],
            {"test": ["b"]},
            "params.yaml: dataset.test: * has no folder 'b': it has 'a'",
        ),
        (
            ["train/a/1.png", "test/a/1.png"],
            {},
            ": the folders 'test', 'train' look like splits, not classes: name the test split's"
            " folder in dataset.test",
        ),
        (
            ["a/1.png"],
            {"group": r"(\d\d)"},
            r"dataset.group: '(\d\d)' does not match 'a/1.png'",
        ),
        (
            ["a/1.png"],
            {"group": "(x)?1"},
            r"dataset.group: '(x)?1' does not match 'a/1.png'",
        ),
        (["a\nb/1.png"], {}, r": the name of the folder 'a\nb' is not printable text: rename it"),
        (["a/\udcff.png"], {}, r"a/\udcff.png: the name is not UTF-8: rename it"),
    ],
)
def test_a_folder_that_is_not_a_data_set_is_refused(
    tmp_path: Path, files: list[str], options: dict[str, object], message: str
) -> None:
    filled(tmp_path, *files)
    with pytest.raises(UserError) as caught:
        list_folders(tmp_path, "own", **{"test": (), "group": None, **options})  # type: ignore[arg-type]
    start, _, end = message.rpartition("*")
    assert start in str(caught.value)
    assert str(caught.value).endswith(end)
    assert "\n" not in str(caught.value)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(UserError, match=r"dataset\.path: own/x is a file: expected a folder with"):
        list_folders(tmp_path / "x", "own/x", (), None)


TABLE = "file,label,split,group\nb.png,dog,test,1\nx/a 1.png,cat,train,2\n"


def write_table(folder: Path, content: str) -> None:
    """Write a table, and the pictures of TABLE."""
    (folder / "labels.csv").write_text(content, encoding="utf-8", newline="")
    (folder / "x").mkdir()
    for name in ("b.png", "x/a 1.png"):
        (folder / name).touch()


def test_a_table_gives_class_split_and_group(tmp_path: Path) -> None:
    write_table(tmp_path, f"\n{TABLE}\n\n")
    assert list_table(tmp_path, "own", "labels.csv", "group") == [
        PictureFile("b.png", "dog", test=True, group="1"),
        PictureFile("x/a 1.png", "cat", test=False, group="2"),
    ]
    groups = [one.group for one in list_table(tmp_path, "own", "labels.csv", r"(\w)\.")]
    assert groups == ["b", "1"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("/etc/x.png,cat,train,1", "row 3: file '/etc/x.png' is not a path below "),
        ("../x.png,cat,train,1", "row 3: file '../x.png' is not a path below "),
        (",cat,train,1", "row 3: file '' is not a path below "),
        ("b.png,cat,train,1", "row 3: file 'b.png' is listed twice"),
        ("./b.png,cat,train,1", "row 3: file 'b.png' is listed twice"),
        ("c.png,,train,1", "row 3: label '' is not printable text: rename it"),
        ("c.png,cat,dev,1", "row 3: split 'dev' is neither train nor test"),
        ("c.png,cat,train,1", "row 3: own has no file 'c.png': put it there, or delete the row"),
        ("x,cat,train,1", "row 3: own has no file 'x': put it there, or delete the row"),
    ],
)
def test_a_wrong_row_of_a_table_is_refused(tmp_path: Path, row: str, message: str) -> None:
    write_table(tmp_path, f"{TABLE}{row}\n")
    with pytest.raises(UserError, match=r"labels\.csv: ") as caught:
        list_table(tmp_path, "own", "labels.csv", None)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"file,label\n", "has no rows"),
        (b"file,class\na,b\n", "has no column label: its first row is 'file, class'"),
        (b"file;label\na,1;b\n", "has no column file: its first row is 'file;label'"),
        (b"", "has no column file: its first row is ''"),
        (b"file,label\na\n", ": row 1 has 1 cells, expected 2"),
        ("file,label\nä,b\n".encode("latin-1"), "is not a valid CSV file: 'utf-8' codec can't"),
    ],
)
def test_a_table_of_another_form_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(UserError) as caught:
        list_table(tmp_path, "data/local/own", "labels.csv", None)
    message = str(caught.value)
    assert message.startswith("dataset.list: data/local/own/labels.csv")
    assert problem in message
    assert message.endswith(
        ": save it as CSV in UTF-8 with commas, a first row with file and label, and a row per"
        " picture"
    )


def test_a_missing_table_is_named_as_the_user_knows_it(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        list_table(tmp_path, "data/local/own", "labels.csv", None)
    assert str(caught.value) == (
        "params.yaml: dataset.list: data/local/own/labels.csv is not a file: put the table there,"
        " or correct the key"
    )


def test_the_byte_order_mark_of_excel_is_not_part_of_a_column(tmp_path: Path) -> None:
    write_table(tmp_path, "\ufeff" + TABLE.replace("\n", "\r\n"))
    assert len(list_table(tmp_path, "own", "labels.csv", None)) == 2


@pytest.mark.parametrize("group", ["person", "per(son"])
def test_a_group_that_is_neither_a_column_nor_an_expression_is_refused(
    tmp_path: Path, group: str
) -> None:
    write_table(tmp_path, TABLE)
    with pytest.raises(UserError) as caught:
        list_table(tmp_path, "own", "labels.csv", group)
    assert str(caught.value) == (
        f"params.yaml: dataset.group: '{group}' is neither a column of the table nor a regular"
        " expression with parentheses"
    )
