import numpy as np
import pytest

from degradation.errors import DataError, PairingError
from probes.drift.sums import Frame, chunks_of, pair_sums, stream_sums


def sides(n=40, d=5, e=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, x[:, :e] + rng.normal(size=(n, e))


def moments(x, y):
    """By definition, about the means."""
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    p, q = (a**2).sum(axis=1), (b**2).sum(axis=1)
    return a.T @ b, p.sum(), q.sum(), (p * q).sum()


@pytest.mark.parametrize("rows", [1, 7, 40, 100])
@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_centred_moments_do_not_depend_on_chunks_or_on_a_large_mean(rows, mean):
    x, y = sides()
    sums = stream_sums(chunks_of(x + mean, y - mean, rows))
    cross, p, q, pq = moments(x, y)
    unit, other = sums.x.unit, sums.y.unit
    np.testing.assert_allclose(sums.xy.centred * unit * other, cross, rtol=1e-9, atol=1e-9)
    assert np.multiply(sums.xy.centred_norms, (unit**2, other**2)) == pytest.approx(
        (p, q), rel=1e-9
    )
    assert sums.xy.centred_norm_product * unit**2 * other**2 == pytest.approx(pq, rel=1e-9)
    assert sums.n == 40


def test_rows_of_a_group_can_be_subtracted():
    x, y = sides()
    total = stream_sums(chunks_of(x, y, 16))
    left = total - pair_sums(x[:9], y[:9], (total.x, total.y))
    cross, p, _, pq = moments(x[9:], y[9:])
    scale = total.x.unit * total.y.unit
    np.testing.assert_allclose(left.xy.centred * scale, cross, atol=1e-12)
    assert left.xx.centred_norms[0] * total.x.unit**2 == pytest.approx(p)
    assert left.xy.centred_norm_product * scale**2 == pytest.approx(pq)


def test_equal_sides_have_equal_sums_bit_for_bit():
    x, _ = sides()
    sums = stream_sums(chunks_of(x, x.copy(), 16))
    np.testing.assert_array_equal(sums.xy.ab, sums.xx.ab)
    np.testing.assert_array_equal(sums.yy.ab, sums.xx.ab)


def test_sides_that_share_a_later_chunk_only_keep_their_own_frames():
    x, y = sides(d=3, e=3)
    y[20:] = x[20:]
    sums = stream_sums(chunks_of(x, y, 20))
    cross, _, _, pq = moments(x, y)
    scale = sums.x.unit * sums.y.unit
    np.testing.assert_allclose(sums.xy.centred * scale, cross, atol=1e-12)
    assert sums.xy.centred_norm_product * scale**2 == pytest.approx(pq)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_frames_hold_any_scale(scale):
    x, _ = sides()
    frame = Frame.around(x * scale)
    placed = frame.place(x * scale)
    assert np.abs(placed).max() < 4
    assert np.abs(placed).max() > 0.1


def test_flat_means_constant_up_to_rounding():
    x, y = sides()
    assert stream_sums(chunks_of(np.full((9, 3), 0.1), y[:9])).xx.flat
    assert stream_sums(chunks_of(np.zeros((9, 3)), y[:9])).xx.flat
    assert not stream_sums(chunks_of(1e4 + 1e-6 * x, y)).xx.flat


def test_bad_rows_are_refused_with_their_place():
    x, y = sides()
    x[33, 2] = np.nan
    with pytest.raises(DataError, match="first in row 33"):
        stream_sums(chunks_of(x, y, 10))
    with pytest.raises(PairingError, match="found 40 and 39"):
        stream_sums([(y, y[1:])])
    with pytest.raises(DataError, match="found none"):
        stream_sums(chunks_of(x[:0], y[:0]))
