"""Real trainings on a few hundred small, learnable images."""

import functools
import io
import json
import math
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.config.hyperparameters import Hyperparameters, parse_hyperparameters
from sidebyside.config.schemas import HISTORY_COLUMNS
from sidebyside.core.errors import UserError
from sidebyside.data.npz import read_split, write_split
from sidebyside.data.splits import Split
from sidebyside.models import architectures, inference
from sidebyside.models.inference import loss_and_accuracy, predict_probabilities
from sidebyside.models.saving import load_model, save_model, weights_digest
from sidebyside.models.tensorflow_setup import configure
from sidebyside.training import loop, random_transforms, step
from sidebyside.training.optimizer import build_optimizer, scheduled_learning_rate

configure(2)


from sidebyside.models.layers import FusedDropout, FusedGelu, FusedGeluPooling  # noqa: E402
from sidebyside.training.history import Epoch, Progress
from sidebyside.training.random_transforms import transform_randomly  # noqa: E402

COMMON: dict[str, Any] = {
    "activation": "relu",
    "kernel_initializer": "glorot_uniform",
    "dropout": 0.0,
    "batch_norm": False,
    "l2": 0.0,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "weight_decay": 0.0,
    "batch_size": 32,
    "label_smoothing": 0.0,
    "flip": False,
    "shift": 0,
    "cutout": 0,
    "weight_averaging": 0.0,
    "precision": "float32",
}
MLP = COMMON | {"hidden_units": [16], "input_dropout": 0.0}
CNN = COMMON | {
    "filters": [4],
    "convolutions": [1],
    "kernel_size": 3,
    "padding": "valid",
    "pool_last": True,
    "head": "flatten",
    "dense_units": 8,
    "block_dropout": 0.0,
}
TINY = {"mlp": MLP, "cnn": CNN}
# Whatever has a state that must survive a stop.
EVERYTHING: dict[str, Any] = {
    "dropout": 0.2,
    "batch_norm": True,
    "l2": 0.001,
    "weight_decay": 0.01,
    "label_smoothing": 0.1,
    "flip": True,
    "shift": 2,
    "cutout": 6,
    "weight_averaging": 0.9,
}


class Stopped(Exception):  # noqa: N818  # it stands for Ctrl-C
    """The training is stopped from outside."""


def learnable(count: int, seed: int) -> Split:
    """Return a blob per class, each at its own place, on noise."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    angle = labels * 2 * np.pi / 10
    rows, columns = np.mgrid[:28, :28]
    down = (13.5 + 8 * np.sin(angle))[:, None, None] - rows
    right = (13.5 + 8 * np.cos(angle))[:, None, None] - columns
    blobs = 160 * np.exp(-(down**2 + right**2) / 20)
    noise = random.normal(0, 40, (count, 28, 28))
    return Split(np.clip(blobs + noise, 0, 255).astype(np.uint8), labels)


TRAIN, VAL = learnable(300, 1), learnable(100, 2)  # 300: the last of ten batches has 12 images


def fit(
    model: str = "mlp",
    *,
    seed: int = 1,
    epochs: int = 3,
    patience: int = 100,
    monitor: str = "val_accuracy",
    keep: str = "best",
    train: Split = TRAIN,
    checkpoint: Path | None = None,
    stop_at: int = 0,
    **changes: Any,
) -> tuple[keras.Model, Progress]:
    """Return a trained model and its progress; `stop_at`: raise at the end of that epoch."""

    def on_epoch(row: Epoch, seconds: float) -> None:
        if row["epoch"] == stop_at:
            raise Stopped

    record = parse_hyperparameters(model, TINY[model] | changes, "test")
    network = architectures.build(model, record, seed)
    progress = loop.train(
        network,
        record,
        train,
        VAL,
        seed=seed,
        epochs=epochs,
        patience=patience,
        monitor=monitor,
        keep=keep,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
    )
    return network, progress


@functools.cache
def plain() -> tuple[keras.Model, Progress]:
    return fit()


# What a training does


def test_it_learns() -> None:
    network, progress = plain()
    assert progress.best["val_accuracy"] > 0.8
    accuracy = (predict_probabilities(network, VAL.images).argmax(1) == VAL.labels).mean()
    assert accuracy == progress.best["val_accuracy"]


def test_the_history_has_a_row_per_epoch() -> None:
    _, progress = plain()
    assert [tuple(row) for row in progress.history] == [HISTORY_COLUMNS] * 3
    assert [row["epoch"] for row in progress.history] == [1, 2, 3]
    assert progress.epochs == 3
    assert all(isinstance(row["epoch"], int) for row in progress.history)
    assert all(type(value) is float for row in progress.history for value in list(row.values())[1:])
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    network, progress = plain()
    again, progress_again = fit()
    assert weights_digest(again) == weights_digest(network)
    assert progress_again == progress
    assert weights_digest(fit(seed=2)[0]) != weights_digest(network)


def test_how_many_steps_run_in_one_call_makes_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "STEPS_PER_CALL", 4)
    assert weights_digest(fit()[0]) == weights_digest(plain()[0])


def test_the_progress_of_an_epoch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STEPS_PER_CALL", 4)
    told: list[tuple[int, int]] = []
    record = parse_hyperparameters("mlp", MLP, "test")
    loop.train(
        architectures.build("mlp", record, 1),
        record,
        TRAIN,
        VAL,
        seed=1,
        epochs=2,
        patience=2,
        monitor="val_loss",
        on_steps=lambda done, total: told.append((done, total)),
    )
    assert told == [(4, 10), (8, 10), (10, 10)] * 2


def test_an_epoch_shows_every_image_once_each_time_in_another_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbered = np.zeros((300, 28, 28), np.uint8)
    numbered[:, 0, 0], numbered[:, 0, 1] = np.arange(300) % 256, np.arange(300) // 256
    batches: list[list[int]] = []

    def keep(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        batches.append((images[:, 0, 0] + 256 * images[:, 0, 1].astype(int)).tolist())
        return images

    def watched(images: tf.Tensor, seed: tf.Tensor, **changes: Any) -> tf.Tensor:
        kept = tf.numpy_function(keep, [images], tf.uint8)
        return tf.ensure_shape(kept, [None, 28, 28])

    monkeypatch.setattr(random_transforms, "change_images", watched)
    fit(epochs=2, train=Split(numbered, TRAIN.labels))
    assert [len(batch) for batch in batches] == ([32] * 9 + [12]) * 2
    first = [image for batch in batches[:10] for image in batch]
    second = [image for batch in batches[10:] for image in batch]
    assert sorted(first) == sorted(second) == list(range(300))
    assert first != second
    assert first != sorted(first)


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert fit(epochs=1, batch_size=1000)[1].epochs == 1


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov"])
def test_other_optimizers_learn_too(optimizer: str) -> None:
    _, progress = fit(epochs=4, optimizer=optimizer, learning_rate=0.1)
    assert progress.best["val_accuracy"] > 0.5


@pytest.mark.slow
def test_a_cnn_learns_with_everything_switched_on() -> None:
    _, progress = fit("cnn", epochs=10, **(EVERYTHING | {"flip": False}), block_dropout=0.1)
    assert progress.best["val_accuracy"] > 0.5


# The objective and what is reported


def test_nothing_but_the_plain_loss_is_reported() -> None:
    # A rate this small leaves the weights as they were: all three see the same model.
    frozen: dict[str, Any] = {"learning_rate": 1e-12, "epochs": 1}
    objectives: dict[str, dict[str, Any]] = {
        "plain": {},
        "smoothed": {"label_smoothing": 0.5},
        "penalised": {"l2": 1.0},
    }
    losses = {name: fit(**frozen, **changes)[1].history[0] for name, changes in objectives.items()}
    network = architectures.build("mlp", parse_hyperparameters("mlp", MLP, "test"), 1)
    probabilities = predict_probabilities(network, TRAIN.images)
    expected = -np.log(probabilities[np.arange(300), TRAIN.labels]).mean()
    accuracy = (probabilities.argmax(1) == TRAIN.labels).mean()
    for row in losses.values():
        assert row["loss"] == pytest.approx(expected, rel=1e-5)
        assert row["accuracy"] == pytest.approx(accuracy)
        assert row["val_loss"] == pytest.approx(losses["plain"]["val_loss"], rel=1e-6)


def test_label_smoothing_makes_the_model_less_sure() -> None:
    smoothed, _ = fit(label_smoothing=0.5)
    sure = predict_probabilities(plain()[0], VAL.images).max(1).mean()
    assert predict_probabilities(smoothed, VAL.images).max(1).mean() < sure - 0.05


def test_l2_shrinks_the_kernels() -> None:
    def size(network: keras.Model) -> float:
        return float(np.square(np.asarray(network.get_layer("hidden_1").kernel)).sum())

    assert size(fit(l2=0.1)[0]) < 0.7 * size(plain()[0])


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "nesterov"])
def test_weight_decay_shrinks_kernels_and_leaves_batch_norm_alone(optimizer: str) -> None:
    # Black images have no gradient in the first layer: what changes there is decay.
    black = Split(np.zeros_like(TRAIN.images), TRAIN.labels)
    changes: dict[str, Any] = {"optimizer": optimizer, "schedule": "constant", "warmup_epochs": 0}
    record = parse_hyperparameters("mlp", MLP | {"batch_norm": True}, "test")
    initial = architectures.build("mlp", record, 1)
    trained, _ = fit(train=black, epochs=1, batch_norm=True, weight_decay=0.5, **changes)
    before, after = (np.asarray(m.get_layer("hidden_1").kernel) for m in (initial, trained))
    assert after == pytest.approx(before * (1 - 0.5 * 0.01) ** 10, rel=1e-5)
    assert np.array_equal(np.asarray(trained.get_layer("hidden_1_norm").gamma), np.ones(16))


def test_the_validated_and_kept_weights_are_the_averaged_ones() -> None:
    averaged, progress = fit(weight_averaging=0.99, epochs=1)
    raw, _ = fit(epochs=1)
    initial = architectures.build("mlp", parse_hyperparameters("mlp", MLP, "test"), 1)

    def kernel(network: keras.Model) -> NDArray[Any]:
        return np.asarray(network.get_layer("hidden_1").kernel)

    moved = np.abs(kernel(averaged) - kernel(initial)).mean()
    assert 0 < moved < 0.2 * np.abs(kernel(raw) - kernel(initial)).mean()
    accuracy = (predict_probabilities(averaged, VAL.images).argmax(1) == VAL.labels).mean()
    assert accuracy == progress.best["val_accuracy"]


def test_training_goes_on_from_the_raw_weights() -> None:
    network = architectures.build("mlp", parse_hyperparameters("mlp", MLP, "test"), 1)
    raw = [variable.numpy() for variable in network.trainable_variables]
    averages = [tf.Variable(value + 1) for value in raw]
    with step.averaged_weights(network, averages):
        for variable, average in zip(network.trainable_variables, averages, strict=True):
            assert np.array_equal(variable.numpy(), average.numpy())
    for variable, value in zip(network.trainable_variables, raw, strict=True):
        assert np.array_equal(variable.numpy(), value)


# The learning rate


def rates(epochs: int = 10, steps: int = 100, **changes: Any) -> NDArray[np.float64]:
    record = parse_hyperparameters("mlp", MLP | {"learning_rate": 0.1} | changes, "test")
    return np.array(
        [scheduled_learning_rate(record, step / steps, epochs) for step in range(epochs * steps)]
    )


def test_the_rate_rises_from_almost_zero_to_its_peak_and_falls_to_almost_zero() -> None:
    drawn = rates(warmup_epochs=2, schedule="cosine")
    assert 0 < drawn[0] < 0.001
    assert (np.diff(drawn[:201]) > 0).all()
    assert drawn.max() == drawn[200] == 0.1
    assert (np.diff(drawn[200:]) < 0).all()
    assert drawn[600] == pytest.approx(0.05)  # half way down
    assert 0 < drawn[-1] < 1e-5


def test_a_constant_rate_stays_at_its_peak() -> None:
    assert set(rates(warmup_epochs=0, schedule="constant")) == {0.1}
    drawn = rates(warmup_epochs=0.5, schedule="constant")
    assert drawn[0] < 0.01
    assert set(drawn[50:]) == {0.1}


def test_a_warm_up_longer_than_the_training_is_no_obstacle() -> None:
    drawn = rates(epochs=2, warmup_epochs=5, schedule="cosine")
    assert (np.diff(drawn) > 0).all()
    assert drawn[-1] < 0.1


def test_the_history_shows_the_rate_of_the_last_step() -> None:
    _, progress = plain()
    shown = [row["learning_rate"] for row in progress.history]
    record = parse_hyperparameters("mlp", MLP, "test")
    assert shown == [scheduled_learning_rate(record, epoch + 0.9, 3) for epoch in range(3)]


# The best epoch


def scored(monkeypatch: pytest.MonkeyPatch, scores: list[tuple[float, float]]) -> None:
    """Let the epochs have these validation losses and accuracies."""
    left = iter(scores)
    monkeypatch.setattr(inference, "_score", lambda predict, split: next(left))


SCORES = [(0.5, 0.6), (0.4, 0.7), (0.3, 0.7), (0.6, 0.65), (0.7, 0.6), (0.2, 0.9)]


@functools.cache
def digests() -> list[str]:
    """Return the digest after each epoch of a training at a constant rate."""
    found: list[str] = []
    record = parse_hyperparameters("mlp", MLP | {"schedule": "constant"}, "test")
    network = architectures.build("mlp", record, 1)
    loop.train(
        network,
        record,
        TRAIN,
        VAL,
        seed=1,
        epochs=6,
        patience=100,
        monitor="val_loss",
        on_epoch=lambda row, seconds: found.append(weights_digest(network)),
    )
    return found


@pytest.mark.parametrize(
    ("monitor", "patience", "best", "epochs"),
    [
        ("val_accuracy", 2, 2, 4),  # the first of equals is kept
        ("val_loss", 2, 3, 5),
        ("val_loss", 3, 6, 6),
    ],
)
def test_it_stops_without_a_better_score_and_keeps_the_best_or_the_last_weights(
    monkeypatch: pytest.MonkeyPatch, monitor: str, patience: int, best: int, epochs: int
) -> None:
    expected = digests()
    for keep, epoch in (("best", best), ("last", epochs)):
        scored(monkeypatch, SCORES)
        kept, progress = fit(
            epochs=6, patience=patience, monitor=monitor, keep=keep, schedule="constant"
        )
        assert (progress.best_epoch, progress.epochs) == (epoch, epochs)
        assert weights_digest(kept) == expected[epoch - 1]


# Stopped and resumed


def identity(result: tuple[keras.Model, Progress]) -> tuple[str, Progress]:
    return weights_digest(result[0]), result[1]


def test_a_training_stopped_after_every_epoch_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = identity(fit(epochs=3, **EVERYTHING))
    for epoch in (1, 2, 3):
        with pytest.raises(Stopped):
            fit(epochs=3, checkpoint=tmp_path / "c.npz", stop_at=epoch, **EVERYTHING)
    assert identity(fit(epochs=3, checkpoint=tmp_path / "c.npz", **EVERYTHING)) == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("mlp", {"optimizer": "sgd", "learning_rate": 0.1}),
        ("mlp", {"optimizer": "nesterov", "learning_rate": 0.05, "weight_decay": 0.01}),
        ("mlp", {"input_dropout": 0.2, "dropout": 0.3}),
        ("mlp", {"weight_averaging": 0.95}),
        ("mlp", {"flip": True, "shift": 3, "cutout": 8}),
        ("cnn", EVERYTHING | {"block_dropout": 0.2}),
    ],
)
def test_it_resumes_whatever_is_trained(
    tmp_path: Path, model: str, changes: dict[str, Any]
) -> None:
    whole = identity(fit(model, epochs=4, monitor="val_loss", **changes))
    checkpoint = tmp_path / "c.npz"
    for epoch in (1, 3):
        with pytest.raises(Stopped):
            fit(
                model,
                epochs=4,
                monitor="val_loss",
                checkpoint=checkpoint,
                stop_at=epoch,
                **changes,
            )
    again = fit(model, epochs=4, monitor="val_loss", checkpoint=checkpoint, **changes)
    assert identity(again) == whole


def test_early_stopping_counts_on_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"epochs": 6, "patience": 2, "monitor": "val_loss"}
    scored(monkeypatch, SCORES)
    whole = identity(fit(**options))
    scored(monkeypatch, SCORES)
    for epoch in (4, 5):  # the last good one is 3, and 5 is the end
        with pytest.raises(Stopped):
            fit(checkpoint=tmp_path / "c.npz", stop_at=epoch, **options)
    assert identity(fit(checkpoint=tmp_path / "c.npz", **options)) == whole


def test_a_finished_checkpoint_gives_the_model_without_training(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.npz"
    first = identity(fit(epochs=2, checkpoint=checkpoint))
    content = checkpoint.read_bytes()
    # stop_at would raise if an epoch were computed
    assert identity(fit(epochs=2, checkpoint=checkpoint, stop_at=2)) == first
    assert checkpoint.read_bytes() == content
    assert list(tmp_path.iterdir()) == [checkpoint]


@functools.cache
def content_of_a_checkpoint() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        fit(epochs=1, checkpoint=Path(folder) / "c.npz")
        return (Path(folder) / "c.npz").read_bytes()


def with_progress(content: bytes, progress: object) -> bytes:
    """Return a checkpoint with another record of how far it is."""
    with np.load(io.BytesIO(content)) as saved:
        arrays = dict(saved)
    if isinstance(progress, dict):
        progress = json.loads(arrays["progress"].item()) | progress
    changed_content = io.BytesIO()
    np.savez(changed_content, **{**arrays, "progress": np.array(json.dumps(progress))})
    return changed_content.getvalue()


@pytest.mark.parametrize(
    "damage", ["cut", "empty", "text", "another model's", "list", "epochs", "patience"]
)
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    checkpoint = tmp_path / "c.npz"
    content = content_of_a_checkpoint()
    checkpoint.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "empty": b"",
            "text": b"{}",
            "list": with_progress(content, []),
            "epochs": with_progress(content, {"best_epoch": 7}),
            "patience": with_progress(content, {"improved_epoch": 0}),
        }.get(damage, content)
    )
    other: dict[str, Any] = {"hidden_units": [8]} if damage == "another model's" else {}
    with pytest.raises(UserError, match=r"c\.npz is damaged .*delete it to start afresh") as caught:
        fit(epochs=2, checkpoint=checkpoint, **other)
    assert "\n" not in str(caught.value)


# Divergence


def test_a_diverging_training_says_so(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.npz"
    with pytest.raises(UserError, match=r"training diverged in epoch \d: .* lower learning_rate"):
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


def test_a_loss_that_is_no_number_is_a_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    scored(monkeypatch, [(0.5, 0.5), (math.nan, 0.5)])
    with pytest.raises(UserError, match="training diverged in epoch 2"):
        fit(epochs=2)


def exhausted(*_: object, **__: object) -> None:
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def test_a_model_too_large_for_the_memory_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(architectures.BUILDERS, "mlp", exhausted)
    with pytest.raises(UserError, match="the memory does not suffice"):
        architectures.build("mlp", parse_hyperparameters("mlp", MLP, "test"), 1)


def test_a_batch_too_large_for_the_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_transforms, "change_images", exhausted)
    with pytest.raises(UserError, match="the memory does not suffice"):
        fit(epochs=1, flip=True)


# Changed images


def changed(
    images: NDArray[np.uint8], seed: tuple[int, int] = (1, 0), **options: Any
) -> NDArray[np.uint8]:
    options = {"flip": False, "shift": 0, "cutout": 0} | options
    return np.asarray(transform_randomly(tf.constant(images), tf.constant(seed), **options))


IMAGES = np.random.default_rng(5).integers(1, 256, (400, 28, 28), dtype=np.uint8)


def test_images_are_left_alone_by_default() -> None:
    assert np.array_equal(changed(IMAGES), IMAGES)


def test_half_of_the_images_are_mirrored_exactly() -> None:
    mirrored = 0
    for image, result in zip(IMAGES, changed(IMAGES, flip=True), strict=True):
        turned = np.array_equal(result, image[:, ::-1])
        assert turned or np.array_equal(result, image)
        mirrored += turned
    assert 160 < mirrored < 240


@pytest.mark.parametrize("shift", [1, 3, 14])
def test_images_are_moved_by_whole_pixels_each_way_alike(shift: int) -> None:
    results = changed(IMAGES, shift=shift)
    found = []
    for image, result in zip(IMAGES, results, strict=True):
        padded = np.pad(image, shift)
        rows, columns = np.flatnonzero(result.any(1)), np.flatnonzero(result.any(0))
        down = rows[0] if rows[0] else rows[-1] - 27
        right = columns[0] if columns[0] else columns[-1] - 27
        top, left = shift - down, shift - right
        assert np.array_equal(result, padded[top : top + 28, left : left + 28])
        found.append((down, right))
    moves = np.array(found)
    assert (moves.min(0) == -shift).all()
    assert (moves.max(0) == shift).all()
    assert len(np.unique(moves[:, 0])) == 2 * shift + 1
    assert (np.abs(moves.mean(0)) < 0.15 * shift).all()
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.2  # down and right are drawn apart


@pytest.mark.parametrize("side", [1, 8, 28])
def test_a_square_of_each_image_becomes_background(side: int) -> None:
    sizes = []
    for image, result in zip(IMAGES, changed(IMAGES, cutout=side), strict=True):
        hidden = result == 0
        rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
        height, width = len(rows), len(columns)
        assert hidden[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert hidden.sum() == height * width
        assert np.array_equal(result[~hidden], image[~hidden])
        # Only the frame cuts a square short.
        assert height == side or rows[0] == 0 or rows[-1] == 27
        assert width == side or columns[0] == 0 or columns[-1] == 27
        sizes.append((height, width))
    assert np.array(sizes).min() >= 1
    assert np.array(sizes).max() == side if side < 28 else np.array(sizes).max() > 20


def test_changes_follow_from_the_seed_alone() -> None:
    options: dict[str, Any] = {"flip": True, "shift": 2, "cutout": 5}
    first = changed(IMAGES, (3, 4), **options)
    tf.random.uniform([3])
    assert np.array_equal(changed(IMAGES, (3, 4), **options), first)
    for other in ((3, 5), (4, 4)):
        assert not np.array_equal(changed(IMAGES, other, **options), first)
    # What is switched on beside it does not change where an image is moved to.
    assert np.array_equal(
        changed(changed(IMAGES, (3, 4), flip=True), (3, 4), shift=2),
        changed(IMAGES, (3, 4), flip=True, shift=2),
    )


# What it costs


def operations(network: keras.Model, record: Hyperparameters) -> Counter[str]:
    """Return how often each TensorFlow operation stands in the function that trains."""
    optimizer = build_optimizer(record)
    optimizer.build(network.trainable_variables)
    run_steps = step.step_function(network, optimizer, [], record, TRAIN, 1, 10)
    graph = run_steps.get_concrete_function().graph.as_graph_def()  # type: ignore[attr-defined]
    nodes = [node for function in graph.library.function for node in function.node_def]
    return Counter(node.op for node in nodes)


@pytest.mark.parametrize("model", TINY)
def test_a_step_is_one_kernel_per_variable_and_two_per_batch_norm(model: str) -> None:
    record = parse_hyperparameters(
        model, TINY[model] | {"batch_norm": True, "weight_decay": 0.1}, "test"
    )
    network = architectures.build(model, record, 1)
    count = operations(network, record)
    norms = [layer for layer in network.layers if "BatchNorm" in type(layer).__name__]
    assert norms
    assert count["ResourceApplyAdam"] == len(network.trainable_variables)
    assert count["FusedBatchNormV3"] == count["FusedBatchNormGradV3"] == len(norms)
    # What Adam and batch norm are composed of where they are not fused:
    assert count["SquaredDifference"] == count["Sqrt"] == 0
    kernels = [v for v in network.trainable_variables if v.name == "kernel"]
    # Learning rate and step, the decay of each kernel, the two running values of each batch norm.
    assert count["AssignVariableOp"] == 2 + len(kernels) + 2 * len(norms)


@pytest.mark.parametrize("model", TINY)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_model_learns_by_the_layers_of_fewer_passes(model: str, *, batch_norm: bool) -> None:
    changes = {"batch_norm": batch_norm, "activation": "gelu", "dropout": 0.1}
    dropouts = {"mlp": {"input_dropout": 0.1}, "cnn": {"block_dropout": 0.1}}
    record = parse_hyperparameters(model, TINY[model] | changes | dropouts[model], "test")
    network = architectures.build(model, record, 1)
    kinds = Counter(type(layer) for layer in network.layers)
    composed = keras.layers.BatchNormalization, keras.layers.Dense, keras.layers.Dropout
    assert not set(kinds) & {*composed, keras.layers.Activation}
    assert kinds[FusedDropout] == 2
    count = operations(network, record)
    # The biases of dense layers learn by a product; a convolution that has some keeps its own way.
    convolutions = kinds[keras.layers.Conv2D]
    assert count["BiasAddGrad"] == (0 if batch_norm else convolutions)
    pooled = kinds[FusedGeluPooling]
    assert pooled == (model == "cnn" and not batch_norm)
    assert kinds[FusedGelu] + pooled == (1 if model == "mlp" else 2)
    assert count["Erf"] == kinds[FusedGelu] + 4 * pooled  # of the greatest, least, chosen, and back
    assert count["Erfc"] == 0
    assert count["MaxPool"] == (model == "cnn" and batch_norm)


def test_an_epoch_is_few_calls_of_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = loop.step_function

    def watched(*arguments: Any) -> Any:
        run_steps = original(*arguments)

        def counted(order: Any, epoch: Any, start: Any, rates: tf.Tensor) -> Any:
            calls.append(len(rates))
            return run_steps(order, epoch, start, rates)

        return counted

    monkeypatch.setattr(loop, "step_function", watched)
    fit(epochs=2)
    assert calls == [10, 10]


def test_a_training_uses_its_images_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    original = step._without_copy

    def watched(images: Any) -> tf.Tensor:
        taken.append(images)
        return original(images)

    monkeypatch.setattr(step, "_without_copy", watched)
    fit(epochs=1)
    assert [images is TRAIN.images for images in taken] == [True]


def test_a_training_traces_its_step_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STEPS_PER_CALL", 4)  # of ten: calls of four and of two steps
    traced: list[int] = []

    def watched(images: tf.Tensor, seed: tf.Tensor, **changes: Any) -> tf.Tensor:
        traced.append(1)
        return transform_randomly(images, seed, **changes)

    monkeypatch.setattr(random_transforms, "change_images", watched)
    fit(epochs=2)
    assert len(traced) == 1


def test_images_are_used_where_they_lie(tmp_path: Path) -> None:
    write_split(tmp_path / "x.npz", TRAIN)
    images = read_split(tmp_path / "x.npz").images
    tensor = step._without_copy(images)
    images[0, 0, 0] ^= 255  # seen by both: it is the same memory
    assert np.array_equal(tensor.numpy(), images)
    shifted = np.empty(images.nbytes + 1, np.uint8)[1:].reshape(images.shape)
    shifted[:] = images
    assert np.array_equal(step._without_copy(shifted).numpy(), images)  # as a copy


@pytest.mark.parametrize("model", TINY)
def test_in_half_the_precision_it_learns_too(model: str) -> None:
    changes: dict[str, Any] = {"precision": "bfloat16", "batch_norm": True, "dropout": 0.1}
    network, progress = fit(model, epochs=4, **changes)
    assert progress.best["val_accuracy"] > 0.6
    assert {weight.dtype for weight in network.weights} == {"float32"}
    assert predict_probabilities(network, VAL.images).dtype == np.float32
    hidden = network.get_layer("hidden_1" if model == "mlp" else "block_1_conv_1")
    assert hidden.compute_dtype == "bfloat16"
    again, _ = fit(model, epochs=4, **changes)
    assert weights_digest(again) == weights_digest(network)


# Saved models


def test_equal_models_are_equal_files_without_a_trace_of_time_and_place(tmp_path: Path) -> None:
    record = parse_hyperparameters("mlp", MLP | {"l2": 0.1, "dropout": 0.1}, "test")
    paths = [tmp_path / "a/m.keras", tmp_path / "another folder/n.keras"]
    for path in paths:
        save_model(path, architectures.build("mlp", record, 1))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert [path.name for path in paths[0].parent.iterdir()] == ["m.keras"]
    with zipfile.ZipFile(io.BytesIO(paths[0].read_bytes())) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(archive.read("metadata.json"))["date_saved"].startswith("1980")
    save_model(paths[1], architectures.build("mlp", record, 2))
    assert paths[0].read_bytes() != paths[1].read_bytes()


@pytest.mark.parametrize("model", TINY)
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_saved_model_is_loaded_by_plain_keras_to_the_same_bits(
    tmp_path: Path, model: str, precision: str, *, batch_norm: bool
) -> None:
    path = tmp_path / "m.keras"
    fused = {"batch_norm": batch_norm, "activation": "gelu", "dropout": 0.1}
    record = parse_hyperparameters(model, TINY[model] | fused | {"precision": precision}, "test")
    network = architectures.build(model, record, 1)
    save_model(path, architectures.to_builtin_layers(network))
    expected = predict_probabilities(network, VAL.images)
    digest = weights_digest(network)
    for loaded in (keras.saving.load_model(path), load_model(path)):
        assert np.array_equal(predict_probabilities(loaded, VAL.images), expected)
        assert weights_digest(loaded) == digest


def test_predictions_cover_every_image_in_order() -> None:
    network = plain()[0]
    images = np.concatenate([VAL.images] * 6)  # more than one prediction batch
    probabilities = predict_probabilities(network, images)
    assert probabilities.shape == (600, 10)
    assert probabilities == pytest.approx(np.tile(probabilities[:100], (6, 1)), abs=1e-6)


def test_a_missing_model_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m\.keras is missing: run `dvc repro train`"):
        load_model(tmp_path / "m.keras")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder, expected a model"):
        load_model(tmp_path)


def test_a_model_of_other_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(10)]).save(path)
    with pytest.raises(UserError, match=r"m\.keras is a model of other data: it maps \(None, 4\)"):
        load_model(path)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "another archive", "weights"])
def test_a_damaged_model_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "m.keras"
    save_model(path, architectures.build("mlp", parse_hyperparameters("mlp", MLP, "test"), 1))
    content = path.read_bytes()
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("metadata.json", "{}")
    at = len(content) // 2
    path.write_bytes(
        {
            "empty": b"",
            "text": b"no model",
            "cut": content[:at],
            "another archive": other.getvalue(),
            "weights": content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :],
        }[damage]
    )
    with pytest.raises(UserError, match=r"m\.keras is no readable model: .") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


BLACK = Split(np.zeros_like(TRAIN.images), TRAIN.labels)
ONCE: dict[str, Any] = {"schedule": "constant", "warmup_epochs": 0, "optimizer": "sgd"}


def test_label_smoothing_gives_every_class_its_share() -> None:
    some = Split(BLACK.images[:20], np.zeros(20, np.uint8))
    changes: dict[str, Any] = {**ONCE, "batch_size": 20, "learning_rate": 2.0, "keep": "last"}
    network, _ = fit(train=some, epochs=60, label_smoothing=0.5, **changes)
    # Of images without a pixel nothing but the biases of the logits can be learned.
    expected = 0.5 * np.eye(10)[0] + 0.5 / 10
    assert predict_probabilities(network, some.images)[0] == pytest.approx(expected, abs=1e-3)


def test_a_step_takes_the_rate_of_the_schedule() -> None:
    some = Split(BLACK.images[:20], np.zeros(20, np.uint8))
    changes = {**ONCE, "schedule": "cosine", "warmup_epochs": 1, "batch_size": 20}
    network, _ = fit(train=some, epochs=4, keep="last", **changes)
    record = parse_hyperparameters("mlp", MLP | changes, "test")
    bias = np.zeros(10)
    for epoch in range(4):  # of one step each; without a pixel the logits are their biases
        probabilities = np.exp(bias) / np.exp(bias).sum()
        bias -= scheduled_learning_rate(record, epoch, 4) * (probabilities - np.eye(10)[0])
    assert np.asarray(network.get_layer("logits").bias) == pytest.approx(bias, rel=1e-4)


def test_weight_decay_follows_the_learning_rate() -> None:
    changes: dict[str, Any] = {"schedule": "cosine", "warmup_epochs": 1, "optimizer": "sgd"}
    record = parse_hyperparameters("mlp", MLP | changes, "test")
    initial = architectures.build("mlp", record, 1)
    trained, _ = fit(train=BLACK, epochs=2, weight_decay=0.5, keep="last", **changes)
    before, after = (np.asarray(m.get_layer("hidden_1").kernel) for m in (initial, trained))
    rates = np.array([scheduled_learning_rate(record, step / 10, 2) for step in range(20)])
    assert after == pytest.approx(before * np.prod(1 - 0.5 * rates), rel=1e-4)


def seeds_and_orders(monkeypatch: pytest.MonkeyPatch, seed: int) -> tuple[list[Any], list[Any]]:
    """Return the seeds of the image changes and the images of two epochs' batches."""
    seeds: list[Any] = []
    orders: list[Any] = []

    def keep(images: Any, seed: Any) -> Any:
        seeds.append(tuple(seed))
        orders.append(images.tobytes())
        return images

    def watched(images: tf.Tensor, seed: tf.Tensor, **changes: Any) -> tf.Tensor:
        kept = tf.numpy_function(keep, [images, seed], tf.uint8)
        return tf.ensure_shape(kept, [None, 28, 28])

    monkeypatch.setattr(random_transforms, "change_images", watched)
    fit(epochs=2, seed=seed)
    return seeds, orders


def test_images_are_changed_and_drawn_otherwise_in_every_epoch_and_by_every_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = (seeds_and_orders(monkeypatch, seed) for seed in (1, 2))
    assert len({*first[0], *second[0]}) == 40
    assert not {*first[1]} & {*second[1]}


def test_dropout_is_another_in_every_epoch_and_layer_and_of_every_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states: list[list[tuple[int, ...]]] = []
    seed_dropout = loop.seed_dropout

    def watched(model: keras.Model, seed: int, step: int) -> None:
        seed_dropout(model, seed, step)
        layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
        states.append([tuple(layer.seed_generator.state.numpy()) for layer in layers])

    monkeypatch.setattr(loop, "seed_dropout", watched)
    for seed in (1, 2):
        fit(epochs=2, dropout=0.2, input_dropout=0.1, seed=seed)
    assert [len(one) for one in states] == [2, 2, 2, 2]
    # A layer draws once a step; the second epoch begins where the first one's ten steps ended.
    assert [step for one in states for _, step in one] == [0, 0, 10, 10] * 2
    assert len({of_layer for one in states for of_layer, _ in one}) == 4


def test_only_nesterov_has_momentum() -> None:
    for name, momentum in (("sgd", 0.0), ("nesterov", 0.9)):
        optimizer = build_optimizer(parse_hyperparameters("mlp", MLP | {"optimizer": name}, "test"))
        assert (optimizer.momentum, optimizer.nesterov) == (momentum, momentum > 0)


def test_a_small_probability_counts_as_it_is() -> None:
    probabilities = np.zeros((1, 10), np.float32)
    probabilities[0, 3] = 1e-20
    one = Split(VAL.images[:1], np.array([3], np.uint8))
    loss, _ = loss_and_accuracy(lambda _: tf.constant(probabilities), one)
    assert loss == pytest.approx(20 * np.log(10), rel=1e-6)


def test_statistics_of_a_batch_norm_are_part_of_a_models_identity() -> None:
    network = architectures.build(
        "mlp", parse_hyperparameters("mlp", MLP | {"batch_norm": True}, "test"), 1
    )
    before = weights_digest(network)
    mean = network.get_layer("hidden_1_norm").moving_mean
    mean.assign(mean + 1)
    assert weights_digest(network) != before


def test_of_equal_losses_the_first_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    scored(monkeypatch, [(0.5, 0.6), (0.4, 0.6), (0.4, 0.6)])
    assert fit(epochs=3, monitor="val_loss")[1].best_epoch == 2
