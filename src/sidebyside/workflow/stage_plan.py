"""Plan a run of a pipeline: the expected duration and memory of its stages."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sidebyside.core.files import read_json, read_yaml, write_json
from sidebyside.execution.schedule import Span
from sidebyside.workflow import provenance
from sidebyside.workflow.graph import PARAMETERS
from sidebyside.workflow.progress import duration
from sidebyside.workflow.resume import FOLDER

MEASURED = ("reports/run.json", "../reports/run.json")  # written by `make record`
PEAK = f"{FOLDER}/repro/peak_memory.json"  # bytes
MEBIBYTE = 1 << 20


def known_seconds(folder: Path) -> dict[str, float]:
    """Return stage → duration of its last run in this checkout, or else of the recorded run.

    Args:
        folder: the folder of dvc.yaml.

    Raises:
        UserError: a provenance entry is damaged.
    """
    entries = {}
    for recorded in (folder / name for name in provenance.RECORDED):
        for stage, content in (read_json(recorded) if recorded.exists() else {}).items():
            entries[stage] = provenance.parse(recorded, content)
    for file in (folder / provenance.FOLDER).glob("*.json"):
        entries[file.stem] = provenance.parse(file, read_json(file))
    return {stage: one.seconds for stage, one in entries.items() if one.seconds is not None}


def expected_seconds(stages: Collection[str], known: Mapping[str, float]) -> dict[str, float]:
    """Return stage → expected duration.

    A stage that has not been measured is expected to take as long as the longest of the other items
    of its matrix, or no time.
    """
    longest: dict[str, float] = {}
    for stage in known.keys() & {*stages}:
        name = stage.partition("@")[0]
        longest[name] = max(known[stage], longest.get(name, 0.0))
    return {stage: known.get(stage, longest.get(stage.partition("@")[0], 0.0)) for stage in stages}


def threads_of(folder: Path) -> int:
    """Return `threads` of params.yaml, the number of intra-op threads of a stage; 1 without it."""
    file = folder / PARAMETERS
    content = read_yaml(file) if file.is_file() else None
    threads = content.get("threads") if isinstance(content, Mapping) else None
    return threads if isinstance(threads, int) and threads > 0 else 1


def peak_memory(folder: Path) -> int:
    """Return the peak memory of the largest process of earlier runs, in bytes; 0: unknown.

    Args:
        folder: the folder of dvc.yaml.
    """
    measured = _content(folder / PEAK)
    return max(measured if isinstance(measured, int) else 0, _recorded_peak(folder))


def save_peak_memory(folder: Path, peak: int) -> None:
    """Save the peak memory of the largest process of a run, in bytes, if it is larger than before.

    Args:
        folder: the folder of dvc.yaml.
        peak: the memory.
    """
    if peak > peak_memory(folder):
        write_json(folder / PEAK, peak)


def _recorded_peak(folder: Path) -> int:
    """Return the peak memory of the largest process of the recorded run."""
    found = (_content(folder / name) for name in MEASURED)
    recorded: dict[str, Any] = next((one for one in found if one is not None), {})
    return int(recorded.get("runs", {}).get("repro", {}).get("peak_memory_mib", 0)) * MEBIBYTE


def _content(file: Path) -> Any:
    """Return the JSON value in a file; None if it does not exist."""
    return read_json(file) if file.is_file() else None


def table(spans: Mapping[str, Span], known: Collection[str]) -> list[str]:
    """Return aligned lines with a row per stage: when it starts and how long it takes.

    Args:
        spans: stage → when it is expected to run.
        known: the stages whose duration has been measured.
    """
    rows = [("stage", "starts after", "takes")]
    for stage, span in sorted(spans.items(), key=lambda one: one[1].start):
        takes = duration(span.end - span.start)
        shown = takes if stage in known else f"{takes}?" if span.end > span.start else "unknown"
        rows.append((stage, duration(span.start), shown))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
