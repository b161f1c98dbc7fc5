"""Run the whole small pipeline twice from scratch, the second time in another environment."""

from dataclasses import dataclass
from pathlib import Path

from sidebyside.reproducibility.perturb import ENVIRONMENT, SITECUSTOMIZE, UMASK
from tests.support import recorder
from tests.support.checkout import Checkout, kill_all, new_checkout


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
    environment = {**ENVIRONMENT, "RECORDS": str(into.records)}
    first = here.start("dvc", "repro")
    second = elsewhere.start("dvc", "repro", umask=UMASK, environment=environment, forked=False)
    try:
        output = here.finish(first).stdout
        elsewhere.finish(second)
    finally:
        kill_all(first)
        kill_all(second)
    into.output.write_text(output)  # last: its presence means that both runs are complete
