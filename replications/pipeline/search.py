"""Run one of the published searches or sweeps.

Reads:  ../data/processed/dataset.json, ../data/processed/{train,val}.npz
Writes: results/searches/<name>/, and .state/winner-<name>/ for the training of the winner
"""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_atomically, write_csv, write_json
from sidebyside.core.fingerprint import machine_facts
from sidebyside.data.npz import read_split
from sidebyside.execution.choice import executor
from sidebyside.models.tensorflow_setup import configure
from sidebyside.workflow import command, provenance, resume, stage
from sidebyside.workflow.machines import Machines
from study import checkpoint_reuse
from study.plan import Training, read_plan, read_studied_dataset


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
    dataset = read_studied_dataset(paths.dataset)
    train, val = (read_split(paths.split(split), dataset) for split in ("train", "val"))

    configure(plan.threads)
    from sidebyside.tracking.origin import Origin
    from sidebyside.tracking.search import log_search, log_search_inputs, open_search
    from sidebyside.tracking.trials import follow_trials
    from sidebyside.training.jobs import training_arrays
    from sidebyside.training.search import SearchTask, run_search, trial_checkpoint
    from sidebyside.training.strategies import trials_table
    from sidebyside.workflow.search_progress import trial_lines, trials_at_once
    from study.tracking import tracked_search

    task = SearchTask(
        part.model, part.space, part.search, plan.seed, dataset, train, val, plan.threads
    )
    machine = machine_facts(plan.threads)
    inputs = {"model": part.model, "threads": plan.threads, "task": task.record}
    key = resume.work_key(folder, "search", inputs)
    origin = Origin(f"search@{name}", key, machine)
    search = tracked_search(name, part.model, origin, task.record)

    at_once = trials_at_once(folder, task)
    results = folder / "results/searches" / name
    trials, record, histories, best = outputs = [
        results / file
        for file in ("trials.csv", "search.json", "histories.csv", "hyperparameters.json")
    ]
    with (
        resume.resumable(folder, f"search-{name}", key, outputs) as work,
        open_search(paths.root, search) as run,
        nullcontext(Machines(work / "machines.json", machine)) as machines,
        executor(training_arrays(train, val), machine, at_once, machines.add) as execute,
    ):
        log_search_inputs(run, search)

        follow, on_trial = follow_trials(run, search), trial_lines(task, name, at_once)
        result = run_search(task, work, follow, on_trial, execute)

        chosen = result.chosen.model_dump(mode="json")
        table = trials_table(result.trials, task.names)
        with write_atomically():
            write_csv(trials, *table)
            write_json(record, result.record(task))
            write_csv(histories, *result.epochs_table())
            write_json(best, chosen)
        seconds = sum(result.seconds)
        provenance.write(folder, origin.stage, key, machines.facts, outputs, seconds)
        search = replace(search, origin=origin._replace(machine=machines.facts))
        first = {number: executions[0] for number, executions in result.histories.items()}
        log_search(run, search, result.record(task), first, table, chosen)
        training = Training(
            epochs=result.winner.epochs,
            patience=part.search.patience,
            monitor=part.search.objective,
            keep="best",
        )
        reused = checkpoint_reuse.checkpoint_path(
            folder,
            name,
            {**training.model_dump(), **chosen},
            task.trial_seed(),
            plan.threads,
            task.record["data_sha256"],
        )
        checkpoint_reuse.keep_checkpoint(reused, trial_checkpoint(task, work, result.winner))


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
