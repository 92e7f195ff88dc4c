import numpy as np
import pytest
from scipy.stats import t as student

from degradation.errors import DataError
from probes.drift.cka import linear_cka
from probes.drift.jackknife import interval, intervals, jackknife_groups


def deal(clusters, seed=0, **options):
    return jackknife_groups(clusters, rng=np.random.default_rng(seed), **options)


def test_groups_keep_clusters_whole_and_are_of_one_size():
    clusters = np.arange(400) // 4
    groups = deal(clusters)
    assert set(groups) == set(range(20))
    assert all(len(set(groups[clusters == one])) == 1 for one in set(clusters))
    assert np.ptp(np.bincount(groups)) == 0
    assert not np.array_equal(groups, deal(clusters, seed=1))


def test_few_clusters_are_groups_of_their_own_and_too_few_are_refused():
    assert len(set(deal(np.arange(30) % 7))) == 7
    with pytest.raises(DataError, match="at least 5 clusters for an interval, found 4"):
        deal(np.arange(30) % 4)


def test_the_interval_of_a_mean_is_students():
    rng = np.random.default_rng(0)
    x = rng.normal(size=20)
    parts = np.array([np.delete(x, i).mean() for i in range(20)])
    found = interval(x.mean(), parts)
    low, high = student.interval(0.95, 19, loc=x.mean(), scale=x.std(ddof=1) / np.sqrt(20))
    assert (found.low, found.high) == pytest.approx((low, high))
    cut = interval(x.mean(), parts, low=x.mean() - 1e-3, high=1.0)
    assert cut.low == x.mean() - 1e-3


def test_a_value_that_is_missing_without_a_group_has_no_interval():
    whole = {"a": 1.0, "b": 2.0, "c": np.nan}
    without = [{"a": 1.0, "b": 2.0, "c": 0.0}] * 5 + [{"a": 1.0, "b": np.nan}]
    assert set(intervals(whole, without, {})) == {"a"}


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 4])
def test_the_interval_of_cka_covers_as_often_as_it_says(size):
    """Clusters of rows that resemble each other, as people in one picture do."""
    mix = np.random.default_rng(0).normal(size=(6, 6)) * 0.4

    def draw(clusters, rng):
        shared = rng.normal(size=(clusters, 1, 6)) * (0.7 if size > 1 else 0)
        x = (shared + rng.normal(size=(clusters, size, 6))).reshape(-1, 6)
        return x, x @ mix + 0.5 * rng.normal(size=x.shape)

    truth = linear_cka(*draw(200_000 // size, np.random.default_rng(1)))
    inside = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = draw(240 // size, rng)
        groups = deal(np.arange(240) // size, seed=seed)
        parts = np.array([linear_cka(x[groups != g], y[groups != g]) for g in range(20)])
        found = interval(linear_cka(x, y), parts)
        inside.append(found.low <= truth <= found.high)
    assert 0.92 <= np.mean(inside) <= 0.98
