import numpy as np
import pytest
from numpy.typing import NDArray

from sidebyside.serving import out_of_distribution
from sidebyside.serving.out_of_distribution import reference
from tests.support.images import made_up

TRAINING, VALIDATION = made_up(200, 1).images, made_up(200, 2).images


def brute_force(training: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    differences = (training.astype(float) - image.astype(float)) / 255
    return float(np.sqrt((differences**2).mean((1, 2))).min())


def test_the_distance_is_that_to_the_nearest_training_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(out_of_distribution, "ROWS", 3)
    images = np.concatenate([VALIDATION[:6], TRAINING[:1]])
    found = [each.value for each in reference(TRAINING, VALIDATION).distances(images)]
    expected = [brute_force(TRAINING, image) for image in images]
    assert found == pytest.approx(expected, abs=1e-3)
    assert found[-1] == pytest.approx(0, abs=1e-3)


def test_five_percent_of_images_like_the_validation_split_exceed_the_limit() -> None:
    compared = reference(TRAINING, VALIDATION)
    assert np.mean([each.is_unlike for each in compared.distances(VALIDATION)]) == 0.05
    others = [each.is_unlike for each in compared.distances(made_up(200, 3).images)]
    assert 0.01 <= np.mean(others) <= 0.1


def test_noise_negatives_and_shuffled_pixels_are_unlike_the_training_data() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (20, 28, 28)).astype(np.uint8)
    shuffled = random.permuted(VALIDATION[:20].reshape(20, -1), axis=1).reshape(20, 28, 28)
    compared = reference(TRAINING, VALIDATION)
    for images in (noise, 255 - VALIDATION[:20], shuffled):
        assert all(each.is_unlike for each in compared.distances(images))


def test_images_in_colour_are_compared_in_all_channels() -> None:
    training = np.zeros((3, 8, 12, 3), np.uint8)
    training[..., 0] = 255  # red
    blue = training[:1, ..., ::-1]
    (same, other) = reference(training, training).distances(np.concatenate([training[:1], blue]))
    assert (same.value, same.is_unlike) == (0, False)
    assert other.value == pytest.approx((2 / 3) ** 0.5)
    assert other.is_unlike


def test_of_large_splits_images_at_equal_intervals_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(out_of_distribution, "VALUES", 3 * 784)
    monkeypatch.setattr(out_of_distribution, "VALIDATION", 2)
    compared = reference(TRAINING, VALIDATION)
    assert np.array_equal(compared.rows * 255, TRAINING[[0, 100, 199]].reshape(3, -1))
    ends = compared.distances(VALIDATION[[0, -1]])
    assert compared.limit == pytest.approx(np.quantile([each.value for each in ends], 0.95))
    monkeypatch.setattr(out_of_distribution, "VALUES", 1)
    assert len(reference(TRAINING, VALIDATION).rows) == 1
