"""Search for the hyperparameters of one architecture; it sees the train and val splits only.

Reads:  data/processed/{train,val}.npz
Writes: reports/tune/<model>/, data/trials/<model>.csv
"""

import json
import sys
from pathlib import Path

from sidebyside.config.hyperparameters import RECORDS
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_atomically, write_csv, write_json
from sidebyside.core.seeding import generator
from sidebyside.data.splits import read_split
from sidebyside.data.splitting import subsample
from sidebyside.models.tensorflow_setup import configure
from sidebyside.workflow import command, stage


def main() -> None:
    """Run the stage."""
    parser = command.parser(__doc__)
    parser.add_argument("model", choices=RECORDS, help="the architecture")
    model = parser.parse_args().model
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)
    settings = parameters.tune.search
    if model not in parameters.tune.models:
        raise UserError(f"params.yaml: tune.models.{model} is missing")

    train = read_split(paths.split("train"))
    val = read_split(paths.split("val"))
    if settings.images:
        train = subsample(train, settings.images, generator(parameters.seed, "search images"))

    configure(parameters.threads)
    from sidebyside.tracking import stages
    from sidebyside.training.trials import SearchWork

    search = SearchWork(
        model=model,
        space=parameters.tune.models[model],
        settings=settings,
        seed=parameters.seed,
        threads=parameters.threads,
        train=train,
        val=val,
        place=stages.search_place(model),
        label=model,
    )
    report = paths.hyperparameters(model).parent
    trials, record = report / "trials.csv", report / "search.json"
    outputs = [trials, record, paths.trial_histories(model), paths.hyperparameters(model)]
    with search.opened(paths.root, paths.root, outputs):
        chosen = search.do()
        values = chosen.model_dump(mode="json")
        with write_atomically():
            write_csv(trials, *search.table())
            write_json(record, search.ended())
            write_csv(paths.trial_histories(model), *search.epochs())
            write_json(paths.hyperparameters(model), values)
        search.log(chosen)
    print(f"chosen for {model}: {json.dumps({name: values[name] for name in search.names})}")


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
