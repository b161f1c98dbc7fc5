import os
import subprocess
import sys
from pathlib import Path

from sidebyside.config.paths import CHECKOUT


def start(folder: Path, *command: str, lock: str = "repro") -> "subprocess.Popen[str]":
    """Start a command in turn."""
    return subprocess.Popen(
        [sys.executable, "-m", "sidebyside.workflow.in_turn", lock, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_second_command_waits_and_says_for_which_process(tmp_path: Path) -> None:
    first = start(tmp_path, "sh", "-c", "echo began; read line; echo first >> order; exit 3")
    assert first.stdout is not None
    assert first.stderr is not None
    assert first.stdout.readline() == "began\n"
    second = start(tmp_path, "sh", "-c", "echo second >> order")
    assert second.stderr is not None
    said = second.stderr.readline()
    assert said.startswith(f"process {first.pid} (`sh -c 'echo began; read line;")
    assert said.endswith(" is at work in this folder: waiting for it to end\n")
    assert first.communicate("\n") == ("", "")
    assert first.returncode == 3  # the command's own
    assert second.communicate() == ("", "")
    assert second.returncode == 0
    assert (tmp_path / "order").read_text() == "first\nsecond\n"


def test_a_missing_program_is_an_error_of_one_line(tmp_path: Path) -> None:
    process = start(tmp_path, "no-such-program")
    assert process.communicate()[1].splitlines() == [
        "in_turn: error: no-such-program: No such file or directory"
    ]
    assert process.returncode == 1


def test_another_lock_is_refused(tmp_path: Path) -> None:
    process = start(tmp_path, "true", lock="../outside")
    assert "invalid choice: '../outside'" in process.communicate()[1]
    assert process.returncode == 2
    assert not list(tmp_path.iterdir())
