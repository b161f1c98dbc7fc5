"""Pictures made in the ways in which people make them give nearly the image they were made of."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.picture_kinds import MAKERS
from sidebyside.serving.decoding import decode
from sidebyside.serving.picture import trimmed
from tests.support.datasets import FASHION_MNIST


def trousers() -> NDArray[np.uint8]:
    """Return an object with two legs and a dark belt, from edge to edge."""
    image = np.zeros((28, 28), np.uint8)
    shades = np.linspace(195, 255, 28).astype(np.uint8)[:, None]
    image[:, 8:20] = shades
    image[12:, 12:16] = 0
    image[3:5, 8:20] = 85
    return image


@pytest.mark.parametrize("kind", MAKERS)
def test_a_picture_of_any_kind_gives_the_image_it_was_made_of(kind: str) -> None:
    image = trousers()
    content = MAKERS[kind](image, np.random.default_rng(1))
    found = trimmed(decode(content, kind), kind, FASHION_MNIST)
    assert np.corrcoef(found.pixels.ravel(), image.ravel())[0, 1] > 0.85, found.steps
