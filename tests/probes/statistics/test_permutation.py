import itertools

import numpy as np
import pytest
from scipy.stats import permutation_test

from probes.metrics import ClassOutcome, GazeOutcome, delta, evaluate, resolve
from probes.statistics.bootstrap import stream
from probes.statistics.clusters import group_rows
from probes.statistics.differences import mcnemar_exact
from probes.statistics.permutation import permutation_p

CLASSES = ("a", "b", "c")


def gaze(values):
    return GazeOutcome({"average_l2_error": np.asarray(values, dtype=np.float64)})


def outcomes(n, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return [
        ClassOutcome(labels, (rng.dirichlet(np.ones(3), n) + s * np.eye(3)[labels]).astype("f4"))
        for s in (0.6, 0.1)
    ]


def swap(sides, rows):
    """The sides with the scores of some rows exchanged."""
    one, two = sides
    pick = rows[:, None]
    return (
        ClassOutcome(one.labels, np.where(pick, two.scores, one.scores)),
        ClassOutcome(one.labels, np.where(pick, one.scores, two.scores)),
    )


@pytest.mark.parametrize("n", [8, 12])
def test_p_of_means_is_scipys(n):
    rng = np.random.default_rng(n)
    pre, post = rng.lognormal(size=n), rng.lognormal(size=n) + 0.4
    metric = resolve("average_l2_error", ())
    found = permutation_p(
        metric, (gaze(pre), gaze(post)), group_rows(np.arange(n)), draws=0, rng=stream(0, "x")
    )
    scipys = permutation_test(
        (pre, post), lambda a, b: a.mean() - b.mean(), permutation_type="samples",
        n_resamples=np.inf,
    )  # fmt: skip
    assert found == pytest.approx(scipys.pvalue)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mean_average_precision"])
def test_every_swap_of_clusters_is_tried(name):
    sides, clusters, metric = outcomes(15, 0), np.arange(15) // 3, resolve(name, CLASSES)
    found = permutation_p(metric, tuple(sides), group_rows(clusters), draws=0, rng=stream(0, "x"))

    def size(pair):
        return abs(delta(*(evaluate(metric, one)[0] for one in pair), metric))

    every = [
        size(swap(sides, np.array(flags)[clusters]))
        for flags in itertools.product((False, True), repeat=5)
    ]
    assert found == pytest.approx(np.mean(np.array(every) >= size(sides) - 1e-9))


@pytest.mark.parametrize("name", ["accuracy", "mean_average_precision"])
def test_drawn_swaps_come_near_all_of_them(name, monkeypatch):
    sides, clusters, metric = (
        outcomes(24, 3),
        group_rows(np.arange(24) // 2),
        resolve(name, CLASSES),
    )
    exact = permutation_p(metric, tuple(sides), clusters, draws=0, rng=stream(0, "x"))
    monkeypatch.setattr("probes.statistics.permutation.EXACT", 0)
    drawn = permutation_p(metric, tuple(sides), clusters, draws=2000, rng=stream(0, "x"))
    assert drawn == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 2000) ** 0.5 + 1e-3)
    monkeypatch.setattr("probes.statistics.permutation.CHUNK", 5000)
    again = permutation_p(metric, tuple(sides), clusters, draws=2000, rng=stream(0, "x"))
    assert again == drawn


def test_of_single_rows_it_is_mcnemars():
    labels = np.zeros(40, dtype=np.int64)
    right = np.arange(40) % 2 == 0
    after = right.copy()
    after[:11] = [False] * 9 + [True] * 2
    pre, post = (ClassOutcome(labels, np.stack([r, ~r], 1).astype(np.float32))
                 for r in (right, after))  # fmt: skip
    broken, fixed = int((right & ~after).sum()), int((~right & after).sum())
    clusters, metric = group_rows(np.arange(40)), resolve("accuracy", ("a", "b"))
    found = permutation_p(metric, (pre, post), clusters, draws=0, rng=stream(0, "x"))
    assert found == pytest.approx(mcnemar_exact(broken, fixed))


@pytest.mark.parametrize("name", ["accuracy", "mean_average_precision"])
def test_the_same_sides_have_p_1_and_order_does_not_matter(name):
    pre, post = outcomes(30, 1)
    clusters, metric = group_rows(np.arange(30) // 2), resolve(name, CLASSES)
    ask = {"clusters": clusters, "draws": 99}
    assert permutation_p(metric, (pre, pre), rng=stream(0, "x"), **ask) == 1.0
    forth, back = (
        permutation_p(metric, sides, rng=stream(0, "x"), **ask)
        for sides in ((pre, post), (post, pre))
    )
    assert forth == back
