"""Repeat a call that failed only because another process wrote the same at the same moment.

MLflow reads before it writes, so two processes that create a table, a tag or an experiment at once
both see that it is missing; the database refuses the second one. Then it is there, and the repeated
call finds it. A refused call has changed nothing: MLflow makes each in one transaction.
"""

import random
import re
import time
from collections.abc import Callable
from typing import Any

# Messages of SQLite, PostgreSQL, MySQL and SQL Server, through MLflow or its server.
CONFLICT = re.compile(
    r"IntegrityError|UniqueViolation|UNIQUE constraint|[Dd]uplicate (?:key|entry)"
    r"|(?:table|relation|object) .{1,200} already exists|DuplicateTable"
    r"|[Dd]eadlock|could not serialize|database is locked|Model Version creation error"
)
ATTEMPTS = 6
LOCKED, SQLITE_WAIT = "database is locked", 10.0  # seconds; MLflow lets SQLite wait for 20
_random = random.SystemRandom()  # a training's random numbers stay as they are


def repeated(action: Callable[[], Any]) -> Any:
    """Return the result of `action`, repeated after a conflict with another process."""
    for attempt in range(1, ATTEMPTS):
        start = time.monotonic()
        try:
            return action()
        except Exception as error:
            has_waited = LOCKED in str(error) and time.monotonic() - start > SQLITE_WAIT
            if has_waited or not CONFLICT.search(str(error)):
                raise
        time.sleep(_random.uniform(0.05, 0.1 * 2**attempt))
    return action()
