from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control

from probes.statistics.differences import benjamini_hochberg, holm, mcnemar_exact

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize(("broken", "fixed"), [(0, 0), (1, 0), (5, 0), (3, 9), (9, 3), (40, 41)])
def test_mcnemar_is_the_binomial_sum(broken, fixed):
    n = broken + fixed
    tail = sum(comb(n, k) for k in range(min(broken, fixed) + 1)) / 2**n
    assert mcnemar_exact(broken, fixed) == pytest.approx(min(1, 2 * tail))
    if n:
        assert mcnemar_exact(broken, fixed) == pytest.approx(binomtest(broken, n).pvalue)


def test_holm_by_hand():
    # m = 4, sorted 0.005 0.01 0.03 0.04 -> x4 0.02, x3 0.03, x2 0.06, x1 0.04 -> max 0.06
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])


def test_benjamini_hochberg_by_hand():
    # sorted 0.005 0.01 0.03 0.04 -> x4/1 0.02, x4/2 0.02, x4/3 0.04, x4/4 0.04
    np.testing.assert_allclose(
        benjamini_hochberg([0.01, 0.04, 0.03, 0.005]), [0.02, 0.04, 0.04, 0.02]
    )


@given(P_VALUES)
def test_benjamini_hochberg_is_scipys(p):
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p))


@given(P_VALUES)
def test_holm_lies_between_the_raw_and_bonferronis(p):
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p)) + 1e-15).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_no_p_values_give_none():
    assert len(holm([])) == 0
    assert len(benjamini_hochberg([])) == 0
