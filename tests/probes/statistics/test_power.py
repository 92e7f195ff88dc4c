from math import isnan

import pytest
from scipy.stats import norm

from degradation.errors import ConfigError
from probes.statistics.bootstrap import stream
from probes.statistics.power import (
    design_effect,
    detectable_drop,
    equivalence_rows,
    paired_power,
    paired_rows,
    unpaired_rows,
)
from probes.statistics.simulation import World, draw, rates


@pytest.mark.parametrize(
    ("flips", "alpha", "rows"),
    [(0.10, 0.05, 488), (0.15, 0.05, 733), (0.25, 0.05, 1224), (0.35, 0.05, 1715),
     (0.10, 0.05 / 60, 1090), (0.25, 0.05 / 60, 2731)],
)  # fmt: skip
def test_known_figures_for_a_drop_of_four_points(flips, alpha, rows):
    assert round(paired_rows(0.04, flips, alpha=alpha)) == rows
    assert round(unpaired_rows(0.60, 0.04)) == 2389


def test_connor_by_hand():
    zs = norm.isf(0.005), norm.isf(0.1)
    by_hand = (zs[0] * 0.3**0.5 + zs[1] * (0.3 - 0.0025) ** 0.5) ** 2 / 0.0025
    assert paired_rows(0.05, 0.3, alpha=0.01, power=0.9) == pytest.approx(by_hand)


@pytest.mark.parametrize(("drop", "flips"), [(0.01, 0.1), (0.05, 0.05), (0.3, 0.9)])
def test_power_and_detectable_drop_invert_the_sample_size(drop, flips):
    n = paired_rows(drop, flips, power=0.7)
    assert detectable_drop(n, flips, power=0.7) == pytest.approx(drop, rel=1e-6)
    if drop < flips:
        assert paired_power(n, drop, flips) == pytest.approx(0.7)


def test_too_few_rows_for_any_drop():
    assert isnan(detectable_drop(20.0, 0.1))


@pytest.mark.parametrize(("drop", "flips"), [(0.0, 0.1), (0.2, 0.1), (0.1, 1.2)])
def test_impossible_plans_are_refused(drop, flips):
    with pytest.raises(ConfigError, match="ask for a smaller drop"):
        paired_rows(drop, flips)


def test_scores_and_clusters_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="a drop within it"):
        unpaired_rows(0.1, 0.2)
    for rows, correlation in ((0.5, 0.1), (5.0, 1.1)):
        with pytest.raises(ConfigError, match="correlation from 0 to 1"):
            design_effect(rows, correlation)
    assert design_effect(1.0, 0.9) == 1


def simulated(clusters, planted, changing, word, *, rows=1, correlation=0.0, count=800):
    world = World("accuracy", clusters, rows, correlation, planted, changing)
    return rates(world, draw(world, count, stream(0, f"{world}")))[word]


def test_the_own_test_of_this_tool_has_the_planned_power():
    for flips in (0.10, 0.25):
        n = round(paired_rows(0.04, flips))
        assert simulated(n, -4.0, flips, "degraded") == pytest.approx(80, abs=4)


def test_equivalence_is_shown_as_often_as_planned():
    n = round(equivalence_rows(0.02, 0.10))
    assert simulated(n, 0.0, 0.10, "equivalent", count=800) == pytest.approx(80, abs=5)


@pytest.mark.slow
def test_clusters_take_the_planned_number_of_rows():
    # The correlation of *changes* that a normal correlation of 0.5 makes, measured on one sample.
    world = World("accuracy", 20000, 5, 0.5, -4.0, 0.25)
    sums = draw(world, 1, stream(0, "correlation"))
    change = (sums.post - sums.pre)[0, :, 0]
    variance = 0.25 - 0.04**2
    correlation = (change.var() / 5 / variance - 1) / 4
    rows = design_effect(5.0, float(correlation)) * paired_rows(0.04, 0.25)
    power = simulated(round(rows / 5), -4.0, 0.25, "degraded", rows=5, correlation=0.5)
    assert power == pytest.approx(80, abs=4)
