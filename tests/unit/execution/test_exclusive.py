import errno
import fcntl
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import pytest

from sidebyside.config.paths import CHECKOUT
from sidebyside.execution.exclusive import (
    DVC_WITHOUT_LOCKS,
    BusyError,
    LockError,
    exclusive,
    holder,
)
from tests.support.dvc_project import mend

HOLD = """
import sys
from pathlib import Path
from sidebyside.execution.exclusive import exclusive
with exclusive(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


def hold(path: Path) -> "subprocess.Popen[str]":
    """Start a process that holds a lock until it is killed or its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_the_message_names_the_process_since_when_and_its_command(tmp_path: Path) -> None:
    path = tmp_path / "new/lock"
    with hold(path) as other:
        with pytest.raises(BusyError) as busy, exclusive(path):
            pass
        other.kill()
    assert re.fullmatch(
        rf"process {other.pid} \(`-c {re.escape(str(path))}`,"
        r" since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\)",
        str(busy.value.strerror),
    )
    with exclusive(path):  # a dead process holds no lock
        pass


def test_a_waiting_process_says_so_once_and_goes_on_when_the_other_ends(tmp_path: Path) -> None:
    path, said = tmp_path / "lock", []
    with hold(path) as other:
        assert other.stdin is not None
        close = other.stdin.close

        def on_wait(who: str) -> None:
            said.append(who)
            close()

        with exclusive(path, patience=60, on_wait=on_wait, doing="next"):
            assert f"process {os.getpid()} (`next`" in holder(path)
    assert len(said) == 1
    assert f"process {other.pid} " in said[0]


def test_a_lock_whose_file_was_removed_meanwhile_is_not_held_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock = tmp_path / "lock", fcntl.flock

    def remove_first(*arguments: Any) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()  # by its holder, between opening and locking the file
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with exclusive(path), pytest.raises(BusyError), exclusive(path):
        pass
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "[1, 2", "[1]", "7"])
def test_a_lock_file_without_its_holder_names_another_process(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lock"
    path.write_text(content)
    assert holder(path) == "another process"


def make(kind: str, path: Path) -> None:
    """Put something other than a regular file at a path."""
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("important" if kind == "link" else "nowhere")


@pytest.mark.timeout(10)  # a pipe waits for a writer
@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "dangling link"])
def test_what_is_not_a_lock_file_is_refused_with_a_command_that_moves_it(
    tmp_path: Path, kind: str
) -> None:
    important, path = tmp_path / "important", tmp_path / "a lock"
    important.write_text("content")
    make(kind, path)
    with pytest.raises(LockError, match="not a regular file") as error, exclusive(path):
        pass
    assert error.value.filename == str(path)
    assert important.read_text() == "content"
    mend(str(error.value))
    with exclusive(path):
        pass


@pytest.mark.parametrize("kind", ["pipe", "link", "dangling link"])
def test_what_is_not_the_folder_of_a_lock_is_refused_with_a_command_that_moves_it(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / "important").write_text("content")
    make(kind, tmp_path / "state")
    path = tmp_path / "state/train/lock"
    with pytest.raises(LockError, match="not a folder") as error, exclusive(path):
        pass
    mend(str(error.value))
    with exclusive(path):
        pass


def test_a_write_protected_lock_file_is_named_with_a_command_that_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    path.touch()
    usual = Path.open

    def refuse(file: Path, *arguments: Any, **options: Any) -> Any:  # the owner may be root
        if file.exists():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return usual(file, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(LockError, match="write-protected") as error, exclusive(path):
        pass
    mend(str(error.value))
    with exclusive(path):
        pass


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that answers like a network file system without locks."""
    flock, folder = fcntl.flock, tmp_path / "network"

    def refuse(file: IO[str], operation: int) -> None:
        if Path(file.name).is_relative_to(folder):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "local"))
    (tmp_path / "local").mkdir()
    return folder


def test_on_a_file_system_without_locks_a_file_in_the_temporary_folder_is_locked(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with exclusive(network / "lock", doing="first"):
        with exclusive(network / "another"):
            pass
        with pytest.raises(BusyError, match="`first`"), exclusive(network / "lock"):
            pass
    with exclusive(network / "lock"):
        pass
    (line,) = capsys.readouterr().err.splitlines()  # once
    assert line.startswith(f"{network}: no locks on this file system")
    assert DVC_WITHOUT_LOCKS in line


def test_without_locks_in_the_temporary_folder_the_error_names_the_file(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(network))
    with pytest.raises(OSError, match="No locks available") as error, exclusive(network / "lock"):
        pass
    assert Path(error.value.filename).parent == network
