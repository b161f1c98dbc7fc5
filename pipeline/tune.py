"""Search for the hyperparameters of one architecture; it sees the train and val splits only.

Reads:  data/processed/{train,val}.npz
Writes: reports/tune/<model>/, data/trials/<model>.csv
"""

import json
import sys
from pathlib import Path

from fashion import command, data, provenance, stage, state
from fashion.files import together, write_csv, write_json
from fashion.hyperparameters import RECORDS
from fashion.parameters import read_parameters, searched_names
from fashion.paths import Paths
from fashion.randomness import generator
from fashion.results import HISTORY
from fashion.runtime import configure


def main() -> None:
    """Run the stage."""
    parser = command.parser(__doc__)
    parser.add_argument("model", choices=RECORDS, help="the architecture")
    model = parser.parse_args().model
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)
    settings, space = parameters.tune.search, parameters.tune.space(model)

    train = data.read_split(paths.split("train"))
    val = data.read_split(paths.split("val"))
    if settings.images:
        train = data.sample(train, settings.images, generator(parameters.seed, "search images"))
    inputs = {
        "model": model,
        "space": parameters.tune.models[model],
        "search": settings.model_dump(mode="json"),
        "seed": parameters.seed,
        "threads": parameters.threads,
        "train": data.digest(train),
        "val": data.digest(val),
    }
    key = state.work_key(paths.root, "tune", inputs)

    configure(parameters.threads)
    from fashion import training_log, tuning_work

    names = searched_names(space)
    record: training_log.Record = {
        "key": key,
        "seed": parameters.seed,
        "settings": inputs["search"],
        "space": inputs["space"],
        "fixed": {name: value for name, value in inputs["space"].items() if name not in names},
        "searched": names,
        "data_sha256": {"train": inputs["train"], "val": inputs["val"]},
        "classes": {"train": data.class_counts(train), "val": data.class_counts(val)},
        "machine": provenance.machine(parameters.threads),
    }
    place = training_log.search_place(model)
    with (
        state.resumable(paths.root, f"tune-{model}", key, [paths.hyperparameters(model)]) as folder,
        training_log.search_run(paths.root, place, model, record) as run,
    ):
        training_log.log_inputs(
            run, training_log.search_parameters(record), record, record["classes"]
        )
        search = tuning_work.SearchWork(
            model=model,
            space=space,
            settings=settings,
            seed=parameters.seed,
            train=train,
            val=val,
            folder=folder,
            run=run,
            place=place,
            record=record,
            label=model,
        )
        chosen = search.do()
        epochs = [
            [number, execution, *row.values()]
            for number, executions in sorted(search.histories.items())
            for execution, history in enumerate(executions, 1)
            for row in history
        ]
        report = paths.hyperparameters(model).parent
        with together():
            write_csv(report / "trials.csv", *search.table())
            write_csv(paths.trial_histories(model), ["trial", "execution", *HISTORY], epochs)
            write_json(report / "search.json", search.ended())
            write_json(paths.hyperparameters(model), chosen.model_dump(mode="json"))
        search.log(chosen)
    values = chosen.model_dump(mode="json")
    print(f"chosen for {model}: {json.dumps({name: values[name] for name in names})}")


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
