import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes

from degradation.errors import DataError
from probes.drift.procrustes import procrustes_angle, procrustes_explained


def sides(n=50, d=6, e=6, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) + 2
    y = x @ rng.normal(size=(d, e)) + noise * rng.normal(size=(n, e))
    return x, y


def shape(x):
    x = x - x.mean(axis=0)
    return x / np.linalg.norm(x)


@pytest.mark.parametrize("e", [3, 6, 9])
def test_it_is_the_best_orthogonal_map_of_padded_sides(e):
    x, y = sides(e=e)
    width = max(6, e)
    a, b = (np.pad(shape(z), ((0, 0), (0, width - z.shape[1]))) for z in (x, y))
    turn, _ = orthogonal_procrustes(a, b)
    cosine = np.sum((a @ turn) * b)
    assert procrustes_angle(x, y) == pytest.approx(np.degrees(np.arccos(cosine)), abs=1e-6)
    left = np.linalg.norm(b - cosine * a @ turn) ** 2
    assert procrustes_explained(x, y) == pytest.approx(1 - left, abs=1e-10)


def test_what_is_rotated_and_scaled_is_the_same_shape():
    x, _ = sides()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert procrustes_angle(x, 3 - 7 * x @ turn) == 0.0
    assert procrustes_explained(x, 3 - 7 * x @ turn) == 1.0
    assert procrustes_angle(x, np.pad(x, ((0, 0), (2, 3)))) == 0.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_it_is_a_metric(seed):
    rng = np.random.default_rng(seed)
    a, b, c = (rng.normal(size=(8, rng.integers(1, 6))) for _ in range(3))
    ab, bc, ac = procrustes_angle(a, b), procrustes_angle(b, c), procrustes_angle(a, c)
    assert ac <= ab + bc + 1e-9
    assert 0 <= ac <= 90
    assert procrustes_angle(c, a) == pytest.approx(ac, abs=1e-9)


def test_unrelated_sides_come_near_a_right_angle_only_with_many_rows():
    rng = np.random.default_rng(0)
    few, many = (procrustes_angle(*rng.normal(size=(2, n, 8))) for n in (10, 4000))
    assert few < 60
    assert many > 85


def test_a_constant_side_is_refused():
    with pytest.raises(DataError, match="constant over all rows"):
        procrustes_angle(np.eye(5), np.full((5, 2), 0.3))
