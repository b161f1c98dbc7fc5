import json
from typing import Any, get_args

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from sidebyside.config.hyperparameters import Activation, parse_hyperparameters
from sidebyside.models import architectures
from tests.support.datasets import dataset

COMMON: dict[str, Any] = {
    "activation": "relu",
    "kernel_initializer": "glorot_uniform",
    "dropout": 0.0,
    "batch_norm": False,
    "l2": 0.0,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "schedule": "constant",
    "warmup_epochs": 0,
    "weight_decay": 0.0,
    "batch_size": 128,
    "label_smoothing": 0.0,
    "flip": False,
    "shift": 0,
    "cutout": 0,
    "weight_averaging": 0.0,
    "precision": "float32",
}
MLP = COMMON | {"hidden_units": [16, 8], "input_dropout": 0.0}
CNN = COMMON | {
    "filters": [4, 8],
    "convolutions": [1, 2],
    "kernel_size": 3,
    "padding": "same",
    "pool_last": False,
    "head": "average",
    "dense_units": 0,
    "block_dropout": 0.0,
}
TINY = {"mlp": MLP, "cnn": CNN}
BUILT: dict[str, keras.Model] = {}


def built(model: str = "mlp", seed: int = 1, **changes: Any) -> keras.Model:
    """Return an untrained model, built once per process."""
    key = json.dumps([model, seed, changes])
    if key not in BUILT:
        BUILT[key] = rebuilt(model, seed, **changes)
    return BUILT[key]


def rebuilt(model: str, seed: int, **changes: Any) -> keras.Model:
    return architectures.build(
        model, parse_hyperparameters(model, TINY[model] | changes, "test"), dataset(), seed
    )


def weights(model: keras.Model) -> list[NDArray[Any]]:
    return [np.asarray(weight) for weight in model.get_weights()]


def same(first: keras.Model, second: keras.Model) -> bool:
    pairs = zip(weights(first), weights(second), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def images(count: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, 28, 28), dtype=np.uint8)


# Size


@pytest.mark.parametrize(
    ("hidden_units", "expected"),
    [
        ([256, 256], 269_322),
        ([256, 256, 256], 335_114),
        ([512, 256, 128], 567_434),
        ([16], 784 * 16 + 16 + 16 * 10 + 10),
    ],
)
def test_the_number_of_parameters_of_an_mlp(hidden_units: list[int], expected: int) -> None:
    assert built(hidden_units=hidden_units).count_params() == expected


PLAIN_CNN: dict[str, Any] = {
    "filters": [32, 64, 128],
    "convolutions": [1, 1, 1],
    "padding": "valid",
    "head": "flatten",
    "dense_units": 128,
}


def test_the_number_of_parameters_of_a_cnn() -> None:
    assert built("cnn", **PLAIN_CNN).count_params() == 241_546


def test_batch_norm_adds_three_parameters_per_unit() -> None:
    plain, normalised = built(), built(batch_norm=True)
    assert normalised.count_params() - plain.count_params() == 3 * (16 + 8)


def test_flops_are_two_per_weight_and_position() -> None:
    assert architectures.flops(built(hidden_units=[256, 256])) == 2 * (784 * 256 + 256 * 256 + 2560)
    expected = 2 * (
        26 * 26 * 9 * 32  # on 28 by 28 pixels, then pooled to 13
        + 11 * 11 * 9 * 32 * 64  # then pooled to 5
        + 3 * 3 * 9 * 64 * 128
        + 9 * 128 * 128
        + 128 * 10
    )
    assert architectures.flops(built("cnn", **PLAIN_CNN)) == expected


# Shape


@pytest.mark.parametrize("model", TINY)
@pytest.mark.parametrize(
    ("shape", "classes"), [((8, 8, 1), 2), ((32, 48, 3), 200), ((128, 128, 3), 2)]
)
def test_a_model_is_built_for_the_shape_and_classes_of_the_data_set(
    model: str, shape: tuple[int, int, int], classes: int
) -> None:
    data = dataset(*shape, tuple(f"class {label}" for label in range(classes)))
    network = architectures.build(model, parse_hyperparameters(model, TINY[model], "test"), data, 1)
    pixels = np.random.default_rng(1).integers(0, 256, (2, *data.shape), dtype=np.uint8)
    assert np.asarray(network(pixels)).shape == (2, classes)
    assert ("channel" in names(network)) == (model == "cnn" and data.channels == 1)


@pytest.mark.parametrize("model", TINY)
def test_a_model_maps_raw_pixels_to_probabilities(model: str) -> None:
    probabilities = np.asarray(built(model)(images()))
    assert probabilities.shape == (5, 10)
    assert probabilities.dtype == np.float32
    assert probabilities.min() > 0
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("model", TINY)
def test_a_model_scales_its_pixels_once(model: str) -> None:
    network = built(model)
    assert network.inputs[0].dtype == "uint8"
    scaled = keras.Model(network.input, network.get_layer("scale").output)
    assert np.asarray(scaled(images())) == pytest.approx(images() / 255, abs=1e-6)
    scales = [layer for layer in network.layers if isinstance(layer, keras.layers.Rescaling)]
    assert len(scales) == 1


@pytest.mark.parametrize("model", TINY)
def test_a_model_ends_in_logits_and_their_softmax(model: str) -> None:
    network = built(model)
    assert [layer.name for layer in network.layers[-2:]] == ["logits", "probabilities"]
    logits = np.asarray(keras.Model(network.input, network.get_layer("logits").output)(images()))
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.asarray(network(images())) == pytest.approx(expected, abs=1e-6)


def names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]


def test_the_layer_names_of_an_mlp() -> None:
    network = built(batch_norm=True, dropout=0.1, input_dropout=0.2, activation="gelu")
    assert names(network) == [
        "pixels", "scale", "flatten", "input_dropout",
        "hidden_1", "hidden_1_norm", "hidden_1_gelu", "hidden_1_dropout",
        "hidden_2", "hidden_2_norm", "hidden_2_gelu", "hidden_2_dropout",
        "logits", "probabilities",
    ]  # fmt: skip


def test_the_layer_names_of_a_cnn() -> None:
    network = built("cnn", batch_norm=True, dropout=0.1, block_dropout=0.2, dense_units=8)
    assert names(network) == [
        "pixels", "scale", "channel",
        "block_1_conv_1", "block_1_pool", "block_1_conv_1_norm", "block_1_conv_1_relu",
        "block_1_dropout",
        "block_2_conv_1", "block_2_conv_1_norm", "block_2_conv_1_relu",
        "block_2_conv_2", "block_2_conv_2_norm", "block_2_conv_2_relu",
        "block_2_dropout",
        "average", "hidden", "hidden_norm", "hidden_relu", "dropout",
        "logits", "probabilities",
    ]  # fmt: skip


def test_dropout_and_kernel_size_may_differ_between_layers() -> None:
    mlp = built(dropout=[0.1, 0.0, 0.5])  # two layers; the third value is unused
    rates = {layer.name: layer.rate for layer in mlp.layers if hasattr(layer, "rate")}
    assert rates == {"hidden_1_dropout": 0.1}
    cnn = built("cnn", kernel_size=[5, 3], block_dropout=[0.0, 0.3])
    sides = [layer.kernel_size[0] for layer in cnn.layers if hasattr(layer, "kernel_size")]
    assert sides == [5, 3, 3]
    assert [layer.name for layer in cnn.layers if hasattr(layer, "rate")] == ["block_2_dropout"]


def test_pool_last_pools_the_last_block() -> None:
    assert "block_2_pool" not in names(built("cnn"))
    assert "block_2_pool" in names(built("cnn", pool_last=True))


def test_the_flatten_head_keeps_the_positions_of_features() -> None:
    assert names(built("cnn", head="flatten"))[-3:] == ["flatten", "logits", "probabilities"]
    assert built("cnn", head="flatten").get_layer("logits").kernel.shape == (14 * 14 * 8, 10)
    assert built("cnn").get_layer("logits").kernel.shape == (8, 10)


def test_pooling_commutes_with_a_monotone_activation() -> None:
    network = built("cnn")
    pixels = network.input
    pooled_first = keras.Model(pixels, network.get_layer("block_1_conv_1_relu").output)(images())
    raw = keras.Model(pixels, network.get_layer("block_1_conv_1").output)(images())
    pooled_last = keras.layers.MaxPooling2D()(keras.activations.relu(raw))
    assert np.array_equal(np.asarray(pooled_first), np.asarray(pooled_last))


@pytest.mark.parametrize("activation", get_args(Activation))
def test_an_activation_is_the_one_of_keras_with_its_name(activation: str) -> None:
    inputs = np.linspace(-3, 3, 21, dtype=np.float32)
    layer = built(activation=activation).get_layer(f"hidden_1_{activation}")
    assert np.array_equal(layer(inputs), keras.activations.get(activation)(inputs))


def test_pooling_comes_after_an_activation_that_is_not_monotone() -> None:
    last = ["block_1_conv_1", "block_1_conv_1_silu", "block_1_pool"]
    assert names(built("cnn", activation="silu"))[3:6] == last
    saved = ["block_1_conv_1", "block_1_conv_1_gelu", "block_1_conv_1_gelu_pool"]
    assert names(architectures.to_builtin_layers(built("cnn", activation="gelu")))[3:6] == saved
    first = ["block_1_conv_1", "block_1_pool", "block_1_conv_1_norm", "block_1_conv_1_gelu"]
    assert names(built("cnn", activation="gelu", batch_norm=True))[3:7] == first


def test_l2_penalises_hidden_layers_only() -> None:
    network = built(l2=0.01)
    expected = sum(
        0.01 * np.square(np.asarray(network.get_layer(name).kernel)).sum()
        for name in ("hidden_1", "hidden_2")
    )
    assert float(sum(network.losses)) == pytest.approx(float(expected), rel=1e-5)
    assert len(built("cnn", l2=0.01, dense_units=4).losses) == 4
    assert built().losses == []


# Initial weights


@pytest.mark.parametrize("model", TINY)
def test_initial_weights_depend_only_on_the_seed(model: str) -> None:
    first = rebuilt(model, seed=1)
    # Models built and numbers drawn in between make no difference.
    other = rebuilt(model, seed=2)
    keras.random.normal((3,))
    np.random.default_rng(0).random()
    assert same(first, rebuilt(model, seed=1))
    assert not same(first, other)


def test_layers_of_equal_shape_have_different_initial_weights() -> None:
    network = built(hidden_units=[16, 16, 16])
    second, third = (np.asarray(network.get_layer(f"hidden_{n}").kernel) for n in (2, 3))
    assert not np.array_equal(second, third)


@pytest.mark.parametrize(
    ("initializer", "deviation"),  # Glorot & Bengio 2010, equation 16; He et al. 2015, section 2.2
    [("glorot_uniform", (2 / (784 + 512)) ** 0.5), ("he_normal", (2 / 784) ** 0.5)],
)
def test_kernels_have_the_deviation_of_their_initializer(
    initializer: str, deviation: float
) -> None:
    network = built(hidden_units=[512], kernel_initializer=initializer)
    assert np.asarray(network.get_layer("hidden_1").kernel).std() == pytest.approx(
        deviation, rel=0.01
    )
    cnn = built("cnn", filters=[256], convolutions=[1], kernel_initializer=initializer)
    fans = {"glorot_uniform": (9 + 9 * 256) / 2, "he_normal": 9}
    assert np.asarray(cnn.get_layer("block_1_conv_1").kernel).std() == pytest.approx(
        fans[initializer] ** -0.5 * (2**0.5 if initializer == "he_normal" else 1), rel=0.05
    )
