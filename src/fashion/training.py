"""Fit a model: seeded, deterministic, and able to go on exactly where it was stopped.

The loop is written out instead of calling `Model.fit`: many steps run inside one TensorFlow
function, on uint8 images that are drawn, mirrored, shifted and scaled inside it. That leaves out
`fit`'s cost per step, and makes the state at the end of an epoch small and complete enough to
resume from to the bit. Everything random in epoch e follows from (seed, e).
"""

import contextlib
import hashlib
import io
import json
import math
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from fashion.data import ALIGNMENT, CLASSES, IMAGE_SIZE, Split
from fashion.errors import TrainingError, UserError
from fashion.files import write_bytes
from fashion.hyperparameters import Hyperparameters
from fashion.kernels import FusedAdam
from fashion.models import memory_errors_named
from fashion.randomness import derive_seed
from fashion.results import HISTORY

PREDICTION_BATCH = 500  # fixed: another batch size changes the last bits of a probability
STEPS_PER_CALL = 25  # about a second of a CNN: how long Ctrl-C and the progress line may wait

Epoch = dict[str, float]  # one row of a history; its columns are HISTORY


@dataclass
class Progress:
    """Where a training stands at the end of an epoch; everything but the arrays."""

    history: list[Epoch] = field(default_factory=list)
    improved_epoch: int = 0  # the last one that had the best `monitor` so far; counted from 1
    best_epoch: int = 0  # whose weights are kept; 0: none yet

    @property
    def epochs(self) -> int:
        return len(self.history)

    @property
    def best(self) -> Epoch:
        """The row of the epoch whose weights are kept."""
        return self.history[self.best_epoch - 1]


@memory_errors_named()
def train(
    model: keras.Model,
    hyperparameters: Hyperparameters,
    train_split: Split,
    val_split: Split,
    *,
    seed: int,
    epochs: int,
    patience: int,
    monitor: str,
    keep: str = "best",
    on_epoch: Callable[[Epoch, float], None] = lambda epoch, seconds: None,
    on_steps: Callable[[int, int], None] = lambda step, steps: None,
    checkpoint: Path | None = None,
) -> Progress:
    """Fit the model in place and leave it with the weights of its best or last epoch.

    `loss` in the history is the plain cross-entropy of the training batches as they were seen
    (dropout and image changes included), so that it compares with `val_loss`; label smoothing and
    l2 enter what is minimised only.

    Args:
        model: as `models.build` returns it.
        hyperparameters: how to train it.
        train_split: what it learns from.
        val_split: what `monitor` is measured on.
        seed: of the order, the image changes and the dropout masks.
        epochs: the most; the cosine schedule reaches zero at the last of them.
        patience: epochs without a better `monitor` before training stops.
        monitor: `val_accuracy` (higher is better) or `val_loss` (lower is better).
        keep: `best`, the epoch with the best `monitor`, or `last`, which then counts as the best.
        on_epoch: called after each epoch that was computed, with its row and its seconds.
        on_steps: called several times an epoch with the steps done and their total.
        checkpoint: a file to resume from and to save to after each epoch.

    Raises:
        TrainingError: the loss is no finite number any more, or the memory does not suffice.
        UserError: the checkpoint is damaged.
    """
    steps = math.ceil(len(train_split) / hyperparameters.batch_size)
    averages = (
        [tf.Variable(v) for v in model.trainable_variables]
        if hyperparameters.weight_averaging
        else []
    )
    optimizer = _optimizer(hyperparameters)
    optimizer.build(model.trainable_variables)
    run_steps = _step_function(
        model, optimizer, averages, hyperparameters, train_split, seed, steps
    )
    predict = _prediction_function(model)
    state = [*model.variables, *optimizer.variables, *averages]
    best_state = [v.numpy() for v in model.variables]
    progress = Progress()
    if checkpoint is not None and checkpoint.exists():
        progress = _restore(checkpoint, state, best_state)
    while progress.epochs < epochs and progress.epochs - progress.improved_epoch < patience:
        started = time.perf_counter()
        number = progress.epochs
        _seed_dropout(model, seed, number * steps)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(train_split)), seed=[derive_seed(seed, "order"), number]
        )
        sums = np.zeros(2)
        for start in range(0, steps, STEPS_PER_CALL):
            stop = min(start + STEPS_PER_CALL, steps)
            rates = [
                _learning_rate(hyperparameters, (number * steps + step) / steps, epochs)
                for step in range(start, stop)
            ]
            sums += run_steps(
                order, tf.constant(number), tf.constant(start), tf.constant(rates, tf.float32)
            ).numpy()
            on_steps(stop, steps)
        loss, accuracy = sums / len(train_split.labels)
        with _averaged(model, averages):
            val_loss, val_accuracy = _score(predict, val_split)
            row = {
                "epoch": number + 1,
                "loss": loss,
                "accuracy": accuracy,
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
                "learning_rate": rates[-1],
            }
            if not all(math.isfinite(value) for value in row.values()):
                raise TrainingError(
                    f"training diverged in epoch {number + 1}: the loss is not finite;"
                    " lower learning_rate"
                )
            progress.history.append({name: float(row[name]) for name in HISTORY})
            progress.history[-1]["epoch"] = number + 1
            improved = _better(monitor, row, progress.history[progress.improved_epoch - 1])
            if progress.improved_epoch == 0 or improved:
                progress.improved_epoch = number + 1
            if keep == "last" or progress.improved_epoch == number + 1:
                progress.best_epoch = number + 1
                best_state = [v.numpy() for v in model.variables]
        if checkpoint is not None:
            _save(checkpoint, state, best_state, progress)
        on_epoch(progress.history[-1], time.perf_counter() - started)
    for variable, value in zip(model.variables, best_state, strict=True):
        variable.assign(value)
    return progress


def predict(model: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return class probabilities, float32 [N, 10]."""
    return _predict(_prediction_function(model), images)


def save_model(path: Path, model: keras.Model) -> str:
    """Replace `path` by the model as a `.keras` file, the same bytes for equal models.

    Keras writes the time, the modification time of a member and memory addresses into the archive;
    they are set to constants. The file loads with plain `keras.saving.load_model`.

    Returns:
        The SHA-256 of the file.
    """
    temporary = path.with_name(f".{path.stem}.tmp.keras")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        model.save(temporary)
        content = _canonical(temporary.read_bytes())
        write_bytes(path, content)
    except OSError as error:
        error.filename = str(path)  # Keras names no file where a disk is full
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return hashlib.sha256(content).hexdigest()


def load_model(path: Path) -> keras.Model:
    """Return a saved model.

    Raises:
        UserError: the file is missing or is no model.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected a model")
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro train`")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no readable model: no Keras archive, or not all of it")
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UserError(f"{path} is no readable model: {reason}") from None
    shapes = (model.input_shape, model.output_shape)
    if shapes != ((None, IMAGE_SIZE, IMAGE_SIZE), (None, CLASSES)):
        raise UserError(f"{path} is a model of other data: it maps {shapes[0]} to {shapes[1]}")
    return model


def weights_digest(model: keras.Model) -> str:
    """Return the SHA-256 over the weights in their order: the model's identity."""
    hasher = hashlib.sha256()
    for weight in model.weights:
        hasher.update(weight.numpy().tobytes())
    return hasher.hexdigest()


def _optimizer(h: Hyperparameters) -> keras.optimizers.Optimizer:
    if h.optimizer == "adam":
        return FusedAdam(h.learning_rate)
    momentum = 0.9 if h.optimizer == "nesterov" else 0.0
    return keras.optimizers.SGD(h.learning_rate, momentum=momentum, nesterov=momentum > 0)


def _learning_rate(h: Hyperparameters, epoch: float, epochs: int) -> float:
    """Return the rate at a fractional epoch: linear warm-up, then constant or cosine to zero.

    Zero is reached where the last epoch ends, one step behind its last step.

    Cosine annealing without restarts: Loshchilov & Hutter 2017, equation 5.
    """
    if epoch < h.warmup_epochs:
        return h.learning_rate * (epoch + 0.01) / (h.warmup_epochs + 0.01)
    if h.schedule == "constant":
        return h.learning_rate
    done = (epoch - h.warmup_epochs) / max(epochs - h.warmup_epochs, 1e-9)
    return h.learning_rate * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def _step_function(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    averages: list[tf.Variable],
    h: Hyperparameters,
    split: Split,
    seed: int,
    steps: int,
) -> Callable[..., tf.Tensor]:
    """Return f(order, epoch, first step, learning rates) → [Σ cross-entropy, number right]."""
    logits_model = keras.Model(model.inputs, model.get_layer("logits").output)
    images, labels = _in_place(split.images), tf.constant(split.labels)
    image_seed = derive_seed(seed, "image changes")
    variables = model.trainable_variables
    decayed = [variable for variable in variables if variable.name == "kernel" and h.weight_decay]

    @tf.function(  # type: ignore[untyped-decorator]  # TensorFlow has no types
        input_signature=[  # traced once, however many steps a call has
            tf.TensorSpec([len(split)], tf.int32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([None], tf.float32),
        ]
    )
    def run_steps(
        order: tf.Tensor, epoch: tf.Tensor, start: tf.Tensor, rates: tf.Tensor
    ) -> tf.Tensor:
        sums = tf.zeros(2)
        for index in tf.range(tf.size(rates)):
            optimizer.learning_rate.assign(rates[index])
            step = start + index
            batch = order[step * h.batch_size : (step + 1) * h.batch_size]
            pixels = change_images(
                tf.gather(images, batch),
                tf.stack([image_seed, epoch * steps + step]),
                flip=h.flip,
                shift=h.shift,
                cutout=h.cutout,
            )
            truth = tf.gather(labels, batch)
            target = tf.one_hot(truth, CLASSES)
            smooth = target * (1 - h.label_smoothing) + h.label_smoothing / CLASSES
            with tf.GradientTape() as tape:
                logits = logits_model(pixels, training=True)
                loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(smooth, logits))
                objective = tf.add_n([loss, *logits_model.losses])
            gradients = tape.gradient(objective, variables)
            for variable in decayed:  # Loshchilov & Hutter 2019, algorithm 2; in one pass
                variable.assign(variable * (1 - rates[index] * h.weight_decay))
            optimizer.apply(gradients, variables)
            for average, variable in zip(averages, variables, strict=False):
                average.assign_sub((average - variable) * (1 - h.weight_averaging))
            right = tf.argmax(logits, 1, tf.int32) == tf.cast(truth, tf.int32)
            entropy = tf.nn.softmax_cross_entropy_with_logits(target, logits)
            sums += tf.stack([tf.reduce_sum(entropy), tf.reduce_sum(tf.cast(right, tf.float32))])
        return sums

    return cast(Callable[..., tf.Tensor], run_steps)


def _in_place(images: NDArray[np.uint8]) -> tf.Tensor:
    """Return the images as a tensor, without a copy of them where TensorFlow allows that."""
    aligned = images.ctypes.data % ALIGNMENT == 0 and images.flags.c_contiguous
    if not aligned or tf.config.list_logical_devices("GPU"):
        return tf.constant(images)
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


def change_images(
    images: tf.Tensor, seed: tf.Tensor, *, flip: bool, shift: int, cutout: int
) -> tf.Tensor:
    """Return a batch changed at random, uint8 [N, 28, 28]; a function of images and seed alone.

    Args:
        images: uint8 [N, 28, 28].
        seed: two integers, different for every batch.
        flip: mirror half of the images left to right.
        shift: most pixels an image is moved each way; background comes in.
        cutout: side in pixels of a square of background around a random place (DeVries & Taylor
            2017); 0 is none.
    """
    count = tf.shape(images)[0]
    flip_seed, shift_seed, cutout_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    pixels = tf.range(IMAGE_SIZE)
    if flip:
        mirrored = tf.random.stateless_uniform([count, 1, 1], flip_seed) < 0.5
        images = tf.where(mirrored, tf.reverse(images, [2]), images)
    if shift:
        moves = tf.random.stateless_uniform([count, 2], shift_seed, 0, 2 * shift + 1, tf.int32)
        padded = tf.pad(images, [[0, 0], [shift, shift], [shift, shift]])
        rows = tf.gather(padded, moves[:, :1] + pixels, axis=1, batch_dims=1)
        images = tf.gather(rows, moves[:, 1:] + pixels, axis=2, batch_dims=1)
    if cutout:
        corners = tf.random.stateless_uniform(
            [count, 2], cutout_seed, 1 - cutout, IMAGE_SIZE, tf.int32
        )
        inside = (pixels >= corners[:, :, None]) & (pixels < corners[:, :, None] + cutout)
        square = inside[:, 0, :, None] & inside[:, 1, None, :]
        images = tf.where(square, tf.zeros_like(images), images)
    return images


def _prediction_function(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    function = tf.function(lambda images: model(images, training=False))
    return cast(Callable[[tf.Tensor], tf.Tensor], function)


def _predict(
    function: Callable[[tf.Tensor], tf.Tensor], images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    return np.concatenate(
        [
            function(tf.constant(images[start : start + PREDICTION_BATCH])).numpy()
            for start in range(0, len(images), PREDICTION_BATCH)
        ]
    )


def _score(function: Callable[[tf.Tensor], tf.Tensor], split: Split) -> tuple[float, float]:
    """Return the mean cross-entropy and the accuracy."""
    probabilities = _predict(function, split.images).astype(np.float64)
    of_truth = probabilities[np.arange(len(split)), split.labels]
    tiny = np.finfo(np.float32).tiny
    return (
        float(-np.log(np.maximum(of_truth, tiny)).mean()),
        float((probabilities.argmax(1) == split.labels).mean()),
    )


def _better(monitor: str, row: Mapping[str, float], best: Mapping[str, float]) -> bool:
    if monitor == "val_loss":
        return row[monitor] < best[monitor]
    return row[monitor] > best[monitor]


def _seed_dropout(model: keras.Model, seed: int, step: int) -> None:
    """Set every dropout layer's counter to what it is at a step of an uninterrupted training."""
    for index, layer in enumerate(model.layers):
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign([derive_seed(seed, "dropout", index), step])


@contextlib.contextmanager
def _averaged(model: keras.Model, averages: list[tf.Variable]) -> Iterator[None]:
    """Let the model have its averaged weights for a while."""
    if not averages:
        yield
        return
    raw = [variable.numpy() for variable in model.trainable_variables]
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        variable.assign(average)
    yield
    for variable, value in zip(model.trainable_variables, raw, strict=True):
        variable.assign(value)


def _save(
    path: Path,
    state: list[tf.Variable],
    best_state: list[NDArray[Any]],
    progress: Progress,
) -> None:
    arrays = {f"state_{i}": variable.numpy() for i, variable in enumerate(state)}
    arrays |= {f"best_{i}": value for i, value in enumerate(best_state)}
    buffer = io.BytesIO()
    np.savez(buffer, progress=np.array(json.dumps(asdict(progress))), **arrays)
    write_bytes(path, buffer.getvalue())


def _restore(path: Path, state: list[tf.Variable], best_state: list[NDArray[Any]]) -> Progress:
    """Set `state` and `best_state` to what was saved; both keep their identity."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as saved:
            progress = Progress(**json.loads(saved["progress"].item()))
            if not 0 < progress.improved_epoch <= progress.best_epoch <= progress.epochs:
                raise ValueError("its epochs do not fit")
            for i, variable in enumerate(state):
                variable.assign(saved[f"state_{i}"])
            best_state[:] = [saved[f"best_{i}"] for i in range(len(best_state))]
    except (
        *(OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, IndexError),
        zipfile.BadZipFile,
    ) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged ({reason}): delete it to start afresh") from None
    return progress


def _canonical(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        members = {name: source.read(name) for name in sorted(source.namelist())}
    metadata = json.loads(members["metadata.json"])
    metadata["date_saved"] = "1980-01-01@00:00:00"
    members["metadata.json"] = json.dumps(metadata).encode()
    numbers: dict[int, int] = {}  # memory address → order of appearance

    def numbered(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                key: numbers.setdefault(value, len(numbers))
                if key == "shared_object_id"
                else numbered(value)
                for key, value in node.items()
            }
        return [numbered(item) for item in node] if isinstance(node, list) else node

    members["config.json"] = json.dumps(numbered(json.loads(members["config.json"]))).encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as result:
        for name, content in members.items():
            information = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            information.external_attr = 0o644 << 16
            information.create_system = 3  # Unix, whatever writes it
            result.writestr(information, content)
    return target.getvalue()
