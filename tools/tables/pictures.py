"""Tables of the pictures that `make predict` classifies correctly or finds unlike its data."""

from typing import Any

from sidebyside.config.paths import Paths
from tools.tables.markdown import benchmark, label, table


def pictures(paths: Paths) -> str:
    """Return the share of correct predictions, one row per way of making a picture."""
    measured = benchmark(paths, "pictures")
    models = list(measured["themselves"]["correct"])
    named = {"the images themselves": measured["themselves"], **measured["kinds"]}
    rows = [
        [kind, *(f"{values['correct'][model]:.1%}" for model in models), *_noticed(values)]
        for kind, values in named.items()
    ]
    names = (label(model.rpartition("-")[0]) for model in models)
    return (
        f"{table(['picture', *names, 'refused', 'unlike'], rows)}\n\nShares of"
        f" {measured['images']} pictures of each kind: correct predictions, refused pictures (which"
        " count as errors), and those found to be unlike the training data."
    )


def foreign_pictures(paths: Paths) -> str:
    """Return the share of foreign pictures that are noticed, one row per kind."""
    measured = benchmark(paths, "pictures")
    rows = [
        [kind, *_noticed(values), f"{1 - values['refused'] - values['unlike']:.1%}"]
        for kind, values in measured["foreign"].items()
    ]
    return (
        f"{table(['picture', 'refused', 'unlike', 'missed'], rows)}\n\nShares of"
        f" {measured['images']} pictures of each kind."
    )


def _noticed(values: dict[str, Any]) -> list[str]:
    return [f"{values[share]:.1%}" for share in ("refused", "unlike")]
