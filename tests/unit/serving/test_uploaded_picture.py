from pathlib import Path

import numpy as np
import pytest

from sidebyside.core.errors import UserError
from sidebyside.serving import uploaded_picture
from sidebyside.serving.picture import Picture
from sidebyside.serving.uploaded_picture import read_upload
from tests.support.datasets import FASHION_MNIST


def test_what_is_not_a_picture_is_refused_without_a_path(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_upload(b"a shirt", tmp_path, FASHION_MNIST)
    assert str(caught.value).startswith("the picture is not a PNG, JPEG,")
    assert str(tmp_path) not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_file_is_deleted_after_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []

    def record(path: Path, _: object) -> Picture:
        read.append(path.read_bytes())
        return Picture(np.zeros((28, 28), np.uint8), (), np.zeros((1, 1, 3), np.uint8))

    monkeypatch.setattr(uploaded_picture, "read_confined", record)
    read_upload(b"a shirt", tmp_path, FASHION_MNIST)
    assert read == [b"a shirt"]
    assert not list(tmp_path.iterdir())
