from typing import Any

import pytest

from sidebyside.reporting import evaluation_plots
from sidebyside.reporting.report_content import Content
from tests.support.reports import made_up_content


@pytest.mark.usefixtures("undrawn")
def test_the_accuracy_figure_gets_test_and_validation_accuracies(
    content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def watched(*arguments: Any) -> bytes:
        given.append(arguments)
        return b""

    monkeypatch.setattr(evaluation_plots, "accuracy_intervals", watched)
    made_up_content()
    results = content.results
    low, high = zip(*(result.accuracy_interval for result in results), strict=True)
    (drawn,) = given
    assert [*map(list, drawn)] == [
        [f"{result.name.model}-{result.name.data}" for result in results],
        [result.scores["accuracy"] for result in results],
        [*low],
        [*high],
        [result.val["accuracy"] for result in results],
    ]
