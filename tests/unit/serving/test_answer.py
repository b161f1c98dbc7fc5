import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from sidebyside.serving.answer import Classifier, Predict, RegisteredModel
from sidebyside.serving.picture import Picture
from tests.support.datasets import dataset

MODEL = RegisteredModel(name="made-up-cnn", version="2", dataset="made-up")
DIGITS = dataset(8, 8, class_names=("1", "0"))
COLOURS = dataset(8, 8, 3, class_names=("red", "blue"))
BLACK = np.zeros((1, 8, 8), np.uint8)


def constant(*row: float) -> Predict:
    return lambda images: np.array([row] * len(images), np.float32)


def test_each_image_gets_its_class_and_its_probabilities_by_name() -> None:
    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        light = images.reshape(len(images), -1).mean(axis=1, dtype=np.float32) / 255
        return np.stack([light, 1 - light], axis=1)

    images = np.stack([np.full((8, 8), 255, np.uint8), np.zeros((8, 8), np.uint8)])
    answer = Classifier(predict, DIGITS, MODEL).classify(images)
    assert answer.predictions == [[1, 0], [0, 1]]
    assert [image.class_name for image in answer.images] == ["1", "0"]
    assert [image.probability for image in answer.images] == [1, 1]
    assert list(answer.images[1].probabilities.items()) == [("1", 0), ("0", 1)]
    assert answer.model == MODEL


def test_numbers_are_the_shortest_that_stand_for_the_same_float32() -> None:
    row = np.random.default_rng(0).dirichlet(np.ones(2)).astype(np.float32)
    (found,) = Classifier(constant(*row), DIGITS, MODEL).classify(BLACK).predictions
    assert np.array_equal(np.array(found, np.float32), row)
    assert all(len(str(number)) < 13 for number in found)


def test_a_probability_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(ValidationError, match="finite number"):
        Classifier(constant(np.nan, 1), DIGITS, MODEL).classify(BLACK)


def test_a_picture_in_colour_keeps_its_colours() -> None:
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    classifier = Classifier(constant(0.25, 0.75), COLOURS, MODEL)
    answer = classifier.classify_picture(Picture(pixels, ("padded",), pixels))
    assert answer.picture.pixels == pixels.tolist()
    assert answer.picture.steps == ["padded"]
    assert answer.images[0].class_name == "blue"
