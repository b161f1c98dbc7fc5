"""Describe the machine that a benchmark runs on."""

import os

from sidebyside.core.fingerprint import processor_name


def describe() -> dict[str, str | int | None]:
    """Return the processor's name and the number of cores."""
    return {"processor": processor_name(), "cores": os.cpu_count()}
