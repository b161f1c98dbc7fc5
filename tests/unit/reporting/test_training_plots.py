import math

import numpy as np

from sidebyside.reporting import plot_style, training_plots
from tests.support.figures import HISTORY, pixels, undecorated


def test_models_of_one_group_share_a_colour() -> None:
    def colours(*groups: dict[str, str]) -> set[str]:
        figure = undecorated(training_plots.curves, {"a-1": HISTORY, "a-2": HISTORY}, *groups)
        return {line.get_color() for line in figure.axes[1].lines}

    assert colours({"a-1": "a", "a-2": "a"}) == {plot_style.COLOURS[0]}
    assert colours() == {*plot_style.COLOURS[:2]}


def test_a_history_of_one_epoch_is_visible() -> None:
    def coloured(epochs: int) -> int:
        history = {column: values[:epochs] for column, values in HISTORY.items()}
        png = training_plots.curves({"a": history})
        return int(
            (np.abs(pixels(png)[..., :3] - (0, 0x72 / 255, 0xB2 / 255)) < 0.02).all(-1).sum()
        )

    assert coloured(1) > coloured(0) + 50  # the legend alone is coloured too


def test_curves_start_at_epoch_one_and_validation_is_solid() -> None:
    loss, accuracy = undecorated(training_plots.curves, {"a": HISTORY}).axes
    assert list(loss.lines[0].get_xdata()) == [1, 2]
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        drawn = {line.get_linestyle(): list(line.get_ydata()) for line in axes.lines[:2]}
        assert drawn == {"--": HISTORY[name], "-": HISTORY[f"val_{name}"]}


def test_the_best_trial_is_the_lowest_loss_or_the_highest_accuracy() -> None:
    def best_so_far(objective: str) -> list[float]:
        values = {"mlp": [0.5, 0.4, 0.6]}
        (axes,) = undecorated(training_plots.trials, values, objective).axes
        return [float(value) for value in axes.lines[1].get_ydata()]

    assert best_so_far("val_loss") == [0.5, 0.4, 0.4]
    assert best_so_far("val_accuracy") == [0.5, 0.5, 0.6]


def test_a_search_in_which_every_trial_failed_is_drawn() -> None:
    assert training_plots.trials({"mlp": [math.nan]}, "val_accuracy").startswith(b"\x89PNG")


def test_a_failed_trial_does_not_change_the_best_so_far() -> None:
    (axes,) = undecorated(training_plots.trials, {"mlp": [0.5, math.nan, 0.6]}, "val_accuracy").axes
    assert list(axes.lines[1].get_ydata()) == [0.5, 0.5, 0.6]
