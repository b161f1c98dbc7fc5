"""Train one architecture with its tuned hyperparameters, on one data set, from one seed.

Reads:  reports/tune/<model>/hyperparameters.json, data/processed/{val.npz,dataset.json},
        data/<data>/train.npz
Writes: models/<model>-<data>-<seed>.keras, reports/train/<model>-<data>-<seed>/
"""

import sys
from argparse import ArgumentTypeError
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from sidebyside.config import hyperparameters
from sidebyside.config.dataset import read_dataset
from sidebyside.config.parameters import Seed, read_parameters
from sidebyside.config.paths import ModelName, Paths
from sidebyside.config.result_files import HISTORY_COLUMNS
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_atomically, write_csv, write_json
from sidebyside.core.fingerprint import machine_facts
from sidebyside.core.stopwatch import Stopwatch
from sidebyside.data.npz import read_split
from sidebyside.data.splits import split_digest
from sidebyside.data.statistics import class_counts
from sidebyside.execution.choice import executor
from sidebyside.models.tensorflow_setup import configure
from sidebyside.workflow import command, progress, provenance, resume, stage
from sidebyside.workflow.machines import Machines


def main() -> None:
    """Run the stage."""
    parser = command.parser(__doc__)
    parser.add_argument("model", choices=hyperparameters.RECORDS, help="the architecture")
    parser.add_argument("data", choices=["original", "augmented"], help="the training data")
    governed = "seed for the weights, shuffling, random transforms and dropout"
    parser.add_argument("seed", type=seed, help=governed)
    name = ModelName(**vars(parser.parse_args()))
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)
    if name.model not in parameters.train.budget:
        raise UserError(f"params.yaml: train.budget.{name.model} is missing")
    budget = parameters.train.budget[name.model]

    dataset = read_dataset(paths.dataset)
    values = hyperparameters.read_hyperparameters(
        name.model, paths.hyperparameters(name.model), dataset
    ).model_dump(mode="json")
    train = read_split(paths.training_data(name.data), dataset)
    val = read_split(paths.split("val"), dataset)
    training_settings = {
        "monitor": parameters.train.monitor,
        "keep": parameters.train.keep,
        **budget.model_dump(),
        "parts": parameters.parts,
    }
    settings = {**training_settings, **values}
    digests = {"train": split_digest(train), "val": split_digest(val)}
    machine = machine_facts(parameters.threads)
    key = resume.work_key(
        paths.root,
        "train",
        {
            "name": name,
            "threads": parameters.threads,
            "settings": settings,
            "classes": dataset.classes,
            **digests,
        },
    )

    configure(parameters.threads)
    from sidebyside.models import architectures, saving
    from sidebyside.tracking import training
    from sidebyside.tracking.origin import Origin
    from sidebyside.training.fit import train_model
    from sidebyside.training.history import Epoch
    from sidebyside.training.jobs import TrainingTask, training_arrays

    made: dict[str, Any] = {"data_sha256": digests, "settings": settings}
    origin = Origin(f"train@{name}", key, machine)
    counts = {
        data: class_counts(split, dataset.class_names)
        for data, split in ((name.data, train), ("val", val))
    }
    with (
        resume.resumable(paths.root, f"train-{name}", key, [paths.model(name)]) as folder,
        training.open_training(paths.root, dataset, name, made, origin) as run,
        progress.step_bar(str(name)) as on_steps,
        nullcontext(Machines(folder / "machines.json", machine)) as machines,
        executor(training_arrays(train, val), machine, 1, machines.add) as execute,
    ):
        training.log_training_inputs(run, name, made, counts)
        stopwatch = Stopwatch(folder / "seconds.json")

        def on_epoch(row: Epoch, seconds: float) -> None:
            stopwatch.save()
            run.log_epochs([row])
            progress.print_epoch(str(name), row, budget.epochs, seconds)

        task = TrainingTask(
            str(name),
            name.model,
            values,
            dataset,
            seed=name.seed,
            threads=parameters.threads,
            **training_settings,
        )
        model, trained = train_model(
            task,
            execute,
            checkpoint=folder / "epoch.npz",
            on_epoch=on_epoch,
            on_steps=on_steps,
        )
        scores = {
            "val_accuracy": trained.best["val_accuracy"],
            "val_loss": trained.best["val_loss"],
            "best_epoch": trained.best_epoch,
            "epochs": trained.epochs,
        }
        history, metrics, record = files = [
            paths.training(name) / part for part in ("history.csv", "metrics.json", "model.json")
        ]
        with write_atomically():
            made |= {
                "weights_sha256": saving.weights_digest(model),
                "file_sha256": saving.save_model(paths.model(name), model),
                "parameters": model.count_params(),
                "flops_per_image": architectures.flops(model),
            }
            write_csv(history, HISTORY_COLUMNS, trained.rows)
            write_json(metrics, scores)
            write_json(record, made)
        outputs = [paths.model(name), *files]
        provenance.write(paths.root, origin.stage, key, machines.facts, outputs, stopwatch.seconds)

        # Epochs that an earlier, killed process trained but could not log are logged here.
        training.log_training(
            run,
            dataset,
            name,
            made,
            counts,
            trained.history,
            scores,
            model,
            val.images[:1],
            machines.facts,
        )


def seed(text: str) -> int:
    """Return a seed given on the command line, in the range that params.yaml allows."""
    try:
        return TypeAdapter(Seed).validate_json(text)  # `int` accepts the digits of other scripts
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 to 2³¹-1") from None


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
