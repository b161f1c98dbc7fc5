"""Search hyperparameters with keras-tuner; the caller supplies the function that runs a trial."""

import json
import math
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidebyside.config.parameters import Search
from sidebyside.config.search_space import Choice, FloatRange, IntRange, SearchRange, SearchSpace
from sidebyside.core import imports
from sidebyside.core.errors import TrainingError, UserError
from sidebyside.training.trial import Trial, Values

with imports.fast_imports():
    import keras_tuner


@dataclass(frozen=True)
class Outcome:
    """Result of a search."""

    best: Values  # all hyperparameters of the best trial
    winner: Trial
    trials: Sequence[Trial]


def search(
    space: SearchSpace,
    settings: Search,
    seed: int,
    run_trial: Callable[[int, Values, int], Mapping[str, float]],
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> Outcome:
    """Search the space with one of keras-tuner's strategies and return all trials.

    Equal seeds and scores give equal trials in the same order, so an interrupted search is resumed
    by running it again with a `run_trial` that returns stored scores. Hyperband trains a promoted
    trial from scratch with more epochs instead of continuing from its weights, so that a trial's
    result depends only on its hyperparameters and epochs.

    Args:
        space: every hyperparameter with its value or range.
        settings: strategy, number of trials, objective.
        seed: seed for the strategy, at least 1.
        run_trial: (number, values, maximum epochs) → `val_accuracy`, `val_loss`, `epochs`; raises
            TrainingError if the trial cannot be completed, which counts as a failed trial.
        on_trial: called after each trial.

    Raises:
        UserError: no trial was completed, or `run_trial` raised it.
    """
    fixed = {name: value for name, value in space.items() if not isinstance(value, SearchRange)}
    searched = {name: value for name, value in space.items() if isinstance(value, SearchRange)}
    ranges = _ranges(space)
    trials: list[Trial] = []
    by_id: dict[str, Trial] = {}

    def run(values: Values, epochs: int) -> Trial:
        number = len(trials) + 1
        try:
            scores = run_trial(number, {**fixed, **values}, epochs)
        except TrainingError as error:
            trials.append(Trial(number, values, epochs, None, str(error)))
        else:
            trials.append(Trial(number, values, epochs, scores))
        on_trial(trials[-1])
        return trials[-1]

    if not ranges:  # keras-tuner does not support an empty space
        if run({}, settings.epochs).scores is None:
            raise UserError(f"the only trial failed: {trials[0].failure}")
        return Outcome(fixed, trials[0], trials)

    tuner_class, options = _strategy(settings)

    class Tuner(tuner_class):  # type: ignore[misc, valid-type]  # keras-tuner has no types
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
            values = trial.hyperparameters.values
            drawn = {part: _decode(kind, values[part]) for part, kind in ranges.items()}
            try:
                trial_result = run(
                    {name: value.assemble(name, drawn) for name, value in searched.items()},
                    int(values.get("tuner/epochs", settings.epochs)),
                )
            except Exception as error:  # such as a full disk; keras-tuner would continue
                raise keras_tuner.errors.FatalError from error
            if trial_result.scores is None:
                return {settings.objective: math.nan}  # marks a failed trial for keras-tuner
            by_id[trial.trial_id] = trial_result
            return dict(trial_result.scores)

    with tempfile.TemporaryDirectory() as folder:
        tuner = Tuner(
            objective=keras_tuner.Objective(
                settings.objective, "min" if settings.objective == "val_loss" else "max"
            ),
            hyperparameters=_to_keras_tuner(ranges),
            tune_new_entries=False,
            seed=seed,
            directory=folder,
            project_name="search",
            overwrite=True,
            **options,
        )
        try:
            with warnings.catch_warnings():
                # keras-tuner takes the best value of a failed trial's scores, which are all NaN.
                warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
                tuner.search(verbose=0)
        except keras_tuner.errors.FatalError as error:
            raise error.__cause__ or error from None
        except RuntimeError as error:  # keras-tuner stops after three failures in a row
            raise UserError(
                f"the search stopped after three failed trials in a row; the last error:"
                f" {trials[-1].failure}"
            ) from error
        # If no trial was completed, keras-tuner's best trial is a failed one.
        best = [
            by_id[trial.trial_id]
            for trial in tuner.oracle.get_best_trials(1)
            if trial.trial_id in by_id
        ]
    if not best:
        raise UserError(f"all trials of the search failed; the last error: {trials[-1].failure}")
    return Outcome({**fixed, **best[0].searched}, best[0], trials)


def max_trials(space: SearchSpace, settings: Search) -> int | None:
    """Return the maximum number of trials; None for Hyperband, whose brackets decide it."""
    ranges = _ranges(space)
    if not ranges:
        return 1
    if settings.strategy == "hyperband":
        return None
    if settings.strategy == "bayesian":  # which may repeat values
        return settings.trials
    combinations = math.prod(
        math.inf
        if isinstance(value, keras_tuner.engine.hyperparameters.Float)
        and value.step is None
        and value.min_value < value.max_value
        else len(tuple(value.values))
        for value in _to_keras_tuner(ranges).space
    )
    return int(min(settings.trials, combinations))


def trials_table(
    trials: Sequence[Trial], names: Sequence[str]
) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows: number, searched hyperparameters and scores of every trial.

    Args:
        trials: in their order; the scores of a failed one are empty.
        names: the searched hyperparameters.
    """
    scores = ["epochs", "val_accuracy", "val_loss"]
    header = ["trial", *names, "max_epochs", *scores]
    rows = [
        [
            trial.number,
            *(
                json.dumps(value) if isinstance(value := trial.searched[name], list) else value
                for name in names
            ),
            trial.epochs,
            *((trial.scores or {}).get(score, "") for score in scores),
        ]
        for trial in trials
    ]
    return header, rows


def _strategy(settings: Search) -> tuple[type, dict[str, Any]]:
    """Return keras-tuner's class for the strategy and its budget."""
    if settings.strategy == "hyperband":
        return keras_tuner.Hyperband, {"max_epochs": settings.epochs}
    strategies = {
        "random": keras_tuner.RandomSearch,
        "bayesian": keras_tuner.BayesianOptimization,
        "grid": keras_tuner.GridSearch,
    }
    return strategies[settings.strategy], {"max_trials": settings.trials}


def _ranges(space: SearchSpace) -> dict[str, SearchRange]:
    """Return the ranges to sample: name of a hyperparameter, or of a list's item → range."""
    return {
        part: drawn
        for name, value in space.items()
        if isinstance(value, SearchRange)
        for part, drawn in value.dimensions(name).items()
    }


def _to_keras_tuner(ranges: Mapping[str, SearchRange]) -> keras_tuner.HyperParameters:
    """Return the ranges as keras-tuner's hyperparameters."""
    declared = keras_tuner.HyperParameters()
    for name, value in ranges.items():
        if isinstance(value, Choice):
            declared.Choice(name, [json.dumps(item) for item in value.choice])
        elif isinstance(value, IntRange):
            declared.Int(name, value.int.min, value.int.max, step=value.int.step)
        elif isinstance(value, FloatRange):
            bounds = value.float
            declared.Float(
                name,
                bounds.min,
                bounds.max,
                step=bounds.step,
                sampling="log" if bounds.log else "linear",
            )
    return declared


def _decode(kind: SearchRange, value: Any) -> Any:
    """Return a sampled value as the record expects it; choices are stored as JSON text."""
    if isinstance(kind, Choice):
        return json.loads(value)
    if isinstance(kind, IntRange):
        return int(value)
    return float(f"{value:.12g}")  # keras-tuner's steps sum to 0.30000000000000004
