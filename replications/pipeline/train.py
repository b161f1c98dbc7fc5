"""Train one model of a published system from each of its seeds, and score it on every split.

Reads:  ../data/processed/{val,test}.npz, ../data/<data>/train.npz, for a winner
        results/searches/<search>/hyperparameters.json and .state/winner-<search>/
Writes: results/models/<name>/, durations/train-<name>.json
"""

import sys
from pathlib import Path
from typing import Any

from sidebyside.config.paths import Paths
from sidebyside.core.files import read_json, write_json
from sidebyside.data.splits import read_split, split_digest
from sidebyside.data.statistics import class_counts
from sidebyside.models.tensorflow_setup import configure
from sidebyside.workflow import command, provenance, stage, state
from study import checkpoint_reuse
from study.plan import Winner, read_plan, write_duration


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

    splits = {
        "train": read_split(paths.training_data(part.data)),
        "val": read_split(paths.split("val")),
        "test": read_split(paths.split("test")),
    }
    digests = {split: split_digest(images) for split, images in splits.items()}
    settings = {**part.training.model_dump(), **hyperparameters.model_dump(mode="json")}
    inputs = {"name": name, "threads": plan.threads, "settings": settings, **digests}
    record: dict[str, Any] = {
        "key": state.work_key(folder, "train", inputs),
        "stage": f"{'winner' if name in plan.winners else 'train'}@{name}",
        "settings": settings,
        "data_sha256": {split: digests[split] for split in ("train", "val")},
        "classes": {split: class_counts(splits[split]) for split in ("train", "val")},
        "machine": provenance.machine(plan.threads),
    }

    configure(plan.threads)
    from study import model_runs

    results = folder / "results/models" / name
    outputs = [results / file for file in model_runs.FILES]
    found, seconds = [], []
    with state.resumable(folder, f"train-{name}", record["key"], outputs) as work:
        for seed in part.seeds:
            journal = work / f"{seed}.json"
            checkpoint = work / f"{seed}.npz"
            if not journal.exists():
                stopwatch = state.Stopwatch(work / f"{seed}.seconds")
                if isinstance(part, Winner):
                    place = checkpoint_reuse.checkpoint_path(
                        folder, part.search, settings, seed, plan.threads, record["data_sha256"]
                    )
                    if checkpoint_reuse.reuse_checkpoint(place, checkpoint):
                        print(f"{name} seed {seed}: as search {part.search} left it", flush=True)
                replica = model_runs.train(
                    paths.root,
                    name,
                    part,
                    hyperparameters,
                    splits,
                    seed=seed,
                    record=record,
                    checkpoint=checkpoint,
                    on_epoch=stopwatch.save,
                )
                write_json(journal, {"replica": replica, "seconds": stopwatch.seconds})
            remembered = read_json(journal)
            found.append(remembered["replica"])
            seconds.append(remembered["seconds"])
        model_runs.write(results, part.seeds, found, record)
        write_duration(folder, f"train-{name}", seconds)


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
