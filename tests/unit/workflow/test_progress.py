import sys

import pytest

from sidebyside.workflow.progress import duration, step_bar


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3660, "1 h 01 min"),
        (5_519.5, "1 h 32 min"),
        (100_000, "27 h 47 min"),
    ],
)
def test_a_duration_has_two_units(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_no_bar_is_drawn_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with step_bar("mlp") as update:
        update(1, 10)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_the_steps_of_an_epoch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with step_bar("mlp") as update:
        update(25, 100)
        update(100, 100)
        update(25, 100)  # of the next epoch
    drawn = capsys.readouterr().err
    assert "mlp" in drawn
    assert "25/100" in drawn
    assert "100/100" in drawn


def test_an_error_inside_the_block_is_passed_on() -> None:
    with pytest.raises(ValueError, match="inside"), step_bar("mlp"):
        raise ValueError("inside")
