import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[3] / "src"

PROGRAM = """
import gc, sys
from sidebyside.models import tensorflow_setup as tensorflow_setup
assert "tensorflow" not in sys.modules  # importing the module loads nothing
tensorflow_setup.configure(3)
tensorflow_setup.configure(3)  # again: nothing to do
import tensorflow as tf
from tensorflow.python.framework import config
import keras
print(
    tf.config.threading.get_intra_op_parallelism_threads(),
    config.is_op_determinism_enabled(),
    tf.config.optimizer.get_jit() or "no XLA",
    keras.backend.backend(),
    keras.config.floatx(),
    keras.config.epsilon(),
    keras.config.image_data_format(),
    *[name for name in tensorflow_setup.UNUSED_PACKAGES if name in sys.modules],
)
import matplotlib.pyplot, pandas, scipy.stats, sklearn  # they load as ever afterwards
assert gc.isenabled() and gc.get_freeze_count() > 100_000  # what was loaded is not collected
print("still heard", file=sys.stderr)
"""


def test_a_closed_standard_error_is_no_obstacle() -> None:
    program = "from sidebyside.models.tensorflow_setup import _suppress_stderr\nwith _suppress_stderr(): print('done')"
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} 2>&-"
    told = subprocess.run(
        ["sh", "-c", line],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )
    assert told.stdout == "done\n"


@pytest.mark.slow
def test_tensorflow_is_pinned_deterministic_and_quiet(tmp_path: Path) -> None:
    said = {"floatx": "float64", "epsilon": 0.001, "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps({**said, "backend": "jax"}))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        # What a user's shell and home say about Keras does not matter.
        env={
            **os.environ,
            "PYTHONPATH": str(SOURCES),
            "KERAS_BACKEND": "jax",
            "KERAS_HOME": str(tmp_path),
        },
    )
    settings = "float32 1e-07 channels_last"
    assert done.stdout.split("\n")[0] == f"3 True no XLA tensorflow {settings}"
    assert done.stderr == "still heard\n"
