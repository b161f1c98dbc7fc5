"""Ordinary Keras models are trained, saved and loaded; what cannot be is refused in one line."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import RECORDS, Hyperparameters, parse_hyperparameters
from sidebyside.core.errors import TrainingError, UserError
from sidebyside.core.jobs import inline
from sidebyside.data import memory
from sidebyside.data.splits import Split
from sidebyside.models import architectures, builders
from sidebyside.models.inference import predict_probabilities
from sidebyside.models.loading import load_model
from sidebyside.models.ordinary import adapt
from sidebyside.models.saving import save_model
from sidebyside.training.fit import train_model
from sidebyside.training.history import Epoch
from sidebyside.training.jobs import TrainingTask, training_arrays
from tests.support.datasets import dataset

Builder = Callable[[Hyperparameters, Dataset], Any]
COUNTER = itertools.count(3)


def data(*shape: int, classes: int = 10) -> Dataset:
    """Return a data set of a shape with some number of classes."""
    names = tuple(f"class {label}" for label in range(classes))
    height, width, channels = (*shape, 1)[:3]
    return dataset(height, width, channels, names)


def noise(dataset: Dataset, count: int = 40) -> Split:
    """Return random images of the data set with balanced classes."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (count, *dataset.shape), dtype=np.uint8)
    return Split(images, (np.arange(count) % dataset.classes).astype(np.uint8))


def channels(dataset: Dataset) -> tuple[int, int, int]:
    return dataset.height, dataset.width, dataset.channels


def sequential_softmax(h: Hyperparameters, dataset: Dataset) -> keras.Model:
    return keras.Sequential([layers.Flatten(), layers.Dense(dataset.classes, activation="softmax")])


def sequential_softmax_layer(h: Hyperparameters, dataset: Dataset) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(dataset.shape),
            layers.Flatten(),
            layers.Dense(dataset.classes),
            layers.Dropout(0.0),
            layers.Softmax(),
        ]
    )


def sequential_logits(h: Hyperparameters, dataset: Dataset) -> keras.Model:
    first = [keras.Input(channels(dataset)), layers.AveragePooling2D(4), layers.Flatten()]
    return keras.Sequential([*first, layers.Dropout(0.3), layers.Dense(dataset.classes)])


def residual(h: Hyperparameters, dataset: Dataset) -> keras.Model:
    """Return a model with a shared activation, nested models and random layers."""
    inputs = keras.Input(channels(dataset))
    relu = layers.ReLU()
    x = relu(layers.Conv2D(2, 3, padding="same")(inputs))
    y = layers.BatchNormalization()(layers.Conv2D(2, 3, padding="same")(x))
    x = relu(layers.Add()([x, y]))
    x = keras.Sequential([layers.SeparableConv2D(3, 3, strides=4), layers.SpatialDropout2D(0.2)])(x)
    inner = keras.Input(x.shape[1:])
    x = keras.Model(inner, layers.Dropout(0.1)(layers.ELU()(inner)))(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(dataset.classes)(x))


def without_dense(h: Hyperparameters, dataset: Dataset) -> keras.Model:
    inputs = keras.Input(channels(dataset))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(dataset.classes, 3)(inputs))
    return keras.Model(inputs, layers.Activation("softmax")(x))


ORDINARY = [
    sequential_softmax, sequential_softmax_layer, sequential_logits, residual, without_dense,
]  # fmt: skip
SOFTMAX = [sequential_softmax, sequential_softmax_layer, without_dense]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[..., keras.Model]:
    """Return a function that builds the model of a builder for architecture `own`."""
    own = type("Own", (Hyperparameters,), {"builder": "own:build"})
    monkeypatch.setitem(RECORDS, "own", own)

    def built(builder: Builder, dataset: Dataset, **changes: Any) -> keras.Model:
        monkeypatch.setattr(builders, "find_builder", lambda model: builder)
        record = parse_hyperparameters("own", changes, "test")
        return architectures.build("own", record, dataset, 1)

    return built


@pytest.mark.parametrize("builder", ORDINARY)
def test_the_probabilities_are_those_of_the_ordinary_model(builder: Builder) -> None:
    images = data(8, 12)
    keras.utils.set_random_seed(1)
    ordinary = builder(Hyperparameters(), images)
    if not ordinary.built:
        ordinary.build((None, *channels(images)))
    pixels = noise(images).images
    scaled = (pixels / 255).astype(np.float32)
    inputs = scaled if len(ordinary.inputs[0].shape) == 3 else scaled[..., None]
    expected: NDArray[Any] = np.asarray(ordinary(inputs, training=False))
    if builder not in SOFTMAX:
        expected = np.asarray(keras.ops.softmax(expected))
    adapted = adapt(ordinary, images, "own")
    assert np.asarray(adapted(pixels)) == pytest.approx(expected, abs=1e-6)
    exported = architectures.to_builtin_layers(adapted)
    assert np.asarray(exported(pixels)) == pytest.approx(expected, abs=1e-6)
    assert not any(isinstance(layer, keras.Model) for layer in exported.layers)


@pytest.mark.parametrize(
    ("builder", "shape", "classes", "precision"),
    [
        (sequential_softmax, (8, 8), 2, "float32"),
        (residual, (8, 12, 3), 200, "bfloat16"),
    ],
)
def test_an_ordinary_model_resumes_bit_for_bit_and_is_loaded(
    build: Callable[..., keras.Model],
    tmp_path: Path,
    builder: Builder,
    shape: tuple[int, ...],
    classes: int,
    precision: str,
) -> None:
    images = data(*shape, classes=classes)
    changes = {"batch_size": 16, "flip": True, "shift": 1, "cutout": 3, "weight_averaging": 0.5}
    record = parse_hyperparameters("own", changes | {"precision": precision}, "test")
    build(builder, images)
    split = noise(images)

    def train(name: str, on_epoch: Callable[[Epoch, float], None] = lambda *_: None) -> str:
        task = TrainingTask(
            *(name, "own", record.model_dump(mode="json"), images),
            seed=1,
            epochs=2,
            patience=2,
            monitor="val_loss",
            keep="best",
            threads=2,
            parts=1,
        )
        execute = inline(training_arrays(split, split))
        checkpoint = tmp_path / f"{name}.npz"
        model, _ = train_model(task, execute, checkpoint=checkpoint, on_epoch=on_epoch)
        return save_model(tmp_path / f"{name}.keras", model)

    def keep_the_first(row: Epoch, seconds: float) -> None:
        if row["epoch"] == 1:
            shutil.copyfile(tmp_path / "whole.npz", tmp_path / "resumed.npz")

    digest = train("whole", keep_the_first)
    epochs: list[int] = []
    assert train("resumed", lambda row, seconds: epochs.append(int(row["epoch"]))) == digest
    assert epochs == [2]
    probabilities = predict_probabilities(
        load_model(tmp_path / "whole.keras", images), split.images
    )
    assert probabilities.shape == (40, classes)
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5)


def test_flops_count_the_kernels_of_all_kinds_of_layers(build: Callable[..., keras.Model]) -> None:
    expected = 8 * 8 * 2 * 9 + 8 * 8 * 2 * 2 * 9  # convolutions of 1 and of 2 channels
    expected += 2 * 2 * (2 * 9 + 2 * 3) + 3 * 10  # separable convolution of 2 × 2 positions, dense
    assert architectures.flops(build(residual, data(8, 8))) == 2 * expected


def flattened(*more: keras.Layer, shape: tuple[int, ...] = (8, 8, 1)) -> keras.Model:
    return keras.Sequential([keras.Input(shape), layers.Flatten(), *more])


def functional(connect: Callable[[Any], Any]) -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, connect(layers.Flatten()(inputs)))


def called_twice(x: Any) -> Any:
    dense = layers.Dense(64)
    return layers.Dense(10)(dense(dense(x)))


class Subclass(keras.Model):  # type: ignore[misc]  # untyped
    """A model whose layers cannot be listed."""


class OwnLayer(keras.layers.Layer):  # type: ignore[misc]  # untyped
    """A layer that only its own code can load."""

    def call(self, x: Any) -> Any:
        """Return the input."""
        return x


REFUSED: dict[str, Callable[[], Any]] = {
    "expected a functional keras.Model or a keras.Sequential, not list": list,
    "expected a functional keras.Model or a keras.Sequential, not Subclass": Subclass,
    "the model has 1 inputs and 2 outputs, expected one of each": (
        lambda: functional(lambda x: [layers.Dense(10)(x), layers.Dense(10)(x)])
    ),
    "the model's input is [8, 9, 1], expected [8, 8, 1]": (
        lambda: flattened(layers.Dense(10), shape=(8, 9, 1))
    ),
    "the model's output is [9], expected [10], one value per class": (
        lambda: flattened(layers.Dense(9))
    ),
    "the last layer, end, has the activation sigmoid: use softmax or none": (
        lambda: flattened(layers.Dense(10, activation="sigmoid", name="end"))
    ),
    "the last layer, end, has the activation softmax: use softmax or none": (
        lambda: flattened(layers.Dense(10, activation="softmax", name="end"), layers.Softmax())
    ),
    "the layer s scales images that are scaled to 0–1 already: remove it": (
        lambda: flattened(layers.Rescaling(1 / 255, name="s"), layers.Dense(10))
    ),
    "layer noise: keras.layers.GaussianNoise is not among the LAYERS that models may have": (
        lambda: flattened(layers.GaussianNoise(0.1, name="noise"), layers.Dense(10))
    ),
    "OwnLayer is not among the LAYERS that models may have": (
        lambda: flattened(OwnLayer(name="own"), layers.Dense(10))
    ),
    "is not a layer: use one of keras.layers, such as Add": (
        lambda: functional(lambda x: layers.Dense(10)(x + x))
    ),
    "is called more than once: make one for each call": lambda: functional(called_twice),
    'The name "scale" is used 2 times in the model': (
        lambda: flattened(layers.Dense(4, name="scale"), layers.Dense(10))
    ),
    "the model's input is uint8: take float32 images": (
        lambda: keras.Sequential(
            [keras.Input((8, 8), dtype="uint8"), layers.Flatten(), layers.Dense(10)]
        )
    ),
    "the model has no trainable weights": (
        lambda: keras.Sequential([layers.Flatten(), layers.Dense(10, trainable=False)])
    ),
    "its model is different each time that it is built from one seed": (
        lambda: flattened(layers.Dense(next(COUNTER)), layers.Dense(10))
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_model_that_cannot_be_used_is_refused_in_one_line(
    build: Callable[..., keras.Model], reason: str
) -> None:
    with pytest.raises(UserError) as caught:
        build(lambda h, dataset: REFUSED[reason](), data(8, 8))
    assert str(caught.value).startswith("own cannot be built: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_too_large_fails_before_it_takes_memory(
    build: Callable[..., keras.Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    def large(h: Hyperparameters, dataset: Dataset) -> keras.Model:
        return flattened(layers.Dense(200_000), layers.Dense(200_000), layers.Dense(10))

    with pytest.raises(TrainingError, match="the model has 40,015,200,010 parameters, of which"):
        build(large, data(8, 8))
    monkeypatch.setattr(memory, "available_memory", lambda: 10_000)
    with pytest.raises(TrainingError, match="650 parameters, whose training needs about 0 MiB"):
        build(sequential_softmax, data(8, 8))


def test_hyperparameters_that_do_not_fit_the_images_fail_a_trial_only(
    build: Callable[..., keras.Model],
) -> None:
    with pytest.raises(TrainingError, match=r"^shift: at most 4 for 8×8 pixels, not 5$"):
        build(sequential_softmax, data(8, 8), shift=5)
