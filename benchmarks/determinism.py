"""Measure the cost of determinism: seconds per epoch with and without deterministic kernels.

Each measurement runs in a new process, which trains a default model on a quarter of the train split
for two epochs and reports the second, which does not include tracing. The two kinds alternate, so
that other load on the machine affects both alike.

Reads:  params.yaml, reports/tune/, data/processed/
Writes: reports/benchmarks/determinism.json
"""

from benchmarks import epoch, isolated, machine
from benchmarks.workloads import ROOT
from sidebyside.config import hyperparameters
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.core.files import write_json
from sidebyside.workflow import command

ROUNDS = 5


def main() -> None:
    """Measure and write the results; with --once, train once and print the seconds."""
    parser = command.parser(__doc__)
    parser.add_argument("--once", nargs=2, metavar=("MODEL", "KIND"), help="train once")
    once = parser.parse_args().once
    if once:
        print(seconds(once[0], deterministic=once[1] == "deterministic"))
        return
    paths = Paths(ROOT)
    result = {}
    for model in read_parameters(paths.params).train.models:
        found = isolated.alternate(
            "determinism", model, ("deterministic", "nondeterministic"), ROUNDS
        )
        cost = found["medians"]["deterministic"] / found["medians"]["nondeterministic"] - 1
        result[model] = {**found, "cost": cost}
        print(f"{model}: determinism costs {cost:+.1%}")
    write_json(
        paths.report("benchmarks") / "determinism.json",
        {"machine": machine.describe(), "images": epoch.IMAGES, "models": result},
    )


def seconds(model: str, *, deterministic: bool) -> float:
    """Return the seconds of one epoch."""
    paths = Paths(ROOT)
    parameters = read_parameters(paths.params)
    record = hyperparameters.read_hyperparameters(model, paths.hyperparameters(model))
    if not deterministic:
        import tensorflow as tf  # imported before `configure`, which calls the function below

        tf.config.experimental.enable_op_determinism = lambda: None
    return epoch.seconds(model, record, threads=parameters.threads, validated=1_000)


if __name__ == "__main__":
    command.run(main)
