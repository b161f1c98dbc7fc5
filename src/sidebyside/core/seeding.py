"""Derive seeds and random generators from a seed in `params.yaml` and the name of a purpose."""

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed in 1 … 2³¹-1 for one purpose, independent of the seeds of other purposes.

    The seed is a hash of the purpose, so adding a purpose does not change the seeds of others. It
    is never 0, which keras-tuner replaces with a random seed.
    """
    name = "/".join(str(part) for part in (seed, *purpose))
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return number % (2**31 - 1) + 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a counter-based generator (Philox) for one purpose.

    The numbers depend only on the seed and the purpose: those for image 7 are the same whether or
    not numbers for image 6 were drawn before.
    """
    return np.random.Generator(np.random.Philox(key=derive_seed(seed, *purpose)))
