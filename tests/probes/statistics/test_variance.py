import numpy as np
import pytest
from scipy.stats import t as student

from degradation.errors import DataError
from probes.metrics import ClassOutcome, GazeOutcome, resolve
from probes.statistics.bootstrap import stream
from probes.statistics.clusters import group_rows
from probes.statistics.simulation import refit_rates
from probes.statistics.variance import refit_components, variance_components


def test_by_hand():
    deltas, each = np.array([-4.0, -2.0, 0.0]), np.array([1.0, 2.0, 3.0])
    found = variance_components(deltas, each, mean_var=1.4, sampling_dof=20.0)
    # Between refits 4; of that, interaction (2 - 1.4) 3 / 2 = 0.9.
    assert found.mean == -2
    assert found.sampling == pytest.approx(1.4**0.5)
    assert found.training == pytest.approx(3.1**0.5)
    assert found.total_se == pytest.approx((1.4 + 4 / 3) ** 0.5)
    assert found.single_se == pytest.approx((2 + 3.1) ** 0.5)
    dof = (1.4 + 4 / 3) ** 2 / (1.4**2 / 20 + (4 / 3) ** 2 / 2)
    assert found.dof == pytest.approx(dof)
    assert found.high - found.mean == pytest.approx(student.ppf(0.975, dof) * found.total_se)
    assert found.low + found.high == pytest.approx(2 * found.mean)


def test_refits_that_agree_leave_test_sampling_alone():
    found = variance_components(np.full(5, -3.0), np.full(5, 4.0))
    assert (found.training, found.sampling, found.total_se) == (0, 2, 2)
    assert found.high == pytest.approx(-3 + 1.959964 * 2)
    nothing = variance_components(np.zeros(3), np.zeros(3))
    assert (nothing.low, nothing.high) == (0, 0)


def test_fewer_than_three_refits_are_refused():
    with pytest.raises(DataError, match="at least 3 refits"):
        variance_components(np.zeros(2), np.zeros(2))


def test_what_is_common_to_all_refits_is_sampling():
    rng = np.random.default_rng(0)
    rows, clusters = rng.normal(0.3, 0.05, 60), group_rows(np.arange(60) // 2)
    metric = resolve("average_l2_error", ())
    pairs = [
        (GazeOutcome({metric.name: rows}), GazeOutcome({metric.name: 2 * rows + shift}))
        for shift in (0.0, 0.01, 0.02)
    ]
    found = refit_components(metric, pairs, clusters, rng=stream(0, "x"))
    means = rows.reshape(30, 2).mean(axis=1)
    assert found.mean == pytest.approx(-100 * (rows.mean() + 0.01))
    assert found.sampling == pytest.approx(100 * means.std(ddof=1) / 30**0.5)
    assert found.training == pytest.approx(1.0)  # the deviation of 0, 1 and 2 points


def test_refits_of_right_and_wrong_and_undefined_ones():
    rng, labels = np.random.default_rng(1), np.arange(40) % 2
    eye, clusters = np.eye(2, dtype=np.float32), group_rows(np.arange(40))
    said = [np.where(rng.random(40) < 0.8, labels, 1 - labels) for _ in range(6)]
    one = [ClassOutcome(labels, eye[each]) for each in said]
    refits = list(zip(one[:3], one[3:], strict=True))
    found = refit_components(resolve("accuracy", ("a", "b")), refits, clusters, rng=stream(0, "x"))
    assert found.low < found.mean < found.high
    single = ClassOutcome(np.zeros(40, dtype=np.int64), eye[said[0]])
    with pytest.raises(DataError, match="no row is of class b"):
        refit_components(
            resolve("recall:b", ("a", "b")), [(single, single)] * 3, clusters, rng=stream(0, "x")
        )


@pytest.mark.slow
@pytest.mark.parametrize("refits", [3, 5])
@pytest.mark.parametrize("training", [0.0, 1.0, 2.0])
def test_the_interval_of_the_mean_covers(refits, training):
    rate = refit_rates(50, refits, training, 0.5, 2000, stream(0, f"{refits} {training}"))
    assert 92.5 <= rate <= 97.5
