from importlib import metadata
from pathlib import Path

import pytest

from sidebyside.core import fingerprint
from sidebyside.core.fingerprint import machine_facts


def test_the_fingerprint_follows_threads_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    first = machine_facts(threads=2)
    assert first == machine_facts(threads=2)
    assert first["threads"] == "2"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    fingerprints = {
        first["fingerprint"],
        machine_facts(threads=2)["fingerprint"],
        machine_facts(threads=4)["fingerprint"],
    }
    assert len(fingerprints) == 3


def test_the_fingerprint_follows_processor_and_library_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def of(facts: dict[str, str], version: str) -> str:
        monkeypatch.setattr(fingerprint, "_processor_facts", lambda: facts)
        monkeypatch.setattr(metadata, "version", lambda name: version)
        return machine_facts()["fingerprint"]

    first = of({"flags": "fma avx2"}, "1.0")
    assert first == of({"flags": "avx2 fma"}, "1.0")  # in another order
    others = [
        of({"flags": "fma"}, "1.0"),
        of({"Features": "neon"}, "1.0"),  # of ARM processors
        of({"flags": "fma avx2"}, "1.1"),
    ]
    assert len({first, *others}) == 4


def test_the_fingerprint_names_the_kind_of_gpu_that_can_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(fingerprint, "GPUS", tmp_path / "gpus")
    without = machine_facts()
    for number, model in enumerate(["NVIDIA A", "NVIDIA A", "NVIDIA B"]):
        (tmp_path / f"gpus/{number}").mkdir(parents=True)
        information = f"Model: \t\t {model}\nIRQ:   \t\t 1\n\nother: 1\n"
        (tmp_path / f"gpus/{number}/information").write_text(information)
    assert machine_facts() == without  # no CUDA is installed
    package = tmp_path / "nvidia_cudnn_cu12-9.1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Name: nvidia-cudnn-cu12\nVersion: 9.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    facts = machine_facts()
    assert facts["gpu"] == "NVIDIA A + NVIDIA B cuDNN 9.1"
    assert facts["fingerprint"] != without["fingerprint"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # Ray chooses one for each job
    assert machine_facts() == facts
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine_facts() == without
