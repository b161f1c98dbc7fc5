import gzip
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidebyside.config.dataset_description import RawFile, Source, builtin
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_bytes
from sidebyside.data import sources
from sidebyside.data.sources import fetch
from tests.support.published_files import (
    ARCHIVES,
    CONTENTS,
    FILES,
    FIRST,
    NAMES,
    Respond,
    contents_of,
    deb,
    fill,
    send_archive,
)

IMAGES = NAMES[0]


def get(root: Path, *listed: Source, timeout: float = 5) -> tuple[str | None, list[str]]:
    """Return the source used and the reported lines."""
    lines: list[str] = []
    used = fetch(FILES, listed, timeout, root / "data/raw", root, report=lines.append)
    return used, lines


def refusal(root: Path, source: Source) -> str:
    """Return why the only source fails, after checking that it leaves no files behind."""
    lines: list[str] = []
    with pytest.raises(UserError, match="no source provides the data set"):
        fetch(FILES, [source], 5, root / "data/raw", root, report=lines.append)
    assert not list((root / "data").iterdir())
    *_, line = lines
    prefix = f"{sources.describe(source)}: "
    assert line.startswith(prefix)
    assert "\n" not in line
    return line.removeprefix(prefix)


# Existing data


def test_complete_data_is_not_downloaded_again(tmp_path: Path) -> None:
    fill(tmp_path / "data/raw", CONTENTS)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data/raw").iterdir()}
    assert get(tmp_path, Source(folder="missing")) == (
        None,
        ["data/raw: complete and verified, nothing to download"],
    )
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "data/raw").iterdir()}


@pytest.mark.parametrize("content", [None, b""])
def test_damaged_data_is_replaced(tmp_path: Path, content: bytes | None) -> None:
    victim = fill(tmp_path / "data/raw", CONTENTS) / IMAGES
    victim.unlink()
    if content is not None:
        victim.write_bytes(content)
    used, _ = get(tmp_path, Source(folder=str(fill(tmp_path / "good", ARCHIVES))))
    assert used == f"folder {tmp_path / 'good'}"
    assert contents_of(tmp_path / "data/raw") == CONTENTS


def test_a_folder_in_place_of_a_raw_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data/raw" / IMAGES).mkdir(parents=True)
    with pytest.raises(OSError, match=IMAGES):
        get(tmp_path, Source(folder=str(fill(tmp_path / "good", ARCHIVES))))


# Installed Python packages


def test_files_are_found_in_an_installed_package_that_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "a_package/data", ARCHIVES)
    (tmp_path / "a_package/__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    assert get(tmp_path, Source(python="a_package/data")) == ("python a_package/data", [])
    assert contents_of(tmp_path / "data/raw") == CONTENTS


def test_a_package_that_is_not_installed_is_reported(tmp_path: Path) -> None:
    assert refusal(tmp_path, Source(python="missing_package/data")) == (
        "the Python package missing_package is not installed"
    )


def test_the_digits_are_those_that_scikit_learn_installs(tmp_path: Path) -> None:
    digits = builtin("digits")
    fetch(digits.files, digits.sources, 5, tmp_path / "raw", tmp_path)
    assert sorted(contents_of(tmp_path / "raw")) == ["digits.csv"]


# Files that are published as archives


def test_a_file_published_as_an_archive_is_kept_as_it_is(tmp_path: Path) -> None:
    content = ARCHIVES[FIRST]
    file = RawFile(name=FIRST, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    fill(tmp_path / "mine", {FIRST: content})
    fetch([file], [Source(folder="mine")], 5, tmp_path / "raw", tmp_path)
    assert contents_of(tmp_path / "raw") == {FIRST: content}


# Folders


def test_a_folder_may_contain_archives(tmp_path: Path) -> None:
    fill(tmp_path / "data/local", ARCHIVES)
    assert get(tmp_path, Source(folder="data/local")) == ("folder data/local", [])
    assert contents_of(tmp_path / "data/raw") == CONTENTS


def test_a_folder_may_contain_unpacked_files_and_archives(tmp_path: Path) -> None:
    mixed = {**CONTENTS, FIRST: ARCHIVES[FIRST]}
    del mixed[IMAGES]
    fill(tmp_path / "my files", mixed)
    get(tmp_path, Source(folder="my files"))
    assert contents_of(tmp_path / "data/raw") == CONTENTS


def test_a_folder_is_relative_to_the_root_not_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "mine", CONTENTS)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    assert get(tmp_path, Source(folder="mine"))[0] == "folder mine"


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    assert refusal(tmp_path, Source(folder="missing")) == "no such folder"


def test_a_file_in_place_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    assert refusal(tmp_path, Source(folder="mine")) == "no such folder"


def test_a_file_missing_from_a_folder_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "mine", ARCHIVES)
    (tmp_path / "mine" / FIRST).unlink()
    reason = refusal(tmp_path, Source(folder="mine"))
    assert reason == f"{IMAGES} is missing, and so is {FIRST}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (ARCHIVES[FIRST][:-9], "the archive is truncated"),
        (bytes(10_000_000), "larger than any archive of 2,000 bytes"),
    ],
)
def test_a_wrong_file_in_a_folder_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    fill(tmp_path / "mine", {**ARCHIVES, FIRST: content})
    assert refusal(tmp_path, Source(folder="mine")) == f"{FIRST}: {expected}"


def test_a_file_without_read_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "mine", CONTENTS)
    if os.geteuid() == 0:  # root may read every file
        real = Path.open

        def refusing(self: Path, *args: str, **options: str) -> object:
            if self == tmp_path / "mine" / IMAGES:
                raise PermissionError(13, "Permission denied", str(self))
            return real(self, *args, **options)  # type: ignore[call-overload]

        monkeypatch.setattr(Path, "open", refusing)
    else:
        (tmp_path / "mine" / IMAGES).chmod(0)
    assert refusal(tmp_path, Source(folder="mine")) == f"{IMAGES}: Permission denied"


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    (fill(tmp_path / "mine", {}) / IMAGES).mkdir()
    assert refusal(tmp_path, Source(folder="mine")) == f"{IMAGES}: Is a directory"


# Servers and packages; see test_http.py and test_debian.py


def test_a_server_provides_archives(tmp_path: Path, serve: Callable[[Respond], str]) -> None:
    address = serve(send_archive)
    used, lines = get(tmp_path, Source(url=address + "/some/where/"))
    assert used == f"url {address}/some/where/"
    assert lines == [f"url {address}/some/where/: downloading"]
    assert contents_of(tmp_path / "data/raw") == CONTENTS


def test_a_server_that_swaps_two_files_is_refused(
    tmp_path: Path, serve: Callable[[Respond], str]
) -> None:
    swapped = {NAMES[3]: NAMES[2], NAMES[2]: NAMES[3]}

    def respond(handler: object, name: str) -> None:
        file = name.removesuffix(".gz")
        send_archive(handler, f"{swapped.get(file, file)}.gz")  # type: ignore[arg-type]

    reason = refusal(tmp_path, Source(url=serve(respond)))
    assert reason == f"{NAMES[2]}.gz: unpacks to more than the expected 3,000 bytes"


@pytest.mark.parametrize("contents", [ARCHIVES, CONTENTS])
def test_a_package_provides_the_files(
    tmp_path: Path, apt_get: Callable[..., Path], contents: dict[str, bytes]
) -> None:
    apt_get(deb(contents))
    before = set(tmp_path.rglob("*"))
    used, lines = get(tmp_path, Source(debian="a-package"))
    assert used == "debian a-package"
    assert lines == ["debian a-package: downloading"]
    assert contents_of(tmp_path / "data/raw") == CONTENTS
    new = {path.relative_to(tmp_path).as_posix() for path in set(tmp_path.rglob("*")) - before}
    assert new == {"data", "data/raw", "bin/calls", *(f"data/raw/{name}" for name in NAMES)}


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (
            {name: ARCHIVES[name] for name in ARCHIVES if name != FIRST},
            f"the package does not contain {FIRST}",
        ),
        ({**ARCHIVES, FIRST: b"x"}, f"{FIRST}: 1 bytes, expected 2,000"),
    ],
    ids=("missing", "wrong"),
)
def test_a_package_without_the_published_files_is_refused(
    tmp_path: Path, apt_get: Callable[..., Path], contents: dict[str, bytes], expected: str
) -> None:
    apt_get(deb(contents))
    assert refusal(tmp_path, Source(debian="a-package")) == expected


# Several sources


def test_sources_are_tried_in_order_until_one_provides_all_files(tmp_path: Path) -> None:
    fill(tmp_path / "partial", {IMAGES: CONTENTS[IMAGES]})
    fill(tmp_path / "good", ARCHIVES)
    fill(tmp_path / "later", ARCHIVES)
    used, lines = get(
        tmp_path, *(Source(folder=name) for name in ("none", "partial", "good", "later"))
    )
    assert used == "folder good"
    assert lines == [
        "folder none: no such folder",
        f"folder partial: {NAMES[1]} is missing, and so is {NAMES[1]}.gz",
    ]


def test_the_error_tells_the_user_where_to_put_the_files(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        get(tmp_path, Source(url="http://x.invalid"), Source(folder="data/local"))
    message = str(caught.value)
    assert all(name in message for name in NAMES)
    assert "into data/local and run the command again" in message
    assert "\n" not in message


def test_without_a_folder_among_the_sources_the_error_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a folder listed in its description"):
        get(tmp_path, Source(url="http://x.invalid"))


def test_a_folder_that_cannot_be_entered_is_skipped_and_reported(tmp_path: Path) -> None:
    fill(tmp_path / "good", ARCHIVES)
    too_long = "x" * 300  # fails for root too, unlike a folder without permissions
    with pytest.raises(UserError, match=r"File name too long.*; put "):
        get(tmp_path, Source(folder="none"), Source(folder=too_long))
    assert get(tmp_path, Source(folder=too_long), Source(folder="good")) == (
        "folder good",
        [f"folder {too_long}: File name too long"],
    )


def terabyte(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)  # sparse: on no disk


@pytest.mark.parametrize(
    "damage",
    [
        os.mkfifo,
        terabyte,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
        lambda path: path.write_bytes(gzip.compress(bytes(10**7))),
    ],
    ids=["pipe", "terabyte", "device", "link to itself", "bomb"],
)
def test_after_a_hostile_first_source_the_second_is_asked(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    (fill(tmp_path / "bad", ARCHIVES) / FIRST).unlink()
    damage(tmp_path / "bad" / FIRST)
    fill(tmp_path / "good", ARCHIVES)
    used, (line,) = get(tmp_path, Source(folder="bad"), Source(folder="good"))
    assert used == "folder good"
    assert line.startswith(f"folder bad: {FIRST}: ")


# Failures leave the earlier files


def assert_unchanged(root: Path) -> None:
    assert contents_of(root / "data/raw") == {IMAGES: b"old"}
    assert [path.name for path in (root / "data").iterdir()] == ["raw"]


def test_a_failure_leaves_earlier_files_unchanged(tmp_path: Path) -> None:
    fill(tmp_path / "data/raw", {IMAGES: b"old"})
    fill(tmp_path / "mine", {**ARCHIVES, f"{NAMES[3]}.gz": b"x"})
    with pytest.raises(UserError):
        get(tmp_path, Source(folder="mine"))
    assert_unchanged(tmp_path)


def test_a_failed_write_leaves_earlier_files_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "data/raw", {IMAGES: b"old"})
    fill(tmp_path / "mine", ARCHIVES)
    written: list[Path] = []

    def full(path: Path, content: bytes) -> None:
        if len(written) == 3:
            raise OSError(28, "No space left on device", str(path))
        write_bytes(path, content)
        written.append(path)

    monkeypatch.setattr(sources, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        get(tmp_path, Source(folder="mine"))
    assert_unchanged(tmp_path)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that every user of the machine may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_read_only_destination_is_named_and_unchanged(open_folder: Path) -> None:
    fill(open_folder / "mine", ARCHIVES)
    fill(open_folder / "data/raw", {IMAGES: b"old"})
    (open_folder / "data").chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:  # root may write everywhere
            os.seteuid(65534)
        with pytest.raises(PermissionError) as caught:
            get(open_folder, Source(folder="mine"))
    finally:
        os.seteuid(user)
        (open_folder / "data").chmod(0o755)
    assert str(caught.value.filename).startswith(str(open_folder / "data"))
    assert_unchanged(open_folder)
