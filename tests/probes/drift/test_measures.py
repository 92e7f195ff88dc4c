"""Every measure keeps what it declares, and nothing that it does not declare."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degradation.errors import DataError
from probes.drift.measures import MEASURES, Change

N, D = 60, 6
CHANGES = Change.__args__
EVERY = pytest.mark.parametrize("name", MEASURES)
KEPT = [(name, change) for name, one in MEASURES.items() for change in one.invariances]
SEEN = [(name, change) for name in MEASURES for change in CHANGES if (name, change) not in KEPT]


def rows(seed, n=N, d=D):
    """Two sides with classes in them and an offset, so that centring matters."""
    rng = np.random.default_rng(seed)
    labels, clusters = np.arange(n) % 3, np.arange(n) // 2
    x = rng.normal(size=(n, d)) * np.linspace(2, 0.5, d) + rng.normal(size=(3, d))[labels] + 1
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return x, x @ turn + 0.5 * rng.normal(size=(n, d)), labels, clusters


def value(name, x, y, labels, clusters):
    """The measure of a pair, or of its second side."""
    measure = MEASURES[name]
    given = {
        "pair": (x, y), "classes pair": (x, y, labels), "side": (y,), "curve": (y, 2),
        "classes side": (y, labels, clusters), "classes curve": (y, labels, clusters, 2),
    }[measure.of]  # fmt: skip
    return measure.function(*given)


def changed(change, y, rng):
    d = y.shape[1]
    if change == "orthogonal":
        return y @ np.linalg.qr(rng.normal(size=(d, d)))[0]
    if change == "isotropic scale":
        return y * rng.uniform(0.01, 100)
    if change == "shift":
        return y + rng.normal(size=d) * 3
    return y @ (rng.normal(size=(d, d)) * np.logspace(-1, 1, d))


@pytest.mark.parametrize(("name", "change"), sorted(KEPT))
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_declared_changes_do_not_move_it(name, change, seed):
    x, y, *classes = rows(seed)
    after = value(name, x, changed(change, y, np.random.default_rng(seed)), *classes)
    assert after == pytest.approx(value(name, x, y, *classes), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize(("name", "change"), SEEN)
def test_every_other_change_does(name, change):
    x, y, *classes = rows(1)
    after = value(name, x, changed(change, y, np.random.default_rng(2)), *classes)
    assert abs(after - value(name, x, y, *classes)) > 1e-3


@EVERY
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_and_empty_features_do_not_matter(name, seed):
    x, y, labels, clusters = rows(seed)
    plain = value(name, x, y, labels, clusters)
    order = np.random.default_rng(seed).permutation(N)
    shuffled = value(name, x[order], y[order], labels[order], clusters[order])
    assert shuffled == pytest.approx(plain, rel=1e-9, abs=1e-9)
    padded = np.pad(y, ((0, 0), (0, 4)))[:, np.random.default_rng(seed).permutation(D + 4)]
    # RankMe adds 1e-7 to the share of every feature, empty or not.
    assert value(name, x, padded, labels, clusters) == pytest.approx(plain, rel=1e-4, abs=1e-9)


@EVERY
def test_pairs_are_symmetric_and_a_side_is_the_same_as_itself(name):
    measure, (x, y, *classes) = MEASURES[name], rows(3)
    if measure.same is not None:
        assert value(name, x, y, *classes) == pytest.approx(value(name, y, x, *classes), abs=1e-9)
        assert value(name, y, y.copy(), *classes) == measure.same
        assert value(name, x, y, *classes) != measure.same


def same_as_plain(y):
    wide = np.zeros((2 * N, 2 * D))
    wide[::2, ::2] = y
    return {
        "not contiguous": (wide[::2, ::2], 1e-9),
        "column by column": (np.asfortranarray(y), 1e-9),
        "huge": (y * 1e200, 1e-9),
        "minute": (y * 1e-200, 1e-9),
        "float32": (y.astype(np.float32), 1e-4),
        "float16": (y.astype(np.float16), 2e-2),
    }


@EVERY
def test_memory_type_and_scale_do_not_matter(name):
    x, y, *classes = rows(4)
    plain = value(name, x, y, *classes)
    for kind, (odd, tolerance) in same_as_plain(y).items():
        found = value(name, x, odd, *classes)
        assert found == pytest.approx(plain, rel=tolerance, abs=tolerance), kind


AWKWARD = {
    "no row": lambda y: y[:0],
    "one row": lambda y: y[:1],
    "three rows": lambda y: y[:3],
    "fewer rows than features": lambda y: np.repeat(y[:14], 5, axis=1),
    "equal rows": lambda y: np.repeat(y[:1], N, axis=0),
    "zeros": np.zeros_like,
    "all but one equal": lambda y: np.eye(N, D) * (np.arange(N) == 0)[:, None],
    "each row twice": lambda y: np.repeat(y[: N // 2], 2, axis=0),
    "a constant feature": lambda y: y * (np.arange(D) > 0) + 0.1,
    "one feature": lambda y: y[:, :1],
}


@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_rows_have_a_value_in_range_or_are_refused(kind):
    x, y, labels, clusters = rows(5)
    odd = AWKWARD[kind](y)
    n = len(odd)
    for name, measure in MEASURES.items():
        try:
            found = value(name, x[:n], odd, labels[:n], clusters[:n])
        except DataError as error:
            assert "Expected" in str(error), name  # noqa: PT017
            assert kind not in ("each row twice", "a constant feature", "one feature"), name
            continue
        low = -np.inf if measure.low is None else measure.low - 1e-6
        high = np.inf if measure.high is None else measure.high + 1e-6
        assert low <= found <= high or (np.isnan(found) and "classes" in measure.of), name


@EVERY
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(name, bad):
    x, y, *classes = rows(6)
    y[7, 2] = bad
    with pytest.raises(DataError, match="first in row 7"):
        value(name, x, y, *classes)


def test_all_measures_say_where_they_come_from():
    for measure in MEASURES.values():
        assert measure.source
        assert measure.label
        assert measure.low is None or measure.high is None or measure.low < measure.high
