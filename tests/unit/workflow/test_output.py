"""Standard output that is cut off, closed, or cannot show a character."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "src"
PROGRAM = """
import sys
from pathlib import Path
from sidebyside.workflow import command

def main():
    for _ in range(3):
        print("a line", "x" * {width}, flush=True)
    print("progress", file=sys.stderr)
    Path("made").write_text("complete")

command.run(main, output_is_log={log})
"""


def run(
    folder: Path, redirection: str, *, log: bool, width: int = 1
) -> "subprocess.CompletedProcess[str]":
    """Run the program in a shell with redirected output."""
    (folder / "stage.py").write_text(PROGRAM.format(log=log, width=width))
    line = f"set -o pipefail; {shlex.quote(sys.executable)} stage.py {redirection}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("log", [True, False])
def test_a_closed_pipe_ends_nothing_and_prints_nothing(tmp_path: Path, log: bool) -> None:
    done = run(tmp_path, "| head -c 1", log=log, width=100_000)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a", "progress\n")
    assert (tmp_path / "made").read_text() == "complete"


def test_a_stage_with_a_full_disk_as_output_warns_and_succeeds(tmp_path: Path) -> None:
    done = run(tmp_path, "> /dev/full", log=True)
    warning = "stage: warning: standard output is incomplete: No space left on device"
    assert done.returncode == 0
    assert done.stderr.startswith(f"progress\n{warning}")
    assert len(done.stderr.splitlines()) == 2
    assert (tmp_path / "made").exists()


def test_a_command_with_a_full_disk_as_output_completes_its_work_and_fails_in_one_line(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, "> /dev/full", log=False)
    message = "stage: error: standard output is incomplete: No space left on device"
    assert done.returncode == 1
    assert done.stderr.startswith(f"progress\n{message}")
    assert len(done.stderr.splitlines()) == 2
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("redirection", ["2> /dev/full", ">&- 2>&-", "<&- >&- 2>&-"])
def test_lost_or_closed_standard_streams_change_nothing(tmp_path: Path, redirection: str) -> None:
    assert run(tmp_path, redirection, log=False).returncode == 0
    assert (tmp_path / "made").read_text() == "complete"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_character_that_the_encoding_lacks_is_replaced(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "stage.py").write_text(
        "import sys\n"
        "from sidebyside.core.errors import UserError\n"
        "from sidebyside.workflow import command\n"
        "def main():\n"
        "    print('1 … 2 █ \\udce9')\n"
        "    raise UserError('… is odd')\n"
        "command.run(main)\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "stage.py"],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONIOENCODING": encoding, "LC_ALL": "C"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    shown = "1 … 2 █ ?" if encoding == "utf-8" else "1 ? 2 ? ?"
    assert done.stdout.decode() == f"{shown}\n"
    assert done.stderr.count(b"\n") == 1
