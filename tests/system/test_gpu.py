"""A training on a GPU gives the same bits in every process."""

import pytest

from sidebyside.core.fingerprint import machine_facts
from tests.system.test_cores import digests

if "gpu" not in machine_facts():
    pytest.skip(
        "no GPU: this needs an NVIDIA device with its driver, and `make gpu`",
        allow_module_level=True,
    )


def test_tensorflow_uses_the_gpu() -> None:
    from sidebyside.models.tensorflow_setup import configure

    configure(1)
    import tensorflow as tf

    assert tf.config.list_logical_devices("GPU")


@pytest.mark.timeout(1200)
def test_the_bits_of_a_training_do_not_depend_on_the_process() -> None:
    first = digests(1, 1)
    assert len(set(first)) == 6  # each number of parts gives other bits
    assert digests(2, 4) == first
