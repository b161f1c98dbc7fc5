"""Base class of everything that is read from a file and checked, and its one-line errors."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

# Tags with which a union tells "one value" from "one value per layer", and a built-in data set
# from the user's own. They are part of the location of an error, but not of the key that a user
# wrote.
ONE_VALUE, VALUE_PER_LAYER = "<one>", "<list>"
BUILT_IN, OWN = "<built-in>", "<own>"
TAGS = (ONE_VALUE, VALUE_PER_LAYER, BUILT_IN, OWN)
MAX_SHOWN = 80  # characters of a key or a value in an error message
MAX_PROBLEMS = 10  # in an error message


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable text")
    return text


Text = Annotated[str, AfterValidator(_printable)]


class StrictModel(BaseModel):
    """A frozen record without unknown keys, type conversions, NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def explain(error: ValidationError, prefix: str = "") -> str:
    """Return a validation error as one line: the keys, the problems and the values.

    Args:
        error: the error that pydantic raised.
        prefix: dotted path of the checked content, prepended to each key.
    """
    parts = []
    problems = error.errors(include_url=False)
    parents = {problem["loc"][:-1] for problem in problems if problem["loc"]}
    for problem in problems:
        if problem["type"] == "too_short" and problem["loc"] in parents:
            continue  # invalid items do not count, and they have errors of their own
        loc = [part for part in problem["loc"] if part not in TAGS]
        key = ".".join(_shortened(part) for part in loc)
        key = ".".join(part for part in (prefix, key) if part)
        message = problem["msg"].removeprefix("Value error, ")
        message = message.replace("tuple", "list").replace("Tuple", "List")
        if problem["type"] == "extra_forbidden":
            message = "unknown key"
        elif problem["type"] == "missing":
            message = "is missing"
        elif isinstance(problem["input"], (str, int, float, bool)):
            message += f", not {_shortened(repr(problem['input']))}"
        parts.append(f"{key}: {message}" if key else message)
    if len(parts) > MAX_PROBLEMS:
        parts = [*parts[:MAX_PROBLEMS], f"and {len(parts) - MAX_PROBLEMS} more"]
    return "; ".join(parts)


def _shortened(part: object) -> str:
    """Return a key or a value on one line, at most MAX_SHOWN characters of it."""
    text = " ".join(str(part).split())
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
