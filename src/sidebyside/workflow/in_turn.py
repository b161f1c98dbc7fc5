"""Run a command in the working directory after all others with the same lock have ended.

`make repro` runs DVC by it: two DVC processes in one folder stop each other with an error.
"""

import argparse
import math
import os
import shlex
import sys
from pathlib import Path

from sidebyside.execution.exclusive import exclusive
from sidebyside.workflow import command
from sidebyside.workflow.resume import FOLDER

LOCKS = ("repro", "smoke", "reference")


def main() -> None:
    """Wait for the lock, then become the command."""
    parser = command.parser(__doc__)
    parser.add_argument("lock", choices=LOCKS, help="name of the lock")
    parser.add_argument("program", help="program to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    given = parser.parse_args()
    line = [given.program, *given.arguments]
    lock = Path(FOLDER) / f"{given.lock}.lock"
    with exclusive(lock, patience=math.inf, on_wait=say, doing=shlex.join(line)) as file:
        # The command inherits the lock, so signals and its exit status need no forwarding.
        os.set_inheritable(file.fileno(), True)
        try:
            os.execvp(given.program, line)  # noqa: S606 (no shell)
        except OSError as error:
            error.filename = given.program
            raise


def say(holder: str) -> None:
    """Print which process is at work."""
    print(f"{holder} is at work in this folder: waiting for it to end", file=sys.stderr, flush=True)


if __name__ == "__main__":
    command.run(main)
