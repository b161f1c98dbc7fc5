"""Log a Keras model as MLflow's logged model of a run."""

import importlib
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.core import imports
from sidebyside.tracking.store import Store
from sidebyside.tracking.views import NOTE_TAG

REQUIREMENTS = ("tensorflow", "keras", "numpy")  # installed with a served model

Images = NDArray[np.uint8]


def log_model(store: Store, run: Any, model: Any, input_example: Images, step: int) -> str:
    """Log a model and return its id; a model that a killed process logged completely is kept.

    Args:
        store: the store; its errors are raised, not handled as an outage.
        run: MLflow's entity of the run.
        model: Keras model from raw pixels, uint8 [N, 28, 28], to float32 [N, 10].
        input_example: uint8 [1, 28, 28].
        step: the epoch of the weights.
    """
    logged = _complete_model(store, run) or _new_model(store, run, model, input_example)
    output = store.entity("LoggedModelOutput")(logged.model_id, step)
    # The model is linked to the run last, so a killed process leaves no incomplete model there.
    store.client.log_outputs(run.info.run_id, [output])
    return str(logged.model_id)


def _complete_model(store: Store, run: Any) -> Any:
    """Return a model that was logged completely but not yet linked to the run, or None.

    Incomplete models are deleted.
    """
    complete = None
    condition = f"source_run_id = '{run.info.run_id}'"
    for logged in store.client.search_logged_models([run.info.experiment_id], condition):
        if str(logged.status) == "READY":
            complete = logged
        else:
            store.client.delete_logged_model(logged.model_id)
            if store.local:
                shutil.rmtree(logged.artifact_location, ignore_errors=True)
    return complete


def _new_model(store: Store, run: Any, model: Any, input_example: Images) -> Any:
    # The steps of MLflow's own log_model, which works only on a global, active run.
    with imports.fast_imports():
        flavor = importlib.import_module("mlflow.tensorflow")
        models = importlib.import_module("mlflow.models")
        types = importlib.import_module("mlflow.types")
    signature = models.ModelSignature(
        inputs=types.Schema([types.TensorSpec(np.dtype(np.uint8), (-1, 28, 28))]),
        outputs=types.Schema([types.TensorSpec(np.dtype(np.float32), (-1, 10))]),
    )
    current = store.client.get_run(run.info.run_id)
    logged = store.client.create_logged_model(
        run.info.experiment_id,
        name=current.info.run_name,  # shown in the UI's list of models
        source_run_id=run.info.run_id,
        params=current.data.params,
        tags={NOTE_TAG: current.data.tags.get(NOTE_TAG, "")},
    )
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "model"
        flavor.save_model(
            model,
            str(files),
            mlflow_model=models.Model(
                artifact_path=logged.artifact_location,
                run_id=run.info.run_id,
                model_uuid=logged.model_id,
                model_id=logged.model_id,
            ),
            signature=signature,
            input_example=input_example,
            # Without them MLflow would start a process of several seconds to infer them.
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in REQUIREMENTS],
        )
        store.client.log_model_artifacts(logged.model_id, str(files))
    return store.client.finalize_logged_model(logged.model_id, "READY")
