"""Run one of the published searches or sweeps.

Reads:  ../data/processed/{train,val}.npz
Writes: results/searches/<name>/, durations/search-<name>.json, for its winner
        .state/winner-<name>/
"""

import sys
from pathlib import Path

from fashion import command, data, finished, replication, stage
from fashion.errors import UserError
from fashion.files import together, write_csv, write_json
from fashion.paths import Paths
from fashion.runtime import configure


def main() -> None:
    """Run the stage."""
    parser = command.parser(__doc__)
    parser.add_argument("name", help="a key of `searches` in params.yaml")
    name = parser.parse_args().name
    folder = Path(__file__).resolve().parents[1]
    paths = Paths(folder.parent)
    plan = replication.read_plan(folder / "params.yaml")
    if name not in plan.searches:
        raise UserError(f"no search {name!r}: choose from {', '.join(plan.searches)}")
    part = plan.searches[name]
    train, val = data.read_split(paths.split("train")), data.read_split(paths.split("val"))

    configure(plan.threads)
    from fashion import training_log, tuning_work

    search = tuning_work.SearchWork(
        model=part.model,
        space=part.space,
        settings=part.search,
        seed=plan.seed,
        threads=plan.threads,
        train=train,
        val=val,
        place=training_log.replication_place(name),
        label=name,
    )
    results = folder / "results/searches" / name
    trials, record, histories, best = (
        results / file
        for file in ("trials.csv", "search.json", "histories.csv", "hyperparameters.json")
    )
    with search.opened(paths.root, folder, [trials, record, histories, best]):
        chosen = search.do()
        with together():
            write_csv(trials, *search.table())
            write_json(record, search.ended())
            write_csv(histories, *search.epochs())
            write_json(best, chosen.model_dump(mode="json"))
        replication.write_duration(folder, f"search-{name}", search.seconds)
        search.log(chosen)
        training = replication.Training(
            epochs=search.winner.epochs,
            patience=part.search.patience,
            monitor=part.search.objective,
            keep="best",
        )
        place = finished.place(
            folder,
            name,
            {**training.model_dump(), **chosen.model_dump(mode="json")},
            search.trial_seed(),
            plan.threads,
            search.record["data_sha256"],
        )
        finished.keep(place, search.checkpoint(search.winner))


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
