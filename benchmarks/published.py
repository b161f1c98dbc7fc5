"""Time an epoch of a published model, trained as the replications train it.

Reads:  replications/params.yaml, replications/results/searches/, data/processed/train.npz
"""

from collections.abc import Callable

from benchmarks import epoch
from benchmarks.workloads import ROOT
from sidebyside.workflow import command
from study.plan import read_plan

CNN = "2-cnn"  # published by system 2; such networks take most of the replications' time


def main() -> None:
    """Print the seconds of one epoch."""
    parser = command.parser(__doc__)
    parser.add_argument("name", help="name of a model in replications/params.yaml")
    print(seconds(parser.parse_args().name))


def seconds(name: str, change: Callable[[], None] = lambda: None) -> float:
    """Return the seconds of one epoch.

    Args:
        name: name of a model in replications/params.yaml.
        change: as for `epoch.seconds`.
    """
    folder = ROOT / "replications"
    plan = read_plan(folder / "params.yaml")
    record = plan.record(name, folder / "results/searches")
    model = plan.trained[name].model
    return epoch.seconds(model, record, threads=plan.threads, validated=1, change=change)


if __name__ == "__main__":
    command.run(main)
