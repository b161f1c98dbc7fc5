import base64
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from sidebyside.config.dataset import Preparation
from sidebyside.core.errors import UserError
from sidebyside.serving.answer import Classifier
from sidebyside.serving.picture import read_picture
from sidebyside.serving.picture_page import headers, page
from tests.support.datasets import dataset
from tests.support.scoring import REGISTERED

TITLE = "<script>alert(1)</script> & Co"


def made(title: str = "Made up", preparation: Preparation = "trim") -> str:
    data = dataset(title=title, preparation=preparation)
    classifier = Classifier(lambda _: np.empty(0, np.float32), data, REGISTERED)
    return page(classifier, "http://127.0.0.1:5001/")


@pytest.mark.parametrize("preparation", ["trim", "pad"])
def test_the_page_names_the_kinds_of_pictures_that_are_read_for_the_data_set(
    tmp_path: Path, preparation: Preparation
) -> None:
    html = made(preparation=preparation)
    assert (".pgm" in html) == (preparation == "trim")
    path = tmp_path / "x"
    path.write_bytes(b"a shirt")
    with pytest.raises(UserError) as caught:
        read_picture(path, dataset(preparation=preparation))
    assert str(caught.value).removeprefix(f"{path} is not ") in html


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
