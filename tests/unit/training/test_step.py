"""The operations of a training step, and the state that surrounds it."""

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.core.errors import TrainingError
from sidebyside.data.npz import read_split, write_split
from sidebyside.models.layers import FusedDropout, FusedGelu, FusedGeluPooling
from sidebyside.training import step
from sidebyside.training.optimizer import build_optimizer
from tests.support.datasets import dataset
from tests.support.training import TINY, TRAIN, record_of, untrained


@functools.cache
def traced(model: str, *, batch_norm: bool) -> tuple[keras.Model, Counter[str]]:
    """Return a network, and the number of operations of each kind in its training step."""
    changes: dict[str, Any] = {
        "batch_norm": batch_norm,
        "activation": "gelu",
        "dropout": 0.1,
        "weight_decay": 0.1,
        "input_dropout" if model == "mlp" else "block_dropout": 0.1,
    }
    record = record_of(model, **changes)
    network = untrained(model, **changes)
    optimizer = build_optimizer(record)
    optimizer.build(network.trainable_variables)
    run_steps = step.step_function(network, optimizer, [], record, TRAIN, 1, 10)
    graph = run_steps.get_concrete_function().graph.as_graph_def()  # type: ignore[attr-defined]
    nodes = [node for function in graph.library.function for node in function.node_def]
    return network, Counter(node.op for node in nodes)


@pytest.mark.parametrize("model", TINY)
def test_a_step_has_one_kernel_per_variable_and_two_per_batch_norm(model: str) -> None:
    network, count = traced(model, batch_norm=True)
    norms = [layer for layer in network.layers if "BatchNorm" in type(layer).__name__]
    assert norms
    assert count["ResourceApplyAdam"] == len(network.trainable_variables)
    assert count["FusedBatchNormV3"] == count["FusedBatchNormGradV3"] == len(norms)
    # Adam and batch norm that are not fused consist of these:
    assert count["SquaredDifference"] == count["Sqrt"] == 0
    kernels = [v for v in network.trainable_variables if v.name == "kernel"]
    # Learning rate and step, weight decay of each kernel, two moving statistics per batch norm,
    # the counter of each dropout layer.
    assert count["AssignVariableOp"] == 2 + len(kernels) + 2 * len(norms) + 2


@pytest.mark.parametrize("model", TINY)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_models_train_with_fused_layers(model: str, *, batch_norm: bool) -> None:
    network, count = traced(model, batch_norm=batch_norm)
    kinds = Counter(type(layer) for layer in network.layers)
    builtin = keras.layers.BatchNormalization, keras.layers.Dense, keras.layers.Dropout
    assert not set(kinds) & {*builtin, keras.layers.Activation}
    assert kinds[FusedDropout] == 2
    # Dense layers compute their bias gradients by a product, convolutions by BiasAddGrad.
    assert count["BiasAddGrad"] == (0 if batch_norm else kinds[keras.layers.Conv2D])
    pooled = kinds[FusedGeluPooling]
    assert pooled == (model == "cnn" and not batch_norm)
    assert kinds[FusedGelu] + pooled == (1 if model == "mlp" else 2)
    # Per pooling: of the maximum, the minimum, the chosen input, and in the gradient.
    assert count["Erf"] == kinds[FusedGelu] + 4 * pooled
    assert count["Erfc"] == 0
    assert count["MaxPool"] == (model == "cnn" and batch_norm)


def gradients(parts: int, **changes: Any) -> list[NDArray[np.float32]]:
    """Return the change of each weight by one step of plain SGD on a batch of 33 images."""
    record = record_of("cnn", batch_size=33, optimizer="sgd", learning_rate=1.0, **changes)
    network = untrained("cnn", batch_size=33, **changes)
    before = [variable.numpy() for variable in network.trainable_variables]
    optimizer = build_optimizer(record)
    optimizer.build(network.trainable_variables)
    run_steps = step.step_function(network, optimizer, [], record, TRAIN, 1, 10, parts)
    run_steps(tf.range(len(TRAIN)), tf.constant(0), tf.constant(0), tf.ones(1))
    after = [variable.numpy() for variable in network.trainable_variables]
    return [old - new for old, new in zip(before, after, strict=True)]


@pytest.mark.parametrize("changes", [{}, {"l2": 0.1, "label_smoothing": 0.1}], ids=str)
def test_parts_of_different_sizes_give_the_gradients_of_the_whole_batch(
    changes: dict[str, Any],
) -> None:
    for whole, divided in zip(gradients(1, **changes), gradients(2, **changes), strict=True):
        assert divided == pytest.approx(whole, rel=1e-4, abs=1e-6)
        assert np.abs(whole).max() > 1e-3


def test_each_part_is_normalised_by_its_own_statistics() -> None:
    whole, divided = gradients(1, batch_norm=True), gradients(2, batch_norm=True)
    assert any(not np.allclose(a, b, rtol=0.01) for a, b in zip(whole, divided, strict=True))


@pytest.mark.parametrize(("parts", "l2"), [(2, 0.0), (2, 0.1), (3, 0.0)])
def test_numbers_of_the_parts_are_added_in_one_order(parts: int, l2: float) -> None:
    record = record_of("mlp", l2=l2)
    network = untrained("mlp", l2=l2)
    optimizer = build_optimizer(record)
    optimizer.build(network.trainable_variables)
    run_steps = step.step_function(network, optimizer, [], record, TRAIN, 1, 10, parts)
    graph = run_steps.get_concrete_function().graph.as_graph_def()  # type: ignore[attr-defined]
    for function in graph.library.function:
        sums = {node.name: node for node in function.node_def if node.op in ("AddN", "AddV2")}
        merged = {name for name, node in sums.items() if node.op == "AddN"}
        for node in sums.values():  # more than two, at once or nested, have no fixed order
            assert len(node.input) == 2
            assert not merged.intersection(name.partition(":")[0] for name in node.input)


@pytest.mark.parametrize(
    ("images", "batch_size", "parts", "steps"),
    [
        *[(300, 32, 1, 10), (289, 32, 1, 10), (288, 32, 1, 9), (3, 32, 1, 1), (300, 32, 12, 10)],
        *[(300, 32, 13, 9), (288, 32, 32, 9), (289, 32, 2, 9), (290, 32, 2, 10), (2, 32, 2, 1)],
    ],
)
def test_a_last_batch_with_fewer_images_than_parts_is_left_out(
    images: int, batch_size: int, parts: int, steps: int
) -> None:
    assert step.steps_per_epoch(images, batch_size, parts) == steps


@pytest.mark.parametrize(("images", "batch_size"), [(300, 2), (2, 300)])
def test_batches_with_fewer_images_than_parts_are_refused(images: int, batch_size: int) -> None:
    with pytest.raises(TrainingError, match=r"batch of 2 images .* 3 parts: increase batch_size"):
        step.steps_per_epoch(images, batch_size, 3)


def test_aligned_images_become_a_tensor_without_a_copy(tmp_path: Path) -> None:
    write_split(tmp_path / "x.npz", TRAIN)
    images = read_split(tmp_path / "x.npz", dataset()).images
    tensor = step._without_copy(images)
    images[0, 0, 0] ^= 255  # changes the tensor too, if both share memory
    assert np.array_equal(tensor.numpy(), images)


def test_unaligned_images_are_copied() -> None:
    unaligned = np.empty(TRAIN.images.nbytes + 1, np.uint8)[1:].reshape(TRAIN.images.shape)
    unaligned[:] = TRAIN.images
    assert np.array_equal(step._without_copy(unaligned).numpy(), TRAIN.images)


def test_images_that_may_not_be_changed_are_copied() -> None:
    images = TRAIN.images.copy()
    images.flags.writeable = False  # as in the memory that Ray shares
    assert np.array_equal(step._without_copy(images).numpy(), images)


def test_averaged_weights_are_replaced_by_the_raw_ones_after_the_block() -> None:
    network = untrained()
    raw = [variable.numpy() for variable in network.trainable_variables]
    averages = [tf.Variable(value + 1) for value in raw]
    with step.averaged_weights(network, averages):
        for variable, average in zip(network.trainable_variables, averages, strict=True):
            assert np.array_equal(variable.numpy(), average.numpy())
    for variable, value in zip(network.trainable_variables, raw, strict=True):
        assert np.array_equal(variable.numpy(), value)
