import numpy as np
import pytest

from degradation.errors import DataError
from probes.drift.anisotropy import anisotropy, anisotropy_centred
from probes.drift.spectrum import (
    effective_rank,
    effective_rank_uncentred,
    participation_ratio,
    participation_ratio_uncentred,
    rankme,
    top_variance,
)


def features(n, d, mean=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.logspace(0, -2, d) + mean


def spectral_rank(x, epsilon=0.0):
    """By definition, from numpy's singular values of the features themselves."""
    s = np.linalg.svd(x, compute_uv=False)
    share = s / s.sum() + epsilon
    share = share[share > 1e-12]
    return np.exp(-np.sum(share * np.log(share)))


@pytest.mark.parametrize(("n", "d"), [(50, 8), (8, 20), (20, 20)])
@pytest.mark.parametrize("mean", [0.0, 1.0, 1e4])
def test_ranks_equal_their_definitions_on_the_features(n, d, mean):
    x = features(n, d, mean)
    centred = x - x.mean(axis=0)
    assert effective_rank(x) == pytest.approx(spectral_rank(centred), rel=1e-5)
    assert effective_rank_uncentred(x) == pytest.approx(spectral_rank(x), rel=1e-5)
    assert rankme(x) == pytest.approx(spectral_rank(x, 1e-7), rel=1e-5)
    for found, rows in ((participation_ratio, centred), (participation_ratio_uncentred, x)):
        v = np.linalg.svd(rows, compute_uv=False) ** 2
        assert found(x) == pytest.approx(v.sum() ** 2 / (v**2).sum(), rel=1e-6)
    v = np.linalg.svd(centred, compute_uv=False) ** 2
    assert top_variance(x, 3) == pytest.approx(v[:3].sum() / v.sum(), rel=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_equal_directions_count_as_their_number(rank):
    x = np.concatenate([np.eye(rank, 9), -np.eye(rank, 9)])
    for measure in (effective_rank, effective_rank_uncentred, participation_ratio):
        assert measure(x) == pytest.approx(rank)
    assert effective_rank(x + 7) == pytest.approx(rank)
    assert participation_ratio_uncentred(x + 100) == pytest.approx(1, abs=1e-3)


def test_ranks_lie_between_one_and_the_size():
    for n, d in ((5, 9), (30, 4)):
        for seed in range(5):
            x = features(n, d, seed=seed)
            for measure in (effective_rank, effective_rank_uncentred, rankme, participation_ratio):
                assert 1 <= measure(x) <= min(n, d) + 1e-4


def test_all_variance_lies_in_all_components():
    assert top_variance(features(30, 4), 4) == pytest.approx(1)
    assert top_variance(features(30, 4), 99) == pytest.approx(1)


@pytest.mark.parametrize("mean", [0.0, 0.3, 1e3])
def test_anisotropy_is_the_mean_cosine_of_different_rows(mean):
    x = features(20, 6, mean)
    for measure, rows in ((anisotropy, x), (anisotropy_centred, x - x.mean(axis=0))):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = (unit @ unit.T)[~np.eye(20, dtype=bool)]
        assert measure(x) == pytest.approx(cosines.mean(), abs=1e-9)


def test_rows_of_zeros_and_equal_rows_have_defined_anisotropy():
    assert anisotropy(np.zeros((4, 3))) == 0
    assert anisotropy(np.full((4, 3), 0.1)) == pytest.approx(1)
    assert anisotropy_centred(np.full((4, 3), 0.1)) == 0
    assert anisotropy(np.array([[0.0, 0], [1, 0], [1, 0]])) == pytest.approx(1 / 3)


@pytest.mark.parametrize("measure", [effective_rank, rankme, participation_ratio_uncentred])
def test_one_row_and_equal_rows_have_no_spectrum(measure):
    with pytest.raises(DataError, match="at least 2 rows"):
        measure(np.ones((1, 3)))
    with pytest.raises(DataError, match="constant over all rows"):
        measure(np.full((5, 3), 0.1))
