"""What determinism costs: seconds per epoch with and without TensorFlow's deterministic kernels.

Each measurement is a process of its own that trains the default models on a quarter of the train
split for two epochs and reports the second, which has no tracing in it. The two kinds take turns,
so that whatever else the machine does meets both.

Reads:  params.yaml, reports/tune/, data/processed/
Writes: reports/benchmarks/determinism.json
"""

import os

from benchmarks import epoch, isolated, machine
from benchmarks.workloads import ROOT
from sidebyside.config import hyperparameters
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.core.files import write_json
from sidebyside.models.tensorflow_setup import ENVIRONMENT
from sidebyside.workflow import command

ROUNDS = 5


def main() -> None:
    """Measure, or with --once train once and print the seconds."""
    parser = command.parser(__doc__)
    parser.add_argument("--once", nargs=2, metavar=("MODEL", "KIND"), help="train once")
    once = parser.parse_args().once
    if once:
        print(seconds(once[0], deterministic=once[1] == "deterministic"))
        return
    paths = Paths(ROOT)
    result = {}
    for model in read_parameters(paths.params).train.models:
        found = isolated.take_turns("determinism", model, ("deterministic", "free"), ROUNDS)
        cost = found["medians"]["deterministic"] / found["medians"]["free"] - 1
        result[model] = {**found, "cost": cost}
        print(f"{model}: determinism costs {cost:+.1%}")
    write_json(
        paths.report("benchmarks") / "determinism.json",
        {"machine": machine.described(), "images": epoch.IMAGES, "models": result},
    )


def seconds(model: str, *, deterministic: bool) -> float:
    """Return the seconds of an epoch."""
    paths = Paths(ROOT)
    parameters = read_parameters(paths.params)
    record = hyperparameters.read_hyperparameters(model, paths.hyperparameters(model))
    if not deterministic:
        os.environ.update(ENVIRONMENT)  # some of which TensorFlow reads when it is loaded
        import tensorflow as tf  # noqa: PLC0415 (before it is configured, to take a switch away)

        tf.config.experimental.enable_op_determinism = lambda: None
    return epoch.seconds(model, record, threads=parameters.threads, validated=1_000)


if __name__ == "__main__":
    command.run(main)
