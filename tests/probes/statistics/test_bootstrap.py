import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import ks_2samp

from degradation.errors import DataError
from probes.metrics import ClassOutcome, GazeOutcome, delta, evaluate, resolve
from probes.statistics import bootstrap
from probes.statistics.bootstrap import bca, interval, resample, stream
from probes.statistics.jackknife import influences

CLASSES = ("a", "b", "c")


def outcome(n, seed, skill=0.4):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    scores = rng.dirichlet(np.ones(3), n)
    scores[np.arange(n), labels] += skill
    return ClassOutcome(labels, scores.astype(np.float32))


def test_streams_differ_by_name_and_seed_only():
    first = stream(0, "folds").random(4)
    np.testing.assert_array_equal(first, stream(0, "folds").random(4))
    assert not np.allclose(first, stream(0, "bootstrap").random(4))
    assert not np.allclose(first, stream(1, "folds").random(4))


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mean_average_precision"])
def test_each_draw_is_the_metric_of_the_rows_it_takes(name):
    one, metric = outcome(24, 0), resolve(name, CLASSES)
    clusters = np.array([f"c{i // 3}" for i in range(24)], dtype=object)
    values = resample(clusters, {"x": (metric, one)}, draws=40, rng=stream(3, "draws"))["x"]
    picks = stream(3, "draws").integers(0, 8, size=(40, 8))
    for draw, found in zip(picks, values, strict=True):
        rows = np.concatenate([np.arange(3 * k, 3 * k + 3) for k in draw])
        again = ClassOutcome(one.labels[rows], one.scores[rows])
        assert found == pytest.approx(evaluate(metric, again)[0], rel=1e-5)


def test_memory_chunks_change_nothing(monkeypatch):
    one, clusters = outcome(30, 1), np.arange(30) // 2
    metrics = {n: (resolve(n, CLASSES), one) for n in ("accuracy", "mean_average_precision")}
    whole = resample(clusters, metrics, draws=50, rng=stream(0, "x"))
    monkeypatch.setattr(bootstrap, "CHUNK", 100)
    parts = resample(clusters, metrics, draws=50, rng=stream(0, "x"))
    for name in metrics:
        np.testing.assert_array_equal(whole[name], parts[name])


def test_the_spread_is_that_of_cluster_means():
    rng = np.random.default_rng(0)
    effect = rng.normal(size=200)
    value = np.repeat(effect, 5)  # rows of a cluster are copies: only 200 independent values
    one = GazeOutcome({"average_l2_error": value})
    metric = resolve("average_l2_error", ())
    values = resample(np.repeat(np.arange(200), 5), {0: (metric, one)}, draws=4000,
                      rng=stream(0, "x"))[0]  # fmt: skip
    assert values.std() == pytest.approx(effect.std() / np.sqrt(200), rel=0.05)
    assert values.mean() == pytest.approx(effect.mean(), abs=0.01)


def test_both_sides_see_the_same_draws():
    one, clusters = outcome(40, 2), np.arange(40) // 2
    metric = resolve("accuracy", CLASSES)
    values = resample(clusters, {"pre": (metric, one), "post": (metric, one)}, draws=100,
                      rng=stream(0, "x"))  # fmt: skip
    difference = delta(values["pre"], values["post"], metric)
    assert interval(difference, 0.9) == (0.0, 0.0)


def test_swapping_sides_flips_the_sign_exactly():
    pre, post, clusters = outcome(60, 3), outcome(60, 4, skill=0.1), np.arange(60) // 2
    metric = resolve("accuracy", CLASSES)
    values = resample(clusters, {0: (metric, pre), 1: (metric, post)}, draws=301,
                      rng=stream(0, "x"))  # fmt: skip
    forth, back = delta(values[0], values[1], metric), delta(values[1], values[0], metric)
    np.testing.assert_array_equal(forth, -back)
    low, high = interval(forth, 0.9)
    assert interval(back, 0.9) == pytest.approx((-high, -low))


def test_draws_without_a_class_are_left_out_of_the_interval():
    labels = np.array([0, 1, 1, 1])
    one = ClassOutcome(labels, np.eye(3, dtype=np.float32)[labels])
    values = resample(np.arange(4), {0: (resolve("recall:a", CLASSES), one)}, draws=200,
                      rng=stream(0, "x"))[0]  # fmt: skip
    assert np.isnan(values).any()
    assert interval(values, 0.95) == (1.0, 1.0)
    with pytest.raises(DataError, match="undefined in every"):
        interval(np.full(3, np.nan), 0.9)


def test_one_cluster_is_refused():
    with pytest.raises(DataError, match="at least two clusters"):
        resample(np.zeros(5), {0: (resolve("accuracy", CLASSES), outcome(5, 0))}, draws=10,
                 rng=stream(0, "x"))  # fmt: skip


def sides_of_few_kinds(n, seed):
    """Both sides of n rows of three classes, each row its own cluster: 27 kinds at most."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    said = [np.where(rng.random(n) < skill, labels, rng.integers(0, 3, n)) for skill in (0.8, 0.6)]
    return [ClassOutcome(labels, np.eye(3, dtype=np.float32)[one]) for one in said]


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "recall:b"])
def test_the_shortcut_has_the_distribution_of_the_loop(name):
    sides, metric = sides_of_few_kinds(90, 0), resolve(name, CLASSES)
    outcomes = {side: (metric, one) for side, one in enumerate(sides)}
    loop, quick = (
        resample(np.arange(90), outcomes, draws=6000, rng=stream(seed, "x"), shortcut=quick)
        for seed, quick in ((0, False), (1, True))
    )
    for one, two in zip(
        [*loop.values(), loop[1] - loop[0]], [*quick.values(), quick[1] - quick[0]], strict=True
    ):
        assert two.mean() == pytest.approx(one.mean(), abs=5 * one.std() / 6000**0.5)
        assert two.std() == pytest.approx(one.std(), rel=0.05)
        assert ks_2samp(one, two).pvalue > 1e-3
    # The sides stay paired: their draws move together as much.
    together = [np.corrcoef(values[0], values[1])[0, 1] for values in (loop, quick)]
    assert together[0] == pytest.approx(together[1], abs=0.05)


def test_the_shortcut_is_taken_where_kinds_are_few_and_sums_decide(monkeypatch):
    def refuse(*_):
        raise AssertionError("drawn cluster by cluster")

    sides, accuracy = sides_of_few_kinds(90, 0), resolve("accuracy", CLASSES)
    outcomes = {side: (accuracy, one) for side, one in enumerate(sides)}
    monkeypatch.setattr(bootstrap, "_counts", refuse)
    assert len(resample(np.arange(90), outcomes, draws=5, rng=stream(0, "x"))[0]) == 5
    ranked = outcomes | {2: (resolve("mean_average_precision", CLASSES), sides[0])}
    noise = GazeOutcome({"average_l2_error": np.random.default_rng(0).random(90)})
    own = {0: (resolve("average_l2_error", ()), noise)}
    for others in (ranked, own):
        with pytest.raises(AssertionError, match="cluster by cluster"):
            resample(np.arange(90), others, draws=5, rng=stream(0, "x"))


def test_bca_is_scipys():
    value = np.random.default_rng(0).exponential(size=25)
    result = scipy_bootstrap(
        (value,), np.mean, n_resamples=999, method="BCa", rng=np.random.default_rng(1)
    )
    without = (value.sum() - value) / 24
    ends = bca(value.mean(), result.bootstrap_distribution, influences(without), 0.95)
    assert ends == pytest.approx(tuple(result.confidence_interval))
    percentile = interval(result.bootstrap_distribution, 0.95)
    assert ends[0] > percentile[0]
    assert ends[1] > percentile[1]  # towards the long tail


def test_bca_of_draws_that_are_all_equal_or_all_on_one_side():
    assert bca(1.0, np.full(9, 1.0), np.zeros(4), 0.95) == (1.0, 1.0)
    draws = np.arange(10.0)
    low, high = bca(100.0, draws, np.array([-1.0, 1.0]), 0.95)
    assert 0 <= low <= high <= 9
