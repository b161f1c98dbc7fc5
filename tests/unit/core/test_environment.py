"""Go through the table of environment variables."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import environment_variables as mlflow_variables

from sidebyside.core import environment
from sidebyside.core.environment import CHECKOUT, CLEARED, FINGERPRINT, KEPT, PINNED, TABLE

MODULE = Path(environment.__file__)
NAMES = [
    (name.replace("*", "X").replace("?", "X"), name) for e in TABLE for name in e.names.split()
]


def test_every_entry_has_an_effect_and_a_treatment() -> None:
    for entry in TABLE:
        assert entry.effect, entry
        assert entry.treatment in {KEPT, CLEARED, PINNED, FINGERPRINT, CHECKOUT}, entry
        assert bool(entry.value) == (entry.treatment == PINNED), entry
        assert entry.treatment == CLEARED or not entry.early, entry


def test_no_pattern_is_hidden_by_an_earlier_one() -> None:
    for name, pattern in NAMES:
        found = environment.find(name)
        assert found is not None, pattern
        assert pattern in found.names.split(), f"{pattern} is never used"


@pytest.mark.parametrize("name", [name for name, _ in NAMES])
def test_each_variable_is_treated_as_listed(name: str) -> None:
    entry = environment.find(name)
    assert entry is not None
    kept = {KEPT: "hostile", FINGERPRINT: "hostile", CHECKOUT: "hostile", PINNED: entry.value}
    clean = environment.cleaned({name: "hostile"})
    assert clean.get(name) == kept.get(entry.treatment)
    elsewhere = environment.cleaned({name: "hostile"}, other_checkout=True)
    assert elsewhere.get(name) == (None if entry.treatment == CHECKOUT else clean.get(name))
    assert environment.cleaned(clean) == clean


def test_a_child_process_gets_the_clean_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [name for name, _ in NAMES if not name.startswith("PYTHON")]
    for name in names:
        monkeypatch.setenv(name, "hostile")
    environment.clean()
    program = f"import os; print(*[n for n in {names} if os.environ.get(n) == 'hostile'])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    treatments = {environment.find(name).treatment for name in done.stdout.split()}  # type: ignore[union-attr]  # all are in the table
    assert treatments == {KEPT, FINGERPRINT, CHECKOUT}


def test_a_variable_that_is_not_listed_is_left_alone() -> None:
    variables = {"PATH": "/bin", "HOME": "/root", "PYTHON": "python3.12", "LC_ALL": "C"}
    assert environment.cleaned(variables) == variables | environment.pinned()


@pytest.mark.parametrize(
    ("name", "treatment"),
    [
        *((name, CLEARED) for name in (
            *("TF_USE_LEGACY_KERAS", "XLA_FLAGS", "TF_XLA_FLAGS", "ONEDNN_DEFAULT_FPMATH_MODE"),
            *("DNNL_DEFAULT_FPMATH_MODE", "DNNL_MAX_CPU_ISA", "TF_SET_ONEDNN_FPMATH_MODE"),
            *("KERAS_MAX_EPOCHS", "MLFLOW_ENABLE_ASYNC_LOGGING", "MLFLOW_RUN_ID", "PIP_TARGET"),
            *("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "PYTHONUTF8", "PYTHONOPTIMIZE"),
            *("PYTHONINSPECT", "PYTHONWARNINGS", "GIT_INDEX_FILE", "UV_PYTHON"),
            *("FREETYPE_PROPERTIES", "HDF5_DRIVER", "CDPATH"),
        )),
        *((name, PINNED) for name in ("KERAS_BACKEND", "KERAS_HOME", "PIP_USER", "MPLBACKEND")),
        *((name, KEPT) for name in (
            *("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_S3_ENDPOINT_URL"),
            *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT"),
            *("PIP_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_CACHE_DIR"),
            *("UV_HTTP_TIMEOUT", "UV_OFFLINE", "PYTHONHASHSEED", "OMP_NUM_THREADS"),
            "HDF5_USE_FILE_LOCKING",
        )),
        ("ONEDNN_MAX_CPU_ISA", FINGERPRINT),
        ("DVC_ROOT", CHECKOUT),
    ],
)  # fmt: skip
def test_a_known_variable_has_this_treatment(name: str, treatment: str) -> None:
    entry = environment.find(name)
    assert entry is not None
    assert entry.treatment == treatment


def test_every_variable_that_git_lists_as_local_is_cleared() -> None:
    command = ["git", "rev-parse", "--local-env-vars"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert environment.cleaned(dict.fromkeys(listed, "x")) == environment.pinned()


def test_every_variable_of_mlflow_is_in_the_table() -> None:
    variables = [
        value.name
        for value in vars(mlflow_variables).values()
        if isinstance(value, mlflow_variables._EnvironmentVariable)
    ]
    assert len(variables) > 100
    missing = [name for name in variables if "MLFLOW" in name and environment.find(name) is None]
    assert missing == ["DISABLE_MLFLOWDBFS"]  # only of Databricks


def test_only_set_variables_are_part_of_the_fingerprint() -> None:
    assert environment.fingerprint({"PATH": "/bin", "TF_XLA_FLAGS": "x"}) == {}
    limited = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert environment.fingerprint({"CUDA_VISIBLE_DEVICES": "", **limited}) == limited


def test_the_script_names_the_variables_to_unset_with_the_standard_library_alone() -> None:
    variables = {"GIT_DIR": "x", "KERAS_BACKEND": "jax", "MPLBACKEND": "agg", "DVC_STAGE": "x"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(MODULE)],
        env={"PATH": os.environ["PATH"], "PYTHONHOME": "/nowhere", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == {"GIT_DIR", "KERAS_BACKEND", "DVC_STAGE", "PYTHONHOME"}
