from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel as sklearn_rbf

from degradation.errors import DataError
from probes.drift.cka import cka_of_sums, kernel_cka, linear_cka, u_centred
from probes.drift.sums import chunks_of, stream_sums


def sides(n=60, d=8, e=5, seed=0, share=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, share * x[:, :e] + rng.normal(size=(n, e))


def direct_hsic(k, m):
    """Equation 5 of Song et al., term by term on n x n kernels."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    terms = (
        np.trace(k @ m)
        + k.sum() * m.sum() / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (k.sum(axis=0) @ m.sum(axis=1))
    )
    return terms / (n * (n - 3))


def direct_cka(k, m, hsic=direct_hsic):
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def centred_kernel(x):
    x = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    return x @ x.T


def tuple_hsic(k, m):
    """The U-statistic behind it: the mean over all ordered quadruples of different rows."""
    t, u, v, w = np.array(list(permutations(range(len(k)), 4))).T
    return np.mean(k[t, u] * m[t, u] + k[t, u] * m[v, w] - 2 * k[t, u] * m[t, v])


@pytest.mark.parametrize(("n", "d", "e"), [(4, 3, 2), (60, 8, 5), (20, 50, 7), (30, 30, 90)])
def test_streamed_sums_equal_the_direct_formula(n, d, e):
    x, y = sides(n, d, min(d, e))
    expected = direct_cka(centred_kernel(x), centred_kernel(y))
    for rows in (1, 7, n):
        found = cka_of_sums(stream_sums(chunks_of(x, y, rows)))
        assert found == pytest.approx(expected, abs=1e-10)


def test_it_equals_the_sum_over_index_tuples():
    x, y = sides(12, 4, 3)
    expected = direct_cka(x @ x.T, y @ y.T, tuple_hsic)
    assert linear_cka(x, y) == pytest.approx(expected, abs=1e-10)
    found = np.vdot(u_centred(x @ x.T), u_centred(y @ y.T)) / (12 * 9)
    assert found == pytest.approx(tuple_hsic(x @ x.T, y @ y.T), abs=1e-12)


def test_a_mean_of_ten_thousand_changes_nothing():
    x, y = sides(200)
    expected = direct_cka(centred_kernel(x), centred_kernel(y))
    assert linear_cka(x + 1e4, y + 1e4) == pytest.approx(expected, abs=1e-10)
    narrow = (x + 1e4).astype(np.float32)  # rounded to 1e-3, and exact from there
    expected = direct_cka(centred_kernel(narrow), centred_kernel(y))
    assert linear_cka(narrow, y) == pytest.approx(expected, abs=1e-10)


def test_independent_sides_score_zero_where_the_biased_form_scores_two_thirds():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 128, 256))
    k, m = centred_kernel(x), centred_kernel(y)
    assert np.vdot(k, m) / np.sqrt(np.vdot(k, k) * np.vdot(m, m)) == pytest.approx(0.67, abs=0.02)
    values = [linear_cka(*rng.normal(size=(2, 64, 128))) for _ in range(30)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(30)
    assert abs(linear_cka(x, y)) < 0.02


def test_a_side_with_itself_is_exactly_one():
    x, _ = sides()
    assert linear_cka(x, x.copy()) == 1.0
    assert kernel_cka(x, x.copy()) == 1.0


@pytest.mark.parametrize("bandwidth", [0.4, 0.8, 2.0])
def test_kernel_cka_equals_the_direct_formula_on_another_kernel(bandwidth):
    x, y = sides()

    def kernel(z):
        gaps = np.linalg.norm(z[:, None] - z, axis=2)
        width = bandwidth * np.median(gaps[np.triu_indices(len(z), 1)])
        return sklearn_rbf(z, gamma=1 / (2 * width**2))

    expected = direct_cka(kernel(x), kernel(y))
    assert kernel_cka(x, y, bandwidth=bandwidth) == pytest.approx(expected, abs=1e-10)


def test_a_wide_kernel_is_a_linear_one():
    x, y = sides(80)
    assert kernel_cka(x, y, bandwidth=1e3) == pytest.approx(linear_cka(x, y), abs=1e-4)


def test_u_centred_rows_sum_to_zero():
    x, _ = sides()
    np.testing.assert_allclose(u_centred(x @ x.T).sum(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("measure", [linear_cka, kernel_cka])
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.eye(3), "at least 4 rows"),
        (np.full((9, 2), 0.1), "differ between rows"),
        (np.eye(9, 2) * [[1, 0]], "differ between rows"),
        (np.full((9, 2), np.inf), "NaN or infinity"),
        (np.eye(9), "equally alike|equal, so that"),
    ],
    ids=["three rows", "constant", "all but one equal", "infinite", "right angles"],
)
def test_what_it_cannot_measure_is_refused(measure, x, words):
    y = np.random.default_rng(0).normal(size=(len(x), 2))
    with pytest.raises(DataError, match=words):
        measure(x, y)
    with pytest.raises(DataError, match=words):
        measure(y, x)


def test_more_than_half_of_the_rows_equal_leave_no_bandwidth():
    x, y = sides(9, 2, 2)
    x[:8] = 1.0
    with pytest.raises(DataError, match="no bandwidth"):
        kernel_cka(x, y)
