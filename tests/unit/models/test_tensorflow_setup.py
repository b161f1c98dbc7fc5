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
from sidebyside.models import tensorflow_setup
assert "tensorflow" not in sys.modules  # importing the module does not import TensorFlow
tensorflow_setup.configure(3)
tensorflow_setup.configure(3)  # a second call has no effect
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
import matplotlib.pyplot, pandas, scipy.stats, sklearn  # importable afterwards
assert gc.isenabled() and gc.get_freeze_count() > 100_000  # imported modules are frozen
print("standard error works", file=sys.stderr)
"""


def test_a_closed_standard_error_is_accepted() -> None:
    program = """
from sidebyside.models.tensorflow_setup import _suppress_stderr
with _suppress_stderr():
    print("done")
"""
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} 2>&-"
    done = subprocess.run(
        ["sh", "-c", line],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )
    assert done.stdout == "done\n"


@pytest.mark.slow
def test_tensorflow_has_fixed_settings_and_prints_nothing(tmp_path: Path) -> None:
    user_settings = {"floatx": "float64", "epsilon": 0.001, "image_data_format": "invalid"}
    for folder in (tmp_path, tmp_path / ".keras"):
        folder.mkdir(exist_ok=True)
        (folder / "keras.json").write_text(json.dumps({**user_settings, "backend": "jax"}))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        # The user's environment and keras.json must have no effect.
        env={
            **os.environ,
            "PYTHONPATH": str(SOURCES),
            "KERAS_BACKEND": "jax",
            "KERAS_HOME": str(tmp_path),
            "HOME": str(tmp_path),
        },
    )
    settings = "float32 1e-07 channels_last"
    assert done.stdout.split("\n")[0] == f"3 True no XLA tensorflow {settings}"
    assert done.stderr == "standard error works\n"
