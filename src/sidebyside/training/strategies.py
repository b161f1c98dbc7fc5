"""Search hyperparameters with keras-tuner; the caller supplies the function that runs trials."""

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
from sidebyside.core.errors import UserError
from sidebyside.training.trial import Trial, Values

with imports.fast_imports():
    import keras_tuner

RUNNING, COMPLETED = (
    keras_tuner.engine.trial.TrialStatus.RUNNING,
    keras_tuner.engine.trial.TrialStatus.COMPLETED,
)


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
    run_trials: Callable[[Sequence[Trial]], Sequence[Trial]],
) -> Outcome:
    """Search the space with one of keras-tuner's strategies and return all trials.

    Trials are proposed in waves of at most `settings.parallel`, and their scores are told to the
    strategy in the order of the trials. So equal seeds and scores give equal trials in the same
    order, whichever trial ends first, and an interrupted search is resumed by running it again with
    a `run_trials` that returns stored scores. Hyperband trains a promoted trial from scratch with
    more epochs instead of continuing from its weights, so that a trial's result depends only on its
    hyperparameters and epochs.

    Args:
        space: every hyperparameter with its value or range.
        settings: strategy, number of trials, objective.
        seed: seed for the strategy, at least 1.
        run_trials: trials without scores → the same trials, each with `val_accuracy`, `val_loss`
            and `epochs`, or with the reason of its failure.

    Raises:
        UserError: no trial was completed, or `run_trials` raised it.
    """
    fixed = {name: value for name, value in space.items() if not isinstance(value, SearchRange)}
    searched = {name: value for name, value in space.items() if isinstance(value, SearchRange)}
    ranges = _ranges(space)
    if not ranges:  # keras-tuner does not support an empty space
        (only,) = run_trials([Trial(1, {}, settings.epochs, None)])
        if only.scores is None:
            raise UserError(f"the only trial failed: {only.failure}")
        return Outcome(fixed, only, [only])

    def trial(number: int, values: Mapping[str, Any]) -> Trial:
        drawn = {part: _decode(kind, values[part]) for part, kind in ranges.items()}
        own = {name: value.assemble(name, drawn) for name, value in searched.items()}
        return Trial(number, own, int(values.get("tuner/epochs", settings.epochs)), None)

    trials: list[Trial] = []
    by_id: dict[str, Trial] = {}
    with tempfile.TemporaryDirectory() as folder:
        oracle = _oracle(settings, ranges, seed, folder)
        while wave := _propose(oracle, settings.parallel):
            proposed = [
                trial(number, one.hyperparameters.values)
                for number, one in enumerate(wave, len(trials) + 1)
            ]
            for one, ended in zip(wave, run_trials(proposed), strict=True):
                trials.append(ended)
                if ended.scores is not None:
                    by_id[one.trial_id] = ended
                _tell(oracle, one, ended)
        # If no trial was completed, keras-tuner's best trial is a failed one.
        best = [by_id[one.trial_id] for one in oracle.get_best_trials(1) if one.trial_id in by_id]
    if not best:
        raise UserError(f"all trials of the search failed; the last error: {trials[-1].failure}")
    return Outcome({**fixed, **best[0].searched}, best[0], trials)


def _oracle(settings: Search, ranges: Mapping[str, SearchRange], seed: int, folder: str) -> Any:
    """Return keras-tuner's oracle, which proposes trials; it writes files to the folder."""
    strategy, options = _strategy(settings)
    oracle = strategy(
        objective=keras_tuner.Objective(
            settings.objective, "min" if settings.objective == "val_loss" else "max"
        ),
        hyperparameters=_to_keras_tuner(ranges),
        tune_new_entries=False,
        seed=seed,
        **options,
    )
    keras_tuner.engine.base_tuner.BaseTuner(oracle, directory=folder, project_name="search")
    oracle.verbose = 0
    return oracle


def _propose(oracle: Any, limit: int) -> list[Any]:
    """Return the next trials of keras-tuner, at most `limit`; none at the end of the search."""
    wave: list[Any] = []
    while len(wave) < limit:
        trial = oracle.create_trial(f"{len(wave)}")
        if trial.status != RUNNING:  # it has stopped, or waits for scores of this wave
            break
        wave.append(trial)
    return wave


def _tell(oracle: Any, proposed: Any, ended: Trial) -> None:
    """Tell keras-tuner the scores of a trial.

    Raises:
        UserError: three trials in a row have failed.
    """
    objective = oracle.objective.name
    scores = {objective: math.nan} if ended.scores is None else dict(ended.scores)  # nan: failed
    with warnings.catch_warnings():
        # keras-tuner takes the best value of a failed trial's scores, which are all NaN.
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        oracle.update_trial(proposed.trial_id, scores)
        proposed.status = COMPLETED
        try:
            oracle.end_trial(proposed)
        except RuntimeError:
            raise UserError(
                "the search stopped after three failed trials in a row; the last error:"
                f" {ended.failure}"
            ) from None


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
        return keras_tuner.oracles.HyperbandOracle, {"max_epochs": settings.epochs}
    strategies = {
        "random": keras_tuner.oracles.RandomSearchOracle,
        "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
        "grid": keras_tuner.oracles.GridSearchOracle,
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
