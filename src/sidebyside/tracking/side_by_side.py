"""Show pairs of architectures side by side, on a page among the artifacts of a comparison.

MLflow shows curves of several runs in one chart, but not two confusion matrices beside each other
at one scale, nor their difference.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from sidebyside.config.dataset import Dataset
from sidebyside.evaluation.results import ModelResult, short_names
from sidebyside.reporting.formatting import FILTERS, architecture

CURVES = "figures/curves.png"  # among the figures of the report
SHOWN = 6  # pairs
CELLS = 20  # classes of a matrix that fits a page; of more, the largest differences are listed
BLUE, ORANGE = "0 114 178", "213 94 0"  # of the palette of Okabe and Ito
STRONGEST = 75  # percent of a colour, on which text is readable in light and dark mode


class Cell(NamedTuple):
    """A cell of a matrix."""

    text: str
    colour: str  # CSS


class Change(NamedTuple):
    """A pair of classes that two models confuse differently often."""

    true: str
    predicted: str
    first: int  # images
    second: int


def side_by_side(
    dataset: Dataset,
    results: Sequence[ModelResult],
    comparisons: Sequence[Mapping[str, Any]],
    figures: Mapping[str, bytes],
) -> str:
    """Return the page as self-contained HTML.

    Args:
        dataset: the data set.
        results: results of every model on the test split.
        comparisons: the content of comparisons.json.
        figures: path below reports/evaluate → PNG.
    """
    names = short_names(one.name for one in results)
    found = {names[one.name]: one for one in results}
    pairs = [(found[one["first"]], found[one["second"]], one) for one in comparisons]
    of_architectures = [pair for pair in pairs if pair[0].name.model != pair[1].name.model]
    shown = [
        {
            "results": (first, second),
            "names": (one["first"], one["second"]),
            "title": f"{architecture(first.name.model)} and {architecture(second.name.model)},"
            f" {first.name.data} data, seed {first.name.seed}",
            "comparison": one,
            "matrices": _matrices(first.confusion, second.confusion),
            "changes": largest_changes(first, second),
        }
        for first, second, one in of_architectures[:SHOWN]
    ]
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template.filters |= FILTERS
    curves = figures.get(CURVES)
    architectures = dict.fromkeys(architecture(one.name.model) for one in results)
    return template.get_template("side_by_side.html.jinja").render(
        title=f"{' and '.join(architectures)} on {dataset.title}",
        classes=dataset.class_names,
        curves=base64.b64encode(curves).decode() if curves else None,
        pairs=shown,
    )


def _matrices(first: NDArray[np.int64], second: NDArray[np.int64]) -> dict[str, list[list[Cell]]]:
    """Return two confusion matrices in colours of one scale, and their difference."""
    if len(first) > CELLS:
        return {}
    difference = second - first
    most = max(int(np.abs(difference).max()), 1)
    changes = [[Cell(signed(count), colour(count / most)) for count in row] for row in difference]
    return {"first": _shares(first), "second": _shares(second), "difference": changes}


def _shares(counts: NDArray[np.int64]) -> list[list[Cell]]:
    """Return a matrix in colours by the share of the true class; the root shows rare errors."""
    return [
        [Cell(str(count), colour(math.sqrt(count / max(row.sum(), 1)))) for count in row]
        for row in counts
    ]


def signed(count: int) -> str:
    """Return a difference with its sign; zero has none."""
    return f"{count:+d}".replace("-", "−") if count else "0"


def colour(share: float) -> str:
    """Return the background of a cell as CSS.

    Args:
        share: from -1, orange, to 1, blue.
    """
    return f"rgb({BLUE if share > 0 else ORANGE} / {STRONGEST * abs(share):.0f}%)"


def largest_changes(first: ModelResult, second: ModelResult) -> list[Change]:
    """Return the confusions whose numbers of images differ most between two models."""
    wrong = first.confusion - second.confusion
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-np.abs(wrong), axis=None, kind="stable")[:10]
    pairs = [divmod(int(index), len(wrong)) for index in order]
    return [
        Change(
            first.class_names[true],
            first.class_names[predicted],
            int(first.confusion[true, predicted]),
            int(second.confusion[true, predicted]),
        )
        for true, predicted in pairs
        if wrong[true, predicted]
    ]
