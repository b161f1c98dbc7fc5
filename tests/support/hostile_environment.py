"""Values of environment variables that would change results or redirect programs if they acted."""

from collections.abc import Iterator
from pathlib import Path

from sidebyside.core import environment

ELSEWHERE = "/nowhere"
# A name for each pattern of the table, and often several.
LISTED = {
    "GIT_CONFIG_COUNT": "9",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_GLOB_PATHSPECS": "1",
    "GIT_NOGLOB_PATHSPECS": "1",
    "GIT_ICASE_PATHSPECS": "1",
    "GIT_DEFAULT_HASH": "sha256",
    "PIP_USER": "1",
    "PIP_TARGET": ELSEWHERE,
    "UV_TARGET": ELSEWHERE,
    "UV_CONSTRAINT": ELSEWHERE,
    "KERAS_BACKEND": "jax",
    "KERAS_MAX_EPOCHS": "1",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "KERASTUNER_TUNER_ID": "tuner0",
    "KERASTUNER_ORACLE_IP": "127.0.0.1",
    "KERASTUNER_ORACLE_PORT": "9",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF2_BEHAVIOR": "0",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
    "TF_SET_ONEDNN_FPMATH_MODE": "BF16",
    "TF_CONFIG": "{",
    "TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL": "0",
    "AUTOGRAPH_STRICT_CONVERSION": "1",
    "PJRT_NPROC": "1",
    "MLIR_ENABLE_DUMP": "1",
    "XLA_FLAGS": "--no_such_flag",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "DNNL_DEFAULT_FPMATH_MODE": "BF16",
    "DNNL_MAX_CPU_ISA": "SSE41",
    "MKLDNN_VERBOSE": "1",
    "CUBLAS_WORKSPACE_CONFIG": "0",
    "CUBLASLT_LOG_LEVEL": "5",
    "CUDNN_LOGINFO_DBG": "1",
    "NVIDIA_TF32_OVERRIDE": "1",
    "OPENBLAS_CORETYPE": "Prescott",
    "GOTO_X": "1",
    "MKL_CBWR": "COMPATIBLE",
    "KMP_BLOCKTIME": "0",
    "OMP_DYNAMIC": "TRUE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA",
    "MPLBACKEND": "no_such_backend",
    "FREETYPE_PROPERTIES": "truetype:interpreter-version=35",
    "HDF5_DRIVER": "no_such_driver",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
    "MLFLOW_RUN_ID": "0123456789abcdef0123456789abcdef",
    "MLFLOW_EXPERIMENT_NAME": "another",
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
    "_MLFLOW_ACTIVE_MODEL_ID": "m-1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONINSPECT": "1",
    "PYTHONWARNINGS": "error::DeprecationWarning",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONSTARTUP": ELSEWHERE,
}
# Kept settings with values that no user has; MLflow's server is not reachable.
UNUSUAL = {
    "LC_ALL": "C",
    "PYTHONIOENCODING": "latin-1",
    "PYTHONHASHSEED": "7",
    "PYTHONFAULTHANDLER": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MAX_VLOG_LEVEL": "0",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
}


# Kept, because users have reasons to set them, although they may change bits.
OTHER_MACHINE = {"ONEDNN_MAX_CPU_ISA": "SSE41", "CUDA_VISIBLE_DEVICES": "0"}


def hostile(folder: Path) -> dict[str, str]:
    """Return hostile values for every variable of the table that is cleared or pinned.

    Args:
        folder: gets the settings files that some of the variables name.
    """
    (folder / "keras.json").write_text('{"floatx": "float16", "image_data_format": "odd"}')
    (folder / "matplotlibrc").write_text("figure.dpi: 30\nimage.cmap: hot\n")
    named = {"KERAS_HOME": str(folder), "MATPLOTLIBRC": str(folder / "matplotlibrc")}
    return {name: LISTED.get(name, ELSEWHERE) for name in HOSTILE} | named


def _names() -> Iterator[str]:
    yield from LISTED
    for entry in environment.TABLE:
        if entry.treatment in (environment.CLEARED, environment.PINNED):
            yield from (name for name in entry.names.split() if "*" not in name)


HOSTILE = tuple(dict.fromkeys(_names()))  # cleared or pinned
