"""Measure what it costs to train in other processes and on other nodes.

First jobs that do nothing run in this process, in two local processes and on a Ray cluster of two
nodes with one core each, both on this machine: what a job costs, and what an epoch costs with its
checkpoint, which this process writes. Then two trainings of the default CNN run at once, by turns
in two local processes and on the two nodes. Needs `make ray`.

Reads:  reports/tune/cnn/, data/processed/
Writes: reports/benchmarks/execution.json
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.workloads import ROOT
from sidebyside.config.dataset import read_dataset
from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_bytes, write_json
from sidebyside.core.fingerprint import machine_facts
from sidebyside.core.jobs import Arrays, Executor, Failed, Job, News, inline
from sidebyside.data.npz import read_split
from sidebyside.data.splits import select
from sidebyside.execution.processes import processes
from sidebyside.execution.ray_cluster import cluster
from sidebyside.training.jobs import TrainingTask, training_arrays, training_job
from sidebyside.workflow import command

MODEL = "cnn"
WORKERS = 2
JOBS = 100  # without work, on warm workers
EPOCHS = 100  # without work
ROUNDS = 3  # of the trainings
TRAINED = 2  # epochs of a training
IMAGES = 12_000  # of a training
WORK = "benchmarks.execution:work"

Ways = dict[str, Callable[[Arrays], AbstractContextManager[Executor]]]


def main() -> None:
    """Measure, print and write the results."""
    command.parser(__doc__).parse_args()
    with _nodes():
        trainings, size = _trainings()
        overheads = {name: _overheads(way, size) for name, way in _ways().items()}
    result = {
        "machine": machine.describe(),
        "checkpoint_bytes": size,
        "overheads": overheads,
        "trainings": {"epochs": TRAINED, "images": IMAGES, "seconds": trainings},
    }
    for name, value in result.items():
        print(f"{name}: {value}")
    write_json(Paths(ROOT).report("benchmarks") / "execution.json", result)


def work(
    arguments: tuple[int, int], arrays: Arrays, checkpoint: bytes | None
) -> Generator[tuple[None, bytes], None, None]:
    """Report epochs with checkpoints, without any work: a function of a job.

    Args:
        arguments: number of epochs, and bytes of a checkpoint.
        arrays: not used.
        checkpoint: not used.
    """
    epochs, size = arguments
    for _ in range(epochs):
        yield None, bytes(size)


@contextlib.contextmanager
def _nodes() -> Iterator[None]:
    """Start a Ray cluster of nodes with one core each; RAY_ADDRESS is its address."""
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        raise UserError("Ray is not installed: run `make ray`") from None
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'src'}"  # of the nodes: finds `work`
    running = Cluster()
    try:
        for _ in range(WORKERS):
            running.add_node(num_cpus=1, include_dashboard=False)
        os.environ["RAY_ADDRESS"] = running.address
        yield
    finally:
        running.shutdown()


def _ways() -> Ways:
    facts = machine_facts(1)
    return {
        "in this process": lambda arrays: contextlib.nullcontext(inline(arrays)),
        "local processes": lambda arrays: processes(arrays, at_once=WORKERS),
        "Ray": lambda arrays: cluster(arrays, facts, at_once=WORKERS),
    }


def _overheads(
    way: Callable[[Arrays], AbstractContextManager[Executor]], size: int
) -> dict[str, float]:
    """Return seconds: until the first job ends, of a further job, of an epoch and a checkpoint."""
    started = time.perf_counter()
    with way({}) as execute:
        _run(execute, 1, 0, 0)
        start = time.perf_counter() - started
        _run(execute, WORKERS, 0, 0)  # starts the others
        job = _run(execute, JOBS, 0, 0) / JOBS
        epoch = _run(execute, 1, EPOCHS, 0) / EPOCHS
        checkpoint = _run(execute, 1, EPOCHS, size) / EPOCHS - epoch
    return {"start": start, "job": job, "epoch": epoch, "checkpoint": checkpoint}


def _run(execute: Executor, jobs: int, epochs: int, size: int) -> float:
    """Run jobs without work, write their checkpoints, and return the seconds."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for event in execute(Job(f"{n}", WORK, (epochs, size)) for n in range(jobs)):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, News) and size:
                write_bytes(Path(folder) / "checkpoint", event.checkpoint or b"")
    return time.perf_counter() - started


def _trainings() -> tuple[dict[str, list[float]], int]:
    """Return the seconds of two trainings at once, per way and round, and a checkpoint's bytes.

    The workers have run a training of one epoch before, so TensorFlow is imported.
    """
    paths = Paths(ROOT)
    dataset = read_dataset(paths.dataset)
    values = read_json(paths.hyperparameters(MODEL))
    train, val = (read_split(paths.split(name), dataset) for name in ("train", "val"))
    arrays = training_arrays(select(train, np.arange(IMAGES)), val)

    def job(name: str, epochs: int) -> Job:
        limits: dict[str, Any] = {
            "epochs": epochs,
            "patience": epochs,
            "monitor": "val_loss",
            "keep": "best",
        }
        settings = {"seed": 1, **limits, "threads": 1, "parts": 2}
        return training_job(TrainingTask(name, MODEL, values, dataset, **settings), None)

    found: dict[str, list[float]] = {}
    size = 0
    for number in range(1, ROUNDS + 1):
        for name, way in [*_ways().items()][1:]:
            with way(arrays) as execute:
                for epochs in (1, TRAINED):
                    started = time.perf_counter()
                    for event in execute(job(f"{n}", epochs) for n in range(WORKERS)):
                        if isinstance(event, Failed):
                            raise event.error
                        if isinstance(event, News) and event.checkpoint:
                            size = len(event.checkpoint)
                    seconds = time.perf_counter() - started
            found.setdefault(name, []).append(seconds)
            print(f"round {number}/{ROUNDS}, {name}: {seconds:.1f} s", flush=True)
    return found, size


if __name__ == "__main__":
    command.run(main)
