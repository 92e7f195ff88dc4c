"""Random effects over slices: direct formulas, known limits, and the bias of the worst slice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import chi2

from probes.slices.shrinkage import (
    cochran_q,
    floored,
    heterogeneity,
    shrink,
)

slices = st.integers(2, 8).flatmap(
    lambda k: st.tuples(
        st.lists(st.floats(-40, 40), min_size=k, max_size=k),
        st.lists(st.floats(0.05, 25), min_size=k, max_size=k),
    )
)


def direct_q(values, variances, square=0.0):
    weights = [1 / (v + square) for v in variances]
    mean = sum(w * x for w, x in zip(weights, values, strict=True)) / sum(weights)
    return sum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True))


@given(slices)
@settings(max_examples=20, deadline=None)
def test_tau_squared_is_the_root_that_a_solver_finds(drawn):
    values, variances = map(np.array, drawn)
    k = len(values)
    assert cochran_q(values, variances) == pytest.approx(direct_q(values, variances), abs=1e-9)
    (found,) = heterogeneity(values, variances, np.array([k - 1.0]))
    excess = direct_q(values, variances) - (k - 1)
    if excess <= 0:
        assert found == 0
    else:
        root = brentq(lambda s: direct_q(values, variances, s) - (k - 1), 0, 1e5, xtol=1e-12)
        assert found == pytest.approx(root, rel=1e-6, abs=1e-8)


def test_the_root_of_equal_variances_is_the_spread_beyond_them():
    values = np.array([1.0, 4.0, -2.0, 9.0])
    found = heterogeneity(values, np.full(4, 2.5), np.array([3.0]))
    assert found[0] == pytest.approx(values.var(ddof=1) - 2.5)


def test_q_of_slices_that_do_not_differ_is_chi_squared():
    rng = np.random.default_rng(0)
    variances = np.array([0.5, 1.0, 2.0, 4.0])
    found = cochran_q(rng.normal(3, np.sqrt(variances), (4000, 4)), variances)
    for level in (0.5, 0.9, 0.95):
        assert (found <= chi2.ppf(level, 3)).mean() == pytest.approx(level, abs=0.02)


def test_a_slice_without_any_change_weighs_much_but_not_everything():
    found = floored(np.array([0.0, 1.0, 2.0]))
    assert found.tolist() == [4e-6, 1.0, 4.0]
    assert not floored(np.zeros(2)).any()
    one = shrink(np.array([0.0, -30.0, -1.0]), found, draws=200, rng=np.random.default_rng(0))
    assert one.estimates[0] == pytest.approx(0, abs=0.01)
    assert one.worst == 1


@given(slices, st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_estimates_lie_between_the_delta_and_the_mean(drawn, seed):
    values, variances = map(np.array, drawn)
    found = shrink(values, variances, draws=200, rng=np.random.default_rng(seed))
    share = variances / (variances + found.spread**2)
    assert found.estimates == pytest.approx(share * found.mean + (1 - share) * values, abs=1e-9)
    weights = 1 / (variances + found.spread**2)
    assert found.mean == pytest.approx((weights * values).sum() / weights.sum())
    assert found.p_worst.sum() == pytest.approx(1)
    assert found.estimates[found.worst] <= found.estimates.min() + 1e-12
    assert (found.low <= found.high).all()
    assert found.lowest_low <= found.lowest <= found.lowest_high
    moved = shrink(2 * values - 7, 4 * variances, draws=200, rng=np.random.default_rng(seed))
    assert moved.estimates == pytest.approx(2 * found.estimates - 7, abs=1e-5)
    assert found.estimates[moved.worst] == pytest.approx(found.estimates.min(), abs=1e-5)


def test_equal_slices_share_one_delta_and_differing_ones_keep_theirs():
    rng = np.random.default_rng(0)
    equal = shrink(np.array([-3.0, -3.1, -2.9]), np.full(3, 4.0), draws=4000, rng=rng)
    assert equal.spread == 0
    assert equal.estimates == pytest.approx([-3.0] * 3)
    assert equal.worst == 1
    assert equal.p_worst == pytest.approx([1 / 3] * 3, abs=0.05)
    far = shrink(np.array([-60.0, 0.0, 40.0]), np.full(3, 1.0), draws=4000, rng=rng)
    assert far.estimates == pytest.approx([-60, 0, 40], abs=0.1)
    assert far.p_worst == pytest.approx([1, 0, 0])
    assert far.lowest == pytest.approx(-60, abs=0.3)
    assert far.high[0] - far.low[0] == pytest.approx(2 * 1.96, rel=0.06)


def test_deltas_without_error_are_left_alone():
    rng = np.random.default_rng(0)
    none = shrink(np.zeros(3), np.zeros(3), draws=10, rng=rng)
    assert none.estimates.tolist() == none.low.tolist() == none.high.tolist() == [0, 0, 0]
    assert (none.mean, none.spread, none.lowest) == (0, 0, 0)
    assert none.p_worst == pytest.approx([1 / 3] * 3)


def worlds(k, spread, count, draws, seed=0):
    """By world: error of the lowest raw delta, of the named shrunken one, and what was covered."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        variances = rng.uniform(0.5, 2, k)
        truth = rng.normal(-1, spread, k)
        values = rng.normal(truth, np.sqrt(variances))
        one = shrink(values, variances, draws=draws, rng=rng)
        raw, inside = int(values.argmin()), (one.low <= truth) & (truth <= one.high)
        found.append(
            (
                values[raw] - truth[raw],
                one.estimates[one.worst] - truth[one.worst],
                inside.mean(),
                inside[one.worst],
                one.lowest_low <= truth.min() <= one.lowest_high,
            )
        )
    return np.array(found, dtype=np.float64)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_the_shrunken_worst_slice_is_less_biased_than_the_raw_one(spread):
    raw, shrunken, *_ = worlds(8, spread, 70, 20).mean(axis=0)
    assert raw < -0.8  # the lowest of eight is lowest by luck too
    assert abs(shrunken) < 0.4 * abs(raw)


@pytest.mark.slow
@pytest.mark.parametrize("k", [3, 10])
@pytest.mark.parametrize("spread", [0.0, 1.0, 2.0])
def test_intervals_hold_what_they_say(k, spread):
    found = worlds(k, spread, 700, 300, seed=k)
    every, named, lowest = found[:, 2:].mean(axis=0)
    assert 0.91 <= every <= 0.995
    assert 0.91 <= named <= 0.99
    assert 0.88 <= lowest <= 0.98
