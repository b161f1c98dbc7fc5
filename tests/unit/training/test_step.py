"""The operations of a training step, and the state that surrounds it."""

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

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


def test_averaged_weights_are_replaced_by_the_raw_ones_after_the_block() -> None:
    network = untrained()
    raw = [variable.numpy() for variable in network.trainable_variables]
    averages = [tf.Variable(value + 1) for value in raw]
    with step.averaged_weights(network, averages):
        for variable, average in zip(network.trainable_variables, averages, strict=True):
            assert np.array_equal(variable.numpy(), average.numpy())
    for variable, value in zip(network.trainable_variables, raw, strict=True):
        assert np.array_equal(variable.numpy(), value)
