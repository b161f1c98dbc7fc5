"""Call the function that builds an architecture's models, and report its errors in one line."""

import importlib
import inspect
import traceback
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import RECORDS, Hyperparameters
from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import TrainingError, UserError

MODELS = Path(__file__).parent


def call_builder(model: str, hyperparameters: Hyperparameters, dataset: Dataset) -> keras.Model:
    """Return what an architecture's builder returns.

    Args:
        model: the architecture, a key of RECORDS.
        hyperparameters: the architecture's record.
        dataset: the data set.

    Raises:
        UserError: there is no such function, or its module cannot be imported.
        TrainingError: the function raises an error.
        MemoryError, ResourceExhaustedError: there is not enough memory.
    """
    builder = find_builder(model)
    try:
        return builder(hyperparameters, dataset)
    except (UserError, MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:
        file = Path(inspect.getfile(builder))
        raise TrainingError(f"{model} cannot be built: {_explained(error, file)}") from error


def find_builder(model: str) -> Callable[..., keras.Model]:
    """Return the function that builds an architecture's models.

    Args:
        model: the architecture, a key of RECORDS.

    Raises:
        UserError: there is no such function, or its module cannot be imported.
    """
    module, _, function = RECORDS[model].builder.partition(":")
    file = MODELS / f"{module}.py"
    try:
        builder: Callable[..., keras.Model] | None = getattr(
            importlib.import_module(f"sidebyside.models.{module}"), function, None
        )
    except Exception as error:
        raise UserError(f"{model} cannot be built: {_explained(error, file)}") from error
    if builder is None:
        raise UserError(f"{model} cannot be built: {_shown(file)} has no function {function}")
    return builder


def _explained(error: Exception, file: Path) -> str:
    """Return an error in one line, with the last line of a file that led to it."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(file)
    ]
    if isinstance(error, SyntaxError):
        lines.append(error.lineno)
    reason = next((line for line in str(error).splitlines() if line.strip()), "")
    place = f"{_shown(file)}:{lines[-1]}: " if lines else ""
    return f"{place}{type(error).__name__}: {' '.join(reason.split())}"


def _shown(file: Path) -> str:
    return str(file.relative_to(CHECKOUT)) if file.is_relative_to(CHECKOUT) else str(file)
