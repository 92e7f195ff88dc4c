"""The online code, against a sum by hand, and what code lengths must obey."""

import itertools

import numpy as np
import pytest

from probes.diagnosis import online_code
from probes.diagnosis.online_code import code_rows, encode_labels, portion_shares
from probes.problems import ClassProblem, Features


def world(signal, n=96, c=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, c, n)
    x = signal * np.eye(c)[labels] + rng.normal(size=(n, c))
    clusters = np.array([f"c{i // 2}" for i in range(n)], dtype=object)
    return ClassProblem(Features(x.astype(np.float32)), labels, c), clusters


def bits(problem, clusters, orders=1):
    rows = np.arange(len(problem.labels))
    code = encode_labels(problem, rows, clusters, orders=orders, seed=0, name="q")
    return code.bits(problem.labels)


def test_the_code_is_the_sum_by_hand():
    problem, _ = world(1.5)
    rows = np.arange(96)
    portions = [np.arange(12), np.arange(24), np.arange(48), np.arange(96)]
    found = code_rows(problem, rows, portions)
    expected, saved = np.full(96, np.log2(3)), dict.fromkeys(online_code.PRECISIONS, 0.0)
    for known, more in itertools.pairwise(portions):
        n, new = len(known), np.setdiff1d(more, known)
        each = {}
        for precision in online_code.PRECISIONS:
            p = problem.fit(known, [precision / n]).scores(new)[0]
            each[precision] = (1 - 1 / (n + 1)) * p + 1 / (n + 1) / 3
        total = sum(2 ** saved[p] for p in saved)
        for i, row in enumerate(new):
            label = problem.labels[row]
            mixed = sum(2 ** saved[p] / total * each[p][i, label] for p in saved)
            expected[row] = -np.log2(mixed)
        for p in saved:
            saved[p] += np.log2(each[p][np.arange(len(new)), problem.labels[new]]).sum()
    own = -np.log2(found[rows, problem.labels])
    np.testing.assert_allclose(own, expected, rtol=1e-4)


def test_what_is_coded_first_costs_the_uniform_length_and_probabilities_sum_to_one():
    problem, clusters = world(1.0)
    code = encode_labels(problem, np.arange(96), clusters, orders=2, seed=0, name="q")
    np.testing.assert_allclose(code.scores.sum(axis=2), 1)
    for order in code.bits(problem.labels):
        assert (np.isclose(order, np.log2(3))).sum() >= 4


def test_a_clear_signal_is_short_and_none_costs_about_the_uniform_length():
    short, none = (bits(*world(signal), orders=2).mean() for signal in (6.0, 0.0))
    assert short < 0.5
    assert np.log2(3) - 0.05 < none < np.log2(3) + 0.35


@pytest.mark.slow
def test_a_weaker_signal_takes_more_bits():
    lengths = [bits(*world(signal)).mean() for signal in (0.5, 1.5, 4.0)]
    assert lengths == sorted(lengths, reverse=True)


def test_a_class_that_comes_late_costs_finitely_many_bits():
    problem, clusters = world(2.0)
    problem.labels[:] = np.where(np.arange(96) < 90, problem.labels % 2, 2)
    assert np.isfinite(bits(problem, clusters)).all()


def test_a_first_portion_of_one_class_is_answered_by_shares():
    problem, _ = world(2.0)
    problem.labels[:8] = 0
    scores = code_rows(problem, np.arange(96), [np.arange(8), np.arange(16), np.arange(96)])
    np.testing.assert_allclose(scores[8], [9 / 11, 1 / 11, 1 / 11])


@pytest.mark.parametrize(
    ("clusters", "expected"),
    [(400, 8), (16, 4), (4, 2), (2, 1), (3, 1)],
)
def test_portions_double_and_leave_two_clusters_at_least(clusters, expected):
    shares = portion_shares(clusters)
    assert shares[-1] == 1
    assert len(shares) == expected
    assert all(b == 2 * a for a, b in itertools.pairwise(shares))
    assert round(shares[0] * clusters) >= 2
