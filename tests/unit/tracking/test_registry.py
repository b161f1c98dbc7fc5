from pathlib import Path
from typing import Any

import pytest

from sidebyside.tracking.logged_models import Images
from sidebyside.tracking.runs import open_run, reopen_run
from sidebyside.tracking.views import TRAINING
from tests.support.stores import client_of


@pytest.mark.slow
def test_a_champion_is_registered_once_and_replaced_only_by_a_model_as_good(
    with_model: Path, model: Any, pixels: Images
) -> None:
    name = "fashion-mnist-mlp"
    client = client_of(with_model)
    (version,) = client.search_model_versions(f"name = '{name}'")
    assert version.description == "0.9 on validation"
    with open_run(with_model, TRAINING, "mlp-original-2", "k2") as run:
        run.log_model(model, pixels[:1], step=0)
        run.register(name, 0.89)
        assert client.get_model_version_by_alias(name, "champion").version == version.version
        run.register(name, 0.9)
    second = client.get_model_version_by_alias(name, "champion")
    assert second.run_id == run.run_id
    # A score that somebody edited in the UI and that is not a number is below every score.
    client.set_model_version_tag(name, second.version, "val_accuracy", "90 %")
    with reopen_run(with_model, TRAINING, "mlp-original-1", "k", evaluated="e") as run:
        assert run.complete
        run.register(name, 0.92, "again")  # works on a complete run too
    assert client.get_model_version_by_alias(name, "champion").version == version.version
    assert len(client.search_model_versions(f"name = '{name}'")) == 2
    assert second.run_id
    client.delete_run(second.run_id)
    client.delete_model_version(name, second.version)
