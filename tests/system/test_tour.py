"""The pages of the tour in a real browser."""

import contextlib
import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.stores import TRAINING, files
from tools import browser
from tools.browser import DESKTOP, PHONE
from tools.tour import ui

if TYPE_CHECKING:
    from tests.support.checkout import Checkout


# Whether a figure is on the page; logo and icons are smaller.
SHOWN = "return Array.from(document.images).some(image => image.naturalWidth > 300)"


@pytest.mark.timeout(1200)
def test_every_figure_of_a_run_opens_in_mlflow(own: "Checkout") -> None:
    with contextlib.chdir(own.root):
        client = MlflowClient(f"sqlite:///{own.root}/mlflow.db")
        known = client.get_experiment_by_name(TRAINING.name)
        assert known is not None
        figures = [
            f"experiments/{known.experiment_id}/runs/{run.info.run_id}/artifacts/{file}"
            for run in client.search_runs([known.experiment_id])
            for file in files(client, run.info.run_id)
            if file.endswith(".png")
        ]
    assert len(figures) > 8
    with ui(own.root) as address, browser.opened() as driver:
        for figure in figures:
            driver.get(f"{address}/#/{figure}")
            until = WebDriverWait(driver, browser.TIMEOUT)
            until.until(lambda page: page.execute_script(SHOWN), figure)


@pytest.mark.timeout(1200)
def test_every_page_opens_and_shows_its_text(own: "Checkout") -> None:
    own.run("python", ".dvc/plots/page.py")
    own.commit()
    own.run("python", "-m", "tools.tour", environment={"PYTHONPATH": "src"})
    pictures = sorted((own.root / "docs/tour").glob("*.png"))
    text = (own.root / "docs/tour.md").read_text(encoding="utf-8")
    assert len(pictures) == 17
    assert all(f"tour/{picture.name}" in text for picture in pictures)
    for picture in pictures:
        with Image.open(io.BytesIO(picture.read_bytes())) as image:
            assert image.size == (PHONE if picture.stem == "report-phone" else DESKTOP)
            pixels = np.asarray(image.convert("L"))
        assert len(np.unique(pixels)) > 50, picture  # neither empty nor a line of text
        dark = pixels.mean() < 100
        assert dark == (picture.stem == "report-dark"), picture
