"""Every random number comes from a seed in `params.yaml` and the name of what it is for."""

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed in 1 … 2³¹-1 for one purpose, independent of the seeds of all others.

    The seed is a hash of its names, so adding a purpose changes no other one. It is never 0,
    which keras-tuner takes for "choose one at random".
    """
    name = "/".join(str(part) for part in (seed, *purpose))
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return number % (2**31 - 1) + 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a counter-based generator (Philox) for one purpose.

    Philox's stream is fixed by its key alone, so the generator of image 7 gives the same numbers
    whether image 6 was drawn before it or not.
    """
    return np.random.Generator(np.random.Philox(key=derive_seed(seed, *purpose)))
