"""Exceptions whose message is shown to the user."""


class UserError(Exception):
    """A problem that the user can solve; the message is one line with the problem and advice."""


class TrainingError(UserError):
    """A training that fails because of its hyperparameters; a search continues with others."""


def printable(text: str) -> str:
    """Return a text in one line, with line ends and other unprintable characters escaped.

    File names and the answers of servers may contain commands to the terminal, or bytes that are
    not text.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
