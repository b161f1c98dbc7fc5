"""Train one architecture, with the hyperparameters that tune chose, on one data set from one seed.

Reads:  reports/tune/<model>/hyperparameters.json, data/processed/val.npz, data/<data>/train.npz
Writes: models/<model>-<data>-<seed>.keras, reports/train/<model>-<data>-<seed>/
"""

import sys
from argparse import ArgumentTypeError
from pathlib import Path

from pydantic import TypeAdapter

from sidebyside.config import hyperparameters
from sidebyside.config.parameters import Seed, read_parameters
from sidebyside.config.paths import ModelName, Paths
from sidebyside.config.schemas import HISTORY
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_atomically, write_csv, write_json
from sidebyside.data.splits import read_split, split_digest
from sidebyside.data.statistics import class_counts
from sidebyside.models.tensorflow_setup import configure
from sidebyside.workflow import command, provenance, stage, state


def main() -> None:
    """Run the stage."""
    parser = command.parser(__doc__)
    parser.add_argument("model", choices=hyperparameters.RECORDS, help="the architecture")
    parser.add_argument("data", choices=["original", "augmented"], help="what it learns from")
    governed = "of the weights, the order, the image changes and the dropout masks"
    parser.add_argument("seed", type=seed, help=governed)
    name = ModelName(**vars(parser.parse_args()))
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)
    if name.model not in parameters.train.budget:
        raise UserError(f"params.yaml: train.budget.{name.model} is missing")
    budget = parameters.train.budget[name.model]
    monitor, keep = parameters.train.monitor, parameters.train.keep

    record = hyperparameters.read(name.model, paths.hyperparameters(name.model))
    train = read_split(paths.training_data(name.data))
    val = read_split(paths.split("val"))
    settings = {
        "monitor": monitor,
        "keep": keep,
        **budget.model_dump(),
        **record.model_dump(mode="json"),
    }
    digests = {"train": split_digest(train), "val": split_digest(val)}
    key = state.work_key(
        paths.root,
        "train",
        {"name": name, "threads": parameters.threads, "settings": settings, **digests},
    )

    configure(parameters.threads)
    from sidebyside.models import architectures
    from sidebyside.models.saving import save_model, weights_digest
    from sidebyside.tracking import stages
    from sidebyside.training.training import train_model

    made: stages.Record = {
        "key": key,
        "data_sha256": digests,
        "settings": settings,
        "machine": provenance.machine(parameters.threads),
    }
    with (
        state.resumable(paths.root, f"train-{name}", key, [paths.model(name)]) as folder,
        stages.training_run(paths.root, name, made) as run,
    ):
        counts = {name.data: class_counts(train), "val": class_counts(val)}
        stages.log_inputs(run, {**name._asdict(), **settings}, made, counts)

        model, progress = train_model(
            name.model,
            record,
            train,
            val,
            label=str(name),
            seed=name.seed,
            run=run,
            checkpoint=folder / "epoch.npz",
            monitor=monitor,
            keep=keep,
            **budget.model_dump(),
        )
        scores = {
            "val_accuracy": progress.best["val_accuracy"],
            "val_loss": progress.best["val_loss"],
            "best_epoch": progress.best_epoch,
            "epochs": progress.epochs,
        }
        results = paths.training(name)
        with write_atomically():
            file_sha256 = save_model(paths.model(name), model)
            write_csv(
                results / "history.csv",
                HISTORY,
                [list(row.values()) for row in progress.history],
            )
            write_json(results / "metrics.json", scores)
            made |= {
                "weights_sha256": weights_digest(model),
                "file_sha256": file_sha256,
                "parameters": model.count_params(),
                "flops_per_image": architectures.flops(model),
            }
            write_json(results / "model.json", made)

        # With the epochs that an earlier, killed process trained but could not log.
        stages.log_training(
            run, name, made, counts, progress.history, scores, model, val.images[:1]
        )


def seed(text: str) -> int:
    """Return a seed of the command line, in the range that params.yaml allows."""
    try:
        return TypeAdapter(Seed).validate_python(int(text))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 to 2³¹-1") from None


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
