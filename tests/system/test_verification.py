"""A run with an older instruction set."""

from typing import TYPE_CHECKING

import pytest

from sidebyside.reproducibility.verification import verify
from tests.support.verification_report import rows

if TYPE_CHECKING:
    from tests.support.checkout import Checkout


@pytest.mark.timeout(1200)
def test_an_older_instruction_set_gives_other_bits_and_accuracies_within_tolerance(
    reproduced: "Checkout", own: "Checkout"
) -> None:
    for stage in ("train@cnn-original-1", "evaluate"):
        own.run(
            *("dvc", "repro", "--force", "--single-item", stage),
            environment={"ONEDNN_MAX_CPU_ISA": "SSE41"},
        )
    result = verify(reproduced.root, own.root)
    assert result.agreed, result.text
    assert "accuracies were compared" in result.text
    assert rows(result.text)["models/cnn-original-1.keras"][0] == "within tolerance"
