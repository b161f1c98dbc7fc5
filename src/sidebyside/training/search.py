"""Search for hyperparameters with keras-tuner; what a trial does is given from outside."""

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
    """What a search found."""

    best: Values
    winner: Trial  # which they are of
    trials: Sequence[Trial]


def search(
    space: SearchSpace,
    settings: Search,
    seed: int,
    run_trial: Callable[[int, Values, int], Mapping[str, float]],
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> Outcome:
    """Search the space with one of keras-tuner's strategies and return every trial.

    The same seed and the same scores give the same trials in the same order, so a search that was
    stopped goes on by asking again: `run_trial` answers at once for what it remembers. Hyperband
    trains a promoted trial from scratch, with more epochs, instead of going on from its weights:
    a trial's result then depends on its hyperparameters alone.

    Args:
        space: every hyperparameter with its value or its range.
        settings: strategy, number of trials, objective.
        seed: of the strategy, at least 1.
        run_trial: (number, values, epochs) → `val_accuracy`, `val_loss`, `epochs`; raises
            TrainingError when the trial cannot be completed, which counts as failed.
        on_trial: called after each trial.

    Raises:
        UserError: no trial gave a result, or `run_trial` raised it.
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

    if not ranges:  # the strategies know no empty space
        if run({}, settings.epochs).scores is None:
            raise UserError(f"the only trial failed: {trials[0].failure}")
        return Outcome(fixed, trials[0], trials)

    tuner_class, options = _strategy(settings)

    class Tuner(tuner_class):  # type: ignore[misc, valid-type]  # keras-tuner has no types
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
            values = trial.hyperparameters.values
            drawn = {part: _decoded(kind, values[part]) for part, kind in ranges.items()}
            try:
                done = run(
                    {name: value.assemble(name, drawn) for name, value in searched.items()},
                    int(values.get("tuner/epochs", settings.epochs)),
                )
            except Exception as error:  # a full disk, say: keras-tuner would go on without it
                raise keras_tuner.errors.FatalError from error
            if done.scores is None:
                return {settings.objective: math.nan}  # how keras-tuner is told of a failure
            by_id[trial.trial_id] = done
            return dict(done.scores)

    with tempfile.TemporaryDirectory() as folder:
        tuner = Tuner(
            objective=keras_tuner.Objective(
                settings.objective, "min" if settings.objective == "val_loss" else "max"
            ),
            hyperparameters=_declared(ranges),
            tune_new_entries=False,
            seed=seed,
            directory=folder,
            project_name="search",
            overwrite=True,
            **options,
        )
        try:
            with warnings.catch_warnings():
                # A failed trial's score is NaN, of which keras-tuner takes the best value.
                warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
                tuner.search(verbose=0)
        except keras_tuner.errors.FatalError as error:
            raise error.__cause__ or error from None
        except RuntimeError as error:  # keras-tuner gives up after three failures in a row
            raise UserError(
                f"the search was given up: its last three trials failed, with: {trials[-1].failure}"
            ) from error
        # Without a completed trial, keras-tuner's best one is a failed one.
        best = [
            by_id[trial.trial_id]
            for trial in tuner.oracle.get_best_trials(1)
            if trial.trial_id in by_id
        ]
    if not best:
        raise UserError(f"every trial of the search failed, the last with: {trials[-1].failure}")
    return Outcome({**fixed, **best[0].searched}, best[0], trials)


def most_trials(space: SearchSpace, settings: Search) -> int | None:
    """Return how many trials a search has at most; None where hyperband's brackets decide it."""
    ranges = _ranges(space)
    if not ranges:
        return 1
    if settings.strategy == "hyperband":
        return None
    if settings.strategy == "bayesian":  # which may ask for the same values again
        return settings.trials
    combinations = math.prod(
        math.inf
        if isinstance(value, keras_tuner.engine.hyperparameters.Float)
        and value.step is None
        and value.min_value < value.max_value
        else len(tuple(value.values))
        for value in _declared(ranges).space
    )
    return int(min(settings.trials, combinations))


def trials_table(
    trials: Sequence[Trial], names: Sequence[str]
) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows with every trial: number, searched hyperparameters, scores."""
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
    if settings.strategy == "hyperband":
        return keras_tuner.Hyperband, {"max_epochs": settings.epochs}
    strategies = {
        "random": keras_tuner.RandomSearch,
        "bayesian": keras_tuner.BayesianOptimization,
        "grid": keras_tuner.GridSearch,
    }
    return strategies[settings.strategy], {"max_trials": settings.trials}


def _ranges(space: SearchSpace) -> dict[str, SearchRange]:
    """Return what keras-tuner draws: name of each part of a hyperparameter → its range."""
    return {
        part: drawn
        for name, value in space.items()
        if isinstance(value, SearchRange)
        for part, drawn in value.dimensions(name).items()
    }


def _declared(ranges: Mapping[str, SearchRange]) -> keras_tuner.HyperParameters:
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


def _decoded(kind: SearchRange, value: Any) -> Any:
    """Return a value as the record takes it; keras-tuner knows choices as their JSON text."""
    if isinstance(kind, Choice):
        return json.loads(value)
    if isinstance(kind, IntRange):
        return int(value)
    return float(f"{value:.12g}")  # keras-tuner's steps add up to 0.30000000000000004
