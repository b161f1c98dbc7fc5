"""Open MLflow's UI on the table of runs: `mlflow ui --app-name sidebyside`.

In a new browser, MLflow shows its pages for language models, with an assistant that covers a
quarter of the window, and its own choice of columns. It keeps such settings in the browser, so the
first page gets a script that sets those that are missing there. MLflow finds this application
through `src/sidebyside-*.dist-info`; its pages and API stay as they are.
"""

import functools
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidebyside.config.dataset import read_dataset
from sidebyside.config.paths import CHECKOUT, Paths
from sidebyside.core.errors import UserError
from sidebyside.tracking.views import PROJECT_TAG, VIEW, VIEW_TAG

STORE = "MLFLOW_BACKEND_STORE_URI"
# Settings that MLflow keeps in the browser: the pages for training, without the assistant.
SETTINGS = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.panelOpen_v1": "false",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
}
# Settings of the user stay, and so do changes to a table, until the project changes its view. On a
# phone, the menu and the list of runs beside charts would leave no room.
SCRIPT = """<script>
const {settings, views, start} = CONTENT;
const phone = screen.width < 600;
for (const [name, value] of Object.entries(settings))
  if (localStorage.getItem(name) === null) localStorage.setItem(name, value);
for (const [name, view] of Object.entries(views)) {
  const known = `sidebyside ${name}`;
  if (localStorage.getItem(known) === view) continue;
  localStorage.setItem(known, view);
  localStorage.setItem(name, JSON.stringify({...JSON.parse(view), runListHidden: phone}));
}
if (!location.hash) location.hash = start;
if (phone) new MutationObserver((_, observer) => {
  const menu = document.querySelector('[aria-label="Toggle sidebar"]');
  if (!menu) return;
  observer.disconnect();
  menu.click();
}).observe(document, {childList: true, subtree: true});
</script>"""


def create_app() -> Any:
    """Return MLflow's server with this project's start page."""
    flask, pages = importlib.import_module("flask"), importlib.import_module("mlflow.server").app
    page = Path(pages.static_folder) / "index.html"
    views = functools.partial(_views, os.environ[STORE])

    @pages.before_request  # type: ignore[untyped-decorator]
    def start_page() -> Any:
        if flask.request.path != "/":
            return None
        html = page.read_text(encoding="utf-8")
        headers = {"Cache-Control": "no-store"}  # a plain `mlflow ui` has another page
        return flask.Response(with_script(html, views(), _dataset_name()), headers=headers)

    return importlib.import_module("mlflow.server.fastapi_app").app


def with_script(html: str, views: Mapping[str, tuple[str, str]], start: str) -> str:
    """Return MLflow's page with the script that sets what is missing in the browser.

    Args:
        html: MLflow's page.
        views: name of an experiment → its id and view, as JSON.
        start: name of the experiment to open, if it exists.
    """
    content = {
        "settings": SETTINGS,
        "views": {
            f'MLflowLocalStorage-1.1-ExperimentPage-["{number}"]-ReactComponentState': view
            for number, view in views.values()
        },
        "start": f"/experiments/{views[start][0]}/runs" if start in views else "/experiments",
    }
    script = SCRIPT.replace("CONTENT", json.dumps(content).replace("<", "\\u003c"))
    return html.replace("<head>", f"<head>{script}", 1)


def _views(store: str) -> dict[str, tuple[str, str]]:
    client = importlib.import_module("mlflow").MlflowClient(store)
    return {
        one.name: (one.experiment_id, one.tags[f"{VIEW_TAG}{VIEW}"])
        for one in client.search_experiments()
        if PROJECT_TAG in one.tags and f"{VIEW_TAG}{VIEW}" in one.tags
    }


def _dataset_name() -> str:
    try:
        return read_dataset(Paths(CHECKOUT).dataset).name
    except UserError:  # the pipeline has not been run
        return ""
