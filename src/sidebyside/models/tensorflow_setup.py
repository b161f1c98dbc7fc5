"""Import TensorFlow and configure it so that equal inputs give equal bits."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sidebyside.core import environment, imports

# Packages that Keras and TensorFlow import if installed, for features that are not used here:
# image galleries, data frames, wrappers for scikit-learn.
UNUSED_PACKAGES = ("matplotlib", "pandas", "scipy", "sklearn")


def configure(threads: int) -> None:
    """Import TensorFlow with a fixed number of threads and deterministic kernels.

    Must run before anything else imports TensorFlow or Keras.

    Args:
        threads: intra-op threads. The order of summation depends on their number, so it is a
            parameter and not the machine's number of cores.
    """
    environment.clean()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several processes share a GPU
    with _suppress_stderr(), imports.fast_imports(without=UNUSED_PACKAGES):
        import keras
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.experimental.enable_op_determinism()
        # Another program in this process may have changed them; keras.json is not read.
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")
        # Hides warnings about retracing, which every new model needs.
        tf.get_logger().setLevel("ERROR")
        tf.config.list_logical_devices()  # looks for a GPU now, not during training


@contextlib.contextmanager
def _suppress_stderr() -> Iterator[None]:
    """Discard the messages about CUDA and oneDNN that TensorFlow's C++ code prints on import.

    It prints them before it reads its log level, so no setting hides them. Errors still raise.
    """
    try:
        saved = os.dup(2)
    except OSError:  # the parent process closed it
        yield
        return
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
