"""Numbers from several predictions: their value, and the jackknife by hand."""

import numpy as np
import pytest
from scipy.stats import t as student

from probes.diagnosis.values import mean_over, question_values
from probes.metrics import ClassOutcome, GazeOutcome, resolve
from probes.questions import Prediction


def predictions(outcomes):
    n = 40
    clusters = np.array([f"c{i // 2}" for i in range(n)], dtype=object)
    return [
        Prediction("q", 0, probe, side, np.arange(n).astype(object), clusters, outcome,
                   np.zeros((n, 2), np.float32))
        for (probe, side), outcome in outcomes.items()
    ]  # fmt: skip


def hits(rate, seed):
    right = np.random.default_rng(seed).random(40) < rate
    scores = np.stack([right, ~right], axis=1).astype(np.float32)
    return ClassOutcome(np.zeros(40, dtype=np.int64), scores)


def test_a_quotient_has_its_value_and_its_jackknife_interval():
    outcomes = {("a", "pre"): hits(0.9, 0), ("a", "post"): hits(0.4, 1)}
    values = question_values(predictions(outcomes), resolve("accuracy", ("x", "y")), seed=0)
    found = values.estimate(lambda v: v("a", "post") / v("a", "pre"))
    pre, post = (outcomes["a", side].predicted == 0 for side in ("pre", "post"))
    assert found.value == pytest.approx(post.sum() / pre.sum())
    kept = [np.delete(np.arange(40), [2 * g, 2 * g + 1]) for g in range(20)]
    without = np.array([post[k].sum() / pre[k].sum() for k in kept])
    se = np.sqrt(19 / 20 * ((without - without.mean()) ** 2).sum())
    assert found.high - found.value == pytest.approx(student.ppf(0.975, 19) * se, rel=0.2)


def test_errors_are_negated_so_that_more_is_better():
    error = GazeOutcome({"average_l2_error": np.full(40, 0.25)})
    values = question_values(
        predictions({("a", "pre"): error}), resolve("average_l2_error", ()), seed=0
    )
    assert values.points["a", "pre"] == -25
    assert values.estimate(lambda v: v("a", "pre")).value == -25


def test_an_undefined_quotient_is_none():
    values = question_values(
        predictions({("a", "pre"): hits(0.0, 0)}), resolve("accuracy", ("x", "y")), seed=0
    )
    with np.errstate(invalid="ignore"):
        assert values.estimate(lambda v: v("a", "pre") / v("a", "pre")) is None


def test_a_mean_over_subsets_covers_the_variance_between_them():
    without = np.tile(np.linspace(-0.1, 0.1, 20), (3, 1))
    still, moving = (
        mean_over(np.array(points), without) for points in ([1.0, 1.0, 1.0], [0.0, 1.0, 2.0])
    )
    assert still.value == moving.value == 1
    assert moving.high - moving.low > 2 * 1 / np.sqrt(3)
    assert mean_over(np.array([np.nan]), without[:1]) is None
