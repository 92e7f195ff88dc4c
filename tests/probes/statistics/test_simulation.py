"""The calibration study: that its worlds are what they claim, and a reduced version of it."""

from pathlib import Path

import numpy as np
import pytest

from probes.metrics import delta
from probes.statistics.bootstrap import stream
from probes.statistics.coverage import ENOUGH, MEASURED
from probes.statistics.simulation import (
    MARGIN,
    METRICS,
    World,
    draw,
    ranking_rates,
    rates,
    swap_rates,
    worlds,
)

PAGE = Path(__file__).parents[3] / "docs" / "calibration.md"


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("planted", [0.0, -MARGIN])
def test_a_world_has_its_planted_delta_and_score(metric, planted):
    drawn = draw(World(metric, 20000, 5, 0.3, planted), 1, stream(0, "x"))
    pre, post = (drawn.metric.finish(sums.sum(axis=1)) for sums in (drawn.pre, drawn.post))
    assert delta(pre, post, drawn.metric)[0] == pytest.approx(planted, abs=0.5)
    assert pre[0] == pytest.approx(drawn.truth, abs=0.01)


def test_rows_of_a_cluster_are_correlated_and_sizes_as_asked():
    drawn = draw(World("gaze error", 20000, 2, 0.9), 1, stream(0, "x"))
    spread = [draw(World("gaze error", 20000, 2, r), 1, stream(0, "x")).pre[0, :, 0].var()
              for r in (0.0, 0.9)]  # fmt: skip
    assert spread[1] > 1.5 * spread[0]
    assert (drawn.sizes == 2).all()
    unequal = draw(World("accuracy", 20000, 0, 0.3), 1, stream(0, "x")).sizes
    assert unequal.mean() == pytest.approx(5, abs=0.2)
    assert unequal.min() == 1
    assert unequal.max() == 40


def test_sums_of_classes_are_those_of_an_outcome():
    drawn = draw(World("macro-F1", 200, 3, 0.3), 1, stream(0, "x"))
    for sums in (drawn.pre[0], drawn.post[0]):
        labels, said, hits = np.split(sums, 3, axis=1)
        assert (labels.sum(axis=1) == 3).all()
        assert (said.sum(axis=1) == 3).all()
        assert (hits <= np.minimum(labels, said)).all()
    labels, said, hits = np.split(drawn.pre[0].sum(axis=0), 3)
    by_hand = np.mean(2 * hits / (labels + said))
    assert drawn.metric.finish(drawn.pre[0].sum(axis=0)[None])[0] == pytest.approx(by_hand)


def test_the_grid_has_every_cell_once_and_the_page_shows_it():
    grid = list(worlds((10, 30)))
    assert len(grid) == len(set(grid)) == 3 * 2 * 10 * 2
    text = PAGE.read_text(encoding="utf-8")
    assert "# Do the intervals cover?" in text
    for metric in METRICS:
        assert metric.lower() in text.lower()


def test_rates_of_a_world_in_which_all_is_certain():
    world = World("gaze error", 4000, 20, 0.0, -MARGIN)
    found = rates(world, draw(world, 3, stream(0, "x")))
    assert (found["degraded"], found["improved"]) == (100, 0)
    assert set(found) == {"delta 95", "delta 90", "score 95", "degraded", "improved", "equivalent"}


@pytest.mark.slow
@pytest.mark.parametrize("world", list(worlds((ENOUGH, 100))), ids=str)
def test_intervals_cover_from_thirty_clusters_on(world):
    n = 2000
    found = rates(world, draw(world, n, stream(0, f"reduced {world}")))
    error = 250 * (0.05 * 0.95 / n) ** 0.5  # two and a half standard errors
    assert 93 - error <= found["delta 95"] <= 97 + error
    assert 87 - error <= found["delta 90"] <= 95 + error
    wrong = (found["equivalent"],) if world.planted else (found["degraded"], found["improved"])
    assert max(wrong) <= 5 + error


@pytest.mark.slow
@pytest.mark.parametrize("clusters", MEASURED)
def test_the_warning_of_few_clusters_gives_the_measured_coverage(clusters):
    found = [rates(world, draw(world, 2000, stream(0, f"few {world}")))["delta 95"]
             for world in worlds((clusters,))]  # fmt: skip
    low, high = MEASURED[clusters]
    assert min(found) == pytest.approx(low, abs=1.6)
    assert max(found) == pytest.approx(high, abs=1.2)


@pytest.mark.slow
def test_rankings_and_tests_of_no_difference_keep_their_level():
    found = ranking_rates(30, 5, 0.3, 600, stream(0, "ranking"))
    assert 92 <= found["95"] <= 98
    found = swap_rates(30, 5, 0.9, 400, stream(0, "swaps"))
    assert max(found["t"], found["permutation"]) <= 8
    assert found["McNemar"] > 15  # rows are not independent: the reason not to trust it
