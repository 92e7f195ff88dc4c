"""Scatter against sums over pairs of rows, and what noise, erasure, rotation and scale do to it."""

import itertools

import numpy as np
import pytest

from probes.diagnosis.signal import scatter, sectors, signal_change
from probes.selection import Plan, Stage


def test_scatter_is_the_sum_over_pairs_of_rows_of_different_clusters():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(0, 3, 24), rng.integers(0, 8, 24)
    x = rng.normal(size=(24, 4)) + labels[:, None]
    share = np.bincount(labels) / 24
    centred = x - x.mean(0)

    def product(k, other):
        pairs = [
            centred[i] @ centred[j]
            for i, j in itertools.product(range(24), repeat=2)
            if labels[i] == k and labels[j] == other and clusters[i] != clusters[j]
        ]
        return np.mean(pairs)

    means = np.array([[product(k, other) for other in range(3)] for k in range(3)])
    own = share @ np.diag(means)
    found = scatter(x, labels, clusters.astype(str).astype(object))
    assert found.between == pytest.approx(own - share @ means @ share)
    assert found.within == pytest.approx((centred**2).sum() / 24 - own)


def test_scatter_between_classes_is_unbiased_also_where_clusters_resemble_themselves():
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(20), 4)
    labels = np.repeat(np.arange(20) % 2, 4)  # a class is a property of clusters
    drawn = []
    for _ in range(300):
        x = np.repeat(rng.normal(size=(20, 5)), 4, axis=0) + rng.normal(size=(80, 5))
        drawn.append(scatter(x, labels, clusters.astype(object)).between)
    assert abs(np.mean(drawn)) < 4 * np.std(drawn) / np.sqrt(300)
    naive = np.var([x[labels == k].mean(0) for k in (0, 1)], axis=0).sum()
    assert naive > 0.1  # what a plug-in estimate would call signal


def test_a_class_of_one_cluster_takes_no_part_and_fewer_than_two_classes_are_undefined():
    x, clusters = np.random.default_rng(2).normal(size=(9, 2)), np.arange(9).astype(object)
    clusters[6:] = 99
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    with_it, without = scatter(x, labels, clusters), scatter(x[:6], labels[:6], clusters[:6])
    assert with_it == without
    assert np.isnan(scatter(x[:3], labels[:3], clusters[:3]).between)


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(3)
    n, d, c = 900, 12, 4
    labels = rng.integers(0, c, n)
    means = np.zeros((c, d))
    means[:, :3] = 1.5 * rng.normal(size=(c, 3))
    clusters = np.array([f"c{i // 3}" for i in range(n)], dtype=object)
    pre = means[labels] + rng.normal(size=(n, d))
    train, val, test = np.split(np.arange(n), [450, 540])
    plan = Plan((Stage(((train, val),), np.arange(540), test),), "val")
    return pre, means[labels], labels, clusters, plan, rng


def change(world, post):
    pre, _, labels, clusters, plan, _ = world
    return signal_change(pre, post, labels, clusters, plan)


def test_noise_leaves_the_signal_and_multiplies_the_spread(world):
    pre, *_, rng = world
    noise = 2 * pre.std(0) * rng.normal(size=pre.shape)
    found = change(world, pre + noise)
    assert found.signal.low < 1 < found.signal.high
    assert found.spread.low > 4
    assert found.common == pytest.approx(0.2, abs=0.05)


def test_an_erased_signal_is_zero_and_the_spread_stays(world):
    pre, signal, *_ = world
    found = change(world, pre - signal)
    assert found.signal.high < 0.1
    assert found.spread.high < 1.6


def test_a_rotation_changes_neither_nor_does_scale_change_any_number(world):
    pre, *_, rng = world
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    turned = change(world, pre @ turn)
    assert (turned.signal.value, turned.spread.value) == pytest.approx((1, 1), abs=1e-3)
    large = change(world, 100 * pre @ turn + 5)
    assert large.signal.value == pytest.approx(turned.signal.value, rel=1e-6)
    same = change(world, pre)
    assert (same.signal.value, same.spread.value) == pytest.approx((1, 1))
    assert same.signal.high - same.signal.low < 1e-6


def test_without_signal_before_or_anything_in_common_there_is_no_answer(world):
    pre, _, labels, clusters, plan, rng = world
    empty = rng.normal(size=pre.shape)
    assert signal_change(empty, pre, labels, clusters, plan) is None
    assert change(world, np.zeros_like(pre)) is None


def test_sectors_are_centred_on_right_down_left_and_up():
    head = np.tile(np.float32([0.4, 0.4, 0.6, 0.6]), (6, 1))
    points = np.float32([[0.9, 0.5], [0.5, 0.9], [0.1, 0.5], [0.5, 0.1], [0.9, 0.9], [np.nan] * 2])
    assert sectors(points[:, None], head).tolist() == [0, 2, 4, 6, 1, -1]
