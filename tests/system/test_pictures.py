import itertools
import multiprocessing
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from sidebyside.data.picture import MAX_PIXELS
from sidebyside.serving import confined_picture
from sidebyside.serving.confined_picture import read_confined
from sidebyside.serving.picture import read_picture
from tests.support import pictures
from tests.support.datasets import FASHION_MNIST

SIDE = int(MAX_PIXELS**0.5)


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (confined_picture.MEMORY, confined_picture.MEMORY))


def slowest_mutation(path: Path, name: str) -> float:
    """Read hundreds of damaged versions of a sample; return the maximum of their seconds."""
    slowest = 0.0
    for content in itertools.islice(pictures.mutations(name), 1000):
        path.write_bytes(content)
        began = time.monotonic()
        try:
            assert read_picture(path, FASHION_MNIST).pixels.shape == (28, 28)
        except UserError as error:
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)
        slowest = max(slowest, time.monotonic() - began)
    return slowest


@pytest.mark.timeout(1200)
def test_thousands_of_mutated_pictures_give_pixels_or_one_line_within_the_limits(
    tmp_path: Path,
) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, limit_memory) as pool:
        paths = [tmp_path / name for name in pictures.SAMPLES]
        for seconds in pool.map(slowest_mutation, paths, pictures.SAMPLES):
            assert seconds < confined_picture.SECONDS / 2


def scan_bomb() -> bytes:
    """Return a progressive JPEG of 64 million pixels whose last scan is repeated 50,000 times."""
    content = pictures.saved(Image.new("L", (8000, 8000), 200), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * 50_000 + content[-2:]


def test_a_picture_that_would_be_decoded_for_hours_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.jpg").write_bytes(scan_bomb())
    monkeypatch.setattr(confined_picture, "SECONDS", 10)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"/x\.jpg: reading it takes more than 10 s$"):
        read_confined(tmp_path / "x.jpg", FASHION_MNIST)
    assert time.monotonic() - began < 15


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "RGBA"), ("JPEG", "CMYK"), ("GIF", "L"), ("BMP", "L"), ("WEBP", "RGB")],
)
def test_a_picture_of_the_largest_size_is_read_within_the_limits(
    tmp_path: Path, kind: str, mode: str
) -> None:
    image = Image.new(mode, (SIDE, SIDE), 0)
    image.paste("red", (200, 100, SIDE // 2, SIDE // 2))
    options = {"progressive": True} if kind == "JPEG" else {}
    image.save(tmp_path / "x", kind, **options)
    assert read_confined(tmp_path / "x", FASHION_MNIST).pixels.any()


def test_the_command_refuses_a_file_of_any_name_in_one_line(tmp_path: Path) -> None:
    name = "-a\nshirt \x1b[31m\udcff.png"
    (tmp_path / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0")
    done = subprocess.run(
        [sys.executable, "-m", "sidebyside.serving.predict", "--", name],
        cwd=tmp_path,
        env={"PYTHONPATH": str(CHECKOUT / "src")},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == b""
    shown = r"-a\nshirt \x1b[31m\udcff.png"
    reason = "is not a PNG, JPEG, GIF, BMP, WebP or PGM picture"
    assert done.stderr.decode() == f"predict: error: {shown} {reason}\n"
