"""Register trained models, and mark the best of each name as the champion.

Several processes may register models of one name at the same time, on one server. No lock spans two
machines, so every step is decided from what the registry contains afterwards, by a fixed order:
whoever decides last, decides the same.
"""

import contextlib
import importlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from sidebyside.tracking.contents import rounded

CHAMPION = "champion"  # alias of the best version of a registered model
SCORE_TAG = "val_accuracy"  # tag of a version; champions are selected by it
# Tags of a version: SHA-256 of the evaluated model's file, and of the record of its data set.
FILE_TAG, DATASET_TAG = "file_sha256", "dataset_sha256"
CLASSES_TAG = "classes_sha256"  # tag of a version: SHA-256 of shape and names of the classes
ATTEMPTS = 10  # number of times that another process may change a name's versions meanwhile
VERSIONS_TAG = "mlflow.modelVersions"  # links the page of a model to its registered version


def register(
    client: Any,
    name: str,
    model_id: str,
    run_id: str,
    val_accuracy: float,
    digests: Mapping[str, str],
    description: str,
    only_better: bool = False,
) -> None:
    """Register a logged model; the best version of its name and classes becomes the champion.

    Images of another shape or with other classes are other data, even under the same name.

    Idempotent: a model is registered once.

    Args:
        client: MLflow's client.
        name: name of the registered model, such as "digits-mlp".
        model_id: id of the logged model.
        run_id: id of its run.
        val_accuracy: validation accuracy, a fraction.
        digests: FILE_TAG, DATASET_TAG and CLASSES_TAG → SHA-256.
        description: model card, in Markdown.
        only_better: do not register a model that is worse than the champion of its classes.
    """
    exceptions = importlib.import_module("mlflow.exceptions")
    try:
        client.create_registered_model(name)
    except exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"models:/{model_id}"
    tags = {SCORE_TAG: repr(rounded(val_accuracy)), **digests}
    versions = _versions(client, name)
    registered = versions.get(source)
    if registered is None:
        same = _of_classes(versions.values(), digests[CLASSES_TAG])
        if only_better and any(_score(one) > rounded(val_accuracy) for one in same):
            return
        created = client.create_model_version(
            name, source, run_id=run_id, tags=tags, model_id=model_id
        )
        registered = _versions(client, name)[source]
        if int(registered.version) != int(created.version):  # by another process just now
            client.delete_model_version(name, created.version)
        link = json.dumps([{"name": name, "version": registered.version}])
        client.set_logged_model_tags(model_id, {VERSIONS_TAG: link})
    client.update_model_version(name, registered.version, description=description)
    for tag, value in tags.items():
        client.set_model_version_tag(name, registered.version, tag, value)
    _select_champion(client, name, digests[CLASSES_TAG])


def _select_champion(client: Any, name: str, classes: str) -> None:
    """Set the alias to the best version with these classes, the newest of equally good ones.

    A process that reads the versions before a better one is registered, and sets the alias after
    the other process, would move it back. Therefore everything is read again after each change.
    """
    for _ in range(ATTEMPTS):
        versions = _versions(client, name).values()
        best = max(
            _of_classes(versions, classes),
            key=lambda version: (_score(version), int(version.version)),
        ).version
        champion = client.get_registered_model(name).aliases.get(CHAMPION)
        if champion is not None and int(champion) == int(best):
            return
        client.set_registered_model_alias(name, CHAMPION, best)


def _versions(client: Any, name: str) -> dict[str, Any]:
    """Return source → version; the first one of a model that two processes registered at once."""
    found = client.search_model_versions(f"name = '{name}'")
    newest_first = sorted(found, key=lambda version: int(version.version), reverse=True)
    return {version.source: version for version in newest_first}


def _of_classes(versions: Iterable[Any], classes: str) -> list[Any]:
    """Return the versions with the shape and class names of a digest."""
    return [version for version in versions if version.tags.get(CLASSES_TAG) == classes]


def _score(version: Any) -> float:
    """Return a version's score; -inf if it is not a number, because users can edit the tag."""
    with contextlib.suppress(ValueError):
        score = float(version.tags.get(SCORE_TAG, ""))
        return -math.inf if math.isnan(score) else rounded(score)
    return -math.inf
