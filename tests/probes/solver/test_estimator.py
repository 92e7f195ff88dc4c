import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from probes.selection import STRENGTHS
from probes.solver.estimator import LogisticProbe


def expected_to_fail(estimator):
    """Folds divide repeated rows between them: none that chooses by folds passes this check."""
    if isinstance(estimator.strength, float):
        return {}
    return {"check_sample_weight_equivalence_on_dense_data": "folds choose the strength"}


@parametrize_with_checks(
    [LogisticProbe(), LogisticProbe([0.01, 1.0], folds=2)], expected_failed_checks=expected_to_fail
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def world(n=300, d=12, c=3, seed=0):
    return make_classification(
        n, d, n_informative=6, n_classes=c, n_clusters_per_class=1, flip_y=0.2, random_state=seed
    )


@pytest.mark.parametrize("c", [2, 3])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 5.0, 2: 1.0}])
def test_the_optimum_is_that_of_scikit_learn_on_z_scores(c, class_weight):
    x, y = world(c=c)
    if isinstance(class_weight, dict):
        class_weight = {k: class_weight[k] for k in range(c)}
    probe = LogisticProbe(0.03, class_weight=class_weight, tol=1e-13).fit(x, y)
    weights = (len(y) / (c * np.bincount(y)))[y] if class_weight == "balanced" else 1.0
    total = len(y) if class_weight is None else (
        np.sum(weights * np.ones(len(y))) if class_weight == "balanced"
        else sum(class_weight[k] for k in y)
    )  # fmt: skip
    reference = make_pipeline(
        StandardScaler(),
        LogisticRegression(
            C=(2 if c == 2 else 1) / (total * 0.03), class_weight=class_weight, tol=1e-10,
            max_iter=10_000,
        ),
    ).fit(x, y)  # fmt: skip
    np.testing.assert_allclose(probe.predict_proba(x), reference.predict_proba(x), atol=1e-5)
    assert probe.coef_.shape == reference[-1].coef_.shape


def test_float32_features_are_fitted_in_float32():
    x, y = world()
    wide, narrow = (LogisticProbe(0.01).fit(x.astype(t), y) for t in (np.float64, np.float32))
    np.testing.assert_allclose(narrow.coef_, wide.coef_, atol=1e-3)
    assert narrow.certificate_.gap[0] < 1e-6


def test_strengths_are_chosen_without_dividing_clusters():
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(40), 10)
    # Rows of a cluster share a vector that tells nothing about other clusters.
    y = np.repeat(rng.integers(0, 2, 40), 10)
    x = rng.normal(size=(40, 20))[cluster] + 0.05 * rng.normal(size=(400, 20))
    blind = LogisticProbe(STRENGTHS).fit(x, y)
    aware = LogisticProbe(STRENGTHS).fit(x, y, groups=cluster)
    assert blind.strength_ < aware.strength_
    assert aware.held_out_loss_.min() > 0.6
    assert (
        aware.held_out_loss_[list(STRENGTHS).index(aware.strength_)] == aware.held_out_loss_.min()
    )
    own = cross_val_score(LogisticProbe(0.1), x, y, groups=cluster, cv=GroupKFold(4))
    assert own.mean() < 0.75


def test_a_row_of_a_class_of_its_own_does_not_choose_the_strength():
    x, y = world()
    alone = np.append(y, 3)
    probe = LogisticProbe([1e-3, 0.1, 10.0]).fit(np.append(x, x[:1], axis=0), alone)
    assert probe.held_out_loss_.max() < 2
    assert len(probe.classes_) == 4


def test_folds_that_leave_one_class_are_refused():
    x, y = world(c=2)
    with pytest.raises(ValueError, match="two classes outside of each of 5 folds"):
        LogisticProbe([0.1, 1.0]).fit(x, np.arange(len(x)) == 7)
    with pytest.raises(ValueError, match="at least two clusters"):
        LogisticProbe([0.1, 1.0]).fit(x, y, groups=np.zeros(len(x)))


def test_rows_of_one_class_are_refused():
    with pytest.raises(ValueError, match="at least two classes"):
        LogisticProbe().fit(np.ones((4, 2)), [1, 1, 1, 1])
    with pytest.raises(ValueError, match="strengths that are positive"):
        LogisticProbe(strength=0).fit(np.ones((4, 2)), [1, 1, 0, 0])
