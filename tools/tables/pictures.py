"""Table of the pictures that `make predict` classifies correctly."""

from sidebyside.config.paths import Paths
from tools.tables.markdown import benchmark, label, table


def pictures(paths: Paths) -> str:
    """Return the share of correct predictions, one row per way of making a picture."""
    measured = benchmark(paths, "pictures")
    themselves = measured["themselves"]
    models = list(themselves)
    rows = [["the test images themselves", *_shares(themselves, models), ""]]
    for kind, values in measured["kinds"].items():
        rows.append([kind, *_shares(values["correct"], models), str(values["refused"] or "")])
    header = ["picture", *(label(model.rpartition("-")[0]) for model in models), "refused"]
    return (
        f"{table(header, rows)}\n\nCorrect predictions for {measured['images']} test images, made"
        " into pictures of each kind. A refused picture counts as an error."
    )


def _shares(correct: dict[str, float], models: list[str]) -> list[str]:
    return [f"{correct[model]:.1%}" for model in models]
