"""Search spaces: per hyperparameter a fixed value, or a range of values to search."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import RECORDS, unknown_model
from sidebyside.config.validation import StrictModel, explain

Scalar = int | float | str | bool
Value = Scalar | list[Any]  # a list for hyperparameters that take one, such as hidden_units

# Combinations of boundary values that are checked. In a larger space, every boundary value is
# checked, but not every combination.
MAX_COMBINATIONS = 2000


class SearchRange(StrictModel):
    """The values that a search may choose from for one hyperparameter."""

    def boundary_values(self) -> Sequence[Value]:
        """Return values which, if all of them are valid, make the whole range valid."""
        raise NotImplementedError

    def dimensions(self, name: str) -> "Mapping[str, SearchRange]":
        """Return name → range of the dimensions that the hyperparameter `name` adds to a search."""
        return {name: self}

    def assemble(self, name: str, drawn: Mapping[str, Any]) -> Any:
        """Return the hyperparameter's value, given the value drawn in each dimension."""
        return drawn[name]


class Choice(SearchRange):
    choice: Annotated[tuple[Value, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        seen: set[str] = set()
        for value in self.choice:  # keras-tuner's grid search never gets past a repeated value
            if (text := json.dumps(value)) in seen:
                raise ValueError(f"choice contains {text} twice")
            seen.add(text)
        return self

    def boundary_values(self) -> Sequence[Value]:
        """Return every value."""
        return list(self.choice)


class IntBounds(StrictModel):
    min: int
    max: int
    step: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _require_order(self.min, self.max)
        return self


class FloatBounds(StrictModel):
    min: float
    max: float
    step: Annotated[float, Field(gt=0)] | None = None
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _require_order(self.min, self.max)
        if self.log and (self.min <= 0 or self.step is not None):
            raise ValueError("log requires min greater than 0 and no step")
        return self


def _require_order(low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"min {low} is greater than max {high}")


class IntRange(SearchRange):
    int: IntBounds

    def boundary_values(self) -> Sequence[Value]:
        """Return the minimum and the maximum."""
        return [self.int.min, self.int.max]


class FloatRange(SearchRange):
    float: FloatBounds

    def boundary_values(self) -> Sequence[Value]:
        """Return the minimum and the maximum."""
        return [self.float.min, self.float.max]


Range = Choice | IntRange | FloatRange


class ListBounds(StrictModel):
    items: Annotated[tuple[Range, ...], Field(strict=False, min_length=1, max_length=16)]
    shortest: Annotated[int, Field(ge=1)] | None = None  # None: the list has all items

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.shortest is not None and self.shortest > len(self.items):
            raise ValueError(
                f"shortest {self.shortest} exceeds the number of items, {len(self.items)}"
            )
        return self


class ListRange(SearchRange):
    """A list whose items, and optionally its length, are separate dimensions of the search."""

    list: ListBounds

    def dimensions(self, name: str) -> Mapping[str, SearchRange]:
        """Return the range of the length, if it is searched, and of each item, counted from 1."""
        items = {f"{name}.{i}": item for i, item in enumerate(self.list.items, 1)}
        if self.list.shortest is None:
            return items
        bounds = IntBounds(min=self.list.shortest, max=len(self.list.items))
        return {f"{name}.length": IntRange(int=bounds), **items}

    def assemble(self, name: str, drawn: Mapping[str, Any]) -> Any:
        """Return the list; values drawn for items beyond its length are unused."""
        length = drawn.get(f"{name}.length", len(self.list.items))
        return [drawn[f"{name}.{i}"] for i in range(1, length + 1)]

    def boundary_values(self) -> Sequence[Value]:
        """Return the longest and the shortest list of first values, then every other value once."""
        per_item = [item.boundary_values() for item in self.list.items]
        first = [values[0] for values in per_item]
        lists: Sequence[Value] = [first, first[: self.list.shortest]]
        for position, values in enumerate(per_item):
            others = [[*first[:position], value, *first[position + 1 :]] for value in values[1:]]
            lists = [*lists, *others]
        return lists


RANGE_TYPES: dict[str, type[Choice] | type[IntRange] | type[FloatRange] | type[ListRange]] = {
    "choice": Choice,
    "int": IntRange,
    "float": FloatRange,
    "list": ListRange,
}
SearchSpace = dict[str, Value | SearchRange]  # hyperparameter → fixed value or range


def parse_search_space(
    model: str, values: dict[str, Any], dataset: Dataset | None = None
) -> SearchSpace:
    """Return a checked search space, all of whose values are valid hyperparameters.

    Args:
        model: a key of RECORDS.
        values: hyperparameter → fixed value, or range such as `{"choice": [0.1, 0.2]}`.
        dataset: checks the values against its images as well; none before it is known.

    Raises:
        ValueError: unknown architecture or hyperparameter, missing hyperparameter, malformed
            range, or a value that the architecture's record refuses.
    """
    if model not in RECORDS:
        raise ValueError(f"tune.models: {unknown_model(model)}")
    space = {name: _parse_entry(f"tune.models.{model}.{name}", values[name]) for name in values}
    boundaries = {name: _boundary_values(value) for name, value in space.items()}
    combinations = itertools.product(*boundaries.values())
    for combination in itertools.islice(combinations, MAX_COMBINATIONS):
        _check(model, dict(zip(boundaries, combination, strict=True)), dataset)
    first = {name: choices[0] for name, choices in boundaries.items()}
    for name, choices in boundaries.items():
        for value in choices:
            _check(model, {**first, name: value}, dataset)
    return space


def without_flips(values: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
    """Return a search space whose `flip` is off if a mirror image may belong to another class."""
    return values if dataset.mirror or not values.get("flip") else {**values, "flip": False}


def searched_hyperparameters(space: SearchSpace) -> list[str]:
    """Return the names of the hyperparameters that have a range."""
    return [name for name, value in space.items() if isinstance(value, SearchRange)]


def _parse_entry(key: str, value: Any) -> Value | SearchRange:
    if not isinstance(value, dict):
        fixed: Value = value
        return fixed
    if len(value) == 1 and (kind := next(iter(value))) in RANGE_TYPES:
        try:
            return RANGE_TYPES[kind].model_validate(value)
        except ValidationError as error:
            raise ValueError(explain(error, key)) from None
    raise ValueError(
        f"{key}: unknown range {', '.join(map(str, value))}: give one of {', '.join(RANGE_TYPES)}"
    )


def _boundary_values(value: Value | SearchRange) -> Sequence[Value]:
    return value.boundary_values() if isinstance(value, SearchRange) else [value]


def _check(model: str, values: dict[str, Value], dataset: Dataset | None) -> None:
    try:
        record = RECORDS[model].model_validate(values)
    except ValidationError as error:
        raise ValueError(explain(error, f"tune.models.{model}")) from None
    if dataset is not None:
        try:
            record.require_fit(dataset)
        except ValueError as error:
            raise ValueError(f"tune.models.{model}.{error}") from None
