"""The solver under weights, counts, groups and soft targets: what repeated rows would give."""

import numpy as np
import pytest
import torch
from logistic_problems import STRENGTHS, objective, planted, sklearn_fit, z_score

from degradation.errors import DataError
from probes.problems import balanced_weights
from probes.solver.duality import duality_gap
from probes.solver.logistic import fit_logistic
from probes.solver.metric import SoftmaxMetric
from probes.solver.prepared import READ_ROWS, basis_step, prepare


def skewed(n=240, d=8, c=4, seed=10):
    """Classes with shares from a half down to a few rows."""
    x, labels = planted(4 * n, d, c, seed)
    keep = np.random.default_rng(seed).random(4 * n) < np.array([1.0, 0.3, 0.1, 0.03])[labels]
    keep[:c] = True
    return x[keep][:n], labels[keep][:n]


def weights_of(kind, labels):
    if kind == "balanced":
        return balanced_weights(labels)
    return np.random.default_rng(11).uniform(0.1, 5, len(labels))


@pytest.mark.parametrize("kind", ["balanced", "any"])
@pytest.mark.parametrize("c", [2, 4])
def test_the_weighted_optimum_is_scikit_learns(kind, c):
    x, labels = skewed(c=c)
    weights = weights_of(kind, labels)
    x = x.astype(np.float64)
    path = fit_logistic(
        prepare(x), labels, STRENGTHS, n_classes=c, weights=weights[None], gap=1e-18
    )
    for i, strength in enumerate(STRENGTHS):
        reference = sklearn_fit(z_score(x), labels, strength, weights)
        ours = path.coefficients()[i]
        np.testing.assert_allclose(
            ours[1:] - ours[:1] if c == 2 else ours, reference.coef_, atol=1e-4
        )
        np.testing.assert_allclose(
            path.probabilities(x)[i], reference.predict_proba(z_score(x)), atol=1e-4
        )
        if kind == "balanced":
            named = sklearn_fit(z_score(x), labels, strength, class_weight="balanced")
            np.testing.assert_allclose(
                path.probabilities(x)[i], named.predict_proba(z_score(x)), atol=1e-4
            )


def test_at_the_weighted_optimum_the_gradient_is_zero_by_direct_sums():
    x, labels = skewed()
    weights = weights_of("any", labels)
    x = x.astype(np.float64)
    path = fit_logistic(
        prepare(x), labels, STRENGTHS, n_classes=4, weights=weights[None], gap=1e-18
    )
    z, share = z_score(x), weights / weights.sum()
    for strength, coefficients, p in zip(
        STRENGTHS, path.coefficients(), path.probabilities(x), strict=True
    ):
        gradient, bias = strength * coefficients, np.zeros(4)
        for i in range(len(z)):
            residual = share[i] * (p[i] - np.eye(4)[labels[i]])
            gradient += np.outer(residual, z[i])
            bias += residual
        assert np.abs(gradient).max() < 1e-6
        assert np.abs(bias).max() < 1e-6


@pytest.mark.parametrize("kind", ["balanced", "any"])
def test_the_certificate_bounds_the_true_distance_under_weights(kind):
    x, labels = skewed()
    weights, x = weights_of(kind, labels), x.astype(np.float64)
    loose, tight = (
        fit_logistic(prepare(x), labels, STRENGTHS, n_classes=4, weights=weights[None], gap=gap)
        for gap in (1e-2, 1e-14)
    )
    gap = duality_gap(loose)
    excess = objective(loose, x, labels, weights) - objective(tight, x, labels, weights)
    assert (excess <= gap + 1e-12).all()
    assert (gap > 0).any()
    assert (duality_gap(tight) <= 1e-10).all()


def test_weights_of_one_value_change_nothing():
    x, labels = skewed()
    plain, even = (
        fit_logistic(prepare(x), labels, STRENGTHS, n_classes=4, weights=weights)
        for weights in (None, np.full((1, len(x)), 7.0))
    )
    np.testing.assert_allclose(even.probabilities(x), plain.probabilities(x), atol=1e-6)


def test_counts_are_repeated_rows():
    x, labels = skewed(n=80)
    counts = np.random.default_rng(12).integers(0, 5, (3, len(x)))
    counts[0, 7] = 0
    prepared = prepare(x.astype(np.float64))
    together = fit_logistic(
        prepared, labels, STRENGTHS, n_classes=4, counts=counts.astype(float), gap=1e-18
    )
    for group, count in enumerate(counts):
        rows = np.repeat(np.arange(len(x)), count)
        alone = fit_logistic(
            prepare(x[rows].astype(np.float64)), labels[rows], STRENGTHS, n_classes=4, gap=1e-18
        )
        own = slice(group * len(STRENGTHS), (group + 1) * len(STRENGTHS))
        np.testing.assert_allclose(together.coefficients()[own], alone.coefficients(), atol=1e-5)
        np.testing.assert_allclose(
            together.probabilities(x)[own], alone.probabilities(x), atol=1e-6
        )
        # What is constant or absent in a group is so for it alone.
        assert set(together.present[own].all(0).nonzero()[0]) == set(labels[rows])


def test_a_column_that_is_constant_in_one_group_is_ignored_there():
    x, labels = planted(80, 4, 3, 20)
    x[:40, 1] = 0.3
    counts = np.stack([np.arange(80) < 40, np.ones(80)]).astype(float)
    path = fit_logistic(prepare(x), labels, [0.01], n_classes=3, counts=counts)
    assert (path.coefficients()[0, :, 1] == 0).all()
    assert (path.coefficients()[1, :, 1] != 0).any()
    alone = fit_logistic(prepare(x[:40]), labels[:40], [0.01], n_classes=3)
    np.testing.assert_allclose(path.probabilities(x)[0], alone.probabilities(x)[0], atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_groups_share_passes_and_are_solved_as_if_alone(dtype):
    x, labels = planted(150, 20, 3, 21)
    x = x.astype(dtype)
    fold = np.arange(150) % 3
    counts = np.stack([fold != k for k in range(3)]).astype(float)
    path = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=3, counts=counts, gap=1e-10)
    for k in range(3):
        rows = fold != k
        alone = fit_logistic(prepare(x[rows]), labels[rows], STRENGTHS, n_classes=3, gap=1e-10)
        np.testing.assert_allclose(
            path.probabilities(x)[4 * k : 4 * k + 4], alone.probabilities(x), atol=2e-4
        )
    held = 1.0 - counts
    losses = path.loss.log_loss(
        path.weights, path.bias, torch.from_numpy(held).to(path.loss.target.dtype)
    )
    own = path.log_probabilities(x)[:, np.arange(150), labels]
    direct = -(own.reshape(3, 4, 150) * held[:, None]).sum(axis=2).ravel()
    np.testing.assert_allclose(losses.numpy(), direct, rtol=1e-5)


def test_soft_targets_are_repeated_rows_of_each_class():
    x, _ = planted(60, 6, 3, 22)
    x = x.astype(np.float64)
    share = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    soft = fit_logistic(prepare(x), share, STRENGTHS, n_classes=3, gap=1e-18)
    hard = fit_logistic(
        prepare(np.repeat(x, 3, axis=0)), np.tile(np.arange(3), 60), STRENGTHS, n_classes=3,
        weights=share.reshape(1, -1), gap=1e-18,
    )  # fmt: skip
    np.testing.assert_allclose(soft.coefficients(), hard.coefficients(), atol=1e-5)


def test_a_group_that_the_renewed_metric_sees_no_row_of_is_fitted_all_the_same(monkeypatch):
    monkeypatch.setattr(SoftmaxMetric, "renewal_steps", lambda _: 3)
    x, labels = planted(2 * READ_ROWS, 4, 3, seed=11)
    counts = np.zeros((1, len(x)))
    counts[0, 1:60:2] = 1  # of two rows each, the metric takes the first
    assert basis_step(len(x), 4) == 2
    path = fit_logistic(prepare(x), labels, [1e-3], n_classes=3, counts=counts)
    assert path.certificate.converged.all()
    assert path.certificate.iterations[0] > 3


def test_targets_and_counts_that_do_not_fit_are_refused():
    x, labels = planted(40, 3, 2, 29)
    prepared = prepare(x)
    for options, match in (
        ({"target": labels[:-1]}, "each of 40 rows"),
        ({"target": labels + 1}, "class indices from 0 to 1"),
        ({"target": np.full((40, 2), 0.7)}, "sum to 1"),
        ({"counts": np.ones((1, 39)), "target": np.zeros((40, 2)) + 0.5}, "counts of 40 rows"),
        ({"target": np.full((40, 3), 1 / 3)}, "shares of 2 classes, found 3"),
        ({"counts": -np.ones((1, 40))}, "not negative"),
        ({"counts": np.zeros((1, 40))}, "at least two classes"),
    ):
        with pytest.raises(DataError, match=match):
            fit_logistic(
                prepared, **{"target": labels, "strengths": [1.0], "n_classes": 2} | options
            )


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_weights_that_are_not_positive_are_refused(bad):
    x, labels = skewed(n=40)
    weights = np.ones(len(x))
    weights[3] = bad
    with pytest.raises(DataError, match="positive and finite"):
        fit_logistic(prepare(x), labels, [1.0], n_classes=4, weights=weights[None])
