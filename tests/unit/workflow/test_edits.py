import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.workflow import edits


def test_files_changed_since_the_start_of_the_process_are_found_even_with_an_old_time(
    tmp_path: Path,
) -> None:
    (new := tmp_path / "new").touch()
    os.utime(new, (1, 1))  # as `rsync --times` does
    assert edits.changed_since_start([new, tmp_path / "missing", Path(__file__)]) == [new]


def test_files_written_right_before_the_process_are_older(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from sidebyside.workflow import edits;"
    code += "print(edits.changed_since_start([Path(sys.argv[1])]))"
    source = str(Path(edits.__file__).parents[2])
    (file := tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-c", code, file],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_a_start_long_before_the_module_was_loaded_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "file").touch()
    monkeypatch.setattr(edits, "_imported", time.time() + 2 * edits.LOADING)
    monkeypatch.setattr(edits, "_start", edits._start.__wrapped__)  # without its cache
    assert edits.changed_since_start([file]) == []


def test_a_time_of_a_clock_that_is_ahead_is_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "file").touch()
    past = time.time() - 60
    monkeypatch.setattr(time, "time", lambda: past)
    assert edits.changed_since_start([file]) == []


def test_the_first_watched_files_that_changed_are_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [tmp_path / name for name in ("d", "b", "a", "c")]
    for file in files:
        file.touch()
    with (
        edits.watching(files[:2]),
        pytest.raises(UserError, match=r"^b, d changed while the stage"),
    ):
        edits.require_unchanged_since_start()
    with edits.watching(files), pytest.raises(UserError, match=r"^a, b, c, … changed while the"):
        edits.require_unchanged_since_start()
    edits.require_unchanged_since_start()
