"""The machine that a benchmark ran on."""

import os

from sidebyside.workflow.provenance import processor_name


def described() -> dict[str, str | int | None]:
    """Return what its results say of it."""
    return {"processor": processor_name(), "cores": os.cpu_count()}
