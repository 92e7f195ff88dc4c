import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from degradation.errors import DataError
from probes.problems import ClassProblem, Features, balanced_weights
from probes.selection import STRENGTHS, clustered_folds, make_plan, read_out
from probes.statistics.bootstrap import stream


def world(sizes, *, per_cluster=2, seed=0, c=3):
    splits = np.concatenate([np.full(n, split, dtype=object) for split, n in sizes.items()])
    n = len(splits)
    labels = np.random.default_rng(seed).integers(0, c, n)
    clusters = np.array([f"{split}{i // per_cluster}" for i, split in enumerate(splits)], object)
    return splits, np.ones(n, bool), clusters, labels


def test_the_path_runs_from_1e_minus_5_to_10():
    assert len(STRENGTHS) == 10
    assert STRENGTHS[0] == pytest.approx(1e-5)
    assert STRENGTHS[-1] == pytest.approx(10)
    np.testing.assert_allclose(np.diff(np.log(STRENGTHS)), np.log(1e6) / 9)


def test_with_validation_rows_the_test_rows_are_only_predicted():
    splits, usable, clusters, labels = world({"train": 30, "val": 10, "test": 12})
    usable[::7] = False
    plan = make_plan(splits, usable, clusters, labels, seed=0, name="q")
    (stage,) = plan.stages
    ((fit, held),) = stage.trials
    assert set(splits[fit]) == {"train"}
    assert set(splits[held]) == {"val"}
    assert set(splits[stage.train]) == {"train", "val"}
    np.testing.assert_array_equal(plan.predicted, np.nonzero((splits == "test") & usable)[0])
    assert usable[np.concatenate([fit, held, stage.train])].all()
    assert plan.rule == "validation split, log-loss"


def test_without_validation_rows_folds_of_train_choose():
    splits, usable, clusters, labels = world({"train": 40, "test": 12})
    plan = make_plan(splits, usable, clusters, labels, seed=0, name="q")
    (stage,) = plan.stages
    assert len(stage.trials) == 5
    held = np.sort(np.concatenate([held for _, held in stage.trials]))
    np.testing.assert_array_equal(held, stage.train)
    for fit, held in stage.trials:
        assert not set(clusters[fit]) & set(clusters[held])
    assert plan.rule == "clustered 5-fold, log-loss"


def test_without_splits_each_row_is_predicted_from_other_clusters():
    splits, usable, clusters, labels = world({"all": 60}, per_cluster=3)
    plan = make_plan(splits, usable, clusters, labels, seed=0, name="q")
    assert len(plan.stages) == 5
    np.testing.assert_array_equal(plan.predicted, np.arange(60))
    for stage in plan.stages:
        assert not set(clusters[stage.train]) & set(clusters[stage.predict])
        for fit, held in stage.trials:
            assert set(fit) | set(held) == set(stage.train)
            assert not set(clusters[fit]) & set(clusters[held])


def test_plans_depend_on_seed_and_name_only():
    args = world({"all": 60})

    def held(**names):
        return [stage.predict.tolist() for stage in make_plan(*args, **names).stages]

    assert held(seed=0, name="q") == held(seed=0, name="q")
    assert held(seed=0, name="q") != held(seed=1, name="q")
    assert held(seed=0, name="q") != held(seed=0, name="r")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": 10}, "train, test"),
        ({"train": 10, "test": 4, "extra": 2}, "extra"),
        ({"all": 4, "test": 4}, "all"),
        ({"all": 2}, "at least two clusters"),
    ],
)
def test_splits_that_cannot_be_used_are_refused(sizes, message):
    with pytest.raises(DataError, match=message):
        make_plan(*world(sizes), seed=0, name="q")


def test_a_split_without_usable_rows_is_refused():
    splits, usable, clusters, labels = world({"train": 10, "test": 4})
    usable[splits == "test"] = False
    with pytest.raises(DataError, match="no row of the test split"):
        make_plan(splits, usable, clusters, labels, seed=0, name="q")


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=20), k=st.integers(2, 5),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_folds_never_divide_a_cluster_and_none_is_empty(sizes, k, seed):
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.random.default_rng(seed).integers(0, 3, len(clusters))
    fold = clustered_folds(clusters, labels, k, rng=stream(seed, "folds"))
    assert set(fold) == set(range(min(k, len(sizes))))
    for cluster in np.unique(clusters):
        assert len(set(fold[clusters == cluster])) == 1


def test_folds_keep_class_shares_alike():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(100), 3)
    labels = np.repeat((rng.random(100) < 0.1).astype(np.int64), 3)  # ten rare clusters, say
    fold = clustered_folds(clusters, labels, 5, rng=stream(0, "folds"))
    rare = np.bincount(fold, labels)
    assert rare.max() - rare.min() <= 3
    assert np.bincount(fold).max() - np.bincount(fold).min() <= 6


class Recorder:
    """A problem whose held-out loss is least at one strength, and that notes what it was asked."""

    def __init__(self, best):
        self.best, self.chosen_by, self.fitted = best, [], []

    def held_out(self, rows, trials, strengths):
        for fit, held in trials:
            assert set(fit) | set(held) <= set(rows)
        self.chosen_by.append(tuple(strengths))
        return len(trials) * np.abs(np.log(np.array(strengths) / self.best)).round(6)

    def fit(self, rows, strengths, counts=None):
        groups = np.ones((1, len(rows))) if counts is None else counts
        assert groups.shape[1] == len(rows)
        self.fitted.append((tuple(rows), tuple(strengths), len(groups)))
        b = len(strengths) * len(groups)

        class Fit:
            certificate = type("C", (), {"gap": np.zeros(b)})

            def scores(self, rows):
                own = rows[None, :, None] + 1000.0 * np.arange(b)[:, None, None]
                return np.tile(own, (1, 1, 2))

        return Fit()


def test_the_best_strength_is_refitted_once_at_full_precision():
    args = world({"train": 20, "val": 8, "test": 6})
    plan = make_plan(*args, seed=0, name="q")
    problem = Recorder(best=1e-2)
    found = read_out(problem, plan, (1e-3, 1e-2, 1e-1))
    assert found.strength == 1e-2
    assert found.loss == 0
    assert [strengths for _, strengths, _ in problem.fitted] == [(1e-2,)]
    np.testing.assert_array_equal(found.scores[:, 0], plan.predicted)
    assert (dict(found.curve), found.refits) == ({}, ())


@pytest.mark.parametrize("sizes", [{"train": 20, "val": 8, "test": 6}, {"all": 30}])
def test_the_curve_has_every_strength_and_refits_have_their_draws(sizes):
    plan = make_plan(*world(sizes), seed=0, name="q")
    found = read_out(Recorder(best=1e-2), plan, (1e-1, 1e-3, 1e-2), curve=True, refits=4)
    assert list(found.curve) == [1e-3, 1e-2, 1e-1]
    for k, scores in enumerate(found.curve.values()):
        np.testing.assert_array_equal(scores[:, 0], plan.predicted + 1000 * k)
    assert len(found.refits) == 4
    for k, scores in enumerate(found.refits):
        np.testing.assert_array_equal(scores[:, 0], plan.predicted + 1000 * k)


def test_refits_draw_whole_training_clusters_and_never_a_single_class():
    splits, usable, clusters, labels = world({"train": 30, "val": 6, "test": 12}, per_cluster=3)
    labels[:] = 0
    labels[:3] = 1  # one cluster of another class, absent from a third of the draws
    plan = make_plan(splits, usable, clusters, labels, seed=0, name="q")
    (stage,) = plan.stages
    again = make_plan(splits, usable, clusters, labels, seed=0, name="q").stages[0]
    np.testing.assert_array_equal(stage.draws, again.draws)
    assert len({draw.tobytes() for draw in stage.draws}) == len(stage.draws)
    for draw in stage.draws:
        for cluster in set(clusters[stage.train]):
            assert len(set(draw[clusters[stage.train] == cluster])) == 1
        assert draw.sum() == len(stage.train)
        assert set(labels[stage.train][draw > 0]) == {0, 1}


def test_of_equal_losses_the_stronger_penalty_wins():
    plan = make_plan(*world({"train": 20, "val": 8, "test": 6}), seed=0, name="q")
    assert read_out(Recorder(best=1e-2), plan, (1e-3, 1e-1)).strength == 1e-1


def test_cross_fitted_scores_come_back_in_row_order():
    plan = make_plan(*world({"all": 30}), seed=0, name="q")
    found = read_out(Recorder(best=1.0), plan, (0.1, 1.0))
    np.testing.assert_array_equal(found.scores[:, 0], np.arange(30))


@pytest.mark.parametrize("balanced", [False, True])
def test_held_out_losses_of_all_trials_are_those_of_each_alone(balanced):
    rng = np.random.default_rng(0)
    labels = np.concatenate([rng.integers(0, 3, 60), [3, 3, 3]])  # the last class in one fold only
    x = rng.normal(size=(63, 3)) + labels[:, None]
    problem, rows = ClassProblem(Features(x), labels, 4, balanced), np.arange(63)
    fold = np.append(rng.integers(0, 3, 60), [1, 1, 1])
    trials = [(rows[fold != k], rows[fold == k]) for k in range(3)]
    total = problem.held_out(rows, trials, [0.01, 1.0])
    expected = np.zeros(2)
    for fit, held in trials:
        p = problem.fit(fit, [0.01, 1.0]).scores(held)
        weights = balanced_weights(labels[held]) if balanced else np.ones(len(held))
        known = np.isin(labels[held], labels[fit])  # its loss is infinite at every strength
        own = -np.log(p[:, np.arange(len(held)), labels[held]][:, known])
        expected += own @ weights[known]
    np.testing.assert_allclose(total, expected, rtol=5e-3)


def test_test_labels_cannot_move_the_strength_or_the_scores():
    rng = np.random.default_rng(1)
    splits, usable, clusters, labels = world({"train": 60, "val": 20, "test": 20})
    features = Features(rng.normal(size=(100, 5)) + labels[:, None])
    plan = make_plan(splits, usable, clusters, labels, seed=0, name="q")
    one = read_out(ClassProblem(features, labels, 3), plan)
    other = np.where(splits == "test", 0, labels)
    two = read_out(ClassProblem(features, other, 3), plan)
    assert one.strength == two.strength
    np.testing.assert_array_equal(one.scores, two.scores)


def test_balanced_weights_are_scikit_learns():
    labels = np.random.default_rng(2).choice([0, 2, 3], 50, p=[0.8, 0.15, 0.05])
    np.testing.assert_allclose(balanced_weights(labels), compute_sample_weight("balanced", labels))


def test_a_balanced_problem_fits_and_chooses_as_if_classes_had_equal_shares():
    rng = np.random.default_rng(3)
    labels = np.where(rng.random(300) < 0.1, 1, 0)
    x = rng.normal(size=(300, 4)) + 0.7 * labels[:, None]
    rows = np.arange(200)
    plain, balanced = (
        ClassProblem(Features(x), labels, 2, flag).fit(rows, [0.01, 1.0]) for flag in (False, True)
    )
    held = np.arange(200, 300)
    # A free bias makes the mean probability that of the (weighted) class shares.
    share = labels[rows].mean()
    np.testing.assert_allclose(plain.scores(rows)[:, :, 1].mean(axis=1), share, atol=1e-3)
    weights = balanced_weights(labels[rows])
    mean = (balanced.scores(rows)[:, :, 1] * weights).sum(axis=1) / weights.sum()
    np.testing.assert_allclose(mean, 0.5, atol=1e-3)
    own = -np.log(balanced.scores(held)[:, np.arange(100), labels[held]])
    expected = [100 * np.mean([one[labels[held] == k].mean() for k in (0, 1)]) for one in own]
    found = balanced.problem.held_out(np.arange(300), [(rows, held)], [0.01, 1.0])
    np.testing.assert_allclose(found, expected, rtol=5e-3)
