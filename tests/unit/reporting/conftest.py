"""Fixtures: a report of made-up results, most of them without drawn figures."""

import pytest

from sidebyside.reporting import report
from sidebyside.reporting.report_content import Content
from tests.support.reports import made_up_content, replace_plots


@pytest.fixture(scope="session")
def content() -> Content:
    """The content of a report of made-up results, with small pictures as figures."""
    with pytest.MonkeyPatch.context() as patch:
        replace_plots(patch)
        return made_up_content()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the figures of reports by small pictures."""
    replace_plots(monkeypatch)


@pytest.fixture(scope="session")
def html(content: Content) -> str:
    """The report as HTML."""
    return report.render(content)[0]


@pytest.fixture(scope="session")
def markdown(content: Content) -> str:
    """The report as Markdown."""
    return report.render(content)[1]
