import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidebyside.config.paths import CHECKOUT
from sidebyside.core import files
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_atomically, write_text


def test_bytes_are_written_and_folders_created(tmp_path: Path) -> None:
    path = tmp_path / "deep/er/file"
    files.write_bytes(path, b"\0\xff")
    assert path.read_bytes() == b"\0\xff"
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_a_write_replaces_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_bytes(path, b"a longer old content")
    files.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_reader_keeps_the_old_file_that_it_has_opened(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as opened:
        files.write_bytes(path, b"new")
        assert opened.read() == b"old"


def test_a_hard_link_to_the_old_file_keeps_its_content(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    os.link(path, link)
    files.write_bytes(path, b"new")
    assert link.read_bytes() == b"old"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_only_the_old_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space") as caught:
        files.write_bytes(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_write_beyond_the_file_size_limit_leaves_only_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from sidebyside.core.files import write_bytes\n"
            "try:\n write_bytes(Path(sys.argv[1]), bytes(5000))\n"
            "except OSError as error:\n print(error.strerror)",
            str(path),
        ],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "File too large\n"
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("text", ["a\nb", "a\nb\n", "a\nb\n\n\n"])
def test_text_ends_in_exactly_one_newline(tmp_path: Path, text: str) -> None:
    files.write_text(tmp_path / "file", text)
    assert (tmp_path / "file").read_bytes() == b"a\nb\n"


def test_text_is_utf_8_in_every_locale(tmp_path: Path) -> None:
    files.write_text(tmp_path / "file", "28×28 – é")
    assert (tmp_path / "file").read_bytes() == "28×28 – é\n".encode()


def test_json_keeps_the_order_of_keys_and_all_digits(tmp_path: Path) -> None:
    content = {"z": 0.1 + 0.2, "a": [1, None, True], "é": "×"}
    files.write_json(tmp_path / "file", content)
    text = (tmp_path / "file").read_text(encoding="utf-8")
    assert text.index('"z"') < text.index('"a"') < text.index('"é"')
    assert "0.30000000000000004" in text
    assert text.endswith("}\n")
    assert files.read_json(tmp_path / "file") == content


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_values_that_json_does_not_support_are_refused_and_leave_the_old_file(
    tmp_path: Path, value: object
) -> None:
    files.write_json(tmp_path / "file", 1)
    with pytest.raises((ValueError, TypeError)):
        files.write_json(tmp_path / "file", value)
    assert (tmp_path / "file").read_text() == "1\n"


def test_a_table_is_read_back_to_the_last_digit(tmp_path: Path) -> None:
    rows = [[0.1 + 0.2, 'a, "b"', 3], [1e-300, "", -1]]
    files.write_csv(tmp_path / "file", ["x", "name", "n"], rows)
    assert b"\r" not in (tmp_path / "file").read_bytes()
    rows_read = files.read_csv(tmp_path / "file")
    assert [[float(row["x"]), row["name"], int(row["n"])] for row in rows_read] == rows


def test_a_table_without_rows_keeps_its_header(tmp_path: Path) -> None:
    files.write_csv(tmp_path / "file", ["x", "y"], [])
    assert (tmp_path / "file").read_bytes() == b"x,y\n"
    assert files.read_csv(tmp_path / "file") == []


@pytest.mark.parametrize("read", [files.read_json, files.read_csv, files.sha256])
def test_a_missing_file_is_named_with_the_command_that_creates_it(
    tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    with pytest.raises(UserError, match="gone is missing: run `dvc repro` to create it"):
        read(tmp_path / "gone")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe{}", b"[1,]", b'{"a": 1, "a": 2}', b"[" * 100_000]
)
def test_invalid_json_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match="file is not valid JSON: ") as caught:
        files.read_json(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 100_000)
    assert files.sha256(tmp_path / "file") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_md5_is_the_digest_that_dvc_records(tmp_path: Path) -> None:
    from dvc_data.hashfile.hash import file_md5
    from dvc_objects.fs.local import localfs

    (tmp_path / "file").write_bytes(b"abc\r\n" * 100_000)
    expected = file_md5(str(tmp_path / "file"), localfs, name="md5")
    assert files.md5(tmp_path / "file") == expected


def test_the_digest_of_a_folder_leaves_out_ignored_files(tmp_path: Path) -> None:
    files.write_text(tmp_path / "deep/a", "x")
    before = files.path_digest(tmp_path)
    for name in (".DS_Store", "deep/a~", "deep/.a.tmp", "deep/#a#", "__pycache__/a.pyc"):
        files.write_text(tmp_path / name, "x")
        assert files.path_digest(tmp_path) == before, name
    files.write_text(tmp_path / "deep/b", "x")
    assert files.path_digest(tmp_path) != before


def test_equal_content_is_written_as_equal_bytes_with_any_hash_seed(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from sidebyside.core.files import write_json\n"
        "write_json(Path(sys.argv[1]), {name: len(name) for name in ('b', 'a', 'cc')})"
    )
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / seed)],
            env={
                **os.environ,
                "PYTHONPATH": str(CHECKOUT / "src"),
                "PYTHONHASHSEED": seed,
                "LC_ALL": "C",
            },
            check=True,
        )
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert json.loads((tmp_path / "1").read_text()) == {"b": 1, "a": 1, "cc": 2}


# write_atomically


def test_files_written_atomically_are_replaced_at_the_end(tmp_path: Path) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "deep/b.txt"
    first.write_text("old")
    with write_atomically():
        write_text(first, "new")
        write_text(second, "new")
        assert first.read_text() == "old"
        assert not second.exists()
    assert (first.read_text(), second.read_text()) == ("new\n", "new\n")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_a_failure_leaves_all_files_of_the_block_unchanged(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), write_atomically():
        write_text(path, "new")
        write_text(tmp_path / "b.txt", "new")
        raise error
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_written_twice_in_a_block_has_the_last_content(tmp_path: Path) -> None:
    with write_atomically():
        write_text(tmp_path / "a.txt", "first")
        write_text(tmp_path / "a.txt", "second")
    assert (tmp_path / "a.txt").read_text() == "second\n"


def test_a_file_written_after_a_block_is_replaced_immediately(tmp_path: Path) -> None:
    with write_atomically():
        pass
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new\n"


def test_a_folder_in_place_of_a_file_leaves_all_files_of_the_block_unchanged(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(IsADirectoryError, match=r"b\.txt"), write_atomically():
        write_text(tmp_path / "a.txt", "new")
        write_text(tmp_path / "b.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.txt", "b.txt"]


# YAML


def test_yaml_is_parsed_as_dvc_parses_it(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    text = "{ten: 010, word: yes, small: 1e-3, true: true, none: null, list: [1, 2.5, [a]]}"
    path.write_text(text)
    expected = {"ten": 10, "word": "yes", "small": 0.001, True: True, "none": None}
    assert files.read_yaml(path) == {**expected, "list": [1, 2.5, ["a"]]}
    assert files.read_yaml(path) == dvc_content(path)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1_000",
        "a: 0o10",
        "a: 0x1F",
        "a: 1:30",
        "a: 1.e3",
        "a: .5",
        "a: +1",
        "a: ١٢",
        "a: .inf",
        "a: ~",
        "a:",
        "%YAML 1.1\n---\n{a: 010, b: yes, c: 1.0e+3, d: 1_0, e: 1:30}",
        "\ufeffa: 1\r\nb: 2\r\n",
        "a: !!int '1'",
    ],
)
def test_a_notation_has_the_value_that_dvc_records(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode())
    assert repr(files.read_yaml(path)) == repr(dvc_content(path))


def dvc_content(path: Path) -> Any:
    """Return a YAML file's content as DVC's own function gives it."""
    from dvc.utils.serialize import load_yaml

    return load_yaml(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: [", "file.yaml is not valid YAML: .* in line "),
        ("a: 1\na: 2", 'found duplicate key "a" with value "2".* in line 2'),
        ("a: !!int abc", "is not valid YAML"),
        ("a: 2024-02-30", "is not valid YAML"),
        ("a: 2024-02-03", "date 2024-02-03 is not allowed in line 1"),
        ("2024-02-03: 1", "date 2024-02-03 is not allowed in line 1"),
        ("a: !!set {}", "set .* is not allowed in line 1"),
        ("a: !!binary aGk=", "bytes .* is not allowed in line 1"),
        ("a: !!python/object/apply:os.system [true]", "is not valid YAML"),
        ("a: &a [*a]", "a value contains itself in line 1"),
        ("a: *b", "is not valid YAML"),
        ("[" * 5000, "nested too deeply"),
        ("a: 1\nb: " + "1" * 5000, "value has 5000 digits in line 2"),
        (f"a: {2**64}", "a number of 65 bits is too large"),
        ("a: 0x" + "f" * 5000, "a number of 20000 bits is too large"),
        ("\0", "is not valid YAML"),
    ],
)  # fmt: skip
def test_invalid_yaml_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        files.read_yaml(path)
    assert "\n" not in str(caught.value)


def test_an_alias_has_the_value_of_its_anchor(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("{a: &a {x: 1}, b: {<<: *a, y: 2}, c: [*a, *a]}")
    assert files.read_yaml(path) == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}] * 2}
    assert files.read_yaml(path) == dvc_content(path)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("first", "nested"),
    [
        ("a0: &a0 x", "a{0}: &a{0} [{1}]"),
        ("a0: &a0 {x: 1}", "a{0}: &a{0} {{<<: [{1}], k{0}: 1}}"),
    ],
)
def test_nested_aliases_are_refused_without_expanding_them(
    tmp_path: Path, first: str, nested: str
) -> None:
    lines = [nested.format(n, ", ".join([f"*a{n - 1}"] * 10)) for n in range(1, 12)]
    (tmp_path / "file.yaml").write_text("\n".join([first, *lines]))
    with pytest.raises(
        UserError, match=r"file\.yaml is not valid YAML: aliases expand to more than"
    ):
        files.read_yaml(tmp_path / "file.yaml")


@pytest.mark.parametrize("read", [files.read_yaml, files.read_json, files.read_csv])
def test_a_file_that_is_too_large_is_refused_without_reading_it(
    tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(UserError, match=r"file is larger than \d+ MiB"):
        read(tmp_path / "file")


@pytest.mark.parametrize("read", [files.read_yaml, files.read_json, files.read_csv, files.sha256])
def test_a_pipe_in_place_of_a_file_is_refused_without_waiting(
    tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"Not a regular file: .*pipe"):
        read(tmp_path / "pipe")


def test_bytes_that_are_not_utf_8_are_not_yaml(tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_bytes(b"a: \xff")
    with pytest.raises(UserError, match="is not valid YAML"):
        files.read_yaml(tmp_path / "file.yaml")


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,2,3\n"])
def test_a_row_of_the_wrong_length_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"row 1 has \d cells, expected 2"):
        files.read_csv(path)


def test_bytes_that_are_not_utf_8_are_not_a_table(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n\xff,1\n")
    with pytest.raises(UserError, match="is not a valid CSV file"):
        files.read_csv(path)


def test_trailing_spaces_of_text_are_kept(tmp_path: Path) -> None:
    files.write_text(tmp_path / "x", "a  \n\n")
    assert (tmp_path / "x").read_text() == "a  \n"


def test_all_files_but_the_kept_ones_are_deleted(tmp_path: Path) -> None:
    for name in ("a", "b/c", "b/d"):
        files.write_text(tmp_path / name, name)
    files.keep_only(tmp_path, {tmp_path / "b/c"})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "b/c"]
    files.keep_only(tmp_path / "missing", set())


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with files.open_regular(tmp_path / "link") as opened:
        assert opened.read() == b"content"
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match=f"Not a regular file: '{path}'"):
            files.open_regular(path)
    with pytest.raises(IsADirectoryError):
        files.open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.open_regular(tmp_path / "none")


def test_advice_for_a_missing_file_names_its_own_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "a study"
    inner.mkdir()
    for folder in (tmp_path, inner):
        (folder / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"a\.json is missing: run `dvc repro` to create it"):
        files.read_json(tmp_path / "reports/a.json")
    with pytest.raises(UserError, match=r"run `dvc --cd 'a study' repro` to create it"):
        files.read_json(inner / "results/a.json")
