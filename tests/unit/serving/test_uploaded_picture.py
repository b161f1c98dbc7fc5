from pathlib import Path

import numpy as np
import pytest

from sidebyside.core.errors import UserError
from sidebyside.serving import uploaded_picture
from sidebyside.serving.picture import Picture
from sidebyside.serving.uploaded_picture import read_upload
from tests.support.datasets import FASHION_MNIST


def test_a_refusal_names_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, _: object) -> Picture:
        raise UserError(f"{path} is not a PNG")

    monkeypatch.setattr(uploaded_picture, "read_confined", refuse)
    with pytest.raises(UserError, match=r"^the picture is not a PNG$"):
        read_upload(b"a shirt", tmp_path, FASHION_MNIST)
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
