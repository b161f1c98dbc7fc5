"""Where a result comes from: the commit, what was changed since, and the machine."""

import hashlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from sidebyside.models.tensorflow_setup import SWITCHES

LIBRARIES = ("tensorflow", "keras", "numpy")  # their versions decide a trained model's bits
# What stages write themselves: a pipeline that has got halfway has not changed its own source.
RESULTS = (
    *("dvc.lock", "reports"),
    *(f"replications/{name}" for name in ("dvc.lock", "results", "durations", "figures")),
    *(f"replications/{name}" for name in ("report.md", "report.html", "summary.json")),
)


class Source(NamedTuple):
    """A state of the code."""

    commit: str  # 40 hexadecimal digits; "unknown" outside a git repository
    dirty: bool  # tracked files other than results differ from the commit


def source(root: Path) -> Source:
    """Return the commit of the checkout at `root` and whether its tracked files differ from it."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return Source("unknown", dirty=False)
    results = [f":(exclude,top){name}" for name in RESULTS]
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ":/", *results)
    return Source(commit, dirty=bool(changes))


def locks(root: Path) -> dict[str, str]:
    """Return file → SHA-256 of the two that pin the data and the libraries; none if missing."""
    files = (root / name for name in ("dvc.lock", "requirements.lock"))
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()
    }


def machine(threads: int | None = None) -> dict[str, str]:
    """Return what fixes the bits of a training: processor features, library versions, threads.

    Args:
        threads: the number of intra-op threads configured, if the work depends on it.

    Returns:
        Name → value, with `fingerprint`, a hash of all the others: the same fingerprint promises
        the same bytes, another one a tolerance.
    """
    facts = {name: metadata.version(name) for name in LIBRARIES}
    facts["python"] = platform.python_version()
    facts["processor"] = f"{platform.machine()} {_digest(_processor_features())}"
    facts["onednn"] = SWITCHES["TF_ENABLE_ONEDNN_OPTS"]
    # A user may keep oneDNN from using newer instructions than these.
    facts["instructions"] = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL")
    if threads is not None:
        facts["threads"] = str(threads)
    return {"fingerprint": _digest(json.dumps(facts, sort_keys=True)), **facts}


def _processor_features() -> str:
    """Return the instruction sets of the first processor, in a fixed order.

    Linux names them; elsewhere the processor's name has to do.
    """
    facts = _processor_facts()
    features = facts.get("flags") or facts.get("Features")  # x86, ARM
    return " ".join(sorted(features.split())) if features else platform.processor()


def processor_name() -> str:
    """Return what people call the processor, or at least its architecture."""
    return _processor_facts().get("model name") or platform.machine()


def _processor_facts() -> dict[str, str]:
    """Return what Linux says of the first processor; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    lines = text.partition("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints; None without git or without a repository."""
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
