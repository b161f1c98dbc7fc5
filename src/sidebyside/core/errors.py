"""Exceptions whose message is shown to the user."""


class UserError(Exception):
    """A problem that the user can solve; the message is one line with the problem and advice."""


class TrainingError(UserError):
    """A training that fails because of its hyperparameters; a search continues with others."""
