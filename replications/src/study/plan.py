"""The published systems: what replications/params.yaml says of them, checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.config.hyperparameters import (
    RECORDS,
    Hyperparameters,
    parse_hyperparameters,
    read_hyperparameters,
)
from sidebyside.config.parameters import Budget, Count, Keep, Metric, Search, Seed
from sidebyside.config.search_space import SearchSpace, parse_search_space
from sidebyside.config.validation import StrictModel, explain
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_yaml, write_json
from sidebyside.workflow.provenance import processor_name

# Of a trained model: of the kept epoch on each split, `fit` with dropout on, as Keras prints it
# while it trains.
SCORES = (
    *("train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy"),
    *("fit_loss", "fit_accuracy", "parameters", "epochs"),
)
PER_CLASS = ("precision", "recall", "f1")  # on the test split, a value for each class
MACRO = tuple(f"macro_{metric}" for metric in PER_CLASS)  # their means over the classes
PRINTED = (*SCORES, *MACRO, *PER_CLASS)  # what a document may print
# What a claim may be about beside SCORES; see `replication_results`.
DERIVED = (
    *(*MACRO, "gap", "val_loss_changes"),
    *(f"{metric}.{name}" for metric in PER_CLASS for name in CLASS_NAMES),
)

Words = Annotated[str, Field(min_length=1)]
Decimal = Annotated[str, Field(pattern=r"^\d+(\.\d+)?( \d+(\.\d+)?)*$")]


class System(StrictModel):
    """A published project."""

    title: Words
    document: Words
    choices: Annotated[tuple[Words, ...], Field(strict=False)]  # where the document is silent


class Published(StrictModel):
    """Numbers as a document prints them."""

    place: Words  # heading, figure or table
    values: dict[Literal[PRINTED], Decimal]  # type: ignore[valid-type]  # spelled out above

    @model_validator(mode="after")
    def _one_per_class(self) -> Self:
        for metric, text in self.values.items():
            expected = len(CLASS_NAMES) if metric in PER_CLASS else 1
            if len(text.split()) != expected:
                raise ValueError(f"{metric} has {len(text.split())} values, expected {expected}")
        return self


class Training(Budget):
    """How long a model is trained, and which epoch is kept."""

    monitor: Metric
    keep: Keep


class Part(StrictModel):
    """What models and searches have in common."""

    system: str
    what: Words
    model: Words  # the architecture, a key of RECORDS

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.model not in RECORDS:
            raise ValueError(f"unknown model {self.model!r}: choose from {', '.join(RECORDS)}")
        return self


class SystemSearch(Part):
    """A search or a sweep."""

    place: Words  # where its space is described
    search: Search
    space: dict[str, Any]
    printed: Annotated[tuple[str, ...], Field(strict=False)] = ()  # models: what theirs ended with

    def ranges(self) -> SearchSpace:
        """Return the checked search space."""
        return parse_search_space(self.model, self.space)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.ranges()
        return self


class SystemModel(Part):
    """A model that is trained from each of its seeds."""

    data: Literal["original", "augmented"]
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1)]
    training: Training
    published: Annotated[tuple[Published, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _different_seeds(self) -> Self:
        if len({*self.seeds}) < len(self.seeds):
            raise ValueError(f"seeds are not different: {', '.join(map(str, self.seeds))}")
        return self


class PrintedModel(SystemModel):
    """A model whose hyperparameters are printed."""

    place: Words  # where they are
    hyperparameters: dict[str, Any]


class Winner(SystemModel):
    """A model whose hyperparameters a search of ours found."""

    search: str
    changes: dict[str, Any]  # made to what was found


class Claim(StrictModel):
    """What a document says of two of its models."""

    system: str
    text: Words
    place: Words
    first: str
    direction: Literal["higher", "lower"]
    second: str
    metric: Literal[(*SCORES, *DERIVED)]  # type: ignore[valid-type]  # spelled out above
    by: float | None = None  # a printed difference, first minus second


class Lowest(StrictModel):
    """What a document says of classes of one model: none has a lower value of the metric."""

    system: str
    text: Words
    place: Words
    model: str
    metric: Literal[PER_CLASS]  # type: ignore[valid-type]  # spelled out above
    classes: Annotated[
        tuple[Literal[CLASS_NAMES], ...],  # type: ignore[valid-type]  # likewise
        Field(strict=False, min_length=1),
    ]


class Plan(StrictModel):
    """The whole of replications/params.yaml."""

    seed: Seed
    threads: Count
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    keras: dict[str, Any]  # these three are there to be referred to
    mlp: dict[str, Any]
    cnn: dict[str, Any]
    systems: dict[str, System]
    searches: dict[str, SystemSearch]
    models: dict[str, PrintedModel]
    winners: dict[str, Winner]
    claims: Annotated[tuple[Claim, ...], Field(strict=False)]
    lowest: Annotated[tuple[Lowest, ...], Field(strict=False)]

    @property
    def trained(self) -> dict[str, SystemModel]:
        """All models: name → what it is."""
        return {**self.models, **self.winners}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, model in self.models.items():
            try:
                parse_hyperparameters(
                    model.model, model.hyperparameters, f"models.{name}.hyperparameters"
                )
            except UserError as error:
                raise ValueError(str(error)) from None
        for name, winner in self.winners.items():
            if name in self.models:
                raise ValueError(f"{name} is both in models and in winners")
            if winner.search not in self.searches:
                raise ValueError(f"winners.{name}: no search {winner.search!r}")
            if winner.model != self.searches[winner.search].model:
                raise ValueError(f"winners.{name}: its search is not of the model {winner.model!r}")
        return self

    @model_validator(mode="after")
    def _of_known_systems(self) -> Self:
        parts = (*self.searches.items(), *self.trained.items())
        told = [(name, part.system) for name, part in parts]
        told += [(f"claim {claim.text!r}", claim.system) for claim in self.claims]
        told += [(f"claim {claim.text!r}", claim.system) for claim in self.lowest]
        for where, system in told:
            if system not in self.systems:
                raise ValueError(f"{where}: no system {system!r}")
        return self

    @model_validator(mode="after")
    def _of_known_models(self) -> Self:
        told = [(claim.text, name) for claim in self.claims for name in (claim.first, claim.second)]
        told += [(claim.text, claim.model) for claim in self.lowest]
        for text, name in told:
            if name not in self.trained:
                raise ValueError(f"claim {text!r}: no model {name!r}")
        for search, part in self.searches.items():
            for name in part.printed:
                if name not in self.models or self.models[name].model != part.model:
                    raise ValueError(f"searches.{search}.printed: no {part.model} {name!r}")
        return self

    def record(self, name: str, found: Path) -> Hyperparameters:
        """Return a model's hyperparameters.

        Args:
            name: in `models` or `winners`.
            found: the folder of what the searches found.

        Raises:
            UserError: no such model, or its search has not been run.
        """
        if name in self.models:
            model = self.models[name]
            return parse_hyperparameters(
                model.model, model.hyperparameters, f"models.{name}.hyperparameters"
            )
        if name not in self.winners:
            raise UserError(f"no model {name!r}: choose from {', '.join(self.trained)}")
        winner = self.winners[name]
        values = read_hyperparameters(winner.model, found / winner.search / "hyperparameters.json")
        changed = {**values.model_dump(mode="json"), **winner.changes}
        return parse_hyperparameters(winner.model, changed, f"winners.{name}.changes")


def read_plan(path: Path) -> Plan:
    """Return the checked content of replications/params.yaml.

    Raises:
        UserError: the file is missing, is no YAML, or a key is unknown, missing, of the wrong
            type or out of range; the message names it.
    """
    try:
        return Plan.model_validate(read_yaml(path))
    except ValidationError as error:
        raise UserError(f"{path.name}: {explain(error)}") from None


def write_duration(folder: Path, work: str, seconds: Sequence[float]) -> None:
    """Write how long a piece of work took here, interruptions left out: no output of DVC's.

    Args:
        folder: that of the replications.
        work: its name.
        seconds: of each of its parts.
    """
    content = {"seconds": round(sum(seconds), 1), "processor": processor_name()}
    write_json(folder / "durations" / f"{work}.json", content)
