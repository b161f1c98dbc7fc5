"""Train one model of a published system from each of its seeds, and score it on every split.

Reads:  ../data/processed/{val,test}.npz, ../data/<data>/train.npz, for a winner
        results/searches/<search>/hyperparameters.json and .state/winner-<search>/
Writes: results/models/<name>/
"""

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidebyside.config.dataset import Dataset
from sidebyside.config.paths import Paths
from sidebyside.core.files import read_json, write_json
from sidebyside.core.fingerprint import machine_facts
from sidebyside.core.jobs import Executor
from sidebyside.core.stopwatch import Stopwatch
from sidebyside.data.npz import read_split
from sidebyside.data.splits import Split, split_digest
from sidebyside.data.statistics import class_counts
from sidebyside.execution.choice import executor
from sidebyside.models.tensorflow_setup import configure
from sidebyside.workflow import command, progress, provenance, resume, stage
from sidebyside.workflow.machines import Machines
from study import checkpoint_reuse
from study.plan import Plan, Winner, read_plan, read_studied_dataset

if TYPE_CHECKING:
    from sidebyside.tracking.origin import Origin


def main() -> None:
    """Run the stage."""
    parser = command.parser(__doc__)
    parser.add_argument("name", help="a key of `models` or `winners` in params.yaml")
    name = parser.parse_args().name
    folder = Path(__file__).resolve().parents[1]
    paths = Paths(folder.parent)
    plan = read_plan(folder / "params.yaml")
    hyperparameters = plan.record(name, folder / "results/searches")
    part = plan.trained[name]

    dataset = read_studied_dataset(paths.dataset)
    splits = {
        "train": read_split(paths.training_data(part.data), dataset),
        "val": read_split(paths.split("val"), dataset),
        "test": read_split(paths.split("test"), dataset),
    }
    digests = {split: split_digest(images) for split, images in splits.items()}
    settings = {**part.training.model_dump(), **hyperparameters.model_dump(mode="json")}
    inputs = {"name": name, "threads": plan.threads, "settings": settings, **digests}
    key = resume.work_key(folder, "train", inputs)
    machine = machine_facts(plan.threads)
    record: dict[str, Any] = {
        "stage": f"{'winner' if name in plan.winners else 'train'}@{name}",
        "settings": settings,
        "data_sha256": {split: digests[split] for split in ("train", "val")},
        "classes": {
            split: class_counts(splits[split], dataset.class_names) for split in ("train", "val")
        },
    }

    configure(plan.threads)
    from sidebyside.tracking.origin import Origin
    from sidebyside.training.jobs import training_arrays
    from study import model_runs

    results = folder / "results/models" / name
    outputs = [results / file for file in model_runs.FILES]
    found, seconds = [], []
    arrays = training_arrays(splits["train"], splits["val"])
    with (
        resume.resumable(folder, f"train-{name}", key, outputs) as work,
        nullcontext(Machines(work / "machines.json", machine)) as machines,
        executor(arrays, machine, 1, machines.add) as execute,
    ):
        for seed in part.seeds:
            journal, checkpoint = work / f"{seed}.json", work / f"{seed}.npz"
            if not journal.exists():
                stopwatch = Stopwatch(work / f"{seed}.seconds")
                if isinstance(part, Winner):
                    reused = checkpoint_reuse.checkpoint_path(
                        folder, part.search, settings, seed, plan.threads, record["data_sha256"]
                    )
                    if checkpoint_reuse.reuse_checkpoint(reused, checkpoint):
                        print(f"{name} seed {seed}: resumes search {part.search}", flush=True)
                model_run = train_seed(
                    paths.root,
                    name,
                    plan,
                    dataset,
                    splits,
                    seed,
                    record,
                    Origin(record["stage"], key, machine),
                    machines,
                    execute,
                    checkpoint,
                    stopwatch,
                )
                write_json(journal, {"model_run": model_run, "seconds": stopwatch.seconds})
            remembered = read_json(journal)
            found.append(remembered["model_run"])
            seconds.append(remembered["seconds"])
        model_runs.write(results, part.seeds, found, record)
        provenance.write(folder, record["stage"], key, machines.facts, outputs, sum(seconds))


def train_seed(
    root: Path,
    name: str,
    plan: Plan,
    dataset: Dataset,
    splits: Mapping[str, Split],
    seed: int,
    record: Mapping[str, Any],
    origin: "Origin",
    machines: Machines,
    execute: Executor,
    checkpoint: Path,
    stopwatch: Stopwatch,
) -> dict[str, Any]:
    """Train a model from one seed with progress and tracking; return its results.

    Args:
        root: root of the checkout, whose MLflow store gets the run.
        name: name of the model, a key of the plan.
        plan: the published systems.
        dataset: the data set of the splits.
        splits: train, val and test.
        seed: one of the model's seeds.
        record: the model's record.
        origin: origin of the results of all seeds.
        machines: those that do the work.
        execute: runs the training.
        checkpoint: file to resume from and to save to.
        stopwatch: saved with each checkpoint.
    """
    from sidebyside.tracking.origin import machine_tags
    from sidebyside.training.history import Epoch
    from study import model_runs, tracking

    part, label = plan.trained[name], f"{name} seed {seed}"
    hyperparameters = plan.record(name, root / "replications/results/searches")
    with (
        tracking.open_model_run(root, name, part, seed, record, origin) as run,
        progress.step_bar(label) as on_steps,
    ):
        tracking.log_model_inputs(run, part, seed, record)

        def on_epoch(row: Epoch, seconds: float) -> None:
            stopwatch.save()
            run.log_epochs([row])
            progress.print_epoch(label, row, part.training.epochs, seconds)

        model_run = model_runs.train(
            part,
            hyperparameters,
            dataset,
            splits,
            seed=seed,
            threads=plan.threads,
            execute=execute,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
            on_steps=on_steps,
        )
        run.log_tags(machine_tags(machines.facts))
        tracking.log_model_run(run, part, seed, record, model_run)
    return model_run


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
