"""Base class of everything that is read from a file and checked, and its one-line errors."""

import difflib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from sidebyside.core.errors import UserError, quoted
from sidebyside.core.files import read_json

# Tags with which a union tells "one value" from "one value per layer", and a built-in data set
# from the user's own. They are part of the location of an error, but not of the key that a user
# wrote.
ONE_VALUE, VALUE_PER_LAYER = "<one>", "<list>"
BUILT_IN, OWN = "<built-in>", "<own>"
TAGS = (ONE_VALUE, VALUE_PER_LAYER, BUILT_IN, OWN)
MAX_SHOWN = 80  # characters of a key or a value in an error message
MAX_PROBLEMS = 10  # in an error message
UNKNOWN = "unknown_key"  # type of an error


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable text")
    return text


Text = Annotated[str, AfterValidator(_printable)]


class StrictModel(BaseModel):
    """A frozen record without unknown keys, type conversions, NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, content: Any) -> Any:
        """Name the key that was meant, or all keys, which pydantic's own error does not.

        Only the first unknown key is reported: another key may be missing because of it.
        """
        if isinstance(content, dict) and cls.model_config.get("extra") == "forbid":
            for key in content:
                if key not in cls.model_fields:
                    near = difflib.get_close_matches(str(key), cls.model_fields, 1)
                    choice = f"choose from {', '.join(cls.model_fields)}"
                    advice = f"did you mean {near[0]}?" if near else choice
                    raise PydanticCustomError(
                        UNKNOWN, "unknown key: {advice}", {"key": key, "advice": advice}
                    )
        return content


Record = TypeVar("Record", bound=StrictModel)


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
        unknown = [problem["ctx"]["key"]] if problem["type"] == UNKNOWN else []
        loc = [part for part in (*problem["loc"], *unknown) if part not in TAGS]
        key = ".".join(_shortened(part) for part in loc)
        key = ".".join(part for part in (prefix, key) if part)
        message = problem["msg"].removeprefix("Value error, ")
        message = message.replace("tuple", "list").replace("Tuple", "List")
        value = problem["input"]
        if problem["type"] == "missing":
            message = "is missing"
        elif isinstance(value, (str, int, float, bool)):
            shown = quoted(_shortened(value)) if isinstance(value, str) else _shortened(value)
            message += f", not {shown}"
        parts.append(f"{key}: {message}" if key else message)
    if len(parts) > MAX_PROBLEMS:
        parts = [*parts[:MAX_PROBLEMS], f"and {len(parts) - MAX_PROBLEMS} more"]
    return "; ".join(parts)


def read_record(path: Path, kind: type[Record]) -> Record:
    """Return the content of a JSON file as a validated record.

    Raises:
        UserError: the file is missing, is not valid JSON, or does not match the schema.
    """
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}: run `dvc repro`") from None


def _shortened(part: object) -> str:
    """Return a key or a value on one line, at most MAX_SHOWN characters of it."""
    text = " ".join(str(part).split())
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
