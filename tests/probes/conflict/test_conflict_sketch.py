"""Sketches: unbiased, as exact as stated, and not fooled by the layout of a weight matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probes.conflict.sketch import cells_for, draw_signs, fold, prime_from


def sketched(x, k, *, seed=0, run=None):
    """The sketch of a vector (n,), run by run."""
    signs, into = draw_signs(len(x), seed=seed, name="leaf"), torch.zeros(k)
    run = run or len(x)
    for start in range(0, len(x), run):
        fold(x[start : start + run].clone(), signs[start : start + run], into)
    return into


def test_a_sketch_is_the_signed_sum_by_cell():
    x, k = torch.randn(1000, generator=torch.Generator().manual_seed(1)), 31
    signs = draw_signs(1000, seed=3, name="leaf")
    by_hand = np.zeros(k)
    np.add.at(by_hand, np.arange(1000) % k, (x * signs).numpy())
    np.testing.assert_allclose(sketched(x, k, seed=3), by_hand, atol=1e-5)
    np.testing.assert_allclose(sketched(x, k, seed=3, run=62), by_hand, atol=1e-5)


def test_products_of_sketches_are_unbiased_with_the_stated_variance():
    rng = np.random.default_rng(0)
    n, k, seeds = 600, 31, 3000
    x, y = rng.normal(size=n), rng.normal(size=n)
    y += x
    found = []
    for seed in range(seeds):
        signs = draw_signs(n, seed=seed, name="leaf").numpy()
        cells = np.arange(n) % k
        a, b = (np.bincount(cells, signs * each, minlength=k) for each in (x, y))
        found.append(a @ b)
    variance = sum(
        np.triu((np.outer(xc, yc) + np.outer(yc, xc)) ** 2, 1).sum()
        for c in range(k)
        for xc, yc in [(x[c::k], y[c::k])]
    )
    assert np.mean(found) == pytest.approx(x @ y, abs=4 * np.sqrt(variance / seeds))
    assert np.var(found) == pytest.approx(variance, rel=0.15)
    about = ((x @ x) * (y @ y) + (x @ y) ** 2) / k
    assert variance == pytest.approx(about, rel=0.1)


@pytest.mark.parametrize("channel", ["row", "column"])
def test_a_channel_that_dominates_is_spread_over_the_cells(channel):
    """The reason for primes: with 512 cells one input channel of a 512-wide layer shares a cell."""
    weight = torch.full((512, 512), 1e-3)
    weight[(3, slice(None)) if channel == "row" else (slice(None), 3)] = 1.0
    noise = torch.randn(512, 512, generator=torch.Generator().manual_seed(0))
    x, y = (weight * noise).flatten(), (weight * noise.roll(7, 0).roll(5, 1)).flatten()
    errors = [
        float(sketched(x, 521, seed=seed) @ sketched(y, 521, seed=seed) - x @ y)
        / float(x.norm() * y.norm())
        for seed in range(30)
    ]
    assert np.sqrt(np.mean(np.square(errors))) < 1.5 / np.sqrt(521)


def test_signs_belong_to_a_seed_and_a_leaf():
    one = draw_signs(4099, seed=1, name="block 0 mlp")
    assert torch.equal(one, draw_signs(4099, seed=1, name="block 0 mlp"))
    assert set(one.tolist()) == {-1, 1}
    assert abs(one.float().mean()) < 0.06
    for other in (draw_signs(4099, seed=2, name="block 0 mlp"), draw_signs(4099, seed=1, name="x")):
        assert 0.4 < (one == other).float().mean() < 0.6


def test_cells_are_shared_out_by_size():
    assert cells_for([100, 500]) == (100, 500)
    assert cells_for([10**6, 10**6, 700], 65_536) == (32_771, 32_771, 700)
    assert cells_for([10**6] * 100, 1024) == (1031,) * 100


@given(st.integers(1, 70_000))
def test_prime_from_is_the_next_prime(low):
    found = prime_from(low)
    assert found >= low
    assert all(found % factor for factor in range(2, int(found**0.5) + 1))
    composite = range(max(low, 2), found)
    assert all(any(n % f == 0 for f in range(2, int(n**0.5) + 1)) for n in composite)
