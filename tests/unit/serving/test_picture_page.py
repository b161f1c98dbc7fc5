import base64
import hashlib
import re

import numpy as np

from sidebyside.serving.answer import Classifier
from sidebyside.serving.picture_page import headers, page
from tests.support.datasets import dataset
from tests.support.scoring import REGISTERED

TITLE = "<script>alert(1)</script> & Co"


def made(title: str = "Made up") -> str:
    classifier = Classifier(lambda _: np.empty(0, np.float32), dataset(title=title), REGISTERED)
    return page(classifier, "http://127.0.0.1:5001/")


def test_the_policy_allows_only_the_script_and_the_style_of_the_page() -> None:
    html = made()
    policy = headers(html)["Content-Security-Policy"]
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert parts["connect-src"] == "'self'"
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert parts[f"{tag}-src"] == f"'sha256-{digest}'"


def test_a_title_is_text_and_does_not_change_the_policy() -> None:
    html = made(TITLE)
    assert TITLE not in html
    assert "trained on &lt;script&gt;alert(1)" in html
    assert headers(html) == headers(made())


def test_the_page_loads_nothing_from_other_addresses() -> None:
    html = made()
    addresses = re.findall(r'(?:src|href|action)="([^"]*)"', html)
    assert addresses == ["data:,", "openapi.json"]
    assert not re.search(r"@import|url\(", html)
