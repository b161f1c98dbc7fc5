"""Call a store so that no failure of it stops a stage, or holds it for long.

Every call that only logs goes through `Guard.attempt`. It catches all exceptions, because a store
fails with those of many libraries, and it limits the time, because some failures are silence.
"""

import contextlib
import math
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidebyside.core.errors import UserError, printable
from sidebyside.tracking import failures
from sidebyside.tracking.worker import NoAnswerError, Worker
from sidebyside.workflow import command

# A process waits for its store for at most PATIENCE seconds and a SHARE of its duration.
PATIENCE, SHARE = 60.0, 0.05
CALL_LIMIT = 300.0  # seconds that a command which needs its store waits for an answer
# Seconds without a call after one that took longer than SLOW to fail: detecting a dead server takes
# up to 15 s. The pause doubles after each further failure.
SLOW, RETRY_AFTER, LONGEST_PAUSE = 1.0, 30.0, 600.0
# The traceback of the last failure, below the project's root: messages are one line.
TRACEBACK = ".state/mlflow-traceback.txt"

UNREACHABLE: Any = object()  # the result of a call that failed, or was skipped


class InvalidAddressError(UserError):
    """The store's address is invalid, which the user is told before anything is trained."""


@dataclass
class Outage:
    """A pause in the calls of one part of a store."""

    pause: float = RETRY_AFTER
    until: float = 0.0


class Guard:
    """Calls to one store, one after another.

    Its parts (the server or database, the artifact store, the model registry) can fail separately;
    while the first pauses, no other is called. Parts are called by their names in messages.
    """

    def __init__(self, name: str, folder: Path, database: Path | None) -> None:
        """Start without a failure.

        Args:
            name: name of the server or database in messages.
            folder: the project's root.
            database: the store's database, if it is a local file.
        """
        self.name = name
        self.folder = folder
        self.database = database
        self.patience = PATIENCE
        self.required = False  # whether the command fails with the first call that fails
        self._worker = Worker()
        self._started, self._waited = time.monotonic(), 0.0  # seconds
        self._given_up: str | None = None  # message with the reason
        self._warned: set[tuple[str, str]] = set()
        self._warned_last: set[str] = set()  # parts whose last message was a warning
        self._outages: dict[str, Outage] = {}

    def attempt(
        self, action: Callable[[], Any], part: str | None = None, limit: float = math.inf
    ) -> Any:
        """Return the result of `action`, or UNREACHABLE if it fails for any reason.

        Args:
            action: the call.
            part: name of the artifact store or the registry, if one is called.
            limit: maximum number of seconds to wait, if it is less than the patience left; a call
                with a limit is never required.

        Raises:
            InvalidAddressError: raised by `action`.
            UserError: the store is required, and `action` or an earlier call fails.
        """
        if self.required and limit == math.inf:
            return self.require(action, part)
        part = part or self.name
        if self._is_skipped(part):
            return UNREACHABLE
        before = time.monotonic()
        try:
            result = self._worker.call(action, min(limit, self._patience_left()))
        except InvalidAddressError:
            raise
        except Exception as error:
            self._note_failure(part, error, time.monotonic() - before)
            result = UNREACHABLE
        else:
            self._note_success(part)
        finally:
            self._waited += time.monotonic() - before
        if self._patience_left() <= 0 and not self._given_up:
            self._give_up(f"{self.name} is too slow: run the same command again")
            warn(f"warning: {self.name} is too slow: nothing more is logged to it")
        return result

    def require(self, action: Callable[[], Any], part: str | None = None) -> Any:
        """Return the result of `action`, for a command that needs the store.

        Args:
            action: the call.
            part: as for `attempt`.

        Raises:
            UserError: `action` fails, or the store has been given up.
        """
        if self._given_up:
            raise UserError(self._given_up)
        try:
            return self._worker.call(action, CALL_LIMIT)
        except UserError:
            raise
        except Exception as error:
            self._keep_traceback(error)
            message = failures.message(part or self.name, error, self.database)
            if self.required or isinstance(error, NoAnswerError):
                self._give_up(message)
            raise UserError(message) from None

    def retry(self) -> None:
        """End the pauses after failures: the next attempt calls the store."""
        for outage in self._outages.values():
            outage.until = 0.0

    def _is_skipped(self, part: str) -> bool:
        outages = (self._outages.get(name) for name in (self.name, part))
        now = time.monotonic()
        return bool(self._given_up) or any(outage and now < outage.until for outage in outages)

    def _patience_left(self) -> float:
        return self.patience + SHARE * (time.monotonic() - self._started) - self._waited

    def _note_failure(self, part: str, error: Exception, seconds: float) -> None:
        reason, cure = failures.reason(error), failures.cure(error, self.database)
        if not {(part, reason), (self.name, reason)} & self._warned:
            self._warned.add((part, reason))
            self._warned_last.add(part)
            self._keep_traceback(error)
            advice = f"; {cure}" if cure else ""
            warn(f"warning: {part} fails ({reason}): continuing without it{advice}")
        if isinstance(error, NoAnswerError):
            self._give_up(failures.message(part, error, self.database))
        elif seconds > SLOW:
            outage = self._outages.setdefault(part, Outage())
            outage.until = time.monotonic() + outage.pause
            outage.pause = min(2 * outage.pause, LONGEST_PAUSE)

    def _note_success(self, part: str) -> None:
        self._outages.pop(part, None)
        if part in self._warned_last:
            self._warned_last.remove(part)
            warn(f"{part} responds again")

    def _give_up(self, message: str) -> None:
        """Call the store no more in this process; libraries may have threads that still wait."""
        self._given_up = message
        command.leave_at_once()

    def _keep_traceback(self, error: BaseException) -> None:
        with contextlib.suppress(OSError):
            path = self.folder / TRACEBACK
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")


def warn(message: str) -> None:
    """Print a line on standard error, if there still is one."""
    with contextlib.suppress(OSError):
        print(printable(message), file=sys.stderr, flush=True)
