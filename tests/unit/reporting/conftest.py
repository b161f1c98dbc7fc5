"""Fixtures: a report of made-up results."""

import pytest

from sidebyside.reporting import report
from sidebyside.reporting.report_content import Content
from tests.support.reports import made_up_content


@pytest.fixture(scope="session")
def content() -> Content:
    """The content of a report of made-up results."""
    return made_up_content()


@pytest.fixture(scope="session")
def html(content: Content) -> str:
    """The report as HTML."""
    return report.render(content)[0]


@pytest.fixture(scope="session")
def markdown(content: Content) -> str:
    """The report as Markdown."""
    return report.render(content)[1]
