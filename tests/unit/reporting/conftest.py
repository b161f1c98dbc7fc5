"""Fixtures: a report of made-up results."""

import functools
import io
from collections import defaultdict

import pytest
from PIL import Image

from sidebyside.reporting import report, report_figures
from sidebyside.reporting.report_content import Content
from tests.support.reports import made_up_content


@pytest.fixture(scope="session")
def content() -> Content:
    """The content of a report of made-up results."""
    return made_up_content()


@functools.cache
def small_png() -> bytes:
    """Return a picture in place of a figure."""
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the figures of reports by small pictures."""
    monkeypatch.setattr(report_figures, "draw", lambda *_: defaultdict(small_png))


@pytest.fixture(scope="session")
def html(content: Content) -> str:
    """The report as HTML."""
    return report.render(content)[0]


@pytest.fixture(scope="session")
def markdown(content: Content) -> str:
    """The report as Markdown."""
    return report.render(content)[1]
