"""Run one of the published searches or sweeps.

Reads:  ../data/processed/{train,val}.npz
Writes: results/searches/<name>/, durations/search-<name>.json
"""

import sys
from pathlib import Path

from fashion import command, data, provenance, replication, stage, state
from fashion.errors import UserError
from fashion.files import together, write_csv, write_json
from fashion.parameters import searched_names
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
    inputs = {
        "name": name,
        "model": part.model,
        "space": part.space,
        "search": part.search.model_dump(mode="json"),
        "seed": plan.seed,
        "threads": plan.threads,
        "train": data.digest(train),
        "val": data.digest(val),
    }
    key = state.work_key(folder, "search", inputs)

    configure(plan.threads)
    from fashion import store, training_log, tuning_work

    space = part.ranges()
    names = searched_names(space)
    record: training_log.Record = {
        "key": key,
        "seed": plan.seed,
        "settings": inputs["search"],
        "space": part.space,
        "fixed": {key: value for key, value in part.space.items() if key not in names},
        "searched": names,
        "data_sha256": {"train": inputs["train"], "val": inputs["val"]},
        "classes": {"train": data.class_counts(train), "val": data.class_counts(val)},
        "machine": provenance.machine(plan.threads),
    }
    place = training_log.Place(store.REPLICATIONS, f"{name}-search", f"search@{name}")
    results = folder / "results/searches" / name
    outputs = [results / "hyperparameters.json"]
    with (
        state.resumable(folder, f"search-{name}", key, outputs) as work,
        training_log.search_run(paths.root, place, part.model, record) as run,
    ):
        settings = training_log.search_parameters(record)
        training_log.log_inputs(run, settings, record, record["classes"])
        search = tuning_work.SearchWork(
            model=part.model,
            space=space,
            settings=part.search,
            seed=plan.seed,
            train=train,
            val=val,
            folder=work,
            run=run,
            place=place,
            record=record,
            label=name,
        )
        chosen = search.do()
        with together():
            write_csv(results / "trials.csv", *search.table())
            write_json(results / "hyperparameters.json", chosen.model_dump(mode="json"))
        replication.write_duration(folder, f"search-{name}", search.seconds)
        search.log(chosen)


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
