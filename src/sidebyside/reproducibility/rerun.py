"""Rerun the pipeline in a fresh clone and compare every output with the recorded one.

`dvc repro` runs from scratch in a temporary clone of the last commit, and the outputs are compared
with that commit's dvc.lock and reports/. On a machine with the recorded fingerprint every byte has
to be equal; on another one the accuracies have to lie within a tolerance. The last line of the
report names the comparison that was made.

With --smoke, no recorded results are needed: the pipeline runs twice with small budgets, which
takes minutes, and the two runs are compared. With --vary, the second run has another folder, home,
time zone, locale, umask, hash seed, clock and order of files.
"""

import contextlib
import shutil
import tempfile
from pathlib import Path

from sidebyside.config.paths import CHECKOUT, Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_text
from sidebyside.reproducibility import seed_variance
from sidebyside.reproducibility.clones import (
    clone,
    delete_results,
    reproduce,
    restore_results,
    set_parameters,
    smoke_parameters,
)
from sidebyside.reproducibility.perturb import perturbed
from sidebyside.reproducibility.verification import require_results, verify
from sidebyside.workflow import command, provenance


def main() -> None:
    """Verify the recorded results."""
    parser = command.parser(__doc__)
    parser.add_argument("--smoke", action="store_true", help="compare two runs with small budgets")
    parser.add_argument("--vary", action="store_true", help="perturb the second run's environment")
    arguments = parser.parse_args()
    root = CHECKOUT
    if provenance.source(root).dirty:
        print("note: tracked files differ from the last commit, which is the one that is verified")
    with tempfile.TemporaryDirectory() as name:
        recorded = clone(root, Path(name) / "recorded")
        again = clone(root, Path(name) / ("again, elsewhere é" if arguments.vary else "again"))
        if arguments.smoke:
            for checkout in (recorded, again):
                set_parameters(checkout, smoke_parameters())
            delete_results(recorded)
            # Scores of other seeds were measured with full budgets and are not comparable.
            shutil.rmtree(Paths(recorded).report(seed_variance.FOLDER), ignore_errors=True)
            reproduce(recorded)
        else:
            restore_results(recorded, root)
            require_results(recorded)
        delete_results(again)
        with perturbed(again) if arguments.vary else contextlib.nullcontext():
            reproduce(again)
        result = verify(recorded, again)
    if not arguments.smoke:
        write_text(Paths(root).report(result.file), result.text)
    print(result.text)
    if not result.agreed:
        raise UserError("the new run differs from the recorded one: see the tables above")


if __name__ == "__main__":
    command.run(main)
