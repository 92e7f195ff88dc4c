import numpy as np
import pytest

from degradation.errors import DataError
from probes.metrics import ClassOutcome, GazeOutcome, evaluate, resolve
from probes.statistics import jackknife
from probes.statistics.bootstrap import stream
from probes.statistics.clusters import group_rows
from probes.statistics.jackknife import influences, leave_out

CLASSES = ("a", "b", "c")


def outcome(n, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    scores = rng.dirichlet(np.ones(3), n).astype(np.float32)
    return ClassOutcome(labels, scores)


def take(one, rows):
    if isinstance(one, ClassOutcome):
        return ClassOutcome(one.labels[rows], one.scores[rows])
    return GazeOutcome({name: values[rows] for name, values in one.values.items()})


@pytest.mark.parametrize(
    "name", ["accuracy", "macro_f1", "recall:b", "mean_average_precision", "average_l2_error"]
)
def test_values_without_a_cluster_are_those_of_the_other_rows(name):
    names = np.array(["x", "y", "z", "x", "w", "y", "w", "w", "z", "z", "v", "x"], dtype=object)
    gaze = name == "average_l2_error"
    one = outcome(12, 0)
    if gaze:
        one = GazeOutcome({name: np.where(np.arange(12) == 4, np.nan, np.arange(12.0))})
    metric = resolve(name, () if gaze else CLASSES)
    found = leave_out(group_rows(names), {0: (metric, one)}, rng=stream(0, "x"))[0]
    direct = [evaluate(metric, take(one, names != each))[0] for each in sorted(set(names))]
    np.testing.assert_allclose(found, direct, rtol=1e-6)


def test_groups_of_clusters_are_left_out_of_a_ranking(monkeypatch):
    one, metric = outcome(24, 1), resolve("mean_average_precision", CLASSES)
    monkeypatch.setattr(jackknife, "GROUPS", 5)
    found = leave_out(group_rows(np.arange(24) // 2), {0: (metric, one)}, rng=stream(3, "x"))[0]
    group = (stream(3, "x").permutation(12) % 5)[np.arange(24) // 2]
    direct = [evaluate(metric, take(one, group != k))[0] for k in range(5)]
    np.testing.assert_allclose(found, direct, rtol=1e-6)


def test_memory_chunks_change_nothing(monkeypatch):
    one, metric = outcome(24, 1), resolve("mean_average_precision", CLASSES)
    clusters = group_rows(np.arange(24) // 2)
    whole = leave_out(clusters, {0: (metric, one)}, rng=stream(0, "x"))[0]
    monkeypatch.setattr(jackknife.bootstrap, "CHUNK", 50)
    np.testing.assert_array_equal(
        leave_out(clusters, {0: (metric, one)}, rng=stream(0, "x"))[0], whole
    )


def test_influences_sum_to_the_variance_of_a_mean():
    value = np.random.default_rng(0).normal(size=40)
    without = (value.sum() - value) / 39
    influence = influences(without)
    assert influence.sum() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(influence, (value - value.mean()) / 40)
    assert 40 / 39 * (influence**2).sum() == pytest.approx(value.var(ddof=1) / 40)


def test_a_class_in_one_cluster_has_no_value_without_it():
    one = ClassOutcome(np.array([0, 1, 1, 1]), np.eye(3, dtype=np.float32)[[0, 1, 1, 2]])
    values = leave_out(group_rows(np.arange(4)), {0: (resolve("recall:a", CLASSES), one)},
                       rng=stream(0, "x"))[0]  # fmt: skip
    np.testing.assert_array_equal(np.isnan(values), [True, False, False, False])


def test_clusters_by_name():
    grouped = group_rows(np.array(["b", "a", "b", "b"], dtype=object))
    assert grouped.member.tolist() == [1, 0, 1, 1]
    assert grouped.sizes.tolist() == [1, 3]
    assert grouped.effective == pytest.approx(16 / 10)
    assert group_rows(np.arange(5)).effective == pytest.approx(5)
    for rows in (np.zeros(5), np.array(["one"], dtype=object)):
        with pytest.raises(DataError, match="at least two clusters"):
            group_rows(rows)
