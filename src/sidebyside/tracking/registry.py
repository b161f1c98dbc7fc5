"""Register trained models, and mark the best of each name as the champion."""

import contextlib
import importlib
import json
import math
from typing import Any

CHAMPION = "champion"  # alias of the best version of a registered model
SCORE_TAG = "val_accuracy"  # tag of a version; champions are selected by it
VERSIONS_TAG = "mlflow.modelVersions"  # links the page of a model to its registered version


def register(
    client: Any, name: str, model_id: str, run_id: str, val_accuracy: float, description: str
) -> None:
    """Register a logged model; it becomes the champion if no version of that name is better.

    Idempotent: a model is registered once, and the alias moves only to a validation accuracy at
    least as high, so that a short experiment does not replace a better model.

    Args:
        client: MLflow's client.
        name: name of the registered model, such as "fashion-mnist-mlp".
        model_id: id of the logged model.
        run_id: id of its run.
        val_accuracy: validation accuracy, a fraction.
        description: model card, in Markdown.
    """
    exceptions = importlib.import_module("mlflow.exceptions")
    try:
        client.create_registered_model(name)
    except exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"models:/{model_id}"
    versions = client.search_model_versions(f"name = '{name}'")
    version = next((each for each in versions if each.source == source), None)
    if version is None:
        version = client.create_model_version(name, source, run_id=run_id, model_id=model_id)
        link = json.dumps([{"name": name, "version": version.version}])
        client.set_logged_model_tags(model_id, {VERSIONS_TAG: link})
    client.update_model_version(name, version.version, description=description)
    client.set_model_version_tag(name, version.version, SCORE_TAG, repr(val_accuracy))
    champion = client.get_registered_model(name).aliases.get(CHAMPION)
    if champion == version.version:
        return
    if champion is not None:
        tags = client.get_model_version(name, champion).tags
        if _score(tags.get(SCORE_TAG, "")) > val_accuracy:
            return
    client.set_registered_model_alias(name, CHAMPION, version.version)


def _score(text: str) -> float:
    """Return a version's score; -inf if it is not a number, because users can edit the tag."""
    with contextlib.suppress(ValueError):
        return float(text)
    return -math.inf
