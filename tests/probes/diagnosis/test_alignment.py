"""Maps against scipy and scikit-learn, and what they must undo."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from probes.diagnosis import alignment
from probes.diagnosis.alignment import affine_map, explained, orthogonal_map, standardise

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 5)) @ RNG.normal(size=(5, 5)) + 3
TURN = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
TRIALS = ((np.arange(50), np.arange(50, 80)),)


def test_a_rotation_with_scale_and_shift_is_undone_and_is_that_of_scipy():
    post = 2.5 * X @ TURN + 7
    found = orthogonal_map(post, X)
    np.testing.assert_allclose(found(post), X, atol=1e-10)
    assert found.scale == pytest.approx(1 / 2.5)
    noisy = post + RNG.normal(size=post.shape)
    expected, _ = orthogonal_procrustes(noisy - noisy.mean(0), X - X.mean(0))
    again = orthogonal_map(noisy, X)
    np.testing.assert_allclose(again.matrix / again.scale, expected, atol=1e-10)


def test_the_scale_is_the_best_one_for_the_rotation():
    post = X @ TURN + 0.5 * RNG.normal(size=X.shape)
    found = orthogonal_map(post, X)

    def error(factor):
        return ((factor * (found(post) - X.mean(0)) + X.mean(0) - X) ** 2).sum()

    assert error(1.0) < min(error(0.99), error(1.01))


@pytest.mark.parametrize("width", [3, 7])
def test_other_widths_are_as_if_filled_with_zeros(width):
    post = RNG.normal(size=(80, width)) + 0.5 * X[:, :1]
    wide = max(width, 5)
    filled = [np.pad(one - one.mean(0), ((0, 0), (0, wide - one.shape[1]))) for one in (post, X)]
    q, _ = orthogonal_procrustes(*filled)
    found = orthogonal_map(post, X)
    left = filled[0] @ q
    expected = found.scale * left[:, :5] + X.mean(0)
    np.testing.assert_allclose(found(post), expected, atol=1e-8)


def test_an_affine_change_is_undone_by_the_affine_map_and_not_by_a_rotation():
    post = X @ np.diag([9.0, 4.0, 1.0, 0.3, 0.1]) @ TURN - 4
    found = affine_map(post, X, TRIALS, np.arange(80))
    assert explained(X, found(post), X.mean(0)) > 0.9999
    assert explained(X, orthogonal_map(post, X)(post), X.mean(0)) < 0.9
    assert found.ridge == min(alignment.RIDGES)


def test_the_affine_map_is_ridge_regression_with_the_ridge_that_rebuilds_held_out_rows(monkeypatch):
    monkeypatch.setattr(alignment, "RIDGES", (1e-3, 0.1, 10.0))
    post = X @ TURN + 2 * RNG.normal(size=X.shape)
    found = affine_map(post, X, TRIALS, np.arange(80))

    def fitted(rows, ridge):
        mean, scale = post[rows].mean(0), post[rows].std(0)
        model = Ridge(alpha=ridge * len(rows)).fit((post[rows] - mean) / scale, X[rows])
        return lambda x: model.predict((x - mean) / scale)

    fit, held = TRIALS[0]
    units = X[fit].std(0)
    errors = [
        (((fitted(fit, ridge)(post[held]) - X[held]) / units) ** 2).sum()
        for ridge in alignment.RIDGES
    ]
    assert found.ridge == alignment.RIDGES[int(np.argmin(errors))]
    np.testing.assert_allclose(found(post), fitted(np.arange(80), found.ridge)(post), atol=1e-8)


def test_constant_features_and_fewer_rows_than_columns_are_no_fault():
    post = np.hstack([RNG.normal(size=(6, 12)), np.full((6, 1), 3.0)]).astype(np.float32)
    pre = RNG.normal(size=(6, 9)).astype(np.float32)
    found = affine_map(post, pre, ((np.arange(4), np.arange(4, 6)),), np.arange(6))
    assert np.isfinite(found(post)).all()
    assert standardise(post)[1][-1] == 0
    assert np.isfinite(orthogonal_map(np.zeros((6, 3)), pre)(np.zeros((6, 3)))).all()


def test_explained_is_r2_and_counts_only_the_directions_asked_for():
    found = X + RNG.normal(size=X.shape)
    expected = r2_score(X, found, multioutput="variance_weighted")
    assert explained(X, found, X.mean(0)) == pytest.approx(expected)
    wrong = X.copy()
    wrong[:, 1:] += 100
    first = np.eye(5)[:, :1]
    assert explained(X, wrong, X.mean(0), first) == 1
    assert np.isnan(explained(X, wrong, X.mean(0), np.zeros((5, 0))))
