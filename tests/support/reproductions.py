"""Run the whole small pipeline twice from scratch, the second time in another environment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidebyside.reproducibility.perturb import ENVIRONMENT, SITECUSTOMIZE, UMASK
from tests.support import recorder
from tests.support.checkout import Checkout, kill_all, new_checkout

# What a library reads when it is loaded. Of these, the server of the second run's forks gets no
# folder of a checkout, whose modules it must not load, and no backend that only stages can ignore.
LOADED_WITH = {
    name: value for name, value in ENVIRONMENT.items() if name not in ("PYTHONPATH", "MPLBACKEND")
}


@dataclass(frozen=True)
class Reproductions:
    """The checkouts of the two runs, and their output."""

    here: Checkout
    output: Path  # a file with the output of `dvc repro`
    elsewhere: Checkout
    records: Path  # stage name.json → its reads in the second run


def reproductions_in(folder: Path) -> Reproductions:
    """Return the paths of the two runs in a folder."""
    return Reproductions(
        Checkout(folder / "a checkout/fashion mnist"),
        folder / "output.txt",
        Checkout(folder / "another checkout/fashion mnist"),
        folder / "records",
    )


def reproduce_twice(into: Reproductions) -> None:
    """Make both checkouts and run the pipeline in them at the same time."""
    into.records.mkdir(parents=True)
    here, elsewhere = new_checkout(into.here.root), new_checkout(into.elsewhere.root)
    customize = SITECUSTOMIZE + Path(recorder.__file__).read_text(encoding="utf-8")
    (elsewhere.root / "src/sitecustomize.py").write_text(customize, encoding="utf-8")
    perturbed: dict[str, Any] = {
        "umask": UMASK,
        "environment": {**ENVIRONMENT, "RECORDS": str(into.records)},
    }
    first = here.start("dvc", "repro")
    try:
        # The record of the data stages tells whether they load TensorFlow, as every fork has done.
        elsewhere.run("dvc", "repro", "augment", forked=False, **perturbed)
        elsewhere.run("dvc", "repro", server=LOADED_WITH, **perturbed)
        output = here.finish(first).stdout
    finally:
        kill_all(first)
    into.output.write_text(output)  # last: its presence means that both runs are complete
