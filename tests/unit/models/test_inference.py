import numpy as np
import pytest
import tensorflow as tf

from sidebyside.data.splits import Split
from sidebyside.models import inference
from sidebyside.models.inference import (
    PREDICTION_BATCH,
    loss_and_accuracy,
    predict_in_batches,
    predict_probabilities,
    prediction_batch,
)
from tests.support.training import VAL, untrained


def test_predictions_cover_every_image_in_order() -> None:
    images = np.concatenate([VAL.images] * 6)
    assert len(images) > PREDICTION_BATCH
    probabilities = predict_probabilities(untrained(), images)
    assert probabilities.shape == (600, 10)
    assert probabilities.dtype == np.float32
    assert probabilities == pytest.approx(np.tile(probabilities[:100], (6, 1)), abs=1e-6)
    assert len(np.unique(probabilities[:, 0])) > 50  # or the order could not be seen


def test_images_are_predicted_in_batches_of_a_fixed_size() -> None:
    sizes: list[int] = []

    def function(batch: tf.Tensor) -> tf.Tensor:
        sizes.append(len(batch))
        return tf.zeros([len(batch), 10])

    predict_in_batches(function, np.zeros((2 * PREDICTION_BATCH + 1, 28, 28), np.uint8))
    assert sorted(sizes) == [1, PREDICTION_BATCH, PREDICTION_BATCH]


def test_predictions_are_the_same_however_many_batches_are_computed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = np.concatenate([VAL.images] * 11)
    network = untrained()
    found = []
    for at_once in (1, 4):
        monkeypatch.setattr(inference, "BATCHES_AT_ONCE", at_once)
        monkeypatch.setenv("CORES", "4")
        found.append(predict_probabilities(network, images))
    assert np.array_equal(found[0], found[1])


@pytest.mark.parametrize(
    ("shape", "images"),
    [((28, 28), 500), ((8, 8), 500), ((32, 32, 3), 127), ((128, 128, 3), 7)],
)
def test_batches_of_large_images_have_fewer_images(shape: tuple[int, ...], images: int) -> None:
    assert prediction_batch(shape) == images
    sizes: list[int] = []

    def function(batch: tf.Tensor) -> tf.Tensor:
        sizes.append(len(batch))
        return tf.zeros([len(batch), 10])

    predict_in_batches(function, np.zeros((images + 1, *shape), np.uint8))
    assert sorted(sizes) == [1, images]


def test_the_loss_is_the_mean_negative_logarithm_of_the_true_class() -> None:
    probabilities = np.full((2, 10), 0.05, np.float32)
    probabilities[0, 3], probabilities[1, 4] = 0.5, 0.5
    split = Split(VAL.images[:2], np.array([3, 5], np.uint8))
    loss, accuracy = loss_and_accuracy(lambda _: tf.constant(probabilities), split)
    assert loss == pytest.approx(-(np.log(0.5) + np.log(0.05)) / 2, rel=1e-6)
    assert accuracy == 0.5


@pytest.mark.parametrize(("probability", "expected"), [(1e-20, 46.0517), (0.0, 87.3365)])
def test_the_loss_of_a_tiny_probability_is_exact_and_finite(
    probability: float, expected: float
) -> None:
    probabilities = np.zeros((1, 10), np.float32)
    probabilities[0, 3] = probability
    split = Split(VAL.images[:1], np.array([3], np.uint8))
    loss, _ = loss_and_accuracy(lambda _: tf.constant(probabilities), split)
    assert loss == pytest.approx(expected, rel=1e-6)
