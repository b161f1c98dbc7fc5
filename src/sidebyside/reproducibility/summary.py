"""Summarise a run: the scores, the best model, and whether all outputs equal the recorded ones.

The recorded outputs are those of dvc.lock in the last commit. `make repro` ends with this summary.
"""

from collections.abc import Mapping
from pathlib import Path

from sidebyside.config.dataset import read_dataset
from sidebyside.config.paths import CHECKOUT, Paths
from sidebyside.reproducibility.scores import Metrics, read_scores
from sidebyside.tracking.ui import plain_address
from sidebyside.workflow import command
from sidebyside.workflow.graph import LOCK, committed_outputs, recorded_outputs

DATA = "data/raw"  # if it differs, so does everything that is computed from it
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
    metrics = read_scores(paths.report("evaluate") / "metrics.json")
    dataset = read_dataset(paths.dataset)
    plain = plain_address(root, dataset.name)
    return "\n".join(
        [
            score_table(metrics),
            "",
            f"Best validation accuracy on {dataset.title}: {best_model(metrics)}.",
            "Report: reports/evaluate/report.html. Runs: `make ui`.",
            *([f"With a plain `mlflow ui`: {plain}"] if plain else []),
            comparison(committed_outputs(root), recorded_outputs(root)),
        ]
    )


def score_table(metrics: Metrics) -> str:
    """Return an aligned table with a row per model: its validation and test accuracy.

    Args:
        metrics: content of reports/evaluate/metrics.json.
    """
    rows = [("model", "val accuracy", "test accuracy")]
    for model, scores in metrics.items():
        val, test = (f"{scores[split]['accuracy']:.4f}" for split in ("val", "test"))
        rows.append((model, val, test))
    width = max(len(model) for model, *_ in rows)
    return "\n".join(f"{model:{width}}  {val:>12}  {test:>13}" for model, val, test in rows)


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
