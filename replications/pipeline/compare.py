"""Hold what the replications measured against what was published, and write the page.

Of what has not run yet the page says so: `dvc repro --single-item compare` tells how far it is.

Reads:  results/, durations/, ../params.yaml, ../data/processed/test.npz,
        ../reports/{preprocess,augment}/
Writes: report.html, report.md, figures/, summary.json
"""

import sys
from pathlib import Path

from fashion import (
    command,
    data,
    replication,
    replication_figures,
    replication_findings,
    replication_report,
    replication_results,
    stage,
)
from fashion.errors import UserError
from fashion.files import together, write_bytes, write_json, write_text
from fashion.parameters import read_parameters
from fashion.paths import Paths
from fashion.results import AugmentedData, read_class_counts, read_record


def main() -> None:
    """Run the stage."""
    command.parser(__doc__).parse_args()
    folder = Path(__file__).resolve().parents[1]
    paths = Paths(folder.parent)
    whole = replication.read_plan(folder / "params.yaml")
    replication_findings.check_rows(whole)
    digests = replication_results.read_digests(paths)
    plan = replication_results.what_ran(whole, folder / "results", digests)
    if not plan.trained:
        raise UserError(f"{folder / 'results'} has no trained model: run `make replications`")
    ran = replication_results.stages(plan)
    models = {
        name: replication_results.read_model(folder / "results/models" / name)
        for name in plan.trained
    }
    searches = {
        name: replication_results.read_search(
            folder / "results/searches" / name, part.model, part.search.objective
        )
        for name, part in plan.searches.items()
    }
    test = data.read_split(paths.split("test"))
    report = paths.report("preprocess")
    everything = folder / "durations/everything.json"
    augmented = read_record(paths.report("augment") / "summary.json", AugmentedData)
    content = replication_report.Content(
        plan=plan,
        missing=[name for name in replication_results.stages(whole) if name not in ran],
        models=models,
        searches=searches,
        counts={
            **read_class_counts(report / "classes.csv", ("train", "val", "test")),
            "train, augmented": [augmented.classes[name] for name in data.CLASS_NAMES],
        },
        transforms=read_parameters(paths.params).augment.transforms,
        seconds=replication_results.read_durations(folder / "durations", plan),
        whole=replication_results.read_seconds(everything) if everything.exists() else None,
        processors=replication_results.read_processors(
            folder / "durations", folder / "results", plan
        ),
        figures={
            **replication_figures.figures(plan, models, searches, test),
            "figures/samples.png": (report / "samples.png").read_bytes(),
        },
    )
    html, markdown = replication_report.render(content)
    summary = replication_report.summary(content)
    with together():
        for file, png in content.figures.items():
            write_bytes(folder / file, png)
        write_text(folder / "report.html", html)
        write_text(folder / "report.md", markdown)
        write_json(folder / "summary.json", summary)
    drawn = {folder / file for file in content.figures}
    for former in set((folder / "figures").glob("*")) - drawn:
        former.unlink()  # of a model that has left the plan
    for name, system in summary["systems"].items():
        print(f"system {name}: {system['published']}, claims {system['claims']}")
    if content.missing:
        print(f"not run yet as params.yaml has it, and left out: {', '.join(content.missing)}")


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
