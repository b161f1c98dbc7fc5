"""Searches whose trials evaluate a formula instead of training."""

import contextlib
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from sidebyside.config.parameters import Search
from sidebyside.config.search_space import (
    Choice,
    FloatBounds,
    FloatRange,
    IntBounds,
    IntRange,
    ListBounds,
    ListRange,
    SearchSpace,
    searched_hyperparameters,
)
from sidebyside.core.errors import TrainingError, UserError
from sidebyside.training.strategies import Outcome, max_trials, search, trials_table
from sidebyside.training.trial import Trial, Values

STRATEGIES = ("random", "bayesian", "hyperband", "grid")
SPACE: SearchSpace = {
    "optimizer": "adam",
    "units": [64, 32],
    "learning_rate": FloatRange(float=FloatBounds(min=0.0005, max=0.5, log=True)),
    "dropout": FloatRange(float=FloatBounds(min=0.0, max=0.5, step=0.25)),
    "batch_size": IntRange(int=IntBounds(min=32, max=100, step=32)),
    "hidden_units": Choice(choice=([128], [128, 64], [16])),
}


def settings(strategy: str = "random", **changes: Any) -> Search:
    values = {
        "strategy": strategy,
        "trials": 8,
        "executions_per_trial": 1,
        "epochs": 9,
        "patience": 3,
        "images": 0,
        "objective": "val_accuracy",
    }
    return Search.model_validate(values | changes)


def formula(values: Mapping[str, Any], epochs: int) -> dict[str, float]:
    """Return scores that are best near a learning rate of 0.01 and rise with the epochs."""
    distance = abs(math.log10(values["learning_rate"]) + 2) + values["dropout"]
    accuracy = 0.9 - 0.1 * distance + 0.001 * epochs
    return {"val_accuracy": accuracy, "val_loss": 1 - accuracy, "epochs": epochs}


def unique_score(values: Mapping[str, Any], epochs: int) -> dict[str, float]:
    """Return scores that differ between any two sets of values."""
    score = zlib.crc32(json.dumps(values).encode()) / 2**32
    return {"val_accuracy": score, "val_loss": 1 - score, "epochs": epochs}


Asked = list[tuple[int, Values, int]]
Answer = Callable[[Mapping[str, Any], int], Mapping[str, float]]


def searched(
    options: Search, seed: int = 1, answer: Answer = formula, space: SearchSpace = SPACE
) -> tuple[Outcome, Asked]:
    """Return the outcome of a search and the trials that it asked for."""
    asked: Asked = []

    def run_trial(number: int, values: Values, epochs: int) -> Mapping[str, float]:
        asked.append((number, values, epochs))
        return answer(values, epochs)

    return search(space, options, seed, running(run_trial, space)), asked


RunTrial = Callable[[int, Values, int], Mapping[str, float]]


def running(
    run_trial: RunTrial, space: SearchSpace = SPACE, seen: list[Trial] | None = None
) -> Callable[[Sequence[Trial]], Sequence[Trial]]:
    """Return a function that runs trials one by one, from a function that runs one.

    Args:
        run_trial: (number, values, epochs) → scores.
        space: the values that are not searched.
        seen: gets every trial that has ended.
    """
    fixed = {n: v for n, v in space.items() if n not in searched_hyperparameters(space)}
    seen = [] if seen is None else seen

    def run(proposed: Sequence[Trial]) -> Sequence[Trial]:
        ended = []
        for trial in proposed:
            try:
                scores = run_trial(trial.number, {**fixed, **trial.searched}, trial.epochs)
                ended.append(replace(trial, scores=scores))
            except TrainingError as error:
                ended.append(replace(trial, failure=str(error)))
            seen.append(ended[-1])
        return ended

    return run


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_samples_complete_values_within_the_space(strategy: str) -> None:
    outcome, asked = searched(settings(strategy))
    assert [number for number, _, _ in asked] == list(range(1, len(asked) + 1))
    if strategy != "hyperband":
        assert len(asked) == 8
    for _, values, epochs in asked:
        assert set(values) == set(SPACE)
        assert (values["optimizer"], values["units"]) == ("adam", [64, 32])
        assert 0.0005 <= values["learning_rate"] <= 0.5
        assert isinstance(values["learning_rate"], float)
        assert values["dropout"] in (0.0, 0.25, 0.5)
        assert values["batch_size"] in (32, 64, 96)
        assert isinstance(values["batch_size"], int)
        assert values["hidden_units"] in ([128], [128, 64], [16])
        assert 1 <= epochs <= 9
    assert [trial.searched for trial in outcome.trials] == [
        {name: values[name] for name in searched_hyperparameters(SPACE)} for _, values, _ in asked
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_trial_with_the_best_objective_wins(strategy: str) -> None:
    outcome, _ = searched(settings(strategy))
    scored = [trial for trial in outcome.trials if trial.scores is not None]
    best = max(scored, key=lambda trial: (trial.scores or {})["val_accuracy"])
    assert outcome.best == {"optimizer": "adam", "units": [64, 32], **best.searched}


def test_val_loss_is_minimised() -> None:
    outcome, _ = searched(settings(objective="val_loss"))
    losses = {
        json.dumps(trial.searched): trial.scores["val_loss"]
        for trial in outcome.trials
        if trial.scores
    }
    best = json.dumps({name: outcome.best[name] for name in searched_hyperparameters(SPACE)})
    assert losses[best] == min(losses.values()) < max(losses.values())


def test_only_the_objective_decides_the_winner() -> None:
    def answer(values: Mapping[str, Any], epochs: int) -> Mapping[str, float]:
        accuracy = formula(values, epochs)["val_accuracy"]
        return {"val_accuracy": accuracy, "val_loss": accuracy, "epochs": epochs}

    by_accuracy, _ = searched(settings(), answer=answer)
    by_loss, _ = searched(settings(objective="val_loss"), answer=answer)
    assert by_accuracy.best != by_loss.best


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_seeds_give_equal_trials(strategy: str) -> None:
    first, asked = searched(settings(strategy))
    second, asked_again = searched(settings(strategy))
    assert asked_again == asked
    assert second == first


@pytest.mark.parametrize("strategy", ["random", "bayesian", "hyperband"])
def test_different_seeds_give_different_trials(strategy: str) -> None:
    assert searched(settings(strategy), seed=2)[1] != searched(settings(strategy), seed=1)[1]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_interrupted_search_resumes_from_the_stored_trials(strategy: str) -> None:
    whole, asked = searched(settings(strategy))
    distinct = len({json.dumps(one[1:], sort_keys=True) for one in asked})
    for stop in (1, distinct // 2, distinct):
        journal: dict[str, Mapping[str, float]] = {}

        def interrupted(
            values: Mapping[str, Any],
            epochs: int,
            journal: dict[str, Mapping[str, float]] = journal,
            stop: int = stop,
        ) -> Mapping[str, float]:
            name = json.dumps([values, epochs], sort_keys=True)
            if name not in journal:
                if len(journal) == stop:
                    raise KeyboardInterrupt
                journal[name] = json.loads(json.dumps(formula(values, epochs)))
            return journal[name]

        with contextlib.suppress(KeyboardInterrupt):
            searched(settings(strategy), answer=interrupted)
        assert len(journal) == min(stop, distinct)
        left = set(journal)

        def replaying(
            values: Mapping[str, Any],
            epochs: int,
            journal: dict[str, Mapping[str, float]] = journal,
            left: set[str] = left,
        ) -> Mapping[str, float]:
            name = json.dumps([values, epochs], sort_keys=True)
            assert name in journal or not left  # stored trials come first
            left.discard(name)
            return journal.get(name) or formula(values, epochs)

        assert searched(settings(strategy), answer=replaying) == (whole, asked)


def test_hyperband_trains_its_better_trials_for_more_epochs() -> None:
    outcome, asked = searched(settings("hyperband"))
    budgets = [epochs for _, _, epochs in asked]
    assert min(budgets) < max(budgets) == 9

    def hyperparameters(epochs: int) -> list[str]:
        return [json.dumps(trial.searched) for trial in outcome.trials if trial.epochs == epochs]

    # The longest trials are promoted ones, which ran before with fewer epochs.
    lowest, highest = set(hyperparameters(min(budgets))), hyperparameters(max(budgets))
    assert lowest & set(highest)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_hyperband_works_with_few_epochs(epochs: int) -> None:
    _, asked = searched(settings("hyperband", epochs=epochs))
    assert asked
    assert max(budget for _, _, budget in asked) <= epochs


def test_a_grid_search_tries_every_combination() -> None:
    space: SearchSpace = {
        "learning_rate": Choice(choice=(0.1, 0.01)),
        "dropout": FloatRange(float=FloatBounds(min=0.0, max=0.5, step=0.25)),
    }
    outcome, asked = searched(settings("grid", trials=100), space=space)
    pairs = {(values["learning_rate"], values["dropout"]) for _, values, _ in asked}
    assert pairs == {(rate, dropout) for rate in (0.1, 0.01) for dropout in (0.0, 0.25, 0.5)}
    assert len(asked) == 6
    assert outcome.best == {"learning_rate": 0.01, "dropout": 0.0}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_space_smaller_than_the_number_of_trials_ends_the_search(strategy: str) -> None:
    space: SearchSpace = {"learning_rate": Choice(choice=(0.1, 0.01)), "dropout": 0.0}
    outcome, asked = searched(settings(strategy), space=space)
    assert {values["learning_rate"] for _, values, _ in asked} == {0.1, 0.01}
    assert outcome.best == {"learning_rate": 0.01, "dropout": 0.0}


@pytest.mark.parametrize("strategy", ["random", "grid"])
@pytest.mark.parametrize(
    ("space", "combinations"),
    [
        ({"dropout": 0.1}, 1),
        ({"dropout": FloatRange(float=FloatBounds(min=0.1, max=0.1))}, 1),
        ({"dropout": FloatRange(float=FloatBounds(min=0.0, max=0.5, step=0.2))}, 3),
        (
            {
                "dropout": Choice(choice=(0.1, 0.2)),
                "batch_size": IntRange(int=IntBounds(min=32, max=100, step=32)),
            },
            6,
        ),
        (
            {
                "dropout": ListRange(
                    list=ListBounds(items=(Choice(choice=(0.1, 0.2)), Choice(choice=(0.3,))))
                )
            },
            2,
        ),
    ],
)
def test_max_trials_is_the_number_of_trials_of_a_random_or_grid_search(
    strategy: str, space: SearchSpace, combinations: int
) -> None:
    space = {"learning_rate": 0.01, **space}
    for trials in (2, 9):
        given = settings(strategy, trials=trials)
        outcome, _ = searched(given, space=space, answer=unique_score)
        assert len(outcome.trials) == max_trials(space, given) == min(trials, combinations)


def test_a_continuous_range_does_not_limit_the_number_of_trials() -> None:
    assert max_trials(SPACE, settings(trials=1000)) == 1000


def test_max_trials_bounds_a_bayesian_search() -> None:
    space: SearchSpace = {"dropout": Choice(choice=(0.1, 0.2)), "learning_rate": 0.01}
    given = settings("bayesian")
    outcome, _ = searched(given, space=space)
    assert len(outcome.trials) <= given.trials == max_trials(space, given)
    assert max_trials({"learning_rate": 0.01}, given) == 1


def test_max_trials_of_hyperband_is_unknown() -> None:
    assert max_trials(SPACE, settings("hyperband")) is None
    assert max_trials({"dropout": 0.1}, settings("hyperband")) == 1


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "only",
    [
        Choice(choice=(0.01,)),
        FloatRange(float=FloatBounds(min=0.01, max=0.01)),
        FloatRange(float=FloatBounds(min=0.01, max=0.01, log=True)),
        FloatRange(float=FloatBounds(min=0.01, max=0.02, step=0.5)),
    ],
    ids=["one choice", "equal bounds", "equal bounds, log", "a step wider than the range"],
)
def test_a_range_of_one_value_is_accepted(strategy: str, only: Choice | FloatRange) -> None:
    space: SearchSpace = {"learning_rate": only, "dropout": 0.0}
    outcome, _ = searched(settings(strategy), space=space)
    assert outcome.best == {"learning_rate": 0.01, "dropout": 0.0}


def test_an_integer_range_with_equal_bounds_is_accepted() -> None:
    space: SearchSpace = {
        "batch_size": IntRange(int=IntBounds(min=64, max=64)),
        "learning_rate": 0.1,
        "dropout": 0.0,
    }
    assert searched(settings(), space=space)[0].best["batch_size"] == 64


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_space_without_a_range_gives_one_trial(strategy: str) -> None:
    space: SearchSpace = {"learning_rate": 0.01, "dropout": 0.1, "units": [64]}
    outcome, asked = searched(settings(strategy), space=space)
    assert asked == [(1, space, 9)]
    assert outcome.best == space
    assert [trial.searched for trial in outcome.trials] == [{}]


@pytest.mark.parametrize(
    "values",
    [
        ([128], [128, 64]),
        (True, False),
        ("relu", "gelu"),
        (1, 2),
        (0.1, 1),
        ("true", True),
    ],
)
def test_choices_keep_their_type(values: tuple[Any, ...]) -> None:
    space: SearchSpace = {"x": Choice(choice=values), "learning_rate": 0.01, "dropout": 0.0}
    _, asked = searched(settings("grid"), space=space)
    found = [trial["x"] for _, trial, _ in asked]
    assert sorted(map(repr, found)) == sorted(map(repr, values))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_length_and_the_items_of_a_list_are_searched(strategy: str) -> None:
    item = Choice(choice=(64, 32))
    units = ListRange(list=ListBounds(items=(item, item, Choice(choice=(8,))), shortest=2))
    space: SearchSpace = {"hidden_units": units, "learning_rate": 0.01, "dropout": 0.0}
    outcome, asked = searched(settings(strategy, trials=12), space=space)
    found = [values["hidden_units"] for _, values, _ in asked]
    assert {len(value) for value in found} == {2, 3}
    assert {unit for value in found for unit in value[:2]} == {64, 32}
    assert {value[2] for value in found if len(value) == 3} == {8}
    assert outcome.best["hidden_units"] in found
    assert all(set(trial.searched) <= set(SPACE) for trial in outcome.trials)


def test_a_log_scale_covers_every_decade_evenly() -> None:
    _, asked = searched(settings(trials=60))
    rates = [values["learning_rate"] for _, values, _ in asked]
    for lowest in (0.0005, 0.005, 0.05):
        assert 8 < sum(lowest <= rate < 10 * lowest for rate in rates) < 35


def test_steps_give_round_decimal_numbers() -> None:
    def answer(values: Mapping[str, Any], epochs: int) -> Mapping[str, float]:
        return {"val_accuracy": values["dropout"], "val_loss": 0.0, "epochs": epochs}

    space: SearchSpace = {"dropout": FloatRange(float=FloatBounds(min=0.0, max=0.4, step=0.1))}
    _, asked = searched(settings("grid"), answer=answer, space=space)
    assert [values["dropout"] for _, values, _ in asked] == [0.0, 0.1, 0.2, 0.3, 0.4]


# Waves


def waves(strategy: str, parallel: int, order: int = 0) -> tuple[Outcome, list[int]]:
    """Return the outcome of a search and the widths of its waves.

    Args:
        strategy: name of the strategy.
        parallel: largest width of a wave.
        order: number of trials of a wave that are run after the others.
    """
    widths: list[int] = []
    run = running(lambda number, values, epochs: formula(values, epochs))

    def shuffled(proposed: Sequence[Trial]) -> Sequence[Trial]:
        widths.append(len(proposed))
        rotated = [*proposed[order:], *proposed[:order]]
        return sorted(run(rotated), key=lambda trial: trial.number)

    return search(SPACE, settings(strategy, parallel=parallel), 1, shuffled), widths


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_order_in_which_the_trials_of_a_wave_end_changes_nothing(strategy: str) -> None:
    first, widths = waves(strategy, 3, order=1)
    assert waves(strategy, 3, order=2) == (first, widths)
    assert 1 < max(widths) <= 3
    assert [trial.number for trial in first.trials] == list(range(1, sum(widths) + 1))


@pytest.mark.parametrize("strategy", ["random", "grid"])
def test_the_width_of_a_wave_does_not_change_the_trials_of(strategy: str) -> None:
    assert waves(strategy, 1)[0] == waves(strategy, 3)[0] == waves(strategy, 100)[0]


@pytest.mark.slow
def test_the_width_of_a_wave_is_a_parameter_because_it_changes_the_trials_of_bayesian() -> None:
    space: SearchSpace = {"learning_rate": SPACE["learning_rate"], "dropout": 0.0}
    one, many = (
        searched(settings("bayesian", trials=4, parallel=parallel), space=space)[0].trials
        for parallel in (1, 4)
    )
    assert one[:3] == many[:3]  # which are random
    assert one != many


def test_hyperband_proposes_a_whole_round_at_once() -> None:
    _, widths = waves("hyperband", 100)
    assert widths == [17, 5, 1]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_failures_are_counted_in_the_order_of_the_trials(strategy: str) -> None:
    given = settings(strategy, parallel=4)
    outcome = search(SPACE, given, 1, running(failing(1, 3, 4)))
    assert [trial.number for trial in outcome.trials if trial.failure] == [1, 3, 4]


# Failures


def failing(*numbers: int) -> RunTrial:
    def run_trial(number: int, values: Values, epochs: int) -> Mapping[str, float]:
        if number in numbers:
            raise TrainingError(f"trial {number}: it diverged")
        return formula(values, epochs)

    return run_trial


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_failed_trial_is_recorded_and_the_search_continues(strategy: str) -> None:
    seen: list[Trial] = []
    outcome = search(SPACE, settings(strategy), 1, running(failing(1, 3), seen=seen))
    assert list(outcome.trials) == seen
    assert len(outcome.trials) > 3
    for trial in outcome.trials:
        if trial.number in (1, 3):
            assert trial.scores is None
            assert trial.failure == f"trial {trial.number}: it diverged"
        else:
            assert trial.scores is not None
            assert trial.failure == ""
    scored = {json.dumps(trial.searched) for trial in outcome.trials if trial.scores}
    assert (
        json.dumps({name: outcome.best[name] for name in searched_hyperparameters(SPACE)}) in scored
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_three_failures_in_a_row_end_the_search_with_the_last_error(strategy: str) -> None:
    seen: list[Trial] = []
    with pytest.raises(
        UserError, match="three failed trials in a row; the last error: trial 4: it diverged"
    ):
        search(SPACE, settings(strategy), 1, running(failing(2, 3, 4), seen=seen))
    assert [trial.number for trial in seen] == [1, 2, 3, 4]


@pytest.mark.parametrize("strategy", ["random", "bayesian", "grid"])
def test_a_search_whose_trials_all_fail_reports_the_last_error(strategy: str) -> None:
    with pytest.raises(
        UserError, match=r"all trials .* failed; the last error: trial 2: it diverged"
    ):
        search(SPACE, settings(strategy, trials=2), 1, running(failing(1, 2)))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_user_error_ends_the_search(strategy: str) -> None:
    def run_trial(number: int, values: Values, epochs: int) -> Mapping[str, float]:
        if number == 2:
            raise UserError("epoch.npz is damaged")
        return formula(values, epochs)

    seen: list[Trial] = []
    with pytest.raises(UserError, match=r"^epoch\.npz is damaged$"):
        search(SPACE, settings(strategy), 1, running(run_trial, seen=seen))
    assert [trial.number for trial in seen] == [1]


def test_a_failure_of_the_only_trial_is_an_error() -> None:
    space: SearchSpace = {"learning_rate": 0.01, "dropout": 0.1}
    with pytest.raises(UserError, match="the only trial failed: trial 1: it diverged"):
        search(space, settings(), 1, running(failing(1), space))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ZeroDivisionError])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_other_exceptions_are_raised_and_not_recorded_as_failed_trials(
    strategy: str, error: type[BaseException]
) -> None:
    def run_trial(number: int, values: Values, epochs: int) -> Mapping[str, float]:
        raise error

    seen: list[Trial] = []
    with pytest.raises(error):
        search(SPACE, settings(strategy), 1, running(run_trial, seen=seen))
    assert seen == []


def test_keras_tuner_prints_nothing_and_leaves_no_files(
    capfd: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search(SPACE, settings(), 1, running(failing(2)))
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


# The table


def test_the_table_includes_failed_trials() -> None:
    outcome = search(SPACE, settings("grid"), 1, running(failing(2)))
    names = searched_hyperparameters(SPACE)
    header, rows = trials_table(outcome.trials, names)
    assert header == ["trial", *names, "max_epochs", "epochs", "val_accuracy", "val_loss"]
    assert [row[0] for row in rows] == list(range(1, 9))
    for trial, row in zip(outcome.trials, rows, strict=True):
        cells = dict(zip(header, row, strict=True))
        assert json.loads(cells["hidden_units"]) == trial.searched["hidden_units"]
        assert cells["learning_rate"] == trial.searched["learning_rate"]
        assert cells["max_epochs"] == 9
        expected = trial.scores["val_loss"] if trial.scores else ""
        assert cells["val_loss"] == expected


def test_searched_names_keep_their_order() -> None:
    assert searched_hyperparameters(SPACE) == [
        "learning_rate",
        "dropout",
        "batch_size",
        "hidden_units",
    ]
