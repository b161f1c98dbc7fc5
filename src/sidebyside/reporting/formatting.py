"""Format numbers and lists of words for the reports."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sidebyside.config.hyperparameters import RECORDS

Interval = tuple[float, float]  # low, high; an evaluation.intervals.Interval is one


def level(confidence: float) -> str:
    """Return a confidence level as it stands before the word interval: 0.95 → "95 %"."""
    return f"{100 * confidence:g} %"


def percent(share: float, decimals: int = 2) -> str:
    """Return a share in percent: 0.9351 → "93.51 %"."""
    return f"{100 * share:.{decimals}f} %"


def percent_range(interval: Interval) -> str:
    """Return an interval of a share in percent."""
    low, high = interval
    return f"{100 * low:.2f} to {100 * high:.2f} %"


def score(value: float) -> str:
    """Return a score with four decimals."""
    return f"{value:.4f}"


def score_range(interval: Interval) -> str:
    """Return an interval of a score with four decimals."""
    low, high = interval
    return f"{score(low)} to {score(high)}"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign; zero has none."""
    text = f"{100 * difference:+.2f}"
    return text.replace("-", "−") if float(text) else "0.00"


def point_range(interval: Interval) -> str:
    """Return an interval of a difference of shares in percentage points."""
    low, high = interval
    return f"{points(low)} to {points(high)}"


def p_value(value: float) -> str:
    """Return a p-value with three decimals, or "< 0.001"."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_relation(value: float) -> str:
    """Return a p-value as it stands in a sentence: "p < 0.001" or "p = 0.294"."""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def count(number: int) -> str:
    """Return a number with commas between thousands."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, which takes an s unless the number is 1."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def architecture(model: str) -> str:
    """Return an architecture's name as prose writes it: "cnn" → "CNN"."""
    return RECORDS[model].short_name or model


def shorten(text: str, characters: int) -> str:
    """Return a text with its middle left out if it has more than some number of characters."""
    if len(text) <= characters:
        return text
    end = (characters - 1) // 2
    return f"{text[: characters - 1 - end]}…{text[len(text) - end :]}"


def listing(words: Sequence[str]) -> str:
    """Return words as they stand in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"


FILTERS: Mapping[str, Callable[..., Any]] = {  # of every template
    function.__name__: function
    for function in (
        level, percent, percent_range, score, score_range, points, point_range, p_value,
        p_relation, count, plural, architecture, listing,
    )
}  # fmt: skip
