"""The numbers of a question from its predictions: what every pair of sides must keep."""

import numpy as np
import pytest

from degradation.errors import DataError
from probes.metrics import ClassOutcome, GazeOutcome, resolve
from probes.questions import Prediction
from probes.statistics.coverage import MEASURED, warning
from probes.summary import METHOD, summarise

CLASSES = ("a", "b", "c")
NAMES = ("accuracy", "macro_f1", "recall:b", "mean_average_precision", "average_precision:a")


def sides(n, seed=0, per_cluster=2):
    """Pre, post and a baseline of n rows of three classes."""
    rng = np.random.default_rng(seed)
    labels, clusters = np.arange(n) % 3, np.arange(n) // per_cluster
    found = []
    for side, skill in (("pre", 1.0), ("post", 0.4), ("none", 0.0)):
        scores = rng.dirichlet(np.ones(3), n) + skill * np.eye(3)[labels]
        found.append(prediction(side, ClassOutcome(labels, scores.astype(np.float32)), clusters))
    return found


def prediction(side, outcome, clusters):
    none = side == "none"
    n = len(clusters)
    scores = outcome.scores if isinstance(outcome, ClassOutcome) else np.zeros((n, 4), np.float32)
    return Prediction(
        "q", -1 if none else 0, "prior" if none else "linear", side, np.arange(n).astype(str),
        np.array([f"c{k}" for k in clusters], dtype=object), outcome, scores,
    )  # fmt: skip


def take(one, rows):
    labels, scores = one.outcome.labels[rows], one.scores[rows]
    return Prediction(
        one.question, one.block, one.probe, one.side, one.ids[rows], one.clusters[rows],
        ClassOutcome(labels, scores), scores,
    )  # fmt: skip


def numbers(predictions, names=NAMES, classes=CLASSES):
    metrics = [resolve(name, classes) for name in names]
    return summarise(predictions, metrics, draws=200, seed=0)


def test_every_number_comes_with_its_error_and_its_method():
    found = numbers(sides(60)).numbers
    assert [name for *_, name in found] == list(NAMES)
    for one in found.values():
        for each in (one.pre, one.post, one.delta):
            assert each.low <= each.value <= each.high
        assert one.delta.low <= one.delta_low_90 <= one.delta_high_90 <= one.delta.high
        assert (one.p <= 0.05) == (one.delta.low > 0 or one.delta.high < 0)
        assert one.percentile_low <= one.percentile_high
        assert one.bca_low <= one.bca_high
        assert (one.interval, one.clusters, one.n) == (METHOD, 30, 60)
        assert one.effective_clusters == pytest.approx(30)
        assert one.se > 0
        assert 1 <= one.dof <= 29
    swapped = {name for (*_, name), one in found.items() if one.p_permutation is not None}
    assert swapped == set(NAMES[:4])  # of rankings the first only


def test_swapped_sides_mirror_every_number():
    pre, post, none = sides(60)
    swapped = [prediction("pre", post.outcome, np.arange(60) // 2),
               prediction("post", pre.outcome, np.arange(60) // 2), none]  # fmt: skip
    forth, back = numbers([pre, post, none]).numbers, numbers(swapped).numbers
    for key, one in forth.items():
        other = back[key]
        assert one.delta.value == -other.delta.value
        assert (one.delta.low, one.delta.high) == (-other.delta.high, -other.delta.low)
        assert (one.delta_low_90, one.delta_high_90) == (-other.delta_high_90, -other.delta_low_90)
        assert (one.p, one.p_permutation, one.se) == (other.p, other.p_permutation, other.se)
        assert (one.pre, one.post) == (other.post, other.pre)
        assert (one.bca_low, one.bca_high) == pytest.approx((-other.bca_high, -other.bca_low))


def test_the_same_side_twice_differs_by_exactly_nothing():
    pre, _, none = sides(60)
    again = prediction("post", pre.outcome, np.arange(60) // 2)
    for one in numbers([pre, again, none]).numbers.values():
        ends = (one.delta.low, one.delta.high, one.delta_low_90, one.delta_high_90,
                one.percentile_low, one.percentile_high, one.bca_low, one.bca_high)  # fmt: skip
        assert one.delta.value == 0
        assert set(ends) == {0}
        assert one.p == 1
        assert one.p_permutation in (1, None)


def test_the_order_of_rows_changes_nothing():
    members = sides(60)
    rows = np.random.default_rng(1).permutation(60)
    forth, back = numbers(members), numbers([take(one, rows) for one in members])
    assert forth.baselines == back.baselines
    for key, one in forth.numbers.items():
        assert dict(one) == dict(back.numbers[key])


def test_one_row_and_one_cluster_are_refused():
    with pytest.raises(DataError, match="at least two clusters"):
        numbers(sides(1))
    with pytest.raises(DataError, match="at least two clusters"):
        numbers(sides(30, per_cluster=30))


def test_a_metric_without_value_or_decided_by_one_cluster_is_undefined():
    labels, clusters = np.array([0] * 18 + [1, 1]), np.arange(20) // 2
    rng = np.random.default_rng(0)
    members = [
        prediction(side, ClassOutcome(labels, rng.dirichlet(np.ones(3), 20).astype("f4")), clusters)
        for side in ("pre", "post", "none")
    ]
    found = numbers(members, ("accuracy", "recall:b", "recall:c"))
    assert [name for *_, name in found.numbers] == ["accuracy"]
    assert {one.metric for one in found.baselines} == {"accuracy"}
    assert "one cluster" in found.undefined["recall:b"]
    assert "no row is of class c" in found.undefined["recall:c"]


def test_gaze_rows_without_a_value_count_for_nothing():
    rng, clusters = np.random.default_rng(0), np.arange(40) // 2
    error = rng.uniform(0.1, 0.3, (2, 40))
    error[:, 4:6] = np.nan  # one cluster altogether
    name = "average_l2_error"
    members = [prediction(side, GazeOutcome({name: one}), clusters)
               for side, one in zip(("pre", "post"), error, strict=True)]  # fmt: skip
    (one,) = numbers(members, (name,), ()).numbers.values()
    change = -100 * np.nanmean(error[1] - error[0])
    assert one.delta.value == pytest.approx(change)
    assert one.p_permutation is not None
    assert (one.broken, one.fixed, one.p_mcnemar) == (None, None, None)


def test_few_clusters_are_warned_of_with_the_measured_figure():
    few, enough = (numbers(sides(2 * g), ("accuracy",)).numbers for g in (20, 30))
    low, high = MEASURED[20]
    assert f"{low:.1f} to {high:.1f} %" in next(iter(few.values())).warning
    assert next(iter(enough.values())).warning == ""
    assert "below 10, nothing is known" in warning(9)
    assert "with 15" in warning(19)
