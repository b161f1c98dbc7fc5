"""Train one model of a published system from each of its seeds, and score it on every split.

Reads:  ../data/processed/{val,test}.npz, ../data/<data>/train.npz, for a winner
        results/searches/<search>/hyperparameters.json and .state/winner-<search>/
Writes: results/models/<name>/, durations/train-<name>.json
"""

import sys
from pathlib import Path
from typing import Any

from fashion import command, data, finished, provenance, replication, stage, state
from fashion.files import read_json, write_json
from fashion.paths import Paths
from fashion.runtime import configure


def main() -> None:
    """Run the stage."""
    parser = command.parser(__doc__)
    parser.add_argument("name", help="a key of `models` or `winners` in params.yaml")
    name = parser.parse_args().name
    folder = Path(__file__).resolve().parents[1]
    paths = Paths(folder.parent)
    plan = replication.read_plan(folder / "params.yaml")
    hyperparameters = plan.record(name, folder / "results/searches")
    part = plan.trained[name]

    splits = {
        "train": data.read_split(paths.training_data(part.data)),
        "val": data.read_split(paths.split("val")),
        "test": data.read_split(paths.split("test")),
    }
    digests = {split: data.digest(images) for split, images in splits.items()}
    settings = {**part.training.model_dump(), **hyperparameters.model_dump(mode="json")}
    inputs = {"name": name, "threads": plan.threads, "settings": settings, **digests}
    record: dict[str, Any] = {
        "key": state.work_key(folder, "train", inputs),
        "stage": f"{'winner' if name in plan.winners else 'train'}@{name}",
        "settings": settings,
        "data_sha256": {split: digests[split] for split in ("train", "val")},
        "classes": {split: data.class_counts(splits[split]) for split in ("train", "val")},
        "machine": provenance.machine(plan.threads),
    }

    configure(plan.threads)
    from fashion import replicas

    results = folder / "results/models" / name
    outputs = [results / file for file in replicas.FILES]
    found, seconds = [], []
    with state.resumable(folder, f"train-{name}", record["key"], outputs) as work:
        for seed in part.seeds:
            journal = work / f"{seed}.json"
            checkpoint = work / f"{seed}.npz"
            if not journal.exists():
                stopwatch = state.Stopwatch(work / f"{seed}.seconds")
                if isinstance(part, replication.Winner):
                    place = finished.place(
                        folder, part.search, settings, seed, plan.threads, record["data_sha256"]
                    )
                    if finished.take(place, checkpoint):
                        print(f"{name} seed {seed}: as search {part.search} left it", flush=True)
                replica = replicas.train(
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
        replicas.write(results, part.seeds, found, record)
        replication.write_duration(folder, f"train-{name}", seconds)


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
