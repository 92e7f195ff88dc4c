import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from degradation.errors import DataError
from probes.problems import balanced_weights
from probes.solver.logistic import Basis, fit_logistic, prepare

STRENGTHS = (1e-3, 3e-2, 1.0, 10.0)


def planted(n, d, c, seed, noise=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ (rng.normal(size=(d, d)) * np.exp(-np.arange(d) / d * 4))
    logits = x @ rng.normal(size=(d, c)) / np.sqrt(d)
    labels = (logits / logits.std() + noise * rng.gumbel(size=(n, c))).argmax(axis=1)
    labels[:c] = np.arange(c)
    return x.astype(np.float32), labels.astype(np.int64)


def z_score(x):
    x = x.astype(np.float64)
    deviation = x.std(axis=0)
    return np.where(deviation > 0, (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1), 0)


def sklearn_fit(z, labels, strength, weights=None, **options):
    """The same objective in scikit-learn's terms: C = 1 / (n s), 2 / (n s) for two classes."""
    factor = 2 if len(np.unique(labels)) == 2 else 1
    total = len(z) if weights is None else weights.sum()
    model = LogisticRegression(C=factor / (total * strength), tol=1e-9, max_iter=50_000, **options)
    return model.fit(z, labels, sample_weight=weights)


CASES = {
    "tall": planted(200, 10, 4, 0),
    "wide": planted(40, 70, 3, 1),
    "square": planted(30, 30, 3, 2),
    "two classes": planted(120, 8, 2, 3),
}
x, y = planted(150, 9, 3, 4)
CASES["constant column"] = (np.concatenate([x, np.full((150, 2), 0.1, np.float32)], axis=1), y)
CASES["duplicate rows"] = (np.tile(x, (2, 1)), np.tile(y, 2))
CASES["duplicate columns"] = (np.tile(x, (1, 3)), y)
CASES["huge scale"] = (x * np.logspace(-15, 15, 9).astype(np.float32), y)
CASES["float16"] = (x.astype(np.float16), y)
CASES["non-contiguous"] = (np.repeat(x, 2, axis=0)[::2, ::-1], y)


@pytest.mark.parametrize("name", CASES)
def test_the_optimum_is_scikit_learns(name):
    x, labels = CASES[name]
    c = labels.max() + 1
    path = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=int(c))
    z = z_score(x)
    for i, strength in enumerate(STRENGTHS):
        reference = sklearn_fit(z, labels, strength)
        weights, ours = reference.coef_, path.coefficients()[i]
        if c == 2:
            ours = ours[1:] - ours[:1]
        np.testing.assert_allclose(ours, weights, atol=1e-4)
        np.testing.assert_allclose(path.probabilities(x)[i], reference.predict_proba(z), atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_the_certificate_bounds_the_true_distance(name):
    x, labels = CASES[name]
    c = int(labels.max() + 1)
    loose = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=c, precision=0.3)
    tight = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=c, precision=1e-5)

    def objective(path):
        own = path.log_probabilities(x)[:, np.arange(len(x)), labels]
        norm = (path.coefficients() ** 2).sum(axis=(1, 2))
        return -own.mean(axis=1) + path.strengths / 2 * norm

    excess = objective(loose) - objective(tight)
    away = np.linalg.norm(
        (loose.coefficients() - tight.coefficients()).reshape(len(STRENGTHS), -1), axis=1
    )
    assert (excess <= loose.certificate.gap + 1e-12).all()
    assert (away <= loose.certificate.distance + 1e-6).all()
    assert tight.certificate.converged.all()
    assert (tight.certificate.gap <= 1e-10).all()


def test_unseen_rows_use_the_statistics_of_the_rows_fitted():
    x, labels = planted(200, 6, 3, 5)
    path = fit_logistic(prepare(x[:100]), labels[:100], [0.01], n_classes=3)
    train = x[:100].astype(np.float64)
    z = (x[100:] - train.mean(axis=0)) / train.std(axis=0)
    reference = sklearn_fit(z_score(x[:100]), labels[:100], 0.01)
    np.testing.assert_allclose(
        path.probabilities(x[100:])[0], reference.predict_proba(z), atol=1e-4
    )


def test_a_class_absent_from_the_rows_has_probability_zero():
    x, labels = planted(90, 5, 3, 6)
    path = fit_logistic(prepare(x), labels * 2, [0.1, 1.0], n_classes=6)
    dense = fit_logistic(prepare(x), labels, [0.1, 1.0], n_classes=3)
    probabilities = path.probabilities(x)
    assert probabilities.shape == (2, 90, 6)
    assert (probabilities[:, :, 1::2] == 0).all()
    np.testing.assert_array_equal(probabilities[:, :, ::2], dense.probabilities(x))


def test_a_column_that_is_constant_in_training_is_ignored_later():
    x, labels = planted(80, 4, 3, 7)
    x[:, 2] = 0.3
    path = fit_logistic(prepare(x), labels, [0.1], n_classes=3)
    moved = x.copy()
    moved[:, 2] = 1e6
    np.testing.assert_array_equal(path.probabilities(x), path.probabilities(moved))


def test_equal_features_give_equal_bits():
    x, labels = planted(150, 40, 4, 8)
    shifted = np.empty(x.size + 3, np.float32)[3:].reshape(x.shape)
    shifted[:] = x
    one, two = (
        fit_logistic(prepare(each), labels, STRENGTHS, n_classes=4).probabilities(each)
        for each in (x, shifted)
    )
    np.testing.assert_array_equal(one, two)


def test_an_orthogonal_map_of_z_scores_changes_nothing():
    x, labels = planted(120, 8, 3, 9)
    z = z_score(x)
    u, _, _ = np.linalg.svd(z, full_matrices=False)
    white = u * np.sqrt(len(z))
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))
    one, two = (
        fit_logistic(prepare(each), labels, [0.1], n_classes=3).probabilities(each)
        for each in (white, white @ q)
    )
    np.testing.assert_allclose(one, two, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(2, 12), d=st.integers(1, 15), c=st.integers(2, 4), seed=st.integers(0, 99),
    scale=st.sampled_from([1e-12, 1.0, 1e12]), dtype=st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_any_small_problem_has_a_certified_optimum(n, d, c, seed, scale, dtype):
    rng = np.random.default_rng(seed)
    x = (rng.integers(-2, 3, size=(n, d)) * scale).astype(dtype)
    labels = rng.integers(0, c, n)
    labels[:2] = (0, 1)
    path = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=c)
    probabilities = path.probabilities(x)
    np.testing.assert_allclose(probabilities.sum(axis=2), 1)
    assert (path.certificate.gap <= 1e-7).all()


def test_one_row_can_be_prepared_but_not_fitted():
    basis = prepare(np.ones((1, 3), np.float32))
    assert (basis.scale == 0).all()
    with pytest.raises(DataError, match="at least two classes"):
        fit_logistic(basis, np.array([0]), [1.0], n_classes=2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(bad):
    x = np.ones((4, 3), np.float32)
    x[2, 1] = bad
    with pytest.raises(DataError, match="1 of 4 rows"):
        prepare(x)


def test_no_rows_are_refused():
    with pytest.raises(DataError, match="at least one row"):
        prepare(np.empty((0, 3), np.float32))


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
    path = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=c, row_weights=weights)
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
    path = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=4, row_weights=weights)
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
    weights = weights_of(kind, labels)
    loose, gapped, tight = (
        fit_logistic(prepare(x), labels, STRENGTHS, n_classes=4, row_weights=weights, **stop)
        for stop in ({"precision": 0.3}, {"precision": 0.3, "gap": 1e-3}, {})
    )

    def objective(path):
        own = path.log_probabilities(x)[:, np.arange(len(x)), labels]
        norm = (path.coefficients() ** 2).sum(axis=(1, 2))
        return -own @ (weights / weights.sum()) + path.strengths / 2 * norm

    for path in (loose, gapped):
        excess = objective(path) - objective(tight)
        away = np.linalg.norm(
            (path.coefficients() - tight.coefficients()).reshape(len(STRENGTHS), -1), axis=1
        )
        assert (excess <= path.certificate.gap + 1e-12).all()
        assert (away <= path.certificate.distance + 1e-6).all()
    assert (loose.certificate.gap > 0).any()
    assert tight.certificate.converged.all()
    assert (tight.certificate.gap <= 1e-9).all()


def test_weights_of_one_value_change_nothing():
    x, labels = skewed()
    plain, even = (
        fit_logistic(prepare(x), labels, STRENGTHS, n_classes=4, row_weights=weights)
        for weights in (None, np.full(len(x), 7.0))
    )
    np.testing.assert_allclose(even.probabilities(x), plain.probabilities(x), atol=1e-6)


def test_whole_weights_are_repeated_rows():
    x, labels = skewed(n=80)
    counts = np.random.default_rng(12).integers(1, 5, len(x))
    basis = prepare(x)
    repeated = Basis(
        basis.mean, basis.scale, basis.rotation,
        basis.rows[:, np.repeat(np.arange(len(x)), counts)].contiguous(), basis.spread,
    )  # fmt: skip
    one = fit_logistic(basis, labels, STRENGTHS, n_classes=4, row_weights=counts.astype(float))
    two = fit_logistic(repeated, np.repeat(labels, counts), STRENGTHS, n_classes=4)
    np.testing.assert_allclose(one.coefficients(), two.coefficients(), atol=1e-5)
    np.testing.assert_allclose(one.certificate.gap, two.certificate.gap, atol=1e-9)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_weights_that_are_not_positive_are_refused(bad):
    x, labels = skewed(n=40)
    weights = np.ones(len(x))
    weights[3] = bad
    with pytest.raises(DataError, match="positive and finite"):
        fit_logistic(prepare(x), labels, [1.0], n_classes=4, row_weights=weights)
