"""Hold what the replications measured against what was published, and write the page.

Of what has not run yet the page says so: `dvc repro --single-item compare` tells how far it is.

Reads:  results/, durations/, ../params.yaml, ../data/processed/test.npz,
        ../reports/{preprocess,augment}/
Writes: report.html, report.md, figures/, summary.json
"""

import sys
from pathlib import Path

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.config.schemas import AugmentationSummary, read_class_counts, read_record
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_atomically, write_bytes, write_json, write_text
from sidebyside.data.npz import read_split
from sidebyside.workflow import command, stage
from study import figures, findings, page
from study.plan import read_plan
from study.results import (
    read_digests,
    read_durations,
    read_model,
    read_processors,
    read_search,
    read_seconds,
    stage_names,
    what_ran,
)


def main() -> None:
    """Run the stage."""
    command.parser(__doc__).parse_args()
    folder = Path(__file__).resolve().parents[1]
    paths = Paths(folder.parent)
    whole = read_plan(folder / "params.yaml")
    findings.check_rows(whole)
    digests = read_digests(paths)
    plan = what_ran(whole, folder / "results", digests)
    if not plan.trained:
        raise UserError(f"{folder / 'results'} has no trained model: run `make replications`")
    ran = stage_names(plan)
    models = {name: read_model(folder / "results/models" / name) for name in plan.trained}
    searches = {
        name: read_search(folder / "results/searches" / name, part.model, part.search.objective)
        for name, part in plan.searches.items()
    }
    test = read_split(paths.split("test"))
    report = paths.report("preprocess")
    everything = folder / "durations/everything.json"
    augmented = read_record(paths.report("augment") / "summary.json", AugmentationSummary)
    content = page.Content(
        plan=plan,
        missing=[name for name in stage_names(whole) if name not in ran],
        models=models,
        searches=searches,
        counts={
            **read_class_counts(report / "classes.csv", ("train", "val", "test")),
            "train, augmented": [augmented.classes[name] for name in CLASS_NAMES],
        },
        transforms=read_parameters(paths.params).augment.transforms,
        seconds=read_durations(folder / "durations", plan),
        whole=read_seconds(everything) if everything.exists() else None,
        processors=read_processors(folder / "durations", folder / "results", plan),
        figures={
            **figures.figures(plan, models, searches, test),
            "figures/samples.png": (report / "samples.png").read_bytes(),
        },
    )
    html, markdown = page.render(content)
    summary = page.summary(content)
    with write_atomically():
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
