"""The pages that people look at, in a real browser: Debian's chromium."""

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from fashion.browser import DESKTOP, PHONE
from fashion.tour import Listing, Page, document

if TYPE_CHECKING:
    from tests.conftest import Checkout


def test_the_tour_is_a_heading_a_sentence_and_a_picture_per_page() -> None:
    text = document([Page("runs", "The runs", "Sorted.", "http://x", "x")])
    assert "## The runs\n\nSorted.\n\n![The runs](tour/runs.png)\n" in text


def test_what_a_command_prints_stands_below_it() -> None:
    table = Listing("Scores", "", "dvc metrics show --md", "| a |\n| - |\n")
    lines = Listing("Help", "", "python x.py --help", "usage: x\n")
    text = document([table, lines])
    assert "## Scores\n\n```sh\ndvc metrics show --md\n```\n\n| a |\n| - |\n" in text
    assert "```sh\npython x.py --help\n```\n\n```text\nusage: x\n```\n" in text


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_without_runs_it_says_how_to_get_some(own: "Checkout") -> None:
    (own.root / "mlflow.db").unlink()
    done = own.run(*("python", "-m", "fashion.tour"), environment={"PYTHONPATH": "src"}, fails=True)
    assert done.stderr == "tour: error: there is nothing to show: run `make repro`\n"


@pytest.mark.system
@pytest.mark.timeout(1200)
def test_every_page_opens_and_shows_what_it_should(own: "Checkout") -> None:
    own.run("python", ".dvc/plots/page.py")
    own.commit()
    own.run("python", "-m", "fashion.tour", environment={"PYTHONPATH": "src"})
    pictures = sorted((own.root / "docs/tour").glob("*.png"))
    text = (own.root / "docs/tour.md").read_text()
    assert len(pictures) == 17
    assert all(f"tour/{picture.name}" in text for picture in pictures)
    for picture in pictures:
        with Image.open(io.BytesIO(picture.read_bytes())) as image:
            assert image.size == (PHONE if picture.stem == "report-phone" else DESKTOP)
            pixels = np.asarray(image.convert("L"))
        assert len(np.unique(pixels)) > 50, picture  # neither empty nor a line of text
        dark = pixels.mean() < 100
        assert dark == (picture.stem == "report-dark"), picture
