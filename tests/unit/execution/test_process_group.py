import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sidebyside.config.paths import CHECKOUT
from sidebyside.execution import process_group
from sidebyside.execution.exclusive import exclusive

# A command whose child goes on after a signal for as long as its argument says.
PARENT = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))"
CHILD = """
import signal, sys, time
from pathlib import Path
def leave(*_):
    time.sleep(float(sys.argv[1]))
    Path("cleaned up").touch()
    sys.exit()
signal.signal(signal.SIGTERM, leave)
Path("began").touch()
time.sleep(60)
"""
CALL = """
import os, sys
from pathlib import Path
from sidebyside.execution import process_group
from sidebyside.workflow import command
process_group.PATIENCE = 1.0
command.run(lambda: process_group.call([sys.executable, *sys.argv[1:]], Path.cwd(), os.environ))
"""
LOCKED = """
import os, sys
from pathlib import Path
from sidebyside.execution import process_group
from sidebyside.execution.exclusive import exclusive
with exclusive(Path("lock")) as file:
    os.set_inheritable(file.fileno(), True)
    process_group.call(sys.argv[1:], Path.cwd(), os.environ)
"""


def test_the_exit_status_is_that_of_the_command(tmp_path: Path) -> None:
    assert process_group.call(["sh", "-c", "exit 3"], tmp_path, os.environ) == 3


@pytest.mark.parametrize(
    ("number", "status", "seconds"),
    [(signal.SIGTERM, 143, "0.2"), (signal.SIGINT, 130, "60"), (signal.SIGKILL, -9, "0.2")],
)
def test_an_interruption_ends_the_children_of_a_command(
    tmp_path: Path, number: signal.Signals, status: int, seconds: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CALL, "-c", PARENT, "-c", CHILD, seconds],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        start_new_session=True,
    )
    wait_for((tmp_path / "began").exists)
    process.send_signal(number)
    assert process.wait(20) == status
    wait_for(lambda: not [p for p in Path("/proc").glob("[0-9]*/cwd") if is_link_to(p, tmp_path)])
    assert (tmp_path / "cleaned up").exists() == (seconds == "0.2")


def test_a_lock_is_held_until_the_processes_of_a_killed_command_have_ended(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LOCKED, sys.executable, "-c", CHILD, "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        start_new_session=True,
    )
    wait_for((tmp_path / "began").exists)
    process.kill()
    process.wait()
    with exclusive(tmp_path / "lock", patience=30.0):
        assert (tmp_path / "cleaned up").exists()


def test_a_command_is_not_ended_while_it_holds_its_guard(tmp_path: Path) -> None:
    guard = tmp_path / "guard"
    guard.touch()
    with process_group.calls(guard) as running, ThreadPoolExecutor(1) as pool:
        command = ["flock", "guard", "sh", "-c", "touch began; sleep 1; touch written"]
        status = pool.submit(running.call, [*command], tmp_path, os.environ)
        wait_for((tmp_path / "began").exists)
        running.end()
        assert (tmp_path / "written").exists()
        status.result()


def test_no_command_starts_after_the_end(tmp_path: Path) -> None:
    with process_group.calls() as running:
        running.end()
        assert running.call(["touch", "began"], tmp_path, os.environ) < 0
    assert not (tmp_path / "began").exists()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_link_to(path: Path, folder: Path) -> bool:
    try:
        return path.resolve() == folder.resolve()
    except OSError:  # the process has ended, or belongs to another user
        return False
