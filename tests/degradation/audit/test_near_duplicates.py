"""Every near pair, once, whatever the hashes: against comparing all with all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degradation.audit import near_duplicates
from degradation.audit.near_duplicates import near_pairs


def all_pairs(hashes: np.ndarray, radius: int) -> set[tuple[int, int]]:
    values = hashes.tolist()
    return {
        (i, j)
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if (values[i] ^ values[j]).bit_count() <= radius
    }


def found_pairs(hashes: np.ndarray, radius: int) -> set[tuple[int, int]]:
    blocks = [
        (min(i, j), max(i, j))
        for first, second in near_pairs(hashes, radius)
        for i, j in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert len(blocks) == len(set(blocks)), "a pair was found twice"
    return set(blocks)


def flipped(rng: np.random.Generator, hashes: np.ndarray, bits: int) -> np.ndarray:
    for _ in range(bits):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, len(hashes), dtype=np.uint64))
    return hashes


def random_hashes(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(0, 2**64, n, dtype=np.uint64)


def clumps(rng: np.random.Generator) -> np.ndarray:
    centres = random_hashes(rng, 40)
    near = [flipped(rng, np.repeat(centres, 12), bits) for bits in (1, 2, 3, 5)]
    return np.concatenate([centres, *near])


def cube(rng: np.random.Generator) -> np.ndarray:
    """All hashes that differ in nine bits only: most parts are the same for all."""
    values = np.arange(2**9, dtype=np.uint64)
    places = rng.permutation(64)[:9].astype(np.uint64)
    return sum((values >> np.uint64(k) & np.uint64(1)) << places[k] for k in range(9))


SETS = {
    "none": lambda rng: random_hashes(rng, 0),
    "one": lambda rng: random_hashes(rng, 1),
    "random": lambda rng: random_hashes(rng, 800),
    "clumps": clumps,
    "few bits": lambda rng: rng.integers(0, 2**14, 900, dtype=np.uint64),
    "high bits": lambda rng: rng.integers(0, 2**14, 900, dtype=np.uint64) << np.uint64(50),
    "cube": cube,
}


@pytest.mark.parametrize("small", [4, 64, 10**6], ids="bucket<={}".format)
@pytest.mark.parametrize("radius", [0, 1, 4])
@pytest.mark.parametrize("name", SETS)
def test_finds_what_comparing_all_with_all_finds(name, radius, small, monkeypatch):
    # Small limits make every bucket long and every set large, so that all branches are taken.
    monkeypatch.setattr(near_duplicates, "_SMALL", small)
    monkeypatch.setattr(near_duplicates, "_SHORT", max(2, small // 8))
    rng = np.random.default_rng([radius, small])
    hashes = np.unique(SETS[name](rng))
    rng.shuffle(hashes)
    assert found_pairs(hashes, radius) == all_pairs(hashes, radius)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 63), unique=True, max_size=60),
    radius=st.integers(0, 63),
)
def test_any_hashes_and_any_radius(values, radius):
    hashes = np.array(values, dtype=np.uint64)
    assert found_pairs(hashes, radius) == all_pairs(hashes, radius)


def test_a_large_set_is_split_and_still_complete():
    rng = np.random.default_rng(3)
    centres = random_hashes(rng, 6000)
    hashes = np.unique(np.concatenate([centres, flipped(rng, centres[:900], 4)]))
    pairs = {
        (i, i + 1 + int(j))
        for i, one in enumerate(hashes)
        for j in np.flatnonzero(np.bitwise_count(one ^ hashes[i + 1 :]) <= 4)
    }
    assert found_pairs(hashes, 4) == pairs


def test_equal_hashes_are_refused():
    with pytest.raises(ValueError, match="distinct"):
        next(near_pairs(np.zeros(2, dtype=np.uint64), 4))
