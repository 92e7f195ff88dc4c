import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    recall_score,
)

from degradation.errors import ConfigError, DataError
from probes import average_precision as average_precision_module
from probes.average_precision import average_precision, rank
from probes.metrics import (
    ClassOutcome,
    delta,
    evaluate,
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
    balanced = balanced_accuracy_score(one.labels, hit)
    assert value("macro_recall", one)[0] == pytest.approx(balanced)
    expected = np.mean(
        [average_precision_score(one.labels == k, one.scores[:, k]) for k in range(len(CLASSES))]
    )
    assert value("mean_average_precision_plain", one)[0] == pytest.approx(expected)
    assert value("mean_average_precision", one)[0] > expected
    recalls = recall_score(one.labels, hit, average=None)
    for k, name in enumerate(CLASSES):
        assert value(f"recall:{name}", one)[0] == pytest.approx(recalls[k])


def test_weights_are_repeated_rows_for_every_metric():
    one = outcome(30, ties=True)
    counts = np.random.default_rng(1).integers(0, 4, size=(5, 30))
    ranked = ["mean_average_precision", "mean_average_precision_plain", "average_precision:sad"]
    for name in ["accuracy", "micro_f1", "macro_f1", "macro_recall", "recall:mad", *ranked]:
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
    found = average_precision(rank(scores, positive), weights[None])[0]
    assert found == pytest.approx(envelope_by_hand(scores, positive, weights))
    plain = average_precision(rank(scores, positive), weights[None], envelope=False)[0]
    expected = average_precision_score(positive, scores, sample_weight=weights)
    assert plain == pytest.approx(expected)
    assert found >= plain - 1e-12
    shuffled = rng.permutation(n)
    ranking = rank(scores[shuffled], positive[shuffled])
    assert found == pytest.approx(average_precision(ranking, weights[None, shuffled])[0])


def test_average_precision_at_the_ends():
    positive = np.array([True, True, False, False])
    even = np.ones((1, 4))
    assert average_precision(rank(np.array([4.0, 3, 2, 1]), positive), even)[0] == 1
    level = rank(np.zeros(4), positive)
    assert average_precision(level, even)[0] == 0.5
    assert np.isnan(average_precision(rank(np.zeros(4), np.zeros(4, bool)), even)[0])
    drawn = np.array([[0.0, 0, 1, 1], [1, 0, 0, 0]])
    np.testing.assert_array_equal(average_precision(level, drawn), [np.nan, 1])


def test_blocks_of_draws_change_no_average_precision(monkeypatch):
    rng = np.random.default_rng(4)
    ranking = rank(rng.random(20), rng.random(20) < 0.5)
    weights = rng.integers(0, 3, (11, 20)).astype(np.float32)
    whole = average_precision(ranking, weights)
    monkeypatch.setattr(average_precision_module, "BLOCK", 40)
    np.testing.assert_array_equal(average_precision(ranking, weights), whole)


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


def test_two_classes_are_parted_at_a_half():
    p = np.array([0.1, 0.49, 0.5, 0.51, 0.9], np.float32)
    one = ClassOutcome(np.array([0, 1, 0, 1, 0]), np.stack([1 - p, p], axis=1))
    np.testing.assert_array_equal(one.predicted, p > 0.5)
    assert value("accuracy", one, classes=("no", "yes"))[0] == pytest.approx(3 / 5)


def test_hagrids_number_is_called_what_it_is():
    assert resolve("micro_f1", CLASSES).label == "micro F1 = accuracy (HaGRID's official F1)"


def test_metrics_without_what_they_need_are_undefined_and_say_when():
    lone = ClassOutcome(np.full(6, 1), outcome(6).scores)
    for name, why in (
        ("recall:sad", "no row is of class sad"),
        ("average_precision:mad", "no row is of class mad"),
        ("mean_average_precision", "fewer than two classes"),
        ("mean_average_precision_plain", "fewer than two classes"),
    ):
        assert np.isnan(value(name, lone)[0])
        assert why in resolve(name, CLASSES).undefined
    pair = ClassOutcome(np.zeros(4, np.int64), lone.scores[:4, :2])
    assert np.isnan(value("binary_mean_average_precision", pair, classes=("no", "yes"))[0])
    for name in ("accuracy", "macro_f1", "macro_recall", "recall:glad"):
        assert np.isfinite(value(name, lone)[0])


def test_macro_recall_averages_over_classes_with_rows():
    labels = np.array([0, 0, 1, 1])
    one = ClassOutcome(labels, np.eye(4, dtype=np.float32)[[0, 1, 1, 2]])
    assert value("macro_recall", one)[0] == pytest.approx((1 / 2 + 1 / 2) / 2)


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
