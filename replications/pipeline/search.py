"""Run one of the published searches or sweeps.

Reads:  ../data/processed/{train,val}.npz
Writes: results/searches/<name>/, durations/search-<name>.json, for its winner
        .state/winner-<name>/
"""

import sys
from pathlib import Path

from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_atomically, write_csv, write_json
from sidebyside.data.splits import read_split
from sidebyside.models.tensorflow_setup import configure
from sidebyside.workflow import command, stage
from study import checkpoint_reuse
from study.plan import Training, read_plan, write_duration


def main() -> None:
    """Run the stage."""
    parser = command.parser(__doc__)
    parser.add_argument("name", help="a key of `searches` in params.yaml")
    name = parser.parse_args().name
    folder = Path(__file__).resolve().parents[1]
    paths = Paths(folder.parent)
    plan = read_plan(folder / "params.yaml")
    if name not in plan.searches:
        raise UserError(f"no search {name!r}: choose from {', '.join(plan.searches)}")
    part = plan.searches[name]
    train, val = read_split(paths.split("train")), read_split(paths.split("val"))

    configure(plan.threads)
    from sidebyside.tracking import stages
    from sidebyside.training.trials import SearchWork

    search = SearchWork(
        model=part.model,
        space=part.space,
        settings=part.search,
        seed=plan.seed,
        threads=plan.threads,
        train=train,
        val=val,
        place=stages.replication_place(name),
        label=name,
    )
    results = folder / "results/searches" / name
    trials, record, histories, best = (
        results / file
        for file in ("trials.csv", "search.json", "histories.csv", "hyperparameters.json")
    )
    with search.opened(paths.root, folder, [trials, record, histories, best]):
        chosen = search.do()
        with write_atomically():
            write_csv(trials, *search.table())
            write_json(record, search.ended())
            write_csv(histories, *search.epochs())
            write_json(best, chosen.model_dump(mode="json"))
        write_duration(folder, f"search-{name}", search.seconds)
        search.log(chosen)
        training = Training(
            epochs=search.winner.epochs,
            patience=part.search.patience,
            monitor=part.search.objective,
            keep="best",
        )
        place = checkpoint_reuse.checkpoint_path(
            folder,
            name,
            {**training.model_dump(), **chosen.model_dump(mode="json")},
            search.trial_seed(),
            plan.threads,
            search.record["data_sha256"],
        )
        checkpoint_reuse.keep_checkpoint(place, search.checkpoint(search.winner))


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
