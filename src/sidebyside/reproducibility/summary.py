"""Summarise a run: the scores, the best model, and whether all outputs equal the recorded ones.

What is recorded is in the last commit. `make repro` ends with this summary. It has no test
scores, as models are chosen by their validation scores.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sidebyside.config.dataset import read_dataset
from sidebyside.config.paths import CHECKOUT, Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json
from sidebyside.reproducibility.scores import Metrics, read_scores
from sidebyside.tracking.ui import plain_address
from sidebyside.workflow import command, provenance
from sidebyside.workflow.graph import (
    LOCK,
    committed,
    committed_outputs,
    recorded_outputs,
    recorded_stages,
)
from sidebyside.workflow.progress import duration

DATA = "data/raw"  # if it differs, so does everything that is computed from it
METRICS = "metrics.json"
NONE = "–"
SHOWN = 10  # maximum number of different outputs that are listed


def main() -> None:
    """Print the summary of this checkout's results."""
    command.parser(__doc__).parse_args()
    print(summary(CHECKOUT))


def summary(root: Path) -> str:
    """Return the summary of a checkout's results.

    Raises:
        UserError: the pipeline has not been run, or its scores are damaged.
    """
    paths = Paths(root)
    metrics = read_scores(paths.report("evaluate") / METRICS)
    dataset = read_dataset(paths.dataset)
    plain = plain_address(root, dataset.name)
    return "\n".join(
        [
            score_table(metrics, recorded_scores(root), *training_seconds(root, [*metrics])),
            "",
            f"Best validation accuracy on {dataset.title}: {best_model(metrics)}.",
            "Report: reports/evaluate/report.html. Runs: `make ui`.",
            *([f"With a plain `mlflow ui`: {plain}"] if plain else []),
            comparison(committed_outputs(root), recorded_outputs(root)),
        ]
    )


def recorded_scores(root: Path) -> Metrics:
    """Return the scores in the last commit; none if it has none, or damaged ones."""
    with committed(root, f"reports/evaluate/{METRICS}") as path:
        try:
            return read_scores(path) if path else {}
        except UserError:
            return {}


def training_seconds(
    root: Path, models: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Return model → seconds of its training: of the present files, and of the recorded ones.

    Args:
        root: the checkout.
        models: as in metrics.json, where the seed is left out if there is only one.
    """
    now, recorded = dict.fromkeys(models), dict.fromkeys(models)
    with committed(root, provenance.RECORDED[0]) as path:
        entries = read_json(path) if path else {}
    for stage, outputs in recorded_stages(root).items():
        name = stage.removeprefix("train@")
        model = name if name in now else name.rpartition("-")[0]
        if stage.startswith("train@") and model in now:
            found = provenance.find(root, stage, [root / output for output in outputs])
            now[model] = found.seconds if found else None
            recorded[model] = entries.get(stage, {}).get("seconds")
    return now, recorded


def score_table(
    metrics: Metrics,
    recorded: Metrics,
    seconds: Mapping[str, float | None],
    recorded_seconds: Mapping[str, float | None],
) -> str:
    """Return an aligned table with a row per model.

    Args:
        metrics: content of reports/evaluate/metrics.json.
        recorded: that of the last commit.
        seconds: model → duration of its training.
        recorded_seconds: that of the recorded training.
    """
    rows = [["model", "val accuracy", "interval", "recorded", "difference", "time", "recorded"]]
    for model, scores in metrics.items():
        accuracy, before = scores["val"]["accuracy"], recorded.get(model)
        times = (times.get(model) for times in (seconds, recorded_seconds))
        rows.append(
            [
                model,
                f"{accuracy:.4f}",
                " to ".join(f"{end:.4f}" for end in scores.get("val_interval", ())),
                f"{before['val']['accuracy']:.4f}" if before else NONE,
                f"{accuracy - before['val']['accuracy']:+.4f}" if before else NONE,
                *(NONE if time is None else duration(time) for time in times),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(n) for cell, n in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    )


def best_model(metrics: Metrics) -> str:
    """Return the model with the highest validation accuracy; the first one in case of a tie."""
    return max(metrics, key=lambda model: metrics[model]["val"]["accuracy"])


def comparison(recorded: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """Return a text on the outputs that differ from the recorded ones.

    Args:
        recorded: output → digest, None if nothing is recorded.
        now: output → digest.
    """
    if recorded is None:
        return f"No recorded outputs to compare with: {LOCK} is not committed to git."
    if DATA in recorded and DATA in now and recorded[DATA] != now[DATA]:
        return (
            "The recorded outputs are those of other data. To record these instead, commit"
            f" params.yaml, {LOCK} and reports/."
        )
    outputs = dict.fromkeys([*recorded, *now])
    different = [output for output in outputs if recorded.get(output) != now.get(output)]
    if not different:
        return f"All {len(outputs)} outputs equal the recorded ones."
    lines = [f"{len(different)} of {len(outputs)} outputs differ from the recorded ones:"]
    for output in different[:SHOWN]:
        kind = "changed" if output in recorded and output in now else "new"
        lines.append(f"  {output}: {kind if output in now else 'missing'}")
    if len(different) > SHOWN:
        lines.append(f"  and {len(different) - SHOWN} more: see `git diff {LOCK}`")
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main)
