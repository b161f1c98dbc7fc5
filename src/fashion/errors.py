"""The one exception a user is meant to read."""


class UserError(Exception):
    """Something the user can put right; its message is one line that says what and how."""
