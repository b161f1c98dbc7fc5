"""Train small models with the real loop."""

import functools
import itertools
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.config.result_files import HISTORY_COLUMNS
from sidebyside.core.errors import TrainingError
from sidebyside.data.splits import Split
from sidebyside.models import architectures
from sidebyside.models.inference import predict_probabilities
from sidebyside.models.saving import weights_digest
from sidebyside.training import loop, step
from sidebyside.training.history import Progress
from sidebyside.training.optimizer import scheduled_learning_rate
from tests.support.training import (
    EVERYTHING,
    TINY,
    TRAIN,
    VAL,
    Interrupted,
    fit,
    fitted,
    identity,
    record_of,
    untrained,
)


def test_training_learns() -> None:
    network, progress = fitted()
    assert progress.best["val_accuracy"] > 0.8
    accuracy = (predict_probabilities(network, VAL.images).argmax(1) == VAL.labels).mean()
    assert accuracy == progress.best["val_accuracy"]


def test_the_history_has_a_row_per_epoch() -> None:
    _, progress = fitted()
    assert [tuple(row) for row in progress.history] == [HISTORY_COLUMNS] * 3
    assert [row["epoch"] for row in progress.history] == [1, 2, 3]
    assert progress.epochs == 3
    assert all(isinstance(row["epoch"], int) for row in progress.history)
    assert all(type(value) is float for row in progress.history for value in list(row.values())[1:])
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]


def test_the_history_has_the_learning_rate_of_the_last_step() -> None:
    _, progress = fitted()
    rates = [row["learning_rate"] for row in progress.history]
    assert rates == [scheduled_learning_rate(record_of(), epoch + 0.9, 3) for epoch in range(3)]


def test_equal_seeds_give_equal_weights_for_any_number_of_steps_per_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "STEPS_PER_CALL", 4)
    assert weights_digest(fit()[0]) == weights_digest(fitted()[0])


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert fit(epochs=1, batch_size=1000)[1].epochs == 1


def test_training_in_parts_learns_from_every_batch_that_is_large_enough() -> None:
    # 300 images: the last of ten batches has 12, fewer than 13 parts.
    _, progress = fit(epochs=3, parts=13)
    assert progress.best["val_accuracy"] > 0.8
    assert 0 < progress.history[-1]["accuracy"] <= 1


# Shuffling, random transforms and dropout


class Recording(NamedTuple):
    """Calls that a training of two epochs made."""

    digest: str  # of the trained weights
    batches: list[list[int]]  # indices into TRAIN
    transform_seeds: list[tuple[int, int]]  # one per batch
    dropout_states: list[list[tuple[int, int]]]  # epoch → seed and counter of each layer
    calls: list[int]  # steps per call of the step function
    traces: int  # of the step function
    steps: list[tuple[int, int]]  # as `on_steps` received them
    images: list[NDArray[np.uint8]]  # that became a tensor


INDEX = {image.tobytes(): index for index, image in enumerate(TRAIN.images)}


def record(seed: int) -> Recording:
    """Train for two epochs, four steps per call, and record the calls."""
    found = Recording("", [], [], [], [], 0, [], [])
    traces = itertools.count()

    def keep(images: NDArray[np.uint8], transform_seed: NDArray[np.int32]) -> NDArray[np.uint8]:
        found.batches.append([INDEX[image.tobytes()] for image in images])
        found.transform_seeds.append((int(transform_seed[0]), int(transform_seed[1])))
        return images

    def transform(images: tf.Tensor, seed: tf.Tensor, **options: Any) -> tf.Tensor:
        next(traces)
        return tf.ensure_shape(tf.numpy_function(keep, [images, seed], tf.uint8), [None, 28, 28])

    def seed_dropout(model: keras.Model, seed: int, number: int) -> None:
        step.seed_dropout(model, seed, number)
        layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
        found.dropout_states.append(
            [tuple(layer.seed_generator.state.numpy().tolist()) for layer in layers]
        )

    def step_function(*arguments: Any) -> Any:
        run_steps = step.step_function(*arguments)

        def counted(order: Any, epoch: Any, start: Any, rates: tf.Tensor) -> Any:
            found.calls.append(len(rates))
            return run_steps(order, epoch, start, rates)

        return counted

    without_copy = step._without_copy

    def watched_without_copy(images: NDArray[np.uint8]) -> tf.Tensor:
        found.images.append(images)
        return without_copy(images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "STEPS_PER_CALL", 4)
        patch.setattr(loop, "step_function", step_function)
        patch.setattr(loop, "seed_dropout", seed_dropout)
        patch.setattr(step, "transform_randomly", transform)
        patch.setattr(step, "_without_copy", watched_without_copy)
        network, _ = fit(
            epochs=2,
            seed=seed,
            dropout=0.2,
            input_dropout=0.1,
            on_steps=lambda done, total: found.steps.append((done, total)),
        )
    return found._replace(digest=weights_digest(network), traces=next(traces))


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    """Recordings with two different seeds."""
    return [record(1), record(2)]


def test_an_epoch_visits_every_image_once_in_a_new_order(recordings: list[Recording]) -> None:
    orders = []
    for recording in recordings:
        assert [len(batch) for batch in recording.batches] == ([32] * 9 + [12]) * 2
        for epoch in (0, 1):
            batches = recording.batches[10 * epoch : 10 * epoch + 10]
            orders.append([image for batch in batches for image in batch])
    assert all(sorted(order) == list(range(300)) for order in orders)
    assert len({tuple(order) for order in [*orders, list(range(300))]}) == 5


def test_every_step_of_every_seed_has_its_own_transform_seed(recordings: list[Recording]) -> None:
    assert len({seed for one in recordings for seed in one.transform_seeds}) == 40


def test_every_epoch_layer_and_seed_has_its_own_dropout(recordings: list[Recording]) -> None:
    states = [state for recording in recordings for state in recording.dropout_states]
    assert [len(layers) for layers in states] == [2, 2, 2, 2]
    # A layer draws once per step; the second epoch continues after the ten steps of the first.
    assert [counter for layers in states for _, counter in layers] == [0, 0, 10, 10] * 2
    assert len({seed for layers in states for seed, _ in layers}) == 4


def test_different_seeds_give_different_weights(recordings: list[Recording]) -> None:
    assert recordings[0].digest != recordings[1].digest


def test_several_steps_run_in_one_call_of_a_function_traced_once(
    recordings: list[Recording],
) -> None:
    assert recordings[0].calls == [4, 4, 2] * 2
    assert recordings[0].traces == 1
    assert loop.STEPS_PER_CALL > 10


def test_progress_is_reported_after_every_call(recordings: list[Recording]) -> None:
    assert recordings[0].steps == [(4, 10), (8, 10), (10, 10)] * 2


def test_training_passes_its_images_on_unchanged(recordings: list[Recording]) -> None:
    assert [images is TRAIN.images for images in recordings[0].images] == [True]


# The objective and the reported loss


def test_the_reported_loss_is_the_cross_entropy_without_label_smoothing_and_l2() -> None:
    # With so small a rate the weights stay the initial ones.
    _, progress = fit(learning_rate=1e-12, epochs=1, label_smoothing=0.5, l2=1.0)
    network = untrained()
    for split, prefix in ((TRAIN, ""), (VAL, "val_")):
        probabilities = predict_probabilities(network, split.images)
        loss = -np.log(probabilities[np.arange(len(split)), split.labels]).mean()
        accuracy = (probabilities.argmax(1) == split.labels).mean()
        assert progress.history[0][f"{prefix}loss"] == pytest.approx(loss, rel=1e-5)
        assert progress.history[0][f"{prefix}accuracy"] == pytest.approx(accuracy)


def kernel(network: keras.Model) -> NDArray[Any]:
    return np.asarray(network.get_layer("hidden_1").kernel)


def test_l2_shrinks_the_weights() -> None:
    plain, penalised = (np.square(kernel(one)).sum() for one in (fitted()[0], fit(l2=0.1)[0]))
    assert penalised < 0.7 * plain


# Black images have no gradient in the first layer, and only the biases of the logits can learn.
BLACK = Split(np.zeros_like(TRAIN.images), TRAIN.labels)
BLACK_BATCH = Split(BLACK.images[:20], np.zeros(20, np.uint8))
SGD: dict[str, Any] = {"optimizer": "sgd", "schedule": "constant", "warmup_epochs": 0}


def test_label_smoothing_distributes_its_share_evenly_over_the_classes() -> None:
    options: dict[str, Any] = {**SGD, "batch_size": 20, "learning_rate": 2.0, "keep": "last"}
    network, _ = fit(train=BLACK_BATCH, epochs=60, label_smoothing=0.5, **options)
    expected = 0.5 * np.eye(10)[0] + 0.5 / 10
    probabilities = predict_probabilities(network, BLACK_BATCH.images)
    assert probabilities[0] == pytest.approx(expected, abs=1e-3)


def test_each_step_uses_the_scheduled_learning_rate() -> None:
    changes: dict[str, Any] = {
        "optimizer": "sgd",
        "schedule": "cosine",
        "warmup_epochs": 1,
        "batch_size": 20,
    }
    network, _ = fit(train=BLACK_BATCH, epochs=4, keep="last", **changes)
    bias = np.zeros(10)
    for epoch in range(4):  # of one step each; the logits of a black image are their biases
        probabilities = np.exp(bias) / np.exp(bias).sum()
        rate = scheduled_learning_rate(record_of(**changes), epoch, 4)
        bias -= rate * (probabilities - np.eye(10)[0])
    assert np.asarray(network.get_layer("logits").bias) == pytest.approx(bias, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
def test_weight_decay_is_scaled_by_the_learning_rate_and_spares_batch_norm(optimizer: str) -> None:
    changes: dict[str, Any] = {
        "optimizer": optimizer,
        "schedule": "cosine",
        "warmup_epochs": 1,
        "batch_norm": True,
    }
    trained, _ = fit(train=BLACK, epochs=2, weight_decay=0.5, keep="last", **changes)
    record = record_of(**changes)
    rates = np.array([scheduled_learning_rate(record, step / 10, 2) for step in range(20)])
    expected = kernel(untrained(**changes)) * np.prod(1 - 0.5 * rates)
    assert kernel(trained) == pytest.approx(expected, rel=1e-4)
    assert np.array_equal(np.asarray(trained.get_layer("hidden_1_norm").gamma), np.ones(16))


def test_the_averaged_weights_are_validated_and_kept() -> None:
    averaged, progress = fit(weight_averaging=0.99, epochs=1)
    raw, _ = fit(epochs=1)
    initial = untrained()
    moved = np.abs(kernel(averaged) - kernel(initial)).mean()
    assert 0 < moved < 0.2 * np.abs(kernel(raw) - kernel(initial)).mean()
    accuracy = (predict_probabilities(averaged, VAL.images).argmax(1) == VAL.labels).mean()
    assert accuracy == progress.best["val_accuracy"]


@pytest.mark.parametrize("model", TINY)
def test_training_in_bfloat16_learns(model: str) -> None:
    network, progress = bfloat16(model)
    assert progress.best["val_accuracy"] > 0.6
    assert {weight.dtype for weight in network.weights} == {"float32"}
    assert predict_probabilities(network, VAL.images).dtype == np.float32
    hidden = network.get_layer("hidden_1" if model == "mlp" else "block_1_conv_1")
    assert hidden.compute_dtype == "bfloat16"


def test_equal_seeds_give_equal_bits_in_bfloat16() -> None:
    assert identity(bfloat16.__wrapped__("cnn")) == identity(bfloat16("cnn"))  # has a dense layer


@functools.cache
def bfloat16(model: str) -> tuple[keras.Model, Progress]:
    return fit(model, epochs=4, precision="bfloat16", batch_norm=True, dropout=0.1)


# The best epoch


# Validation loss and accuracy of each epoch.
SCORES = [(0.5, 0.6), (0.4, 0.7), (0.3, 0.7), (0.6, 0.65), (0.7, 0.6), (0.2, 0.9)]
STOPPING: dict[str, Any] = {"epochs": 6, "patience": 2, "monitor": "val_loss"}


def replace_scores(patch: pytest.MonkeyPatch, scores: list[tuple[float, float]]) -> None:
    """Replace the validation losses and accuracies of the epochs to come."""
    left = iter(scores)
    patch.setattr(loop, "loss_and_accuracy", lambda predict, split: next(left))


class Stopped(NamedTuple):
    """A training with SCORES that early stopping ended."""

    result: tuple[str, Progress]
    digests: list[str]  # of the weights after each epoch
    checkpoint: Path  # after the fourth epoch


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = tmp_path_factory.mktemp("stopped")
    digests: list[str] = []

    def on_epoch(network: keras.Model, row: Mapping[str, float]) -> None:
        digests.append(weights_digest(network))
        if row["epoch"] == 4:
            shutil.copyfile(folder / "c.npz", folder / "fourth.npz")

    with pytest.MonkeyPatch.context() as patch:
        replace_scores(patch, SCORES)
        result = identity(fit(checkpoint=folder / "c.npz", on_epoch=on_epoch, **STOPPING))
    return Stopped(result, digests, folder / "fourth.npz")


def test_early_stopping_restores_the_weights_of_the_best_epoch(stopped: Stopped) -> None:
    digest, progress = stopped.result
    assert (progress.best_epoch, progress.epochs) == (3, 5)
    assert digest == stopped.digests[2] != stopped.digests[4]


def test_keep_last_keeps_the_weights_of_the_last_epoch(
    stopped: Stopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_scores(monkeypatch, SCORES)
    digest, progress = identity(fit(keep="last", **STOPPING))
    assert (progress.best_epoch, progress.epochs) == (5, 5)
    assert digest == stopped.digests[4]


def test_a_resumed_training_keeps_counting_its_patience(
    stopped: Stopped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = shutil.copy(stopped.checkpoint, tmp_path)
    replace_scores(monkeypatch, SCORES[4:])
    assert identity(fit(checkpoint=Path(checkpoint), **STOPPING)) == stopped.result


# Interrupted and resumed


def test_a_training_interrupted_after_every_epoch_gives_the_same_bits(tmp_path: Path) -> None:
    options: dict[str, Any] = {"input_dropout": 0.2, **EVERYTHING}
    whole, checkpoint = tmp_path / "whole.npz", tmp_path / "c.npz"

    def keep_the_first(network: keras.Model, row: Mapping[str, float]) -> None:
        if row["epoch"] == 1:
            shutil.copyfile(whole, checkpoint)

    uninterrupted = identity(fit(checkpoint=whole, on_epoch=keep_the_first, **options))
    with pytest.raises(Interrupted):
        fit(checkpoint=checkpoint, interrupt_at=2, **options)
    assert identity(fit(checkpoint=checkpoint, **options)) == uninterrupted


CASES: Mapping[str, tuple[str, int, dict[str, Any]]] = {
    "sgd": ("mlp", 4, {"optimizer": "sgd", "learning_rate": 0.1}),
    "nesterov": ("mlp", 4, {"optimizer": "nesterov", "learning_rate": 0.1, "weight_decay": 0.01}),
    "cnn": ("cnn", 10, EVERYTHING | {"flip": False, "block_dropout": 0.1, "parts": 2}),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A case of CASES, the uninterrupted training, and a folder with its checkpoints."""
    model, epochs, changes = CASES[request.param]
    folder = tmp_path_factory.mktemp("case")

    def on_epoch(network: keras.Model, row: Mapping[str, float]) -> None:
        shutil.copyfile(folder / "c.npz", folder / f"{row['epoch']}.npz")

    options: dict[str, Any] = {"epochs": epochs, "monitor": "val_loss", **changes}
    result = fit(model, checkpoint=folder / "c.npz", on_epoch=on_epoch, **options)
    yield (model, options), result, folder


def test_every_optimizer_and_architecture_learns(case: Any) -> None:
    _, (_, progress), _ = case
    assert progress.best["val_accuracy"] > 0.5


def test_a_training_resumed_after_its_first_epoch_gives_the_same_bits(
    case: Any, tmp_path: Path
) -> None:
    (model, options), result, folder = case
    shutil.copyfile(folder / "1.npz", tmp_path / "c.npz")
    resumed = fit(model, checkpoint=tmp_path / "c.npz", **options)
    assert identity(resumed) == identity(result)


def test_the_checkpoint_of_a_finished_training_restores_the_model(
    case: Any, tmp_path: Path
) -> None:
    (model, options), result, folder = case
    shutil.copyfile(folder / "c.npz", tmp_path / "c.npz")
    # interrupt_at raises if the last epoch is computed.
    again = fit(model, checkpoint=tmp_path / "c.npz", interrupt_at=options["epochs"], **options)
    assert identity(again) == identity(result)
    assert (tmp_path / "c.npz").read_bytes() == (folder / "c.npz").read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["c.npz"]


# Failures


def test_a_diverging_training_is_an_error(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.npz"
    message = r"training diverged in epoch \d: .* lower learning_rate"
    with pytest.raises(TrainingError, match=message):
        fit(
            epochs=8,
            optimizer="sgd",
            learning_rate=10.0,
            schedule="constant",
            hidden_units=[32] * 8,
            activation="elu",
            l2=1.0,
            checkpoint=checkpoint,
        )


def test_a_validation_loss_of_nan_is_a_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_scores(monkeypatch, [(0.5, 0.5), (math.nan, 0.5)])
    with pytest.raises(TrainingError, match="training diverged in epoch 2"):
        fit(epochs=2)


def exhaust_memory(*_: object, **__: object) -> None:
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def test_running_out_of_memory_for_the_weights_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "build_mlp", exhaust_memory)
    with pytest.raises(TrainingError, match=r"not enough memory .* reduce batch_size"):
        untrained()


def test_running_out_of_memory_in_a_step_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "transform_randomly", exhaust_memory)
    with pytest.raises(TrainingError, match=r"not enough memory .* reduce batch_size"):
        fit(epochs=1)
