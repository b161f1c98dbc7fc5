"""One training gives the same bits on any number of cores."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from sidebyside.models.tensorflow_setup import configure
configure(1)
from tests.support.training import EVERYTHING, fit, identity
models = {"mlp": {"input_dropout": 0.1}, "cnn": {"block_dropout": 0.1, "filters": [8, 16]}}
models["cnn"] |= {"convolutions": [1, 1], "padding": "same"}
for model, changes in models.items():
    for parts in (1, 2, 3):
        print(identity(fit(model, epochs=2, parts=parts, **EVERYTHING | changes)))
"""


def digests(cores: int, operations_at_once: int) -> list[str]:
    """Return digests and histories of trainings on some of this machine's cores."""
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {allowed})\n{PROGRAM}"],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"src{os.pathsep}.",
            "TF_NUM_INTEROP_THREADS": str(operations_at_once),
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.timeout(1200)
def test_the_bits_of_a_training_in_parts_do_not_depend_on_the_number_of_cores() -> None:
    alone = digests(1, 1)
    assert len(set(alone)) == 6  # each number of parts gives other bits
    assert digests(1, 4) == digests(2, 2) == digests(2, 4) == alone
