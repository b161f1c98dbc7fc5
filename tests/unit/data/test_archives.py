import gzip
from pathlib import Path

import pytest

from sidebyside.data.archives import SourceError, is_intact, max_archive_size, verify
from tests.support.published_files import ARCHIVES, CONTENTS, FILES, FIRST, NAMES, damaged

FILE, CONTENT, ARCHIVE = FILES[0], CONTENTS[NAMES[0]], ARCHIVES[FIRST]  # 2,000 bytes unpacked


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize("content", [CONTENT, ARCHIVE])
def test_the_published_bytes_are_returned_unpacked(content: bytes) -> None:
    assert verify(content, "x", FILE, FILES) == CONTENT


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (ARCHIVE[:-9], "the archive is truncated"),
        (damaged(ARCHIVE), "the archive is corrupted (CRC"),
        (packed(b"")[:10] + b"\xff" * 50, "the archive is corrupted (Error"),
        (b"\x1f\x8b\x07" + bytes(50), "the archive is corrupted (Unknown"),
        (ARCHIVES[f"{NAMES[2]}.gz"], "unpacks to more than the expected 2,000 bytes"),
        (packed(bytes(50_000_000)), "unpacks to more than the expected 2,000 bytes"),
        (packed(bytes(2000)), "wrong checksum, SHA-256 "),
        (packed(bytes(1999)), "1,999 bytes, expected 2,000"),
        (packed(packed(b"x")), "21 bytes, expected 2,000"),
        (CONTENT[:-1], "1,999 bytes, expected 2,000"),
        (b"", "0 bytes, expected 2,000"),
        (bytes(2000), "wrong checksum, SHA-256 "),
        (CONTENTS[NAMES[2]], f"contains {NAMES[2]} instead"),
    ],
)
def test_other_bytes_are_refused_with_the_reason(content: bytes, expected: str) -> None:
    with pytest.raises(SourceError) as caught:
        verify(content, "x", FILE, FILES)
    assert str(caught.value).startswith(f"x: {expected}")


def test_a_smaller_file_in_the_archive_of_another_is_recognized() -> None:
    with pytest.raises(SourceError, match=f"^x: contains {NAMES[0]} instead$"):
        verify(ARCHIVE, "x", FILES[3], FILES)


def test_an_archive_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    read = gzip.GzipFile.read

    def recorded(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        content = read(self, size)
        sizes.append(len(content))
        return content

    monkeypatch.setattr(gzip.GzipFile, "read", recorded)
    with pytest.raises(SourceError):
        verify(packed(bytes(10_000_000)), "x", FILE, FILES)
    assert sizes == [FILE.size + 1]


def test_an_archive_of_incompressible_data_is_within_the_size_limit() -> None:
    assert len(ARCHIVE) > FILE.size
    assert len(ARCHIVE) <= max_archive_size(FILE)
    assert max_archive_size(FILE.model_copy(update={"size": 10**9})) < 1.01 * 10**9


def test_an_intact_file_is_recognized(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    assert is_intact(tmp_path / "x", FILE)


@pytest.mark.parametrize("content", [CONTENT + b"\0", bytes(len(CONTENT)), b""])
def test_a_damaged_file_is_recognized(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert not is_intact(tmp_path / "x", FILE)


def test_a_missing_file_is_not_intact(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "x", tmp_path / "file/x", tmp_path):
        assert not is_intact(path, FILE)
