"""Gradient conflict beside transfer: planted relations are found, and none where there is none."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from conflict_records import TASKS, conflict, planted, transfer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from degradation.errors import DataError
from socialfusion.transfer.against_conflict import (
    conflict_against_transfer,
    read_against,
    task_correlation,
    write_against,
)


def test_a_planted_relation_is_found_on_the_side_of_the_same_weights(tmp_path):
    degrees, directed = planted(-1)
    record = conflict_against_transfer(conflict(degrees), transfer(directed))
    (one,) = record.comparisons
    assert (one.side, one.variant, one.tasks) == ("post", "equal-samples", TASKS)
    assert one.rho.value == pytest.approx(-1)
    assert one.rho.low == -1
    assert one.rho.high < -0.5
    assert (one.relabellings, one.exact) == (120, True)
    assert one.p <= 0.05
    assert len(one.pairs) == 10
    point = one.pairs[0]
    assert point.transfer == (point.to_first + point.to_second) / 2
    assert point.to_first - point.to_second == 6
    write_against(tmp_path, record)
    assert read_against(tmp_path) == record
    assert read_against(tmp_path / "nothing") is None


def test_questions_of_a_task_are_averaged():
    degrees, directed = planted(-1)
    questions = {task: ("q", "r") if task == "a" else ("q",) for task in TASKS}
    more = dict(degrees)
    for (one, two), gcd in degrees.items():
        if one == "a/q":
            more["a/r", two] = gcd + 0.2
    more["a/q", "a/r"] = 1.9  # of the same task
    found = conflict_against_transfer(
        conflict(more, questions=questions), transfer(directed, questions=questions)
    ).comparisons[0]
    by = {(one.first, one.second): one for one in found.pairs}
    assert by["a", "b"].gcd == pytest.approx(degrees["a/q", "b/q"] + 0.1)
    assert by["b", "c"].gcd == pytest.approx(degrees["b/q", "c/q"])


def test_what_is_below_the_floor_or_not_read_is_left_out_with_its_reason():
    degrees, directed = planted(-1)
    degrees = {key: None if "a/q" in key else gcd for key, gcd in degrees.items()}
    found = conflict_against_transfer(conflict(degrees), transfer(directed)).comparisons[0]
    assert found.tasks == ("b", "c", "d", "e")
    assert found.rho.low is None
    assert found.rho.high is None
    assert found.relabellings == 24
    assert "a/q cannot be told from noise" in found.left_out["a/q and b/q"]
    assert found.left_out["a"] == "no number for 4 of its pairs"
    directed = {key: None if key[0] == "b" else value for key, value in directed.items()}
    record = conflict_against_transfer(conflict(degrees), transfer(directed))
    assert not record.comparisons
    assert record.undefined == {
        "post equal-samples": "at least 4 tasks are needed with a number for each pair, found 3 of "
        "5. 4 pairs of questions have a gradient that cannot be told from noise: measure more "
        "batches. 4 times a task alone does not read it better than by chance for certain: train "
        "longer, or on more rows."
    }


def test_records_that_do_not_belong_together_are_refused():
    degrees, directed = planted(-1)
    with pytest.raises(DataError, match="sdiag transfer --pairwise"):
        conflict_against_transfer(conflict(degrees), transfer({}))
    with pytest.raises(DataError, match="on the same encoder"):
        conflict_against_transfer(conflict(degrees, digest="third"), transfer(directed))
    both = conflict_against_transfer(conflict(degrees, pair=False), transfer(directed))
    assert [one.side for one in both.comparisons] == ["pre", "post"]  # checkpoints of a model
    flat = dict.fromkeys(degrees, 1.0)
    (why,) = conflict_against_transfer(conflict(flat), transfer(directed)).undefined.values()
    assert "have no ranks" in why


@settings(max_examples=20)
@given(st.integers(4, 5), st.integers(0, 10**6))
def test_correlation_and_p_by_a_plain_loop(tasks, seed):
    rng = np.random.default_rng(seed)
    pairs = list(combinations(range(tasks), 2))
    x, y = rng.integers(0, 8, (2, len(pairs))).astype(float)
    if len(set(x)) < 2 or len(set(y)) < 2:
        return
    found, p, relabellings = task_correlation(x, y, tasks)
    expected = spearmanr(x, y).statistic
    assert found.value == pytest.approx(expected)
    cell = {frozenset(two): value for two, value in zip(pairs, y, strict=True)}
    drawn = [
        spearmanr(x, [cell[frozenset((order[a], order[b]))] for a, b in pairs]).statistic
        for order in permutations(range(tasks))
    ]
    assert relabellings == math.factorial(tasks)
    assert p == pytest.approx(np.mean(np.abs(drawn) >= abs(expected) - 1e-9))


def test_many_tasks_are_relabelled_at_random_and_alike():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 36))
    one, two = (task_correlation(x, y, 9, seed=3) for _ in range(2))
    assert one == two
    assert one[2] == 40_320
    assert 1 / 40_320 <= one[1] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [5, 8])
@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("link", [0.0, -0.8])
def test_the_interval_covers_and_the_p_keeps_its_level(tasks, shared, link):
    """Worlds in which pairs that share a task are alike; `link` joins conflict and transfer."""
    rng = np.random.default_rng(11)
    first, second = np.triu_indices(tasks, 1)
    truth = 6 / np.pi * np.arcsin(link / 2)  # of two normal variables

    def world():
        task, pair = rng.normal(size=tasks), rng.normal(size=len(first))
        return (shared / 2) ** 0.5 * (task[first] + task[second]) + (1 - shared) ** 0.5 * pair

    covered, small, runs = 0, 0, 200 if tasks == 5 else 40
    for _ in range(runs):
        x, noise = world(), world()
        found, p, _ = task_correlation(x, link * x + (1 - link**2) ** 0.5 * noise, tasks)
        covered += found.low <= truth <= found.high
        small += p <= 0.05
    assert covered / runs >= 0.93
    if link:
        assert small / runs > 0.5
    else:
        assert small / runs <= 0.11
