import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from degradation.errors import DataError
from probes.drift.neighbours import chance, mutual_knn, nearest


def sides(n=50, d=6, noise=0.7, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) + 0.5
    return x, x + noise * rng.normal(size=(n, d))


def sklearn_overlap(x, y, k):
    found = []
    for side in (x, y):
        model = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(side)
        found.append(model.kneighbors(return_distance=False))
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(*found, strict=True)])


@pytest.mark.parametrize("k", [1, 5, 20])
def test_it_equals_the_overlap_of_scikit_learns_neighbours(k):
    x, y = sides()
    assert mutual_knn(x, y, k=k) == pytest.approx(sklearn_overlap(x, y, k), abs=1e-12)


def test_unrelated_sides_share_what_chance_gives():
    rng = np.random.default_rng(0)
    values = [mutual_knn(*rng.normal(size=(2, 40, 5)), k=5) for _ in range(40)]
    assert np.mean(values) == pytest.approx(chance(40, 5), abs=4 * np.std(values) / np.sqrt(40))


@pytest.mark.parametrize("k", [3, 10])
def test_leaving_rows_out_equals_starting_without_them(k):
    x, y = sides()
    x[10:20] = x[:10]  # ties
    groups = np.arange(50) % 7
    lists = [nearest(side, k=k, spare=8) for side in (x, y)]
    for group in range(7):
        keep = groups != group
        sets = [one.members(keep, k) for one in lists]
        direct = [nearest(side[keep], k=k) for side in (x, y)]
        every = np.ones(keep.sum(), dtype=bool)
        position = np.flatnonzero(keep)
        for found, one in zip(sets, direct, strict=True):
            row, neighbour = np.divmod(one.members(every, k), keep.sum())
            np.testing.assert_array_equal(found, position[row] * 50 + position[neighbour])


def test_ties_count_whole_and_a_side_of_ties_scores_chance():
    x, _ = sides()
    constant = np.ones((50, 3))
    assert mutual_knn(x, constant, k=5) == pytest.approx(chance(50, 5))
    assert mutual_knn(constant, constant, k=5) == 1.0
    twins = np.repeat(x[:25], 2, axis=0)
    assert mutual_knn(twins, twins.copy(), k=1) == 1.0
    # The nearest of b is a or c, as far: both count, and one of two is shared.
    a = np.array([[1, 0.0], [1, 1], [0, 1], [-1, 0]])
    b = np.array([[1, 0.0], [1, 0.9], [0, 1], [-1, 0]])
    assert mutual_knn(a, b, k=1) == pytest.approx(np.mean([1, 0.5, 1, 1]))


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match="more than 11 rows for 10 neighbours, found 11"):
        mutual_knn(*sides(11))
