"""Measure one training that computes each batch in parts, and two trainings at once.

An epoch of a default model is measured in these ways:

threads  two intra-op threads: each operation is divided between two cores
whole    one intra-op thread
parts    one intra-op thread, the batch in two parts that are computed side by side

alone on two cores, alone on one core, and two trainings at once on two cores (`whole` only).
Processes are started once and measured by turns, some steps at a time, so that other load on the
machine affects all alike. Ratios compare each turn with the first way's turn of the same round.
Processor seconds depend less on other load than wall time does.

Reads:  reports/tune/, data/processed/
Writes: reports/benchmarks/parts.json
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from statistics import median

from benchmarks import machine
from benchmarks.workloads import MODELS, ROOT
from sidebyside.config.dataset import read_dataset
from sidebyside.config.hyperparameters import read_hyperparameters
from sidebyside.config.paths import Paths
from sidebyside.core.files import write_json
from sidebyside.data.npz import read_split
from sidebyside.models.tensorflow_setup import configure
from sidebyside.workflow import command

ROUNDS = 15
STEPS = {"mlp": 50, "cnn": 50}  # of a turn
IMAGES = 48_000  # of an epoch, to which times refer


@dataclass
class Way:
    """A way to train, and what was measured of it."""

    name: str
    threads: int
    parts: int
    cores: int
    at_once: int
    wall: list[float] = field(default_factory=list)  # seconds of an epoch, one per round
    processor: list[float] = field(default_factory=list)


def ways() -> list[Way]:
    """Return all ways; the first is the one that others are compared with."""
    kinds = {"threads": (2, 1), "whole": (1, 1), "parts": (1, 2)}
    alone = [Way(f"{kind}, alone", *kinds[kind], cores=2, at_once=1) for kind in kinds]
    one_core = [Way(f"{kind}, one core", *kinds[kind], cores=1, at_once=1) for kind in kinds]
    return [*alone, *one_core, Way("whole, two at once", 1, 1, cores=2, at_once=2)]


class Trainer:
    """A process that trains some steps whenever it is asked to."""

    def __init__(self, model: str, way: Way) -> None:
        arguments = ["--worker", model, way.threads, way.parts, way.cores]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.parts", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": "src"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self) -> None:
        assert self._process.stdin  # noqa: S101 (it is a pipe)
        print(file=self._process.stdin, flush=True)

    def answer(self) -> tuple[float, float]:
        """Return wall and processor seconds of an epoch, scaled from the steps trained."""
        assert self._process.stdout  # noqa: S101 (it is a pipe)
        wall, processor = json.loads(self._process.stdout.readline())
        return wall, processor

    def end(self) -> None:
        self._process.communicate()


def main() -> None:
    """Measure, print the table and write the results."""
    parser = command.parser(__doc__)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each way")
    arguments = parser.parse_args()
    if arguments.worker:
        model, *numbers = arguments.worker
        worker(model, *map(int, numbers))
        return
    found = {model: measure(model, arguments.rounds) for model in MODELS}
    for model, measured in found.items():
        print(f"\n{model}\n{table(measured)}")
    result = {model: [asdict(way) for way in measured] for model, measured in found.items()}
    write_json(
        Paths(ROOT).report("benchmarks") / "parts.json",
        {"machine": machine.describe(), "rounds": arguments.rounds, "models": result},
    )


def measure(model: str, rounds: int) -> list[Way]:
    """Return all ways with the seconds of an epoch in each round."""
    measured = ways()
    trainers = [[Trainer(model, way) for _ in range(way.at_once)] for way in measured]
    for number in range(rounds + 1):  # the first is a warm-up
        for way, running in zip(measured, trainers, strict=True):
            for trainer in running:
                trainer.ask()
            answers = [trainer.answer() for trainer in running]
            if number:
                way.wall.append(max(wall for wall, _ in answers) / way.at_once)
                way.processor.append(sum(processor for _, processor in answers) / way.at_once)
    for trainer in (trainer for running in trainers for trainer in running):
        trainer.end()
    return measured


def table(measured: list[Way]) -> str:
    """Return a Markdown table: medians per training, and median ratios to the first way."""
    lines = [
        "| training | wall s | lowest | processor s | wall, paired | processor, paired |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    first = measured[0]
    for way in measured:
        wall, processor = (
            median(own / base for own, base in zip(values, compared, strict=True))
            for values, compared in ((way.wall, first.wall), (way.processor, first.processor))
        )
        lines.append(
            f"| {way.name} | {median(way.wall):.2f} | {min(way.wall):.2f} |"
            f" {median(way.processor):.2f} | {wall:.2f} | {processor:.2f} |"
        )
    return "\n".join(lines)


def worker(model: str, threads: int, parts: int, cores: int) -> None:
    """Print wall and processor seconds of an epoch, from some steps, for each line of input."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    paths = Paths(ROOT)
    dataset = read_dataset(paths.dataset)
    h = read_hyperparameters(model, paths.hyperparameters(model), dataset)
    split = read_split(paths.split("train"), dataset)
    configure(threads)
    import tensorflow as tf

    from sidebyside.models import architectures
    from sidebyside.training.optimizer import build_optimizer
    from sidebyside.training.step import step_function

    network = architectures.build(model, h, dataset, 1)
    optimizer = build_optimizer(h)
    optimizer.build(network.trainable_variables)
    run_steps = step_function(network, optimizer, [], h, split, 1, 1, parts)
    order, zero = tf.range(len(split)), tf.constant(0)
    rates = tf.fill([STEPS[model]], h.learning_rate / 10)
    scale = IMAGES / h.batch_size / STEPS[model]
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        run_steps(order, zero, zero, rates).numpy()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        print(json.dumps([wall * scale, processor * scale]), flush=True)


if __name__ == "__main__":
    command.run(main)
