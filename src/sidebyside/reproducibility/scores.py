"""Read the scores of evaluated models: reports/evaluate/metrics.json and files of its form."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError

from sidebyside.config.result_files import Share
from sidebyside.config.validation import StrictModel, explain
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json

Metrics = Mapping[str, Any]  # model → "val" and "test" → score → value


class SplitScores(StrictModel):
    """The scores of a model on one split: finite numbers."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    accuracy: Share


class ModelScores(StrictModel):
    """The scores of a model; other keys say how they were obtained."""

    model_config = ConfigDict(extra="ignore")

    val: SplitScores
    val_interval: Sequence[Share] = ()  # ends of that of the accuracy
    test: SplitScores


def _not_empty(models: dict[str, ModelScores]) -> dict[str, ModelScores]:
    if not models:
        raise ValueError("there are no models")
    return models


MODELS = TypeAdapter(Annotated[dict[str, ModelScores], AfterValidator(_not_empty)])


def read_scores(path: Path, cure: str = "dvc repro") -> Metrics:
    """Return the content of a file with scores.

    Args:
        path: the file.
        cure: the command that writes the file again.

    Raises:
        UserError: the file is missing, is not valid JSON, lacks an accuracy, or has a score that
            is not a finite number.
    """
    content: Metrics = read_json(path)
    try:
        MODELS.validate_python(content)
    except ValidationError as error:
        raise UserError(f"{path} is damaged: {explain(error)}: run `{cure}`") from None
    return content
