import gzip
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sidebyside.config.dataset_description import OwnData, builtin
from sidebyside.core.errors import UserError
from sidebyside.data.local_data import copy_local, unused_note
from sidebyside.workflow.copies import link_local_data
from tests.support.images import idx_images, idx_labels, made_up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The user's data: two classes and names in other scripts."""
    folder = tmp_path / "data/local/icons"
    for name in ("cat/a b.png", "cat/ü.png", "日本/c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def description(**changes: Any) -> OwnData:
    content = {"name": "icons", "format": "idx", "path": "data/local/icons", **changes}
    return OwnData.model_validate(content)


def copied(root: Path, **changes: Any) -> str:
    return copy_local(description(**changes), root, root / "data/raw")


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refusal(root: Path, **changes: Any) -> str:
    """Return why the data are not copied, after checking that the earlier copy is intact."""
    raw = root / "data/raw"
    raw.mkdir(exist_ok=True)
    (raw / "earlier").write_text("earlier")
    with pytest.raises(UserError) as caught:
        copied(root, **changes)
    assert contents(raw) == {"earlier": "earlier"}
    assert {path.name for path in (root / "data").iterdir()} <= {"local", "raw"}
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_is_copied_with_its_folders(tmp_path: Path, folder: Path) -> None:
    assert copied(tmp_path) == "3 files, 33 bytes"
    assert contents(tmp_path / "data/raw") == contents(folder)


def test_data_raw_has_nothing_else_afterwards(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "data/raw/old").mkdir(parents=True)
    (tmp_path / "data/raw/old/file").touch()
    copied(tmp_path)
    (folder / "cat/ü.png").unlink()
    copied(tmp_path)
    assert sorted(contents(tmp_path / "data/raw")) == ["cat/a b.png", "日本/c.png"]
    assert not (tmp_path / "data/raw/old").exists()


def test_an_equal_copy_is_left_alone(tmp_path: Path, folder: Path) -> None:
    copied(tmp_path)
    before = (tmp_path / "data/raw").stat().st_ino
    assert copied(tmp_path) == "3 files, 33 bytes"
    assert (tmp_path / "data/raw").stat().st_ino == before
    (folder / "cat/a b.png").write_text("cat/A B.png")  # of equal size
    copied(tmp_path)
    assert contents(tmp_path / "data/raw")["cat/a b.png"] == "cat/A B.png"


def test_files_of_file_managers_and_editors_are_left_out(tmp_path: Path, folder: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "cat/._a", "cat/x.png~", ".git/config", "__MACOSX/x"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert copied(tmp_path) == "3 files, 33 bytes"


def test_a_single_file_is_copied_with_its_class_names(tmp_path: Path, folder: Path) -> None:
    (folder / "data.npz").write_text("npz")
    (folder / "names.txt").write_text("a\nb\n")
    text = copied(tmp_path, format="npz", path="data/local/icons/data.npz", class_names="names.txt")
    assert text == "2 files, 7 bytes"
    assert sorted(contents(tmp_path / "data/raw")) == ["data.npz", "names.txt"]


def test_the_folder_of_all_data_may_lie_on_another_disk(tmp_path: Path, folder: Path) -> None:
    shutil.move(tmp_path / "data/local", tmp_path / "elsewhere")
    (tmp_path / "data/local").symlink_to(tmp_path / "elsewhere")
    assert copied(tmp_path) == "3 files, 33 bytes"


def test_a_file_may_be_a_link_whose_changes_dvc_notices(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "elsewhere").write_text("npz")
    (folder / "data.npz").symlink_to(tmp_path / "elsewhere")
    assert copied(tmp_path, format="npz", path="data/local/icons/data.npz") == "1 files, 3 bytes"


@pytest.mark.parametrize("path", ["data/local/icons", "data/local/icons/cat"])
def test_a_link_in_the_path_of_the_data_is_refused_and_its_cure_works(
    tmp_path: Path, folder: Path, path: str
) -> None:
    shutil.move(folder, tmp_path / "my icons")
    folder.symlink_to(tmp_path / "my icons")
    message = refusal(tmp_path, path=path)
    assert message.startswith(
        "data/local/icons is a link, and DVC does not notice changes behind it: replace it by a"
        " copy with `"
    )
    subprocess.run(message.split("`")[1], shell=True, check=True, cwd=tmp_path)  # noqa: S602
    assert not folder.is_symlink()
    assert " files, " in copied(tmp_path, path=path)


def test_a_link_to_nothing_is_refused(tmp_path: Path, folder: Path) -> None:
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "missing")
    assert refusal(tmp_path) == (
        f"data/local/icons is a link to {tmp_path}/missing, which is missing: remove the link with"
        " `rm data/local/icons`, and put the data there"
    )


def test_a_copy_of_a_checkout_uses_the_data_of_the_original(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "dvc.yaml").touch()
    for root, copy in ((tmp_path, "first"), (tmp_path / "first", "second")):
        link_local_data(root, root / copy)
        (root / copy / "dvc.yaml").touch()
        assert copied(root / copy) == "3 files, 33 bytes"
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"^data/local/icons is a link, and DVC"):
        copied(tmp_path / "first")


def test_a_link_to_another_file_of_the_data_is_copied_as_a_file(
    tmp_path: Path, folder: Path
) -> None:
    (folder / "日本/link.png").symlink_to("../cat/ü.png")
    copied(tmp_path)
    assert not (tmp_path / "data/raw/日本/link.png").is_symlink()
    assert contents(tmp_path / "data/raw")["日本/link.png"] == "cat/ü.png"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/etc/passwd", "outside of the data"),
        ("../../outside.png", "outside of the data"),
        ("..", "a folder"),
        ("missing.png", "nothing"),
    ],
)
def test_a_link_that_leads_elsewhere_is_refused(
    tmp_path: Path, folder: Path, target: str, reason: str
) -> None:
    (tmp_path / "data/local/outside.png").touch()
    (folder / "cat/link").symlink_to(target)
    message = refusal(tmp_path)
    assert message == f"data/local/icons/cat/link is a link to {reason}: replace it by a copy"


def test_a_named_pipe_is_refused(tmp_path: Path, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert refusal(tmp_path) == "data/local/icons/pipe is not a file or folder: remove it"


def test_missing_data_are_named_with_the_key(tmp_path: Path) -> None:
    (tmp_path / "data/local").mkdir(parents=True)
    assert refusal(tmp_path).startswith(
        "params.yaml: dataset.path: data/local/icons does not exist: put the data there"
    )


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data/local/icons/cat").mkdir(parents=True)
    (tmp_path / "data/local/icons/.DS_Store").touch()
    assert refusal(tmp_path).startswith("data/local/icons contains no files")


@pytest.mark.parametrize("hidden", [None, ".DS_Store"])
def test_a_class_without_pictures_is_named_before_anything_is_copied(
    tmp_path: Path, folder: Path, hidden: str | None
) -> None:
    (folder / "dog").mkdir()
    if hidden:
        (folder / "dog" / hidden).touch()
    message = refusal(tmp_path, format="pictures", channels=3)
    assert message == "data/local/icons/dog has no pictures: put some there, or delete the folder"


@pytest.mark.parametrize("change", ["add", "remove", "write"])
def test_a_folder_that_changes_while_it_is_copied_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    copy = shutil.copyfile

    def changing(source: Path, target: Path) -> None:
        copy(source, target)
        if change == "add":
            (folder / "new.png").touch()
        elif change == "remove":
            shutil.rmtree(folder / "cat", ignore_errors=True)
        else:
            source.write_text("longer than before")

    monkeypatch.setattr("sidebyside.data.local_data.shutil.copyfile", changing)
    assert refusal(tmp_path).startswith("data/local/icons changed while it was copied: run ")


# Files in data/local under a built-in data set

FASHION = builtin("fashion-mnist")
IMAGES, LABELS = (file.name for file in FASHION.files[:2])


def put(root: Path, files: dict[str, bytes]) -> None:
    (root / "data/local").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / "data/local" / name).write_bytes(content)


def test_an_empty_folder_needs_no_note(tmp_path: Path) -> None:
    assert unused_note(FASHION, tmp_path) is None
    put(tmp_path, {"README.md": b"", ".DS_Store": b""})
    (tmp_path / "data/local/mnist").mkdir()
    assert unused_note(FASHION, tmp_path) is None


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["images", "labels"])
def test_own_files_under_the_names_of_the_published_ones_stop_the_stage(
    tmp_path: Path, packed: bool, kind: str
) -> None:
    split = made_up(20, 1)
    content = idx_images(split) if kind == "images" else idx_labels(split)
    name = IMAGES if kind == "images" else LABELS
    put(tmp_path, {f"{name}.gz" if packed else name: gzip.compress(content) if packed else content})
    with pytest.raises(UserError) as caught:
        unused_note(FASHION, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"data/local/{name}")
    assert "is a valid IDX file, but not of Fashion-MNIST: to use your own data, move" in message
    assert "`dataset` in params.yaml (docs/data.md)" in message


def test_a_damaged_file_is_left_to_the_sources(tmp_path: Path) -> None:
    put(tmp_path, {IMAGES: idx_images(made_up(20, 1))[:-1]})
    assert unused_note(FASHION, tmp_path) is None


def test_other_content_is_named(tmp_path: Path) -> None:
    put(tmp_path, dict.fromkeys(("a.npz", "b", "c\x1b[2J", "d"), b""))
    assert unused_note(FASHION, tmp_path) == (
        "note: data/local: a.npz, b, c\\x1b[2J, … not used by `dataset: fashion-mnist` in"
        " params.yaml: see docs/data.md"
    )
