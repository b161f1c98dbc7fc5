from study.comparison import charts
from tests.support.figures import undecorated


def test_a_sweep_with_a_failed_trial_keeps_points_at_their_values() -> None:
    lines = {"without": ([0.1, 0.2, 0.4], [0.8, 0.9, 0.7]), "with": ([0.1, 0.4], [0.7, 0.6])}
    figure = undecorated(charts.sweeps, {"dropout": lines})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "0.2", "0.4"]
    assert [list(line.get_xdata()) for line in axes.lines] == [[0, 1, 2], [0, 2]]


def test_settled_losses_start_at_the_given_epoch_and_share_axes() -> None:
    losses = {"original": [[3.0, 2.0, 1.0, 0.9]], "augmented": [[3.0, 2.0, 1.1], [3.0, 2.0, 1.2]]}
    figure = undecorated(charts.settled, losses, 3)
    left, right = figure.axes
    assert [list(line.get_xdata()) for line in left.lines] == [[3, 4]]
    assert [list(line.get_ydata()) for line in right.lines] == [[1.1], [1.2]]
    assert left.get_ylim() == right.get_ylim()
