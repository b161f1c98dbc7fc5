from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sidebyside.config.dataset import Dataset
from sidebyside.core.errors import UserError
from sidebyside.serving import confined_picture
from sidebyside.serving.confined_picture import read_all, read_confined
from sidebyside.serving.picture import read_picture
from tests.support import pictures
from tests.support.datasets import FASHION_MNIST, dataset

ODD = "-a\nshirt \udcff.png"  # an option, a line end, and a byte that is not UTF-8


def test_a_picture_and_its_steps_are_those_of_the_same_process(tmp_path: Path) -> None:
    path = tmp_path / ODD
    path.write_bytes(pictures.SAMPLES["animated GIF"])
    confined, expected = read_confined(path, FASHION_MNIST), read_picture(path, FASHION_MNIST)
    assert np.array_equal(confined.pixels, expected.pixels)
    assert confined.pixels.dtype == np.uint8
    assert np.array_equal(confined.original, expected.original)
    assert confined.steps == expected.steps


def test_a_picture_has_the_shape_of_the_data_set(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(pictures.SAMPLES["PNG"])
    colour = dataset(8, 12, 3, preparation="pad")
    confined = read_confined(path, colour)
    assert confined.pixels.shape == (8, 12, 3)
    assert np.array_equal(confined.pixels, read_picture(path, colour).pixels)


def test_the_reason_of_a_refusal_is_the_same(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_confined(tmp_path / ODD, FASHION_MNIST)
    assert str(caught.value) == f"{tmp_path / ODD} is missing"


def test_a_picture_that_takes_too_much_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("P", (7000, 7000)).save(tmp_path / "x.png", transparency=1)  # 196 MB as RGBA
    monkeypatch.setattr(confined_picture, "MEMORY", 500_000_000)
    with pytest.raises(UserError, match=r"/x\.png: reading it takes more than 500,000,000 bytes$"):
        read_confined(tmp_path / "x.png", FASHION_MNIST)


def test_a_picture_that_takes_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.png").write_bytes(pictures.SAMPLES["PNG"])
    monkeypatch.setattr(confined_picture, "SECONDS", 0.01)
    with pytest.raises(UserError, match=r"/x\.png: reading it takes more than 0.01 s$"):
        read_confined(tmp_path / "x.png", FASHION_MNIST)


def test_a_decoder_that_crashes_gives_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.png").write_bytes(pictures.SAMPLES["PNG"])
    monkeypatch.setattr(confined_picture, "MEMORY", 1 << 20)  # too little for Python itself
    with pytest.raises(UserError, match=r"/x\.png(:| cannot be read: its decoder ended)") as caught:
        read_confined(tmp_path / "x.png", FASHION_MNIST)
    assert "\n" not in str(caught.value).removeprefix(str(tmp_path))


def test_one_process_reads_many_pictures_and_a_new_one_goes_on_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    start = confined_picture._start

    def counted(data: Dataset) -> confined_picture.Reader:
        started.append(start(data))
        return started[-1]

    monkeypatch.setattr(confined_picture, "_start", counted)
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path in paths:
        path.write_bytes(pictures.SAMPLES["PNG"])
    paths[1].write_bytes(b"")
    paths[2].unlink()
    found = {}
    for path, picture in read_all(paths, FASHION_MNIST):
        found[path] = picture
        if path == paths[3]:
            started[0].kill()  # as if the next picture crashed the decoder
            started[0].wait()
    failed = [number for number, path in enumerate(paths) if isinstance(found[path], UserError)]
    assert failed == [1, 2, 4]
    assert str(found[paths[4]]) == f"{paths[4]} cannot be read: its decoder ended with status -9"
    assert len(started) == 2
    assert all(reader.poll() is not None for reader in started)
