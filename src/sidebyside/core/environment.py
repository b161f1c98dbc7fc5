"""Environment variables that could change results or redirect programs, and their treatment.

The libraries read hundreds of variables. `TABLE` has those that matter here, as patterns: the first
entry that matches a name decides. A variable that no entry matches is left alone.

Every command cleans its own environment before its libraries read it (`workflow.command`), and its
child processes inherit the clean one. `make` and the installation ask this table too; therefore
this file needs only Python's standard library. Run as a script, it prints the variables to unset.
"""

import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

KEPT = "kept"  # a setting of the user that changes no result
CLEARED = "cleared"
PINNED = "pinned"  # always has the value in the table
FINGERPRINT = "fingerprint"  # kept; part of the fingerprint of a result
CHECKOUT = "checkout"  # set for the processes of one checkout: cleared for another one


class Entry(NamedTuple):
    """Variables with the same effect."""

    names: str  # patterns as of fnmatch, separated by spaces
    treatment: str
    effect: str
    value: str = ""  # if pinned
    # Read before the first line of a program, by Python, the C library or numpy: a process that
    # has started with such a variable must start again without it.
    early: bool = False


TABLE = (
    # Git, as in hooks. The first three lines are those of `git rev-parse --local-env-vars`.
    Entry(
        "GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_CONFIG GIT_CONFIG_PARAMETERS GIT_CONFIG_COUNT"
        " GIT_OBJECT_DIRECTORY GIT_DIR GIT_WORK_TREE GIT_IMPLICIT_WORK_TREE GIT_GRAFT_FILE"
        " GIT_INDEX_FILE GIT_NO_REPLACE_OBJECTS GIT_REPLACE_REF_BASE GIT_PREFIX"
        " GIT_INTERNAL_SUPER_PREFIX GIT_SHALLOW_FILE GIT_COMMON_DIR GIT_QUARANTINE_PATH"
        " GIT_NAMESPACE GIT_ATTR_SOURCE",
        CLEARED,
        "redirects git to another repository, index or configuration",
    ),
    Entry(
        "GIT_LITERAL_PATHSPECS GIT_GLOB_PATHSPECS GIT_NOGLOB_PATHSPECS GIT_ICASE_PATHSPECS",
        CLEARED,
        "changes the files that git compares, so that a changed checkout looks clean",
    ),
    Entry(
        "GIT_TEMPLATE_DIR GIT_DEFAULT_HASH",
        CLEARED,
        "gives new repositories hooks or another hash",
    ),
    Entry("CDPATH", CLEARED, "leads `cd` in a recipe of make to another folder"),
    # DVC sets these for its stages.
    Entry("DVC_ROOT DVC_STAGE DVC_EXP_*", CHECKOUT, "names the running stage and its project"),
    Entry("MAKEFLAGS", CHECKOUT, "passes the options of make to a make in another checkout"),
    # pip and uv.
    Entry(
        "PIP_*INDEX* PIP_FIND_LINKS PIP_*CERT PIP_TRUSTED_HOST PIP_PROXY PIP_*TIMEOUT PIP_RETRIES"
        " PIP_CACHE_DIR PIP_CONFIG_FILE PIP_KEYRING_PROVIDER"
        " UV_*INDEX* UV_FIND_LINKS UV_*CERT UV_*INSECURE_HOST UV_PROXY UV_*TIMEOUT UV_*RETRIES"
        " UV_CACHE_DIR UV_CONFIG_FILE UV_KEYRING_PROVIDER UV_NATIVE_TLS UV_OFFLINE",
        KEPT,
        "tells how to reach a package index",
    ),
    Entry("PIP_USER", PINNED, "installs into the home folder", "0"),
    Entry("PIP_DISABLE_PIP_VERSION_CHECK PIP_NO_INPUT", PINNED, "prints or asks", "1"),
    Entry("PIP_* UV_*", CLEARED, "installs other packages, elsewhere or with other checks"),
    Entry("VIRTUAL_ENV CONDA_PREFIX", CLEARED, "redirects uv to another environment"),
    # Keras. It neither reads nor writes keras.json in a home that is not a folder.
    Entry("KERAS_BACKEND", PINNED, "computes with another library", "tensorflow"),
    Entry("KERAS_HOME", PINNED, "has a keras.json with another precision or layout", os.devnull),
    Entry("KERAS_*", CLEARED, "limits epochs and steps, or distributes the training"),
    Entry("KERASTUNER_*", CLEARED, "distributes a search to other machines"),
    # TensorFlow. XLA compiles only the functions that ask for it: compiling the whole training
    # step would make it several times slower.
    Entry("TF_CPP_*", KEPT, "sets the level of messages"),
    Entry("TF_NUM_INTEROP_THREADS", KEPT, "limits the operations that run at once"),
    Entry("TF_FORCE_GPU_ALLOW_GROWTH TF_GPU_ALLOCATOR", KEPT, "manages the memory of a GPU"),
    Entry("TF_ENABLE_ONEDNN_OPTS", PINNED, "computes without oneDNN", "1"),
    Entry("TF2_BEHAVIOR", PINNED, "behaves like TensorFlow 1", "1"),
    Entry(
        "TF_* TENSORFLOW_* AUTOGRAPH_* PJRT_* MLIR_*",
        CLEARED,
        "uses legacy Keras, other kernels, precision, threads or compilers (TF_XLA_FLAGS)",
    ),
    Entry("XLA_*", CLEARED, "changes what XLA compiles; an unknown flag ends the process"),
    # oneDNN reads each of its variables with either prefix.
    Entry("ONEDNN_MAX_CPU_ISA", FINGERPRINT, "limits the instruction sets that oneDNN uses"),
    Entry(
        "ONEDNN_* DNNL_* MKLDNN_*",
        CLEARED,
        "lets oneDNN compute in bfloat16, or with other instructions",
    ),
    Entry("CUDA_VISIBLE_DEVICES", KEPT, "hides a GPU, whose kind is part of the fingerprint"),
    Entry(
        "CUBLAS_* CUBLASLT_* CUDNN_* NVIDIA_TF32_OVERRIDE",
        CLEARED,
        "changes the precision or the algorithms of a GPU",
    ),
    # numpy, its BLAS and the C library's mathematical functions.
    Entry(
        "OMP_NUM_THREADS OPENBLAS_NUM_THREADS GOTO_NUM_THREADS MKL_NUM_THREADS",
        KEPT,
        "limits the threads of BLAS",
    ),
    Entry("KMP_DUPLICATE_LIB_OK KMP_INIT_AT_FORK", KEPT, "is set by scikit-learn"),
    Entry(
        "OPENBLAS_* GOTO_* MKL_* KMP_* OMP_* NPY_*",
        CLEARED,
        "makes numpy compute with other instructions, or in another order",
        early=True,
    ),
    Entry("GLIBC_TUNABLES", CLEARED, "makes exp and sin use other instructions", early=True),
    # A process started from a notebook inherits the name of the notebook's backend, and importing
    # matplotlib fails where that backend is not installed.
    Entry("MPLBACKEND", PINNED, "draws with another library", "agg"),
    Entry("MATPLOTLIBRC", CLEARED, "sets another style for figures", early=True),
    Entry("FREETYPE_PROPERTIES", CLEARED, "draws the letters in figures differently", early=True),
    Entry("HDF5_USE_FILE_LOCKING HDF5_DEBUG", KEPT, "changes no result"),
    Entry("HDF5_*", CLEARED, "stores weights through a driver that h5py may lack"),
    # MLflow's client.
    Entry("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", PINNED, "runs code in a model", "false"),
    Entry(
        "MLFLOW_TRACKING_DIR MLFLOW_REGISTRY_DIR",
        CLEARED,
        "stores runs or models in another folder",
    ),
    Entry(
        "MLFLOW_TRACKING_* MLFLOW_REGISTRY_URI MLFLOW_WORKSPACE MLFLOW_HTTP_*"
        " MLFLOW_ALLOW_HTTP_REDIRECTS MLFLOW_S3_* MLFLOW_BOTO_* MLFLOW_GCS_* MLFLOW_KERBEROS_*"
        " MLFLOW_MYSQL_* MLFLOW_UC_* MLFLOW_SQLALCHEMYSTORE_* MLFLOW_*MULTIPART* MLFLOW_*TIMEOUT"
        " MLFLOW_ALLOW_FILE_STORE",
        KEPT,
        "tells how to reach a server or an artifact store",
    ),
    Entry("MLFLOW_SERVER_* MLFLOW_FLASK_* MLFLOW_AUTH_*", KEPT, "configures an MLflow server"),
    Entry("MLFLOW_DISABLE_TELEMETRY MLFLOW_LOGGING_LEVEL", KEPT, "sets the level of messages"),
    Entry(
        "MLFLOW_*ASYNC*",
        CLEARED,
        "logs in the background, and loses what a server cannot take at once",
    ),
    Entry(
        "MLFLOW_RUN_* MLFLOW_EXPERIMENT_* MLFLOW_ACTIVE_MODEL_ID _MLFLOW_*",
        CLEARED,
        "logs to another run, experiment or model",
    ),
    Entry(
        "MLFLOW_*",
        CLEARED,
        "changes what is logged with a run or a model, or which store a server shows",
    ),
    # Python.
    Entry(
        "PYTHONPATH PYTHONHASHSEED PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX PYTHONUNBUFFERED"
        " PYTHONIOENCODING PYTHONFAULTHANDLER",
        KEPT,
        "changes no result",
    ),
    Entry(
        "PYTHON?*",
        CLEARED,
        "uses another library or encoding, turns warnings into errors, or waits for input",
        early=True,
    ),
)


def find(name: str) -> Entry | None:
    """Return the entry of a variable; None if it is left alone."""
    for entry in TABLE:
        for pattern in entry.names.split():
            # Compiling every pattern would take longer than all the rest of this module.
            if name == pattern or ("*" in pattern and fnmatchcase(name, pattern)):
                return entry
    return None


def pinned() -> dict[str, str]:
    """Return name → value of the pinned variables."""
    names = ((name, entry) for entry in TABLE for name in entry.names.split())
    return {name: entry.value for name, entry in names if entry.treatment == PINNED}


def cleaned(environment: Mapping[str, str], *, other_checkout: bool = False) -> dict[str, str]:
    """Return an environment with the pinned variables and without those to clear.

    Args:
        environment: name → value.
        other_checkout: whether it is for processes of another checkout than this one.
    """
    removed = {CLEARED, CHECKOUT} if other_checkout else {CLEARED}
    kept = {
        name: value
        for name, value in environment.items()
        if not ((entry := find(name)) and entry.treatment in removed)
    }
    return kept | pinned()


def clean() -> None:
    """Clean the environment of this process, for the libraries that it has not imported yet."""
    wanted = cleaned(os.environ)
    for name in [*os.environ]:
        if name not in wanted:
            del os.environ[name]
    os.environ.update(wanted)


def read_early(environment: Mapping[str, str]) -> list[str]:
    """Return the variables to clear that a running process has read already."""
    found = ((name, find(name)) for name in environment)
    return sorted(name for name, entry in found if entry and entry.early)


def fingerprint(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are part of a result's fingerprint and are set."""
    found = ((name, find(name)) for name in sorted(environment))
    return {
        name: environment[name] for name, entry in found if entry and entry.treatment == FINGERPRINT
    }


def _to_unset() -> Iterator[str]:
    wanted = cleaned(os.environ, other_checkout=True)
    for name, value in os.environ.items():
        if wanted.get(name) != value:
            yield name


if __name__ == "__main__":
    print(*_to_unset())
