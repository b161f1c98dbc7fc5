"""The origin of a run: the stage, work, machine, commit and data that it comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sidebyside.tracking.run import Run
from sidebyside.tracking.run_tags import Tag, commit_tags
from sidebyside.workflow import provenance

DATASET_TAG = "dataset"  # name of the data set of a run, which is that of its experiment

Record = Mapping[str, Any]  # a stage's JSON output, with its settings and data_sha256
Counts = Mapping[str, Mapping[str, int]]  # split → class name → images


class Origin(NamedTuple):
    """The work that a run logs, with its machine and commit."""

    stage: str  # the stage's name, such as train@mlp-original-1
    key: str  # identity of the work: its code, parameters, inputs and machine
    machine: Mapping[str, str]  # as `machine_facts` returns it
    source: provenance.Source | None = None  # None: the checkout's state now

    @property
    def item(self) -> str:
        """The item of the stage's matrix, such as mlp-original-1."""
        return self.stage.partition("@")[2]


def find_origin(root: Path, stage: str, outputs: Sequence[Path]) -> Origin:
    """Return the origin of outputs, from their provenance.

    Outputs pulled from a remote may have none: their key is made from their digests, and machine
    and commit are "unknown".

    Args:
        root: folder of the stage's dvc.yaml.
        stage: the stage's name.
        outputs: some or all of the stage's outputs, files and folders below the root.

    Raises:
        UserError: an output is missing, or the provenance is damaged.
    """
    found = provenance.find(root, stage, outputs) or provenance.unknown(root, outputs)
    return Origin(stage, found.key, found.machine, found.source)


def origin_tags(origin: Origin, dataset: str, data: Mapping[str, str]) -> dict[str, Tag]:
    """Return the tags of a run that record its origin.

    Args:
        origin: the origin.
        dataset: name of the data set.
        data: split → SHA-256 of its images and labels.
    """
    tags: dict[str, Tag] = {
        "stage": origin.stage,
        DATASET_TAG: dataset,
        "mlflow.source.name": f"{origin.stage.partition('@')[0]}.py",
        **{f"data.{split}": digest for split, digest in data.items()},
        **machine_tags(origin.machine),
    }
    if origin.source is not None:
        tags |= commit_tags(origin.source)
    return tags


def machine_tags(machine: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a run that record the machine, or machines, that did its work.

    Args:
        machine: as `machine_facts` returns it.
    """
    return {f"machine.{fact}": value for fact, value in machine.items()}


def log_inputs(
    run: Run, parameters: Mapping[str, Any], data: Mapping[str, str], counts: Counts
) -> None:
    """Log the parameters and data sets of a training or a search.

    Args:
        run: the run.
        parameters: name → value.
        data: `train` and `val` → SHA-256 of the images and labels.
        counts: name in the UI → images per class, of the two splits in that order.
    """
    run.log_parameters(parameters)
    for (name, classes), (split, digest) in zip(counts.items(), data.items(), strict=True):
        context = {"train": "training", "val": "validation"}[split]
        run.log_dataset(name, digest, context, classes)
