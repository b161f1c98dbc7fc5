"""Search for the hyperparameters of one architecture, on the train and val splits alone.

Reads:  data/processed/{train,val}.npz, data/processed/dataset.json
Writes: reports/tune/<model>/, data/trials/<model>.csv
"""

import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from sidebyside.config.dataset import read_dataset
from sidebyside.config.hyperparameters import RECORDS
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.config.search_space import without_flips
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_atomically, write_csv, write_json
from sidebyside.core.fingerprint import machine_facts
from sidebyside.core.seeding import generator
from sidebyside.data.npz import read_split
from sidebyside.data.splitting import subsample
from sidebyside.execution.choice import executor
from sidebyside.models.tensorflow_setup import configure
from sidebyside.workflow import command, provenance, resume, stage
from sidebyside.workflow.machines import Machines


def main() -> None:
    """Run the stage."""
    parser = command.parser(__doc__)
    parser.add_argument("model", choices=RECORDS, help="the architecture")
    model = parser.parse_args().model
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)
    settings, threads, parts = parameters.tune.search, parameters.threads, parameters.parts
    if model not in parameters.tune.models:
        raise UserError(f"params.yaml: tune.models.{model} is missing")

    dataset = read_dataset(paths.dataset)
    train = read_split(paths.split("train"), dataset)
    val = read_split(paths.split("val"), dataset)
    if settings.images:
        train = subsample(train, settings.images, generator(parameters.seed, "search images"))

    configure(threads)
    from sidebyside.tracking import search as tracking
    from sidebyside.tracking.origin import Origin
    from sidebyside.tracking.trials import follow_trials
    from sidebyside.training.jobs import training_arrays
    from sidebyside.training.search import SearchTask, run_search
    from sidebyside.training.strategies import trials_table
    from sidebyside.workflow.search_progress import trial_lines, trials_at_once

    space = without_flips(parameters.tune.models[model], dataset)
    if space != parameters.tune.models[model]:
        print(f"{model}: flip: false, as the data set has `mirror: false`")
    task = SearchTask(model, space, settings, parameters.seed, dataset, train, val, threads, parts)
    machine = machine_facts(threads)
    inputs = {"model": model, "threads": threads, "parts": parts, "task": task.record}
    key = resume.work_key(paths.root, "tune", inputs)
    search = tracking.tuning(dataset, model, Origin(f"tune@{model}", key, machine), task.record)

    at_once = trials_at_once(paths.root, task)
    report = paths.hyperparameters(model).parent
    trials, record = report / "trials.csv", report / "search.json"
    outputs = [trials, record, paths.trial_histories(model), paths.hyperparameters(model)]
    with (
        resume.resumable(paths.root, f"tune-{model}", key, outputs) as folder,
        tracking.open_search(paths.root, search) as run,
        nullcontext(Machines(folder / "machines.json", machine)) as machines,
        executor(training_arrays(train, val), machine, at_once, machines.add) as execute,
    ):
        tracking.log_search_inputs(run, search)

        follow, on_trial = follow_trials(run, search), trial_lines(task, model, at_once)
        result = run_search(task, folder, follow, on_trial, execute)

        values = result.chosen.model_dump(mode="json")
        table = trials_table(result.trials, task.names)
        with write_atomically():
            write_csv(trials, *table)
            write_json(record, result.record(task))
            write_csv(paths.trial_histories(model), *result.epochs_table())
            write_json(paths.hyperparameters(model), values)
        provenance.write(
            paths.root, search.origin.stage, key, machines.facts, outputs, sum(result.seconds)
        )
        search = replace(search, origin=search.origin._replace(machine=machines.facts))
        first = {number: histories[0] for number, histories in result.histories.items()}
        tracking.log_search(run, search, result.record(task), first, table, values)
    print(f"chosen for {model}: {json.dumps({name: values[name] for name in task.names})}")


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
