"""The tags of a new run: its origin, its note, and those that MLflow's UI shows."""

import getpass
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidebyside.core.fingerprint import machine_facts
from sidebyside.tracking.contents import rounded
from sidebyside.tracking.views import COLOUR_TAG, EXPERIMENT_TAG, NOTE_TAG
from sidebyside.workflow import provenance

MAX_TAG = 8000  # characters; MLflow's limit

Tag = str | int | float


def run_tags(
    root: Path, given: Mapping[str, Tag | None], description: str, repeat: str
) -> dict[str, str]:
    """Return all tags of a new run.

    Args:
        root: the project's root, or the copy that DVC made for an experiment.
        given: tags of the caller; None: no tag.
        description: a sentence without a full stop on what the run is, in Markdown.
        repeat: command that makes the run again, with {stage}.
    """
    code = {} if "git.commit" in given else commit_tags(provenance.loaded_source(root))
    script = Path(sys.argv[0])
    machine = {} if any(name.startswith("machine.") for name in given) else machine_facts()
    tags: dict[str, Tag | None] = {
        "stage": os.environ.get("DVC_STAGE", script.stem),
        **code,
        **provenance.locks(root),
        **{f"machine.{name}": value for name, value in machine.items()},  # never of two machines
        "mlflow.source.name": script.name,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        **given,
    }
    tags[NOTE_TAG] = note(description, tags, repeat)
    if EXPERIMENT_TAG in tags:
        tags.pop(COLOUR_TAG, None)  # it would be that of the same model without the experiment
    return {name: text_of(value, MAX_TAG) for name, value in tags.items() if value is not None}


def note(description: str, tags: Mapping[str, Tag | None], repeat: str) -> str:
    """Return the note of a run: what it is, its commit, and how to make it again.

    Args:
        description: as for `run_tags`; so is `repeat`.
        tags: tags of the run.
    """
    commit, experiment = str(tags["git.commit"])[:12], tags.get(EXPERIMENT_TAG)
    if experiment:
        source = f"It belongs to the DVC experiment `{experiment}` on commit `{commit}`"
    elif commit == "unknown":
        return f"{description}. Its commit is unknown."
    else:
        changed = ", with changes that were not committed" if tags["git.dirty"] == "true" else ""
        source = f"Its commit is `{commit}`{changed}"
    state = f"dvc exp apply {experiment}" if experiment else f"git checkout {commit}"
    again = f"{state} && {repeat.format(stage=tags['stage'])}"
    return f"{description}. {source}. To make it again: `{again}`."


def commit_tags(source: provenance.Source) -> dict[str, str]:
    """Return the tags of a run that record the commit of its code."""
    tags = {"git.commit": source.commit, "git.dirty": str(source.dirty).lower()}
    if source.commit != "unknown":
        tags["mlflow.source.git.commit"] = source.commit
    if source.experiment is not None:
        tags[EXPERIMENT_TAG] = source.experiment
    return tags


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return None


def text_of(value: Any, limit: int) -> str:
    """Return a value as text: lists and mappings as JSON, cut to MLflow's limit of characters."""
    if isinstance(value, float):
        value = rounded(value)
    text = json.dumps(value) if isinstance(value, (list, tuple, dict)) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
