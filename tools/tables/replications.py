"""Tables of the replications of published systems, in replications/."""

from typing import Any

from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json
from sidebyside.workflow.progress import duration
from tools.tables.markdown import table


def systems(paths: Paths) -> str:
    """Return one row per published system: outcome of its numbers and claims, and computing time.

    Raises:
        UserError: the summary of the replications, or their provenance, is missing.
    """
    summary = _read(paths, "summary.json")
    provenance = _read(paths, "provenance.json")
    rows = [
        [
            f"{name}. {system['title']}",
            str(system["models"]),
            str(system["searches"]),
            " / ".join(str(count) for count in system["published"].values()),
            " / ".join(str(count) for count in system["claims"].values()),
            duration(_seconds(provenance, name)),
        ]
        for name, system in summary["systems"].items()
    ]
    first, *_ = summary["systems"].values()
    outcomes = [
        f"{part}: {' / '.join(first[key])}"
        for part, key in (("published value", "published"), ("claims", "claims"))
    ]
    header = ["published system", "models", "searches", *outcomes, "computing time"]
    text = table(header, rows)
    if everything := provenance.get("everything"):
        text += (
            f"\n\nComputing times are for one core each. The whole study, two stages at a time,"
            f" took {duration(everything['seconds'])} ({everything['machine']['name']})."
        )
    if summary["missing"]:
        text += f"\n\nNot run yet: {', '.join(f'`{stage}`' for stage in summary['missing'])}."
    return text


def _read(paths: Paths, name: str) -> Any:
    path = paths.root / "replications" / name
    if not path.exists():
        raise UserError(f"{path} is missing: run `make replications`")
    return read_json(path)


def _seconds(provenance: dict[str, Any], system: str) -> float:
    """Return the computing time of all stages of a system, such as `train@3-tyler` of "3"."""
    stages = {
        stage: entry
        for stage, entry in provenance.items()
        if stage.partition("@")[2].startswith(f"{system}-")
    }
    return sum(entry["seconds"] or 0 for entry in stages.values())
