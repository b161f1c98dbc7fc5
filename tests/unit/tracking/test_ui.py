import functools
import json
import re
import socket
from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.tracking import ui
from sidebyside.tracking.start_page import with_script
from sidebyside.tracking.store import open_store
from tests.support.stores import TRAINING, client_of


def test_the_locations_of_a_moved_project_are_updated(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_store(root).require(lambda: None)
    target = root.rename(tmp_path / "target")
    ui.prepare(target)
    assert capsys.readouterr().out == f"mlflow.db: artifact locations updated to {target}\n"
    ui.prepare(target)
    assert capsys.readouterr().out == ""
    (target / "mlflow.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(UserError, match=r"mlflow\.db: file is not a database"):
        ui.prepare(target)


def test_a_used_port_is_refused_before_mlflow_reports_a_success() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match="Address already in use: choose another, `make ui"):
            ui.require_free(port)
    ui.require_free(port)
    with pytest.raises(UserError, match="port 65536: not from 0 to 65535"):
        ui.require_free(65536)


def test_the_address_for_a_plain_mlflow_ui_names_the_experiment_and_the_training_pages(
    root: Path, tmp_path: Path
) -> None:
    store = open_store(root)
    number = store.require(functools.partial(store.experiment, TRAINING))
    address = ui.plain_address(root, TRAINING.name)
    assert address is not None
    assert f"/#/experiments/{number}/runs?workflowType=machine_learning" in address
    assert ui.plain_address(root, "other") is None
    assert ui.plain_address(tmp_path / "empty", TRAINING.name) is None


def test_the_start_page_opens_the_experiment_of_the_data_set_with_its_view(root: Path) -> None:
    known = client_of(root).get_experiment_by_name(TRAINING.name)
    assert known
    view = known.tags["mlflow.sharedViewState.columns"]
    views = {TRAINING.name: (known.experiment_id, view)}

    def content(start: str) -> dict[str, object]:
        page = with_script("<html><head></head></html>", views, start)
        assert "</script></head></html>" in page and "</" not in page.split("</script>")[0]
        found = re.search(r"= (\{.*\});", page)
        assert found
        read: dict[str, object] = json.loads(found[1])
        return read

    assert content(TRAINING.name)["start"] == f"/experiments/{known.experiment_id}/runs"
    assert content(TRAINING.name)["views"] == {
        f'MLflowLocalStorage-1.1-ExperimentPage-["{known.experiment_id}"]-ReactComponentState': view
    }
    assert content("not run yet")["start"] == content("")["start"] == "/experiments"
