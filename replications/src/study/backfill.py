"""Log all results of the published systems that are missing in MLflow.

Like `make backfill` for the main pipeline: runs that are already in MLflow are compared with the
results, and only missing entries are logged. The prepared data of the main pipeline have to be
present; only results that were obtained from these data are logged.
"""

from pathlib import Path

from sidebyside.config.paths import CHECKOUT, Paths
from sidebyside.core.files import read_json
from sidebyside.tracking.backfill import (
    backfill_search,
    ensure_opened,
    ensure_started,
    search_outputs,
    status_of,
)
from sidebyside.tracking.origin import find_origin
from sidebyside.workflow import command, integrity
from study.comparison.results import completed, read_digests, read_runs
from study.plan import Plan, SystemModel, read_plan
from study.tracking import log_model_run, open_model_run, tracked_search


def main() -> None:
    """Log everything that is not in MLflow yet."""
    command.parser(__doc__).parse_args()
    ensure_started(CHECKOUT)
    backfill(CHECKOUT)


def backfill(root: Path) -> None:
    """Log the searches and models of the plan that have been run.

    Args:
        root: root of the checkout.

    Raises:
        UserError: MLflow stops responding, or a file is missing or damaged.
    """
    folder = root / "replications"
    integrity.require_unchanged(folder, ["*"])
    plan: Plan = completed(
        read_plan(folder / "params.yaml"), folder / "results", read_digests(Paths(root))
    )
    for name, part in plan.searches.items():
        print(f"{name}-search: {backfill_system_search(root, name, part.model)}", flush=True)
    for name, model in plan.trained.items():
        print(f"{name}: {backfill_model(root, name, model)}", flush=True)


def backfill_system_search(root: Path, name: str, model: str) -> str:
    """Log the search of a published system; return its status.

    Args:
        root: root of the checkout.
        name: name of the search.
        model: the architecture.
    """
    results = root / "replications/results/searches" / name
    histories = results / "histories.csv"
    origin = find_origin(
        root / "replications", f"search@{name}", search_outputs(results, histories)
    )
    search = tracked_search(name, model, origin, read_json(results / "search.json"))
    return backfill_search(root, search, results, histories)


def backfill_model(root: Path, name: str, part: SystemModel) -> str:
    """Log all seeds of a published system's model; return its status.

    Args:
        root: root of the checkout.
        name: name of the model.
        part: the model in the plan.
    """
    results = root / "replications/results/models" / name
    record = read_json(results / "record.json")
    outputs = [file for file in sorted(results.iterdir()) if file.is_file()]
    origin = find_origin(root / "replications", record["stage"], outputs)
    runs = []
    for seed, model_run in read_runs(results).items():
        with open_model_run(root, name, part, seed, record, origin) as run:
            ensure_opened(run)
            log_model_run(run, part, seed, record, model_run)
        runs.append(run)
    return status_of(runs)


if __name__ == "__main__":
    command.run(main)
