"""Compare the published numbers and claims with the measured results, and write the page.

Searches and models without results are left out and listed: `dvc repro --single-item compare` shows
the progress of an unfinished study.

Reads:  results/, ../params.yaml, ../data/processed/test.npz, ../reports/{preprocess,augment}/
Writes: report.html, report.md, figures/, summary.json
"""

import sys
from pathlib import Path

from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.config.result_files import AugmentationSummary, read_class_counts
from sidebyside.config.validation import read_record
from sidebyside.core.errors import UserError
from sidebyside.core.files import (
    keep_only,
    write_atomically,
    write_bytes,
    write_json,
    write_text,
)
from sidebyside.data.npz import read_split
from sidebyside.workflow import command, stage
from study.comparison import figures, findings, page
from study.comparison.results import completed, read_digests, read_model, read_search
from study.plan import CLASS_NAMES, read_plan, read_studied_dataset, stage_names


def main() -> None:
    """Run the stage."""
    command.parser(__doc__).parse_args()
    folder = Path(__file__).resolve().parents[1]
    paths = Paths(folder.parent)
    whole = read_plan(folder / "params.yaml")
    findings.check_rows(whole)
    plan = completed(whole, folder / "results", read_digests(paths))
    if not plan.trained:
        raise UserError(f"{folder / 'results'} has no trained model: run `make replications`")
    models = {name: read_model(folder / "results/models" / name) for name in plan.trained}
    searches = {
        name: read_search(folder / "results/searches" / name, part.model, part.search.objective)
        for name, part in plan.searches.items()
    }
    test = read_split(paths.split("test"), read_studied_dataset(paths.dataset))
    report = paths.report("preprocess")
    augmented = read_record(paths.report("augment") / "summary.json", AugmentationSummary)
    content = page.Content(
        plan=plan,
        missing=[name for name in stage_names(whole) if name not in stage_names(plan)],
        models=models,
        searches=searches,
        counts={
            **read_class_counts(report / "classes.csv", ("train", "val", "test"), CLASS_NAMES),
            "train, augmented": [augmented.classes[name] for name in CLASS_NAMES],
        },
        transforms=read_parameters(paths.params).augment.transforms,
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
    keep_only(folder / "figures", {folder / file for file in content.figures})
    for name, system in summary["systems"].items():
        print(f"system {name}: published {_listing(system['published'])};", end=" ")
        print(f"claims {_listing(system['claims'])}")
    if content.missing:
        print(f"not completed and left out: {', '.join(content.missing)}")


def _listing(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
