import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import t as student

from probes.metrics import ClassOutcome, GazeOutcome, resolve
from probes.statistics.clusters import group_rows
from probes.statistics.differences import tost
from probes.statistics.jackknife import influences
from probes.statistics.student import (
    Spread,
    rare_changes,
    score_interval,
    spread,
    t_interval,
    t_p,
)

CLASSES = ("a", "b")
INFLUENCES = arrays(np.float64, st.integers(2, 12), elements=st.floats(-9, 9, width=16))
SPREADS = st.builds(Spread, st.floats(0.01, 9), st.floats(1, 400))


def sides(broken, fixed, n):
    """Two sides of n rows of which the first break and the next are fixed; half are right."""
    before = np.arange(n) % 2 == 0
    before[:broken], before[broken : broken + fixed] = True, False
    after = before.copy()
    after[: broken + fixed] ^= True
    labels = np.zeros(n, dtype=np.int64)
    return tuple(
        ClassOutcome(labels, np.stack([r, 0.5 + 0 * r], axis=1).astype(np.float32) + shift)
        for r, shift in ((before, 0), (after, np.float32(1e-3)))
    )


def delta_influence(broken, fixed, n):
    change = np.zeros(n)
    change[:broken], change[broken : broken + fixed] = -100, 100
    return (change - change.mean()) / n, change.mean()


def test_the_error_of_a_mean_is_the_usual_one():
    value = np.random.default_rng(0).normal(size=50)
    found = spread(influences((value.sum() - value) / 49))
    assert found.se == pytest.approx(value.std(ddof=1) / 50**0.5)
    kurtosis = ((value - value.mean()) ** 4).mean() / value.var() ** 2
    k = min(49, 2 / (kurtosis / 50 - 1 / 50))
    assert found.dof == pytest.approx((k * 49) ** 0.5)


def test_few_clusters_that_carry_all_have_few_degrees_of_freedom():
    one = np.zeros(100)
    one[0] = 1.0
    assert spread(one).dof == pytest.approx((2 / 0.99 * 99) ** 0.5)
    assert spread(np.tile([-1.0, 1.0], 50)).dof == 99
    assert spread(np.array([-1.0, 1.0])).dof == 1


@pytest.mark.parametrize(("broken", "fixed"), [(9, 3), (3, 0), (1, 0), (40, 40)])
def test_rare_changes_add_pseudo_clusters(broken, fixed):
    n, x = 200, broken + fixed
    influence, value = delta_influence(broken, fixed, n)
    rare = rare_changes(
        resolve("accuracy", CLASSES), sides(broken, fixed, n), group_rows(np.arange(n)), value
    )
    assert rare.changed == x
    # In units of one changed row, x changes and 8 / (4 + x) more.
    exact = (x + 8 / (4 + x) - (broken - fixed) ** 2 / n) / n**2 * 1e4 * n / (n - 1)
    assert spread(influence, rare).se ** 2 == pytest.approx(exact, rel=0.02)
    assert spread(influence, rare).se > spread(influence).se


def test_no_change_is_no_certainty_but_the_same_scores_are():
    metric, clusters = resolve("accuracy", CLASSES), group_rows(np.arange(100))
    one, two = sides(0, 0, 100)
    found = spread(np.zeros(100), rare_changes(metric, (one, two), clusters, 0.0))
    low, high = t_interval(0.0, found, 0.90)
    assert 2 < high < 4  # the rule of three says 3 of 100
    assert low == -high
    assert t_p(0.0, found) == 1.0
    assert rare_changes(metric, (one, one), clusters, 0.0) is None
    nothing = spread(np.zeros(100))
    assert t_interval(0.0, nothing, 0.95) == (0.0, 0.0)
    assert t_p(0.0, nothing) == 1.0
    assert t_p(-1.0, nothing) == 0.0


def test_recall_is_uncertain_by_the_clusters_of_its_class():
    labels = np.array([0] * 10 + [1] * 90)
    scores = np.eye(2, dtype=np.float32)[labels]
    pair = (ClassOutcome(labels, scores), ClassOutcome(labels, scores * np.float32(0.9)))
    widths = [
        spread(np.zeros(100), rare_changes(resolve(name, CLASSES), pair, group_rows(np.arange(100)),
                                           0.0)).se
        for name in ("accuracy", "recall:a")
    ]  # fmt: skip
    assert widths[1] == pytest.approx(10 * widths[0])


def test_errors_have_no_pseudo_clusters():
    gaze = tuple(GazeOutcome({"average_l2_error": np.full(4, x)}) for x in (0.1, 0.2))
    metric = resolve("average_l2_error", ())
    assert rare_changes(metric, gaze, group_rows(np.arange(4)), -10.0) is None


@given(INFLUENCES, st.floats(-50, 50))
def test_swapped_sides_mirror_exactly(influence, value):
    one, two = spread(influence), spread(-influence)
    low, high = t_interval(value, one, 0.95)
    assert t_interval(-value, two, 0.95) == (-high, -low)
    assert t_p(value, one) == t_p(-value, two)
    assert low <= value <= high


@given(SPREADS, st.floats(-30, 30))
def test_p_and_both_intervals_are_one_inversion(found, value):
    p = float(t_p(value, found))
    for level in (0.95, 0.90):
        low, high = t_interval(value, found, level)
        if abs(p - (1 - level)) > 1e-9:
            assert (p < 1 - level) == (low > 0 or high < 0)
    low, high = t_interval(value, found, 0.90)
    equivalent = tost(value, float(found.se), float(found.dof), 2.0)
    if abs(equivalent - 0.05) > 1e-9:
        assert (equivalent < 0.05) == (low > -2 and high < 2)


def test_tost_is_the_larger_of_two_one_sided_tests():
    for value in (-3.0, -1.0, 0.0, 1.5):
        sides = student.sf((value + 2) / 0.7, 11), student.cdf((value - 2) / 0.7, 11)
        assert tost(value, 0.7, 11.0, 2.0) == pytest.approx(max(sides))
    assert tost(0.0, 0.0, 5.0, 2.0) == 0.0
    assert tost(-3.0, 0.0, 5.0, 2.0) == 1.0


@given(arrays(np.float64, st.integers(2, 12), elements=st.sampled_from([0.0, 0.5, 1.0])))
def test_scores_stay_between_their_ends(rows):
    without = (rows.sum() - rows) / (len(rows) - 1)
    low, high = score_interval(rows.mean(), without, 0.95, bounded=True)
    assert 0 <= low <= rows.mean() <= high <= 1


def test_score_intervals_of_proportions_are_wilsons():
    rows = np.repeat([1.0, 0.0], [30, 20])
    low, high = score_interval(0.6, (30 - rows) / 49, 0.95, bounded=True)
    n = 49  # x (1 - x) / se^2
    t = student.ppf(0.975, 49)
    middle = (0.6 + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * (0.24 / n + t**2 / (4 * n**2)) ** 0.5
    assert (low, high) == pytest.approx((middle - half, middle + half))
    assert score_interval(1.0, np.ones(30), 0.95, bounded=True)[0] == pytest.approx(0.87, abs=0.01)
    assert score_interval(0.25, np.full(9, 0.25), 0.95, bounded=True) == (0.25, 0.25)


def test_error_intervals_reach_further_up_than_down():
    rows = np.random.default_rng(0).lognormal(-2, 1, 40)
    value, without = rows.mean(), (rows.sum() - rows) / 39
    low, high = score_interval(value, without, 0.95, bounded=False)
    assert 0 < value - low < high - value
    far = student.ppf(0.975, 39) * rows.std(ddof=1) / 40**0.5 / value
    assert low <= value / (1 + far)  # fewer degrees of freedom than 39 only widen it
    assert score_interval(0.0, np.zeros(5), 0.95, bounded=False) == (0.0, 0.0)
