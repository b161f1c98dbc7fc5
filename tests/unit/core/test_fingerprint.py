from importlib import metadata

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
