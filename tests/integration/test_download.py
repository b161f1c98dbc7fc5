import gzip
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from sidebyside.config.dataset_description import builtin
from tests.support.images import replace_files

PROJECT = Path(__file__).resolve().parents[2]
CONTENTS = {
    file.name: random.Random(number).randbytes(3000)  # noqa: S311 (not a secret)
    for number, file in enumerate(builtin("fashion-mnist").files)
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the files that the stage needs, for four data files of 3,000 bytes."""
    root = tmp_path / "a project"
    shutil.copytree(PROJECT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "pipeline").mkdir()
    shutil.copy(PROJECT / "pipeline/download.py", root / "pipeline")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(PROJECT / name, root)
    set_sources(root, {"folder": "data/local"})
    return root


def set_sources(root: Path, *sources: dict[str, str], timeout: float = 20) -> None:
    replace_files(root, CONTENTS, sources)
    parameters = yaml.safe_load((root / "params.yaml").read_text())
    parameters["download"] = {"timeout": timeout}
    (root / "params.yaml").write_text(yaml.safe_dump(parameters))


def offer(root: Path) -> None:
    (root / "data/local").mkdir(parents=True)
    for name, content in CONTENTS.items():
        (root / "data/local" / f"{name}.gz").write_bytes(gzip.compress(content))


def command(root: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return [sys.executable, str(root / "pipeline/download.py"), *arguments], environment


def run(
    root: Path, *arguments: str, file_size: int | None = None, encoding: str = "utf-8"
) -> tuple[int, list[str], str]:
    """Return the exit status, the lines on standard output and the standard error."""

    def limit() -> None:
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    words, environment = command(root, *arguments)
    done = subprocess.run(
        words,
        env={**environment, "PYTHONIOENCODING": encoding},
        cwd="/",
        capture_output=True,
        encoding=encoding,
        check=False,
        preexec_fn=limit,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.splitlines(), done.stderr


def raw(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "data/raw").iterdir()}


def failure(result: tuple[int, list[str], str]) -> str:
    """Return the one line that a failed command prints on standard error."""
    status, _, error = result
    assert status == 1
    assert error.count("\n") == 1
    assert error.startswith("download: error: ")
    return error.strip().removeprefix("download: error: ")


def test_the_command_fills_data_raw_and_names_the_source(project: Path) -> None:
    offer(project)
    set_sources(project, {"folder": "missing"}, {"folder": "data/local"})
    status, lines, error = run(project)
    assert (status, error) == (0, "")
    assert lines == [
        "folder missing: no such folder",
        "download: 4 files, 12,000 bytes, from folder data/local, SHA-256 verified",
    ]
    assert raw(project) == CONTENTS


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_damaged_source_is_skipped_in_any_encoding(project: Path, encoding: str) -> None:
    offer(project)
    shutil.copytree(project / "data/local", project / "damaged")
    for path in (project / "damaged").iterdir():
        path.write_bytes(gzip.compress(bytes(3000)))
    set_sources(project, {"folder": "damaged"}, {"folder": "data/local"})
    status, lines, error = run(project, encoding=encoding)
    assert (status, error) == (0, "")
    assert "wrong checksum" in lines[0]
    assert raw(project) == CONTENTS


def test_a_second_run_downloads_nothing(project: Path) -> None:
    offer(project)
    run(project)
    shutil.rmtree(project / "data/local")
    status, lines, _ = run(project)
    assert status == 0
    assert lines[0] == "data/raw: complete and verified, nothing to download"


def test_files_have_the_permissions_of_the_users_umask(project: Path) -> None:
    offer(project)
    run(project)
    mask = os.umask(0)
    os.umask(mask)
    assert (project / "data/raw").stat().st_mode & 0o777 == 0o777 & ~mask
    for path in (project / "data/raw").iterdir():
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_without_any_source_one_line_tells_the_user_where_to_put_the_files(project: Path) -> None:
    message = failure(run(project))
    assert message.startswith("no source provides the data set; put train-images-idx3-ubyte, ")
    assert message.endswith(" into data/local and run the command again")


def test_the_last_line_names_damaged_files_in_the_users_folder(project: Path) -> None:
    offer(project)
    path = min((project / "data/local").iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    message = failure(run(project))
    assert message.startswith("no source provides the data set (folder data/local: ")
    assert path.name in message.partition("; put ")[0]


def test_help_lists_inputs_outputs_and_exit_statuses(project: Path) -> None:
    status, lines, _ = run(project, "--help")
    text = "\n".join(lines)
    assert status == 0
    assert "Reads:  params.yaml" in text
    assert "Writes: data/raw/" in text
    assert "130  interrupted" in text


def test_an_unknown_argument_is_refused(project: Path) -> None:
    status, _, error = run(project, "--unknown")
    assert status == 2
    assert "--unknown" in error


def test_a_file_size_limit_leaves_earlier_files_unchanged(project: Path) -> None:
    offer(project)
    (project / "data/raw").mkdir()
    (project / "data/raw/train-images-idx3-ubyte").write_bytes(b"old")
    message = failure(run(project, file_size=2000))
    assert "File too large" in message
    assert raw(project) == {"train-images-idx3-ubyte": b"old"}
    assert sorted(path.name for path in (project / "data").iterdir()) == ["local", "raw"]


def test_a_full_disk_leaves_earlier_files_unchanged(project: Path) -> None:
    offer(project)
    shutil.move(project / "data/local", project / "local")
    set_sources(project, {"folder": "local"})
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(project / "data")],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        (project / "data/raw").mkdir()
        (project / "data/raw/train-images-idx3-ubyte").write_bytes(bytes(5000))
        message = failure(run(project))
        assert "No space left on device: free some space" in message
        assert raw(project) == {"train-images-idx3-ubyte": bytes(5000)}
        assert [path.name for path in (project / "data").iterdir()] == ["raw"]
    finally:
        subprocess.run(["umount", str(project / "data")], check=True)


def test_a_destination_that_cannot_be_written_is_named(project: Path) -> None:
    offer(project)
    shutil.move(project / "data/local", project / "local")
    set_sources(project, {"folder": "local"})
    (project / "data").rmdir()
    (project / "data").write_text("in the way")
    assert str(project / "data") in failure(run(project))
    (project / "data").unlink()
    (project / "data").mkdir(mode=0o555)
    if os.geteuid() != 0:  # root may write everywhere
        assert failure(run(project)).endswith("Permission denied")


@pytest.mark.parametrize(
    ("signum", "expected", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_during_a_hanging_download_leaves_no_files(
    project: Path, signum: signal.Signals, expected: int, word: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        set_sources(project, {"url": url}, timeout=60)
        status, error, seconds = stop(project, signum, f"url {url}: downloading")
    assert status == expected
    assert error == f"download: {word}; run the same command again to resume\n"
    assert seconds < 2
    assert list((project / "data").iterdir()) == []


def test_ctrl_c_kills_a_hanging_apt_get(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    script = programs / "apt-get"
    script.write_text('#!/bin/sh\nsleep 60 &\necho $! > "${0%/*}/child"\nwait\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    set_sources(project, {"debian": "dataset-fashion-mnist"})
    child = programs / "child"
    status, _, seconds = stop(
        project, signal.SIGINT, "debian dataset-fashion-mnist: downloading", child
    )
    assert status == 130
    assert seconds < 2
    assert list((project / "data").iterdir()) == []
    assert not is_running(int(child.read_text()))


def restore_sigint() -> None:
    """Undo that a shell ignores SIGINT in the commands that it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stop(
    root: Path, signum: signal.Signals, line: str, sign: Path | None = None
) -> tuple[int, str, float]:
    """Start the command; send a signal after it has printed `line` (and written `sign`).

    Return its exit status, its standard error and the seconds from the signal to its end.
    """
    words, environment = command(root)
    with subprocess.Popen(
        words,
        env={**environment, "no_proxy": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=restore_sigint,  # noqa: PLW1509 (there is one thread)
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == line
        while sign is not None and not (sign.exists() and sign.read_text().endswith("\n")):
            time.sleep(0.02)
        time.sleep(0.3)  # until it is waiting
        began = time.monotonic()
        process.send_signal(signum)
        _, error = process.communicate(timeout=30)
        return process.returncode, error, time.monotonic() - began


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_the_command_imports_no_large_package(project: Path) -> None:
    offer(project)
    words, environment = command(project)
    done = subprocess.run(
        [words[0], "-X", "importtime", *words[1:]],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "sidebyside.data.sources" in loaded
    assert not loaded & {"tensorflow", "keras", "mlflow", "requests", "matplotlib", "pandas"}
