"""The schema of `params.yaml`: sections, types and allowed ranges."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from sidebyside.config.dataset_description import DatasetDescription
from sidebyside.config.hyperparameters import RECORDS, check_records, unknown_model
from sidebyside.config.search_space import parse_search_space
from sidebyside.config.validation import ONE_VALUE, VALUE_PER_LAYER, StrictModel, Text, explain
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_yaml

Seed = Annotated[int, Field(ge=1, le=2**31 - 1)]  # keras-tuner replaces seed 0 with a random one
Count = Annotated[int, Field(ge=1, le=100_000)]
Metric = Literal["val_accuracy", "val_loss"]
Keep = Literal["best", "last"]  # epoch whose weights become the model


class Download(StrictModel):
    timeout: Annotated[float, Field(gt=0, le=3600)]  # seconds without a response or a byte


class Preprocess(StrictModel):
    val_fraction: Annotated[float, Field(gt=0, lt=1)]  # share of each class in the training images


class Transforms(StrictModel):
    """Limits of the random transforms, each of which is drawn uniformly."""

    rotation: Annotated[float, Field(ge=0, le=180)]  # degrees, in either direction
    zoom: Annotated[float, Field(ge=0, lt=1)]  # 0.1: scale between 0.9 and 1.1
    shift: Annotated[float, Field(ge=0, le=64)]  # pixels, in each direction; at most half a side
    flip: Annotated[float, Field(ge=0, le=1)]  # probability of a horizontal flip


class Augment(StrictModel):
    classes: Annotated[
        Annotated[Literal["default"], Tag(ONE_VALUE)]
        | Annotated[tuple[Text, ...], Field(strict=False, min_length=1), Tag(VALUE_PER_LAYER)],
        Discriminator(lambda value: ONE_VALUE if isinstance(value, str) else VALUE_PER_LAYER),
    ]  # names; `default` is the data set's own choice, or all classes
    copies: Annotated[int, Field(ge=1, le=100)]
    transforms: Transforms

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if self.classes != "default" and len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes must be distinct, not {list(self.classes)}")
        return self


class Search(StrictModel):
    strategy: Literal["random", "bayesian", "hyperband", "grid"]
    trials: Count  # maximum; Hyperband's brackets determine its number of trials
    executions_per_trial: Annotated[int, Field(ge=1, le=100)]  # a trial's score is their mean
    epochs: Count
    patience: Count  # epochs without a better objective before early stopping
    images: Annotated[int, Field(ge=0)]  # size of the subsample of the train split; 0: all images
    objective: Metric
    # Trials that a strategy proposes at once, before it is told their scores. It decides the trials
    # of bayesian and hyperband, so it is independent of how many are trained at once.
    parallel: Count = 1

    @property
    def record(self) -> dict[str, Any]:
        """The settings as JSON values, without those that have their default."""
        return self.model_dump(mode="json", exclude_defaults=True)


class Tune(StrictModel):
    search: Search
    models: dict[str, dict[str, Any]]  # parsed by `parse_search_space`


class Budget(StrictModel):
    epochs: Count
    patience: Count  # epochs without a better `train.monitor` before early stopping


class Train(StrictModel):
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
                raise ValueError(f"{name} must be distinct, not {list(values)}")
        for model in (*self.models, *self.budget):
            if model not in RECORDS:
                raise ValueError(unknown_model(model))
        for model in self.models:
            if model not in self.budget:
                raise ValueError(f"budget.{model} is missing")
        return self


class Evaluate(StrictModel):
    bootstrap_samples: Annotated[int, Field(ge=100, le=1_000_000)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]  # level of the intervals
    calibration_bins: Annotated[int, Field(ge=2, le=1000)]


class Parameters(StrictModel):
    """All sections of `params.yaml`."""

    dataset: DatasetDescription
    seed: Seed
    threads: Annotated[int, Field(ge=1, le=256)]
    parts: Annotated[int, Field(ge=1, le=64)]  # of a training batch
    download: Download
    preprocess: Preprocess
    augment: Augment
    tune: Tune
    train: Train
    evaluate: Evaluate

    @model_validator(mode="after")
    def _tuned(self) -> Self:
        for model, values in self.tune.models.items():
            parse_search_space(model, values)
        for model in self.train.models:
            if model not in self.tune.models:
                raise ValueError(
                    f"tune.models.{model} is missing, but train.models contains {model}"
                )
        return self


def read_parameters(path: Path) -> Parameters:
    """Return the checked content of `params.yaml`.

    Raises:
        UserError: the file is missing, is not valid YAML, or a key is unknown, missing, of the
            wrong type or out of range; the message names the key, the value and the allowed
            values.
    """
    check_records()
    try:
        return Parameters.model_validate(read_yaml(path))
    except ValidationError as error:
        raise UserError(f"{path.name}: {explain(error)}") from None
