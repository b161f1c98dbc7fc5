import pytest

from sidebyside.execution.schedule import Span, longest_first, simulate

PREDECESSORS: dict[str, list[str]] = {
    "data": [],
    "tune@mlp": ["data"],
    "tune@cnn": ["data"],
    "train@mlp": ["tune@mlp"],
    "train@cnn": ["tune@cnn"],
    "evaluate": ["train@mlp", "train@cnn"],
}
SECONDS = {
    "data": 1.0,
    "tune@mlp": 30.0,
    "tune@cnn": 20.0,
    "train@mlp": 10.0,
    "train@cnn": 50.0,
    "evaluate": 5.0,
}


def test_the_task_that_begins_the_longest_chain_comes_first() -> None:
    assert longest_first(PREDECESSORS, SECONDS) == [
        *("data", "tune@cnn", "train@cnn", "tune@mlp", "train@mlp", "evaluate")
    ]


def test_tasks_of_equal_duration_keep_their_order() -> None:
    assert longest_first(PREDECESSORS, dict.fromkeys(SECONDS, 0.0)) == [*PREDECESSORS]


@pytest.mark.parametrize(("at_once", "seconds"), [(1, 116.0), (2, 76.0), (9, 76.0)])
def test_the_expected_time_is_that_of_the_last_task(at_once: int, seconds: float) -> None:
    order = longest_first(PREDECESSORS, SECONDS)
    spans = simulate(order, PREDECESSORS, SECONDS, at_once=at_once)
    assert max(span.end for span in spans.values()) == seconds
    for task, before in PREDECESSORS.items():
        assert all(spans[one].end <= spans[task].start for one in before)


def test_running_tasks_keep_their_places_and_ended_ones_are_no_obstacle() -> None:
    left = ["train@cnn", "train@mlp", "evaluate"]
    seconds = {**SECONDS, "train@mlp": 4.0}
    spans = simulate(left, PREDECESSORS, seconds, ["train@mlp"], at_once=1)
    assert spans == {
        "train@mlp": Span(0.0, 4.0),
        "train@cnn": Span(4.0, 54.0),
        "evaluate": Span(54.0, 59.0),
    }


def test_tasks_without_a_duration_take_no_time() -> None:
    spans = simulate([*PREDECESSORS], PREDECESSORS, dict.fromkeys(SECONDS, 0.0), at_once=2)
    assert spans == dict.fromkeys(PREDECESSORS, Span(0.0, 0.0))
