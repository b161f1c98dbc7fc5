"""The exceptions a user is meant to read."""


class UserError(Exception):
    """Something the user can put right; its message is one line that says what and how."""


class TrainingError(UserError):
    """A training that cannot end well with its hyperparameters: a search goes on with others."""
