"""Portions are nested, whole by clusters and the same for both sides."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from probes.diagnosis.samples import nested_portions, portion_scores, portions_of
from probes.problems import ClassProblem, Features
from probes.selection import STRENGTHS, Plan, Stage


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 30), st.integers(1, 4), st.integers(0, 5))
def test_portions_are_nested_and_never_divide_a_cluster(clusters, size, seed):
    names = np.repeat([f"c{i}" for i in range(clusters)], size).astype(object)
    rows = np.arange(1, len(names))
    shares = [0.1, 0.4, 1.0]
    parts = nested_portions(names, rows, shares, rng=np.random.default_rng(seed))
    for small, large in itertools.pairwise(parts):
        assert set(small) <= set(large)
    assert parts[-1].tolist() == rows.tolist()
    for part in parts:
        assert len(part) > 0
        for name in set(names[part]):
            assert set(rows[names[rows] == name]) <= set(part)


def world(n=120, d=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    labels = (x[:, 0] + 0.5 * rng.normal(size=n) > 0).astype(np.int64)
    clusters = np.array([f"c{i // 3}" for i in range(n)], dtype=object)
    train, val, test = np.split(np.arange(n), [60, 90])
    both = np.concatenate([train, val])
    return x, labels, clusters, Plan((Stage(((train, val),), both, test),), "val")


def test_a_portion_is_fitted_on_its_rows_and_chooses_on_the_validation_split():
    x, labels, clusters, plan = world()
    portions = portions_of(plan, clusters, labels, subsets=2, seed=0, name="q", shares=(0.3, 1.0))
    assert [(one.share, one.subset) for one in portions] == [(0.3, 0), (0.3, 1), (1.0, 0)]
    portion, problem = portions[0], ClassProblem(Features(x), labels, 2)
    rows = portion.parts[0].rows
    assert set(rows) < set(range(60))
    assert portion.rows == 18
    found = portion_scores(problem, portion)
    fits = []
    for s in STRENGTHS:
        z = (x - x[rows].mean(0)) / x[rows].std(0)
        model = LogisticRegression(C=2 / (s * len(rows)), tol=1e-8, max_iter=5000)
        model.fit(z[rows], labels[rows])
        loss = -np.log(model.predict_proba(z[60:90])[np.arange(30), labels[60:90]]).sum()
        fits.append((loss, model.predict_proba(z[90:])))
    assert min(np.abs(found - scores).max() for _, scores in fits) < 2e-3
    # The loss of a strength is judged on features z-scored by all rows of its trial.
    chosen = min(range(len(fits)), key=lambda i: np.abs(found - fits[i][1]).max())
    assert fits[chosen][0] < min(loss for loss, _ in fits) + 0.5


def test_portions_depend_on_the_question_and_the_seed_and_not_on_features():
    _, labels, clusters, plan = world()
    rows = [
        portions_of(plan, clusters, labels, subsets=1, seed=seed, name=name)[2].parts[0].rows
        for seed, name in ((0, "q"), (0, "q"), (1, "q"), (0, "other"))
    ]
    assert rows[0].tolist() == rows[1].tolist()
    assert rows[0].tolist() != rows[2].tolist()
    assert rows[0].tolist() != rows[3].tolist()


def test_shares_that_come_to_the_same_clusters_or_to_one_are_left_out():
    _, labels, clusters, plan = world()  # 20 training clusters
    shares = [one.share for one in portions_of(plan, clusters, labels, subsets=1, seed=0, name="q")]
    assert shares == [0.1, 0.2, 0.5, 1.0]


@pytest.mark.slow
def test_without_a_validation_split_folds_inside_the_portion_choose():
    x, labels, clusters, _ = world()
    folds = tuple((np.setdiff1d(np.arange(90), h), h) for h in np.split(np.arange(90), 3))
    plan = Plan((Stage(folds, np.arange(90), np.arange(90, 120)),), "folds")
    for portion in portions_of(plan, clusters, labels, subsets=1, seed=0, name="q"):
        part = portion.parts[0]
        assert set(np.concatenate([held for _, held in part.trials])) == set(part.rows)
        for fit, held in part.trials:
            assert not set(clusters[fit]) & set(clusters[held])
        scores = portion_scores(ClassProblem(Features(x), labels, 2), portion)
    assert (scores.argmax(1) == labels[90:]).mean() > 0.7


def test_a_portion_of_one_class_predicts_by_its_shares():
    x, labels, clusters, plan = world()
    labels[:] = 1
    labels[90:] = 0
    (portion, *_) = portions_of(plan, clusters, labels, subsets=1, seed=0, name="q")
    scores = portion_scores(ClassProblem(Features(x), labels, 3), portion)
    n = len(portion.parts[0].rows)
    assert scores[0] == pytest.approx([1 / (n + 3), (n + 1) / (n + 3), 1 / (n + 3)])
    assert (scores == scores[0]).all()
