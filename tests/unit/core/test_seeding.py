import itertools

import numpy as np
import pytest

from sidebyside.core.seeding import derive_seed, generator

PINNED = [525351740, 967651545, 1647542875]


def test_derived_seeds_never_change() -> None:
    # Every split, search and training depends on these numbers.
    assert [derive_seed(1, "order"), derive_seed(1, "weights"), derive_seed(2, "order")] == PINNED


def test_derived_seeds_are_positive_32_bit_integers() -> None:
    seeds = [derive_seed(seed, "x", index) for seed in (1, 2**31 - 1) for index in range(2000)]
    assert min(seeds) >= 1
    assert max(seeds) < 2**31
    assert max(seeds) > 0.99 * 2**31


def test_seeds_of_different_purposes_differ() -> None:
    purposes: list[tuple[int, tuple[str | int, ...]]] = [
        (1, ()),
        (1, ("order",)),
        (2, ("order",)),
        (1, ("dropout",)),
        (1, ("dropout", 1)),
        (1, ("dropout", 2)),
        (1, ("dropout", 1, 2)),
        (1, ("dropout", 12)),
        (11, ("dropout", 2)),
    ]
    seeds = [derive_seed(seed, *purpose) for seed, purpose in purposes]
    assert len(set(seeds)) == len(seeds)


def test_a_generator_depends_only_on_its_purpose() -> None:
    alone = generator(1, "augment", 7).random(5)
    generator(1, "augment", 6).random(100)
    np.random.default_rng(0).random(3)
    assert np.array_equal(generator(1, "augment", 7).random(5), alone)


@pytest.mark.parametrize(
    ("seed", "purpose"),
    [(1, ("augment", 6)), (2, ("augment", 7)), (1, ("split", 7)), (1, ("augment",))],
)
def test_generators_of_different_purposes_differ(seed: int, purpose: tuple[str | int, ...]) -> None:
    drawn = generator(1, "augment", 7).random(5)
    assert not np.array_equal(generator(seed, *purpose).random(5), drawn)


def test_generators_of_neighbouring_purposes_are_uncorrelated() -> None:
    first = np.array([generator(1, "x", index).random() for index in range(2000)])
    assert abs(first.mean() - 0.5) < 0.03
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.08
    assert len(set(first)) == len(first)
    assert all(0 <= value < 1 for value in itertools.chain(first))


def test_the_numbers_of_a_generator_never_change() -> None:
    random = generator(1, "split", 0)
    assert isinstance(random.bit_generator, np.random.Philox)
    assert random.integers(0, 1000, 4).tolist() == [228, 611, 66, 868]
