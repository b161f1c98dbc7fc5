"""`params.yaml` as closed, range-checked objects; nothing is trained on a typing error."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from sidebyside.config.dataset import CLASSES
from sidebyside.config.hyperparameters import RECORDS, Section, explain
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_yaml

Seed = Annotated[int, Field(ge=1, le=2**31 - 1)]  # keras-tuner takes 0 for "random"
Count = Annotated[int, Field(ge=1, le=100_000)]
Metric = Literal["val_accuracy", "val_loss"]
Keep = Literal["best", "last"]  # the epoch of a training whose weights are kept
Scalar = int | float | str | bool
Value = Scalar | list[Any]  # a list for hyperparameters that take one, such as hidden_units


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable text")
    return text


Text = Annotated[str, AfterValidator(_printable)]


class Source(Section):
    """A place to get the data from; exactly one of the three is given."""

    folder: Text | None = None  # holds the four files, unpacked or as .gz
    url: Text | None = None  # the four .gz files lie directly below
    debian: Text | None = None  # a Debian package, fetched and unpacked through apt's client

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name, value in self if value]
        if len(given) != 1:
            raise ValueError("give exactly one of folder, url, debian")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url must begin with http:// or https://, not {self.url!r}")
        return self


class Download(Section):
    sources: Annotated[tuple[Source, ...], Field(strict=False, min_length=1)]
    timeout: Annotated[float, Field(gt=0, le=3600)]  # seconds without an answer or a byte


class Preprocess(Section):
    val_fraction: Annotated[float, Field(gt=0, lt=1)]  # of the 60,000 published training images


class Transforms(Section):
    """How far a new image may differ from its source; each drawn uniformly up to the limit."""

    rotation: Annotated[float, Field(ge=0, le=180)]  # degrees, either way
    zoom: Annotated[float, Field(ge=0, lt=1)]  # 0.1: between 0.9 and 1.1 of the size
    shift: Annotated[float, Field(ge=0, le=14)]  # pixels, each way
    flip: Annotated[float, Field(ge=0, le=1)]  # probability of a left-to-right mirror


class Augment(Section):
    classes: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=CLASSES)], ...], Field(strict=False, min_length=1)
    ]
    copies: Annotated[int, Field(ge=1, le=100)]
    transforms: Transforms

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must differ from each other")
        return self


class Searched(Section):
    """A range of values, or several together."""

    def ends(self) -> Sequence[Value]:
        """Return values that are possible if the whole range is."""
        raise NotImplementedError

    def parts(self, name: str) -> "Mapping[str, Searched]":
        """Return what is drawn for the hyperparameter `name`: name of each part → its range."""
        return {name: self}

    def assembled(self, name: str, drawn: Mapping[str, Any]) -> Any:
        """Return the hyperparameter's value from what was drawn for its parts."""
        return drawn[name]


class Choice(Searched):
    choice: Annotated[tuple[Value, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _different(self) -> Self:
        seen: set[str] = set()
        for value in self.choice:  # twice the same, and a grid search never gets beyond it
            if (text := json.dumps(value)) in seen:
                raise ValueError(f"choice has {text} twice")
            seen.add(text)
        return self

    def ends(self) -> Sequence[Value]:
        """Return every value."""
        return list(self.choice)


class IntBounds(Section):
    min: int
    max: int
    step: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class FloatBounds(Section):
    min: float
    max: float
    step: Annotated[float, Field(gt=0)] | None = None
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.log and (self.min <= 0 or self.step is not None):
            raise ValueError("log needs min above 0 and takes no step")
        return self


class IntRange(Searched):
    int: IntBounds

    def ends(self) -> Sequence[Value]:
        """Return the lowest and the highest value."""
        return [self.int.min, self.int.max]


class FloatRange(Searched):
    float: FloatBounds

    def ends(self) -> Sequence[Value]:
        """Return the lowest and the highest value."""
        return [self.float.min, self.float.max]


Range = Choice | IntRange | FloatRange


class ListBounds(Section):
    items: Annotated[tuple[Range, ...], Field(strict=False, min_length=1, max_length=16)]
    shortest: Annotated[int, Field(ge=1)] | None = None  # None: the list has all items

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.shortest is not None and self.shortest > len(self.items):
            raise ValueError(f"shortest {self.shortest} is above the {len(self.items)} items")
        return self


class ListRange(Searched):
    """A list whose items, and if wanted its length, are searched one by one."""

    list: ListBounds

    def parts(self, name: str) -> Mapping[str, Searched]:
        """Return the range of each item, counted from 1, and of the length."""
        items = {f"{name}.{i}": item for i, item in enumerate(self.list.items, 1)}
        if self.list.shortest is None:
            return items
        bounds = IntBounds(min=self.list.shortest, max=len(self.list.items))
        return {f"{name}.length": IntRange(int=bounds), **items}

    def assembled(self, name: str, drawn: Mapping[str, Any]) -> Any:
        """Return the list; what was drawn for items beyond its length goes unused."""
        length = drawn.get(f"{name}.length", len(self.list.items))
        return [drawn[f"{name}.{i}"] for i in range(1, length + 1)]

    def ends(self) -> Sequence[Value]:
        """Return the longest and the shortest list of first values, and each other value once."""
        ends = [item.ends() for item in self.list.items]
        first = [values[0] for values in ends]
        lists: Sequence[Value] = [first, first[: self.list.shortest]]
        for place, values in enumerate(ends):
            others = [[*first[:place], value, *first[place + 1 :]] for value in values[1:]]
            lists = [*lists, *others]
        return lists


RANGES: dict[str, type[Choice] | type[IntRange] | type[FloatRange] | type[ListRange]] = {
    "choice": Choice,
    "int": IntRange,
    "float": FloatRange,
    "list": ListRange,
}
CHECKED = 2000  # combinations of a search space; in a larger one, all values but not all pairs
SearchSpace = dict[str, Value | Searched]  # hyperparameter → its fixed value, or what to search


class Search(Section):
    strategy: Literal["random", "bayesian", "hyperband", "grid"]
    trials: Count  # at most; hyperband's own brackets decide its number
    executions_per_trial: Annotated[int, Field(ge=1, le=100)]  # a trial's score is their mean
    epochs: Count
    patience: Count  # epochs without a better objective before a trial is stopped
    images: Annotated[int, Field(ge=0)]  # of the train split, seen by the search; 0 is all
    objective: Metric


class Tune(Section):
    search: Search
    models: dict[str, dict[str, Any]]  # checked and turned into search spaces by `search_space`


class Budget(Section):
    epochs: Count
    patience: Count  # epochs without a better value of `train.monitor` before training is stopped


class Train(Section):
    models: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    data: Annotated[tuple[Literal["original", "augmented"], ...], Field(strict=False, min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1)]
    monitor: Metric
    keep: Keep
    budget: dict[str, Budget]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("models", "data", "seeds"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} must differ from each other, not {list(values)}")
        for model in (*self.models, *self.budget):
            if model not in RECORDS:
                raise ValueError(f"unknown model {model!r}: choose from {', '.join(RECORDS)}")
        for model in self.models:
            if model not in self.budget:
                raise ValueError(f"budget.{model} is missing")
        return self


class Evaluate(Section):
    bootstrap_samples: Annotated[int, Field(ge=100, le=1_000_000)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]  # of the intervals
    calibration_bins: Annotated[int, Field(ge=2, le=1000)]


class Parameters(Section):
    """The whole of `params.yaml`."""

    seed: Seed
    threads: Annotated[int, Field(ge=1, le=256)]
    download: Download
    preprocess: Preprocess
    augment: Augment
    tune: Tune
    train: Train
    evaluate: Evaluate

    @model_validator(mode="after")
    def _tuned(self) -> Self:
        for model, values in self.tune.models.items():
            search_space(model, values)
        for model in self.train.models:
            if model not in self.tune.models:
                raise ValueError(f"tune.models.{model} is missing, but train.models names it")
        return self


def search_space(model: str, values: dict[str, Any]) -> SearchSpace:
    """Return a checked search space: every value it allows is one the record allows.

    Raises:
        ValueError: unknown architecture or hyperparameter, a missing one, a malformed range, or a
            value that the record refuses.
    """
    if model not in RECORDS:
        raise ValueError(f"tune.models: unknown model {model!r}: choose from {', '.join(RECORDS)}")
    space: SearchSpace = {}
    for name, value in values.items():
        if not isinstance(value, dict):
            space[name] = value
        elif len(value) == 1 and (kind := next(iter(value))) in RANGES:
            try:
                space[name] = RANGES[kind].model_validate(value)
            except ValidationError as error:
                raise ValueError(explain(error, f"tune.models.{model}.{name}")) from None
        else:
            raise ValueError(
                f"tune.models.{model}.{name}: unknown range {', '.join(map(str, value))}:"
                f" give one of {', '.join(RANGES)}"
            )
    ends = {name: _ends(value) for name, value in space.items()}
    combinations = itertools.product(*ends.values())
    for values_of_all in itertools.islice(combinations, CHECKED):
        _check(model, dict(zip(ends, values_of_all, strict=True)))
    first = {name: values_of_one[0] for name, values_of_one in ends.items()}
    for name, values_of_one in ends.items():
        for value in values_of_one:
            _check(model, {**first, name: value})
    return space


def searched_names(space: SearchSpace) -> list[str]:
    """Return the hyperparameters that have a range."""
    return [name for name, value in space.items() if isinstance(value, Searched)]


def _ends(value: Value | Searched) -> Sequence[Value]:
    return value.ends() if isinstance(value, Searched) else [value]


def _check(model: str, values: dict[str, Value]) -> None:
    try:
        RECORDS[model].model_validate(values)
    except ValidationError as error:
        raise ValueError(explain(error, f"tune.models.{model}")) from None


def read_parameters(path: Path) -> Parameters:
    """Return the checked content of `params.yaml`.

    Raises:
        UserError: the file is missing, is no YAML, or a key is unknown, missing, of the wrong
            type or out of range; the message names the key, the value and what is allowed.
    """
    try:
        return Parameters.model_validate(read_yaml(path))
    except ValidationError as error:
        raise UserError(f"{path.name}: {explain(error)}") from None
