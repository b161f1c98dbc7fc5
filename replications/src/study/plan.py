"""The schema of params.yaml: the published systems, their models, searches and claims."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from sidebyside.config.dataset import Dataset, read_dataset
from sidebyside.config.dataset_description import builtin
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
from sidebyside.core.files import read_yaml

STUDIED = builtin("fashion-mnist")  # the data set on which all systems were published
CLASS_NAMES = STUDIED.class_names
# Scores of the kept epoch on each split. `fit` is measured during training, with dropout on, as
# Keras prints it.
SCORES = (
    *("train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy"),
    *("fit_loss", "fit_accuracy", "parameters", "epochs"),
)
PER_CLASS = ("precision", "recall", "f1")  # on the test split, one value per class
MACRO = tuple(f"macro_{metric}" for metric in PER_CLASS)  # means over the classes
PRINTED = (*SCORES, *MACRO, *PER_CLASS)  # metrics that a document may print
# Metrics of a claim in addition to SCORES; study.comparison.results computes them.
DERIVED = (
    *(*MACRO, "gap", "val_loss_changes"),
    *(f"{metric}.{name}" for metric in PER_CLASS for name in CLASS_NAMES),
)

Words = Annotated[str, Field(min_length=1)]
Decimal = Annotated[str, Field(pattern=r"^\d+(\.\d+)?( \d+(\.\d+)?)*$")]


class System(StrictModel):
    """A published system."""

    title: Words
    document: Words
    choices: Annotated[tuple[Words, ...], Field(strict=False)]  # where the document is incomplete


class Published(StrictModel):
    """Numbers as a document prints them."""

    source: Words  # heading, figure or table
    values: dict[Literal[PRINTED], Decimal]  # type: ignore[valid-type]  # spelled out above

    @model_validator(mode="after")
    def _one_per_class(self) -> Self:
        for metric, text in self.values.items():
            expected = len(CLASS_NAMES) if metric in PER_CLASS else 1
            if len(text.split()) != expected:
                raise ValueError(f"{metric} has {len(text.split())} values, expected {expected}")
        return self


class Training(Budget):
    """Training budget, and which epoch is kept."""

    monitor: Metric
    keep: Keep


class Part(StrictModel):
    """Fields common to models and searches."""

    system: str
    title: Words
    model: Words  # the architecture, a key of RECORDS

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.model not in RECORDS:
            raise ValueError(f"unknown model {self.model!r}: choose from {', '.join(RECORDS)}")
        return self


class SystemSearch(Part):
    """A hyperparameter search or sweep."""

    source: Words  # heading or figure that describes its space
    search: Search
    space: dict[str, Any]
    printed: Annotated[tuple[str, ...], Field(strict=False)] = ()  # the document's results

    def ranges(self) -> SearchSpace:
        """Return the checked search space."""
        return parse_search_space(self.model, self.space)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.ranges()
        return self


class SystemModel(Part):
    """A model trained once per seed."""

    data: Literal["original", "augmented"]
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1)]
    training: Training
    published: Annotated[tuple[Published, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _distinct_seeds(self) -> Self:
        if len({*self.seeds}) < len(self.seeds):
            raise ValueError(f"seeds are not distinct: {', '.join(map(str, self.seeds))}")
        return self


class PrintedModel(SystemModel):
    """A model whose hyperparameters are printed."""

    source: Words  # heading or figure that prints them
    hyperparameters: dict[str, Any]


class Winner(SystemModel):
    """A model with the best hyperparameters of one of our searches."""

    search: str
    changes: dict[str, Any]  # applied to them


class Claim(StrictModel):
    """A claim of a document about two of its models."""

    system: str
    text: Words
    source: Words
    first: str
    direction: Literal["higher", "lower"]
    second: str
    metric: Literal[(*SCORES, *DERIVED)]  # type: ignore[valid-type]  # spelled out above
    by: float | None = None  # a printed difference, first minus second


class Lowest(StrictModel):
    """A claim of a document that some classes of a model have the lowest values of a metric."""

    system: str
    text: Words
    source: Words
    model: str
    metric: Literal[PER_CLASS]  # type: ignore[valid-type]  # spelled out above
    classes: Annotated[
        tuple[Literal[CLASS_NAMES], ...],  # type: ignore[valid-type]  # likewise
        Field(strict=False, min_length=1),
    ]


class Plan(StrictModel):
    """The content of params.yaml."""

    seed: Seed
    threads: Count
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    keras: dict[str, Any]  # these three only hold YAML anchors
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
        """Models and winners by name."""
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
                raise ValueError(f"{name} is in both models and winners: rename one")
            if winner.search not in self.searches:
                raise ValueError(f"winners.{name}: unknown search {winner.search!r}")
            if winner.model != self.searches[winner.search].model:
                raise ValueError(
                    f"winners.{name}.model: {winner.search} searches"
                    f" {self.searches[winner.search].model!r}, not {winner.model!r}"
                )
        return self

    @model_validator(mode="after")
    def _of_known_systems(self) -> Self:
        parts = (*self.searches.items(), *self.trained.items())
        references = [(name, part.system) for name, part in parts]
        references += [(f"claim {claim.text!r}", claim.system) for claim in self.claims]
        references += [(f"claim {claim.text!r}", claim.system) for claim in self.lowest]
        for name, system in references:
            if system not in self.systems:
                raise ValueError(f"{name}: unknown system {system!r}")
        return self

    @model_validator(mode="after")
    def _of_known_models(self) -> Self:
        references = [(c.text, name) for c in self.claims for name in (c.first, c.second)]
        references += [(claim.text, claim.model) for claim in self.lowest]
        for text, name in references:
            if name not in self.trained:
                raise ValueError(f"claim {text!r}: unknown model {name!r}")
        for search, part in self.searches.items():
            for name in part.printed:
                if name not in self.models or self.models[name].model != part.model:
                    raise ValueError(f"searches.{search}.printed: unknown {part.model} {name!r}")
        return self

    def record(self, name: str, searches: Path) -> Hyperparameters:
        """Return the hyperparameters of a model.

        Args:
            name: key of `models` or `winners`.
            searches: results/searches, for the result of a winner's search.

        Raises:
            UserError: the model is unknown, or its search has not run yet.
        """
        if name in self.models:
            model = self.models[name]
            return parse_hyperparameters(
                model.model, model.hyperparameters, f"models.{name}.hyperparameters"
            )
        if name not in self.winners:
            raise UserError(f"unknown model {name!r}: choose from {', '.join(self.trained)}")
        winner = self.winners[name]
        result = searches / winner.search / "hyperparameters.json"
        values = read_hyperparameters(winner.model, result)
        changed = {**values.model_dump(mode="json"), **winner.changes}
        return parse_hyperparameters(winner.model, changed, f"winners.{name}.changes")


def read_plan(path: Path) -> Plan:
    """Read and validate params.yaml.

    Raises:
        UserError: the file is missing or not valid YAML, or a key is unknown, missing, of the
            wrong type or out of range; the message names the key.
    """
    try:
        return Plan.model_validate(read_yaml(path))
    except ValidationError as error:
        raise UserError(f"{path.name}: {explain(error)}") from None


def stage_names(plan: Plan) -> list[str]:
    """Return the search and training stages of a plan, named as `dvc repro` takes them."""
    kinds: dict[str, Iterable[str]] = {
        "search": plan.searches,
        "train": plan.models,
        "winner": plan.winners,
    }
    return [f"{kind}@{name}" for kind, parts in kinds.items() for name in parts]


def read_studied_dataset(path: Path) -> Dataset:
    """Return the content of dataset.json, if it is of the data set that the systems classify.

    Raises:
        UserError: it is of another data set, or is missing or damaged.
    """
    dataset = read_dataset(path)
    if dataset.name != STUDIED.name:
        raise UserError(
            f"the published systems classify {STUDIED.title}, but data/processed contains"
            f" {dataset.title}: set `dataset: {STUDIED.name}` in params.yaml and run `dvc repro`"
        )
    return dataset
