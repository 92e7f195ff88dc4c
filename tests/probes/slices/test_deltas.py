"""Numbers of a slice: the metric of its rows alone, under the draws of all."""

from dataclasses import replace

import numpy as np
import pytest

from probes.metrics import ClassOutcome, GazeOutcome, evaluate, resolve
from probes.questions import Prediction
from probes.slices.cuts import Cut
from probes.slices.deltas import measure, shared_draws, within
from probes.summary import summarise

CLASSES = ("a", "b", "c")
N = 60


def outcome(seed, n=N):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(3), n).astype(np.float32)
    return ClassOutcome(np.random.default_rng(9).integers(0, 3, n), scores)


def prediction(side, seed, n=N, per_cluster=2):
    one = outcome(seed, n)
    ids = np.array([f"r{i}" for i in range(n)], dtype=object)
    clusters = np.array([f"c{i // per_cluster}" for i in range(n)], dtype=object)
    return Prediction("mood", 0, "logistic-l2", side, ids, clusters, one, one.scores)


@pytest.mark.parametrize(
    "name", ["accuracy", "macro_f1", "recall:b", "mean_average_precision", "average_precision:a"]
)
def test_a_slice_has_the_metric_of_its_rows_under_any_weights(name):
    rng = np.random.default_rng(1)
    rows, weights = rng.random(N) < 0.5, rng.integers(0, 4, (7, N)).astype(np.float64)
    whole, metric = outcome(0), resolve(name, CLASSES)
    part = ClassOutcome(whole.labels[rows], whole.scores[rows])
    found = evaluate(within(metric, rows), whole, weights)
    assert found == pytest.approx(evaluate(metric, part, weights[:, rows]), nan_ok=True)


def test_a_slice_of_gaze_is_the_mean_of_its_rows():
    values = np.array([0.1, np.nan, 0.3, 0.8])
    rows = np.array([True, True, True, False])
    one = within(resolve("average_l2_error", ()), rows)
    assert evaluate(one, GazeOutcome({"average_l2_error": values})) == pytest.approx([0.2])


def test_the_slice_of_all_rows_is_the_run_itself():
    pre, post = prediction("pre", 0), prediction("post", 1)
    every = Cut("light", "any", np.ones(N, dtype=bool))
    for name in ("accuracy", "macro_f1", "mean_average_precision"):
        metric = resolve(name, CLASSES)
        run = summarise([pre, post], [metric], draws=100, seed=4).numbers[0, "logistic-l2", name]
        (one,) = measure(pre, post, [(every, metric)], rng=np.random.default_rng(0))
        assert (one.n, one.clusters) == (run.n, run.clusters)
        assert (one.found.pre, one.found.post, one.found.delta) == (run.pre, run.post, run.delta)
        assert (one.found.se, one.found.p) == (run.se, run.p)


def test_a_slice_is_measured_as_if_it_were_alone():
    pre, post = prediction("pre", 0), prediction("post", 1)
    rows, metric = np.arange(N) % 3 > 0, resolve("macro_f1", CLASSES)
    (one,) = measure(pre, post, [(Cut("x", "y", rows), metric)], rng=np.random.default_rng(0))
    alone = [
        replace(
            side,
            ids=side.ids[rows],
            clusters=side.clusters[rows],
            outcome=ClassOutcome(side.outcome.labels[rows], side.outcome.scores[rows]),
            scores=side.scores[rows],
        )
        for side in (pre, post)
    ]
    run = summarise(alone, [metric], draws=100, seed=0).numbers[0, "logistic-l2", "macro_f1"]
    assert one.found.delta == run.delta
    assert one.found.p == run.p
    (other,) = measure(post, pre, [(Cut("x", "y", rows), metric)], rng=np.random.default_rng(0))
    assert other.found.delta.value == pytest.approx(-one.found.delta.value)
    assert other.found.delta.low == pytest.approx(-one.found.delta.high)
    (same,) = measure(pre, pre, [(Cut("x", "y", rows), metric)], rng=np.random.default_rng(0))
    assert (same.found.delta.low, same.found.delta.high, same.found.p) == (0, 0, 1)


def test_slices_share_their_draws():
    pre, post = prediction("pre", 0), prediction("post", 1)
    rows, metric = np.arange(N) % 2 > 0, resolve("accuracy", CLASSES)
    asked = [(Cut("x", "odd", rows), metric), (Cut("x", "even", ~rows), metric),
             (Cut("x", "again", rows.copy()), metric),
             (Cut("x", "all", np.ones(N, dtype=bool)), metric)]  # fmt: skip
    drawn = shared_draws(pre, post, asked, draws=3000, rng=np.random.default_rng(3))
    odd, even, again, whole = drawn
    assert odd == pytest.approx(again)
    assert not np.allclose(odd, even)
    assert (odd + even) / 2 == pytest.approx(whole)  # each cluster has one row of either kind
    rng, direct = np.random.default_rng(1), []
    change = 1.0 * (post.outcome.predicted == post.outcome.labels)
    change -= pre.outcome.predicted == pre.outcome.labels
    for _ in range(3000):
        picked = rng.integers(0, N // 2, N // 2)
        direct.append(100 * change[2 * picked + 1].mean())
    assert odd.std() == pytest.approx(np.std(direct), rel=0.08)
    assert odd.mean() == pytest.approx(np.mean(direct), abs=1.0)


def test_what_cannot_be_measured_says_why():
    pre, post = prediction("pre", 0), prediction("post", 1)
    labels = pre.outcome.labels
    area, recall = resolve("mean_average_precision", CLASSES), resolve("recall:a", CLASSES)
    lone = (labels == 0) | (np.arange(N) == np.argmax(labels == 1))
    asked = [
        (Cut("x", "nobody", np.zeros(N, dtype=bool)), area),
        (Cut("x", "few", np.arange(N) < 18), area),
        (Cut("x", "one class", labels == 0), area),
        (Cut("x", "other class", labels != 0), recall),
        (Cut("x", "hardly two", lone), area),
        (Cut("x", "fine", np.arange(N) < 40), area),
    ]  # fmt: skip
    found = [one.found for one in measure(pre, post, asked, rng=np.random.default_rng(0))]
    assert found[0] == "expected at least 10 clusters, found 0"
    assert found[1] == "expected at least 10 clusters, found 9"
    assert "mAP is undefined: fewer than two classes" in found[2]
    assert "undefined: no row is of class a" in found[3]
    assert "undefined without one of the clusters: fewer than two classes" in found[4]
    assert np.isfinite([found[5].se, found[5].p, found[5].delta.value]).all()
