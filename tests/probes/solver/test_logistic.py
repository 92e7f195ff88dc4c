"""The solver's optimum and its certificates, on any shape and kind of features."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logistic_problems import STRENGTHS, objective, planted, sklearn_fit, z_score

from degradation.errors import DataError
from probes.solver.duality import duality_gap
from probes.solver.logistic import fit_logistic
from probes.solver.prepared import prepare

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
@pytest.mark.parametrize(("wide", "close"), [(True, 1e-4), (False, 4e-3)])
def test_the_optimum_is_scikit_learns(name, wide, close):
    x, labels = CASES[name]
    x = x.astype(np.float64) if wide else x
    c = int(labels.max() + 1)
    path = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=c, gap=1e-18)
    z = z_score(x)
    for i, strength in enumerate(STRENGTHS):
        reference = sklearn_fit(z, labels, strength)
        weights, ours = reference.coef_, path.coefficients()[i]
        if c == 2:
            ours = ours[1:] - ours[:1]
        np.testing.assert_allclose(ours, weights, atol=close)
        np.testing.assert_allclose(path.probabilities(x)[i], reference.predict_proba(z), atol=close)


@pytest.mark.parametrize("name", CASES)
def test_the_certificates_bound_the_true_distance(name):
    x, labels = CASES[name]
    c, wide = int(labels.max() + 1), prepare(x.astype(np.float64))
    loose = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=c, gap=1e-2)
    tight = fit_logistic(wide, labels, STRENGTHS, n_classes=c, gap=1e-18)
    excess = objective(loose, x, labels) - objective(tight, x, labels)
    gap = duality_gap(loose)
    # Float32 z-scores are those of slightly other features.
    assert (excess <= gap + 1e-6).all()
    assert (gap[:-1] > 0).all()
    away = np.linalg.norm((loose.coefficients() - tight.coefficients()).reshape(4, -1), axis=1)
    assert (away <= np.sqrt(2 * gap / loose.strengths) + 1e-4).all()
    assert loose.certificate.converged.all()
    assert (duality_gap(tight) <= 1e-10).all()
    np.testing.assert_allclose(
        tight.certificate.objective, objective(tight, x, labels), rtol=1e-9, atol=1e-12
    )


def test_unseen_rows_use_the_statistics_of_the_rows_fitted():
    x, labels = planted(200, 6, 3, 5)
    path = fit_logistic(prepare(x[:100]), labels[:100], [0.01], n_classes=3, gap=1e-12)
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
    np.testing.assert_allclose(probabilities[:, :, ::2], dense.probabilities(x), atol=1e-6)


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
    path = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=c, gap=1e-12)
    probabilities = path.probabilities(x)
    np.testing.assert_allclose(probabilities.sum(axis=2), 1)
    assert (duality_gap(path) <= 2e-5).all()


def test_one_row_can_be_prepared_but_not_fitted():
    basis = prepare(np.ones((1, 3), np.float32))
    assert (basis.scale == 0).all()
    with pytest.raises(DataError, match="at least two classes"):
        fit_logistic(basis, np.array([0]), [1.0], n_classes=2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(bad):
    x = np.ones((4, 3), np.float32)
    x[2, 1] = bad
    with pytest.raises(DataError, match="1 rows, first in row 2"):
        prepare(x)


def test_no_rows_are_refused():
    with pytest.raises(DataError, match="at least one row"):
        prepare(np.empty((0, 3), np.float32))


def test_a_warm_start_arrives_sooner_at_the_same_place():
    x, labels = planted(200, 30, 4, 23)
    cold = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=4, gap=1e-9)
    near = [0.9 * s for s in STRENGTHS]
    again = fit_logistic(prepare(x), labels, near, n_classes=4, gap=1e-9)
    warm = fit_logistic(prepare(x), labels, near, n_classes=4, gap=1e-9, start=cold)
    assert warm.certificate.iterations.sum() < again.certificate.iterations.sum()
    np.testing.assert_allclose(warm.coefficients(), again.coefficients(), atol=2e-3)
    with pytest.raises(DataError, match="to start from"):
        fit_logistic(prepare(x), labels, [1.0], n_classes=4, start=cold)


def test_raw_weights_read_features_as_they_are():
    x, labels = planted(100, 7, 3, 24)
    x[:, 2] = 5.0
    counts = np.stack([np.arange(100) % 2, np.ones(100)]).astype(float)
    path = fit_logistic(prepare(x), labels, [0.01, 1.0], n_classes=3, counts=counts)
    weights, bias = path.raw()
    logits = np.einsum("nd,bcd->bnc", x.astype(np.float64), weights) + bias[:, None]
    logits -= logits.max(axis=2, keepdims=True)
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(p, path.probabilities(x), atol=1e-4)


def test_problems_that_do_not_fit_into_memory_together_are_solved_in_turn(monkeypatch):
    x, labels = planted(90, 12, 3, 25)
    together = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=3, gap=1e-9)
    monkeypatch.setattr("probes.solver.logistic.HISTORY_BYTES", 1)
    apart = fit_logistic(prepare(x), labels, STRENGTHS, n_classes=3, gap=1e-9)
    np.testing.assert_allclose(apart.coefficients(), together.coefficients(), atol=1e-3)
    assert (apart.certificate.iterations > 0).all()


class OnDisk:
    """Rows that can only be read in slices, and how many at most were."""

    def __init__(self, x):
        self.x, self.shape, self.dtype, self.most = x, x.shape, x.dtype, 0

    def __getitem__(self, rows):
        part = self.x[rows]
        self.most = max(self.most, len(part))
        return part


def test_features_on_disk_are_read_in_chunks_and_give_the_same_fit():
    x, labels = planted(9000, 5, 3, 26)
    source = OnDisk(x)
    disk, memory = (
        fit_logistic(prepare(each), labels, STRENGTHS, n_classes=3) for each in (source, x)
    )
    np.testing.assert_array_equal(disk.coefficients(), memory.coefficients())
    assert 0 < source.most <= 8192


def test_an_hdf5_dataset_is_such_a_source(tmp_path):
    x, labels = planted(500, 6, 3, 27)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored = file.create_dataset("x", data=x.astype(np.float16), chunks=(64, 6))
        disk = fit_logistic(prepare(stored), labels, STRENGTHS, n_classes=3)
    memory = fit_logistic(prepare(x.astype(np.float16)), labels, STRENGTHS, n_classes=3)
    np.testing.assert_array_equal(disk.coefficients(), memory.coefficients())


def test_separable_classes_have_an_optimum_under_the_weakest_penalty():
    x = np.linspace(-1, 1, 40)[:, None]
    labels = (x[:, 0] > 0).astype(np.int64)
    path = fit_logistic(prepare(x), labels, [1e-8], n_classes=2, gap=1e-9)
    assert path.certificate.converged.all()
    assert path.probabilities(x)[0].argmax(1).tolist() == labels.tolist()


@pytest.mark.parametrize("strength", [0.0, -1.0, np.nan, np.inf])
def test_strengths_without_an_optimum_are_refused(strength):
    x, labels = planted(40, 3, 2, 28)
    with pytest.raises(DataError, match="strengths that are positive"):
        fit_logistic(prepare(x), labels, [strength], n_classes=2)
