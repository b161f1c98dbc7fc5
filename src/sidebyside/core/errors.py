"""Exceptions whose message is shown to the user."""


class UserError(Exception):
    """A problem that the user can solve; the message is one line with the problem and advice."""


class TrainingError(UserError):
    """A training that fails because of its hyperparameters; a search continues with others."""


MAX_SHOWN = 300  # characters of a reason that another library gives


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, shortened; without one, its type."""
    lines = [*str(error).split("\n"), repr(error)]
    line = next(line for line in lines if line.strip()).strip()
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"


def printable(text: str) -> str:
    """Return a text in one line, with line ends and other unprintable characters escaped.

    File names and the answers of servers may contain commands to the terminal, or bytes that are
    not text.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def quoted(text: str) -> str:
    """Return a text in quotes as it was typed, without doubled backslashes, in one line."""
    return f"'{printable(text)}'"
