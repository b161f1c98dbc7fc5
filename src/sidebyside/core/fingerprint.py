"""Describe what determines the bits of a training on this machine."""

import hashlib
import json
import os
import platform
from importlib import metadata
from pathlib import Path

from sidebyside.core import environment

GPUS = Path("/proc/driver/nvidia/gpus")  # of the driver: a folder per device
CUDNN = "nvidia-cudnn-cu12"  # without it, TensorFlow uses no GPU
LIBRARIES = ("tensorflow", "keras", "numpy")  # their versions affect a trained model's bits


def machine_facts(threads: int | None = None) -> dict[str, str]:
    """Return the properties that determine a training's bits: processor, libraries, threads.

    Args:
        threads: the number of intra-op threads configured, if the work depends on it.

    Returns:
        Name → value, with `fingerprint`, a hash of all the others. Machines with the same
        fingerprint give the same bytes, others give accuracies within a tolerance.
    """
    facts = {name: metadata.version(name) for name in LIBRARIES}
    facts["python"] = platform.python_version()
    facts["processor"] = f"{platform.machine()} {short_digest(_processor_features())}"
    facts["onednn"] = environment.pinned()["TF_ENABLE_ONEDNN_OPTS"]
    variables = environment.fingerprint(os.environ)
    facts["instructions"] = variables.pop("ONEDNN_MAX_CPU_ISA", "ALL")
    facts |= variables
    if kinds := _gpus():
        facts["gpu"] = f"{kinds} cuDNN {metadata.version(CUDNN)}"
    if threads is not None:
        facts["threads"] = str(threads)
    return {"fingerprint": short_digest(json.dumps(facts, sort_keys=True)), **facts}


def processor_name() -> str:
    """Return the model name of the processor, or its architecture if the name is unknown."""
    return _processor_facts().get("model name") or platform.machine()


def _processor_features() -> str:
    """Return the instruction sets of the first processor, in a fixed order.

    Only Linux lists them; on other systems the processor's name is returned.
    """
    facts = _processor_facts()
    features = facts.get("flags") or facts.get("Features")  # x86, ARM
    return " ".join(sorted(features.split())) if features else platform.processor()


def _gpus() -> str:
    """Return the models of the NVIDIA devices that TensorFlow can use; empty without one."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
        return ""
    if not [*metadata.distributions(name=CUDNN)]:
        return ""
    devices = (_entries(file) for file in GPUS.glob("*/information"))
    return " + ".join(sorted({facts.get("Model", "unknown") for facts in devices}))


def _processor_facts() -> dict[str, str]:
    """Return the entries of the first processor in /proc/cpuinfo; empty without that file."""
    return _entries(Path("/proc/cpuinfo"))


def _entries(file: Path) -> dict[str, str]:
    """Return name → value of the lines up to the first empty one; empty without the file."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return {}
    lines = text.partition("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}


def short_digest(text: str) -> str:
    """Return twelve hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
