import numpy as np
import pytest
from scipy.linalg import subspace_angles

from degradation.errors import DataError
from probes.drift.classes import (
    class_angles,
    class_shares,
    class_signal,
    class_subspace,
    class_top,
    class_variance,
    fisher_top,
)


def world(n=120, d=8, c=3, seed=0, signal=2.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % c
    x = rng.normal(size=(n, d)) + signal * rng.normal(size=(c, d))[labels]
    return x, labels, rng


def scores(x, labels):
    """Rows projected on the span of the centred class means."""
    x = x - x.mean(axis=0)
    means = np.stack([x[labels == k].mean(axis=0) for k in np.unique(labels)])
    return x @ np.linalg.svd(means - means.mean(axis=0))[2][: len(means) - 1].T


def test_angles_are_those_between_the_scores_over_rows():
    x, labels, rng = world()
    y = x @ rng.normal(size=(8, 6)) + rng.normal(size=(120, 6))
    expected = np.degrees(subspace_angles(scores(x, labels), scores(y, labels)))[::-1]
    np.testing.assert_allclose(class_angles(x, y, labels), expected, atol=1e-6)
    assert class_subspace(x, y, labels) == pytest.approx(
        np.cos(np.radians(expected)) @ np.cos(np.radians(expected)) / 2
    )


def test_a_class_direction_that_moves_elsewhere_is_seen_and_a_rotation_is_not():
    x, labels, rng = world(n=600, d=8, signal=0.0)
    codes = np.zeros((3, 8))
    codes[1, 0], codes[2, 1] = 3, 3
    pre = x + codes[labels]
    moved = x + np.roll(codes, 4, axis=1)[labels]
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    assert class_subspace(pre, pre @ turn, labels) == pytest.approx(1)
    assert 0.3 < class_subspace(pre, moved, labels) < 0.8
    other = rng.permutation(600)
    assert class_subspace(pre, moved[other], labels) < 0.1


def test_where_one_side_has_fewer_dimensions_the_rest_are_right_angles():
    x, labels, _ = world(c=4)
    flat = x[:, :1]
    angles = class_angles(x, flat, labels)
    assert len(angles) == 3
    np.testing.assert_allclose(angles[1:], 90)


def test_unknown_labels_take_no_part_in_the_means():
    x, labels, rng = world()
    y = x + rng.normal(size=x.shape)
    unknown = labels.copy()
    unknown[::5] = -1
    assert class_subspace(x, y, unknown) != class_subspace(x, y, labels)
    kept = unknown >= 0
    signal = class_signal(x, unknown, np.arange(120))
    same = class_signal(x[kept], labels[kept], np.arange(kept.sum()))
    np.testing.assert_allclose(signal, same)


def test_single_rows_of_equal_classes_give_the_numerator_of_omega_squared():
    x, labels, _ = world()
    scatter, between = class_signal(x, labels, np.arange(120))
    means = np.stack([x[labels == k].mean(axis=0) for k in range(3)])
    ssb = 40 * ((means - x.mean(axis=0)) ** 2).sum(axis=0)
    ssw = ((x - means[labels]) ** 2).sum(axis=0)
    np.testing.assert_allclose(scatter, ssb + ssw)
    np.testing.assert_allclose(between, ssb - 2 * ssw / (120 - 3))


@pytest.mark.parametrize("size", [1, 5])
def test_class_variance_is_zero_on_average_without_classes_even_within_clusters(size):
    values = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        clusters = np.arange(100) // size
        labels = rng.integers(0, 3, 100 // size)[clusters]  # a cluster has one class
        x = rng.normal(size=(100 // size, 4))[clusters] + 0.3 * rng.normal(size=(100, 4))
        values.append(class_variance(x, labels, clusters))
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(60)
    if size > 1:  # taking the rows for independent finds classes where there are none
        naive = [class_variance(x, labels, np.arange(100))]
        assert np.mean(naive) > 0.02


def test_class_variance_is_the_share_that_was_planted():
    rng = np.random.default_rng(0)
    labels = np.arange(4000) % 2
    x = rng.normal(size=(4000, 3))
    x[:, 0] += 2 * labels - 1  # variance 1 between classes, 3 within
    assert class_variance(x, labels, np.arange(4000)) == pytest.approx(1 / 4, abs=0.02)


def test_a_signal_in_the_tail_is_found_there():
    rng = np.random.default_rng(0)
    labels, spread = np.arange(1800) % 3, np.array([8.0, 4, 2, 1, 0.5, 0.25])
    codes = rng.normal(size=(3, 2))
    head, tail = rng.normal(size=(2, 1800, 6)) * spread
    head[:, :2] += 10 * codes[labels]
    tail[:, 4:] += codes[labels]
    rows = np.arange(1800)
    assert class_top(head, labels, rows, 2) > 0.95
    assert class_top(tail, labels, rows, 2) < 0.2
    assert fisher_top(tail, labels, rows, 3) < 0.2
    assert class_top(tail, labels, rows, 6) == pytest.approx(1)


def test_shares_are_undefined_without_a_signal_or_with_too_few_rows():
    scatter, none = np.ones(4), -np.ones(4)
    assert np.isnan(class_shares((scatter, none), n=100)[0][1:]).all()
    some = np.array([3.0, 1, 0, 0])
    shares, ratio = class_shares((scatter, some), n=7)
    np.testing.assert_allclose(shares, [0, 0.75, 1, 1, 1])
    assert np.isnan(ratio[1:]).all()
    assert class_shares((scatter, some), n=8)[1][1] == 0.75


def test_too_few_classes_or_clusters_are_refused():
    x, labels, _ = world()
    with pytest.raises(DataError, match="at least 2 classes, found 1"):
        class_variance(x, np.zeros(120, dtype=np.int64), np.arange(120))
    with pytest.raises(DataError, match="3 clusters and 3 classes"):
        class_variance(x, labels, np.arange(120) % 3)
    with pytest.raises(DataError, match="no class subspace"):
        class_subspace(x, np.repeat(x[:60], 2, axis=0), np.arange(120) % 2)
