import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    recall_score,
    roc_auc_score,
)

from degradation.errors import ConfigError, DataError
from probes.gaze import cell_of
from probes.metrics import (
    ClassOutcome,
    average_precision,
    delta,
    evaluate,
    gaze_outcome,
    resolve,
)

CLASSES = ("sad", "glad", "mad", "bad")


def outcome(n=60, c=4, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, c, n)
    scores = rng.dirichlet(np.ones(c), n)
    scores[np.arange(n), labels] += 0.3
    scores /= scores.sum(axis=1, keepdims=True)
    if ties:
        scores = np.round(scores, 1)
    return ClassOutcome(labels, scores.astype(np.float32))


def value(name, one, weights=None, classes=CLASSES):
    return evaluate(resolve(name, classes), one, weights)


def envelope_by_hand(scores, positive, weights):
    """Directly: at each positive the best precision over all thresholds at or below its score."""
    total = 0.0
    for i in np.nonzero(positive)[0]:
        best = 0.0
        for threshold in scores[scores <= scores[i]]:
            taken = scores >= threshold
            if weights[taken].sum() > 0:
                best = max(best, weights[taken & positive].sum() / weights[taken].sum())
        total += weights[i] * best
    return total / weights[positive].sum()


@pytest.mark.parametrize("ties", [False, True])
def test_class_metrics_are_scikit_learns(ties):
    one = outcome(ties=ties)
    hit = one.predicted
    assert value("accuracy", one)[0] == pytest.approx(accuracy_score(one.labels, hit))
    assert value("micro_f1", one)[0] == pytest.approx(f1_score(one.labels, hit, average="micro"))
    assert value("macro_f1", one)[0] == pytest.approx(f1_score(one.labels, hit, average="macro"))
    recalls = recall_score(one.labels, hit, average=None)
    for k, name in enumerate(CLASSES):
        assert value(f"recall:{name}", one)[0] == pytest.approx(recalls[k])


def test_weights_are_repeated_rows_for_every_metric():
    one = outcome(30, ties=True)
    counts = np.random.default_rng(1).integers(0, 4, size=(5, 30))
    ranked = ["mean_average_precision", "average_precision:sad"]
    for name in ["accuracy", "macro_f1", "recall:mad", *ranked]:
        weighted = value(name, one, counts.astype(np.float32))
        for row, found in zip(counts, weighted, strict=True):
            repeated = ClassOutcome(np.repeat(one.labels, row), np.repeat(one.scores, row, axis=0))
            assert found == pytest.approx(value(name, repeated)[0], rel=1e-5)


def test_macro_f1_averages_over_classes_that_occur():
    labels = np.array([0, 0, 1, 1])
    scores = np.eye(4, dtype=np.float32)[[0, 1, 1, 2]]
    expected = f1_score(labels, [0, 1, 1, 2], average="macro", zero_division=0)
    assert value("macro_f1", ClassOutcome(labels, scores))[0] == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 25), seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5, 1000]))
def test_average_precision_is_the_direct_sum(n, seed, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, n) / levels
    positive = rng.random(n) < 0.4
    positive[0] = True
    weights = rng.integers(0, 3, n).astype(float)
    weights[0] = 1.0
    found = average_precision(scores, positive, weights[None])[0]
    assert found == pytest.approx(envelope_by_hand(scores, positive, weights))
    assert found >= average_precision_score(positive, scores, sample_weight=weights) - 1e-12
    shuffled = rng.permutation(n)
    again = average_precision(scores[shuffled], positive[shuffled], weights[None, shuffled])[0]
    assert found == pytest.approx(again)


def test_average_precision_at_the_ends():
    positive = np.array([True, True, False, False])
    even = np.ones((1, 4))
    assert average_precision(np.array([4.0, 3, 2, 1]), positive, even)[0] == 1
    assert average_precision(np.zeros(4), positive, even)[0] == 0.5
    assert np.isnan(average_precision(np.zeros(4), np.zeros(4, bool), even)[0])
    drawn = np.array([[0.0, 0, 1, 1], [1, 0, 0, 0]])
    np.testing.assert_array_equal(average_precision(np.zeros(4), positive, drawn), [np.nan, 1])


def test_mean_average_precision_is_the_mean_over_classes_present():
    one = outcome(50)
    each = [value(f"average_precision:{name}", one)[0] for name in CLASSES]
    assert value("mean_average_precision", one)[0] == pytest.approx(np.mean(each))
    kept = one.labels != 2
    fewer = ClassOutcome(one.labels[kept], one.scores[kept])
    each = [value(f"average_precision:{name}", fewer)[0] for name in ("sad", "glad", "bad")]
    assert np.isnan(value("average_precision:mad", fewer)[0])
    assert value("mean_average_precision", fewer)[0] == pytest.approx(np.mean(each))


def test_looking_at_me_averages_both_sides():
    rng = np.random.default_rng(3)
    labels = (rng.random(80) < 0.14).astype(np.int64)
    p = np.clip(0.2 + 0.3 * labels + 0.2 * rng.normal(size=80), 0.01, 0.99)
    one = ClassOutcome(labels, np.stack([1 - p, p], axis=1).astype(np.float32))
    even = np.ones(80)
    expected = (
        envelope_by_hand(one.scores[:, 1], labels == 1, even)
        + envelope_by_hand(one.scores[:, 0], labels == 0, even)
    ) / 2
    found = value("binary_mean_average_precision", one, classes=("not looking", "looking"))[0]
    assert found == pytest.approx(expected)


def test_unknown_metrics_are_refused():
    for name in ("acuracy", "recall:happy", "auc_score", "binary_mean_average_precision"):
        with pytest.raises(ConfigError, match="Expected a metric among"):
            resolve(name, CLASSES)
    with pytest.raises(ConfigError, match="average_l2_error"):
        resolve("accuracy", ())


def test_no_rows_are_refused():
    with pytest.raises(DataError, match="at least one row"):
        value("accuracy", ClassOutcome(np.empty(0, np.int64), np.empty((0, 4), np.float32)))


def test_delta_is_negative_when_worse():
    score, error = resolve("accuracy", CLASSES), resolve("minimum_l2_error", ())
    assert delta(0.8, 0.7, score) == pytest.approx(-10)
    assert delta(0.1, 0.2, error) == pytest.approx(-10)
    assert str(delta(0.1, 0.1, error)) == "0.0"


def annotated(seed=0, n=20, grid=(5, 6)):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (n, 4, 2))
    points[::2, 2:] = np.nan
    points[1, 1] = points[1, 0]  # two annotators in one cell
    heat = rng.integers(0, 8, (n, grid[0] * grid[1])) / 8  # many ties
    predicted = rng.uniform(0, 1, (n, 2))
    return heat, predicted, points, grid


def test_gaze_metrics_are_direct_sums_and_scikit_learns():
    heat, predicted, points, grid = annotated()
    values = gaze_outcome(heat, predicted, points, cell_of(points, grid)).values
    for i in range(len(heat)):
        own = points[i][~np.isnan(points[i, :, 0])]
        distance = np.linalg.norm(own - predicted[i], axis=1)
        mean = np.linalg.norm(own.mean(axis=0) - predicted[i])
        assert values["average_l2_error"][i] == pytest.approx(mean)
        assert values["minimum_l2_error"][i] == pytest.approx(distance.min())
        target = np.zeros(grid, dtype=int)
        for x, y in own:
            target[int(y * grid[0]), int(x * grid[1])] = 1
        expected = roc_auc_score(target.ravel(), heat[i])
        assert values["auc_score"][i] == pytest.approx(expected)


def test_auc_is_undefined_where_every_cell_is_a_target():
    points = np.full((1, 1, 2), 0.5)
    values = gaze_outcome(np.ones((1, 1)), points[:, 0], points, cell_of(points, (1, 1))).values
    assert np.isnan(values["auc_score"][0])
