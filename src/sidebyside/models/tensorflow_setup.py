"""TensorFlow, loaded once and set so that equal inputs give equal bits."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sidebyside.core import imports

# Switches that decide the bits, the same for every process, whatever the environment says. XLA
# compiles what kernels.py asks it to and nothing else: a whole step would be several times slower.
SWITCHES = {"KERAS_BACKEND": "tensorflow", "TF_ENABLE_ONEDNN_OPTS": "1", "TF_XLA_FLAGS": ""}

# What Keras and TensorFlow load where it is installed, for parts of them that nothing here calls:
# galleries, data frames, wrappers for scikit-learn.
LEFT_OUT = ("matplotlib", "pandas", "scipy", "sklearn")


def configure(threads: int) -> None:
    """Load TensorFlow with pinned threads and deterministic kernels.

    The number of intra-op threads decides in which order sums are taken, so it is a parameter and
    not the machine's number of cores.
    Call it before anything else that imports TensorFlow or Keras.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.update(SWITCHES)
    with _silenced_stderr(), imports.fast_imports(without=LEFT_OUT):
        import keras
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.experimental.enable_op_determinism()
        # A user's own ~/.keras/keras.json may say otherwise.
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")
        # That a function is traced again, for the next model, is no fault.
        tf.get_logger().setLevel("ERROR")
        tf.config.list_logical_devices()  # looks for a GPU now, and not in the middle of the work


@contextlib.contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Drop what TensorFlow's C++ code says while it loads: some lines on CUDA and oneDNN.

    They come before its log level is read, so no setting silences them. What fails still raises.
    """
    try:
        kept = os.dup(2)
    except OSError:  # closed by whoever started this process
        yield
        return
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
