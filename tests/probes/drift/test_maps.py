import numpy as np
import pytest

from degradation.errors import DataError
from probes.drift.cka import linear_cka
from probes.drift.jackknife import interval
from probes.drift.maps import cka_map, neighbour_map
from probes.drift.neighbours import mutual_knn, nearest


def blocks(n=42, mean=3.0, seed=0):
    """Three blocks of other widths, each made from the one before."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(n, 7)) + mean
    second = first @ rng.normal(size=(7, 4)) + rng.normal(size=(n, 4))
    third = second @ rng.normal(size=(4, 60)) + 3 * rng.normal(size=(n, 60))
    return [first, second, third], np.arange(n) // 2 % 6


@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_every_cell_is_the_cka_of_its_blocks_with_its_interval(mean):
    features, groups = blocks(mean=mean)
    values, low, high = cka_map(features, groups)
    for i, x in enumerate(features):
        for j, y in enumerate(features):
            assert values[i, j] == pytest.approx(linear_cka(x, y), abs=1e-10)
            keeps = [groups != group for group in range(6)]
            parts = np.array([linear_cka(x[keep], y[keep]) for keep in keeps])
            expected = interval(values[i, j], parts, low=-1.0, high=1.0)
            assert (low[i, j], high[i, j]) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_every_cell_is_the_overlap_of_its_blocks_with_its_interval():
    features, groups = blocks()
    near = [nearest(x, k=3, spare=8) for x in features]
    values, low, high = neighbour_map(near, groups, k=3)
    for i, x in enumerate(features):
        for j, y in enumerate(features):
            assert values[i, j] == pytest.approx(mutual_knn(x, y, k=3), abs=1e-12)
            keeps = [groups != group for group in range(6)]
            parts = np.array([mutual_knn(x[keep], y[keep], k=3) for keep in keeps])
            expected = interval(values[i, j], parts, low=0.0, high=1.0)
            assert (low[i, j], high[i, j]) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_block_that_does_not_tell_rows_apart_has_no_values_and_spoils_no_others():
    features, groups = blocks()
    values, low, _ = cka_map([features[0], np.full((42, 3), 0.1), features[1]], groups)
    assert np.isnan(values[1]).all()
    assert np.isnan(low[:, 1]).all()
    assert values[0, 2] == pytest.approx(linear_cka(features[0], features[1]), abs=1e-10)


def test_fewer_than_four_rows_without_a_group_are_refused():
    features, _ = blocks(6)
    with pytest.raises(DataError, match="found 3"):
        cka_map(features, np.arange(6) // 3)
