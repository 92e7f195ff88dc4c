"""Batches share no cluster unless they have the same number, hold no row twice, and can be had."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degradation.errors import DataError
from probes.conflict.batches import Candidates, deal


def candidates(label, rows, clusters, task=None):
    return Candidates(
        label, task or label.partition("/")[0], np.asarray(rows), np.asarray(clusters, dtype=object)
    )


def worlds(rng, sizes, questions):
    """Two tasks, asked of clusters of some names that both have, with rows of different numbers."""
    made = []
    for task in ("one", "two"):
        clusters = np.repeat([f"c{k}" for k in range(len(sizes))], rng.permutation(sizes))
        for question in range(questions):
            known = np.nonzero(rng.random(len(clusters)) < 0.9)[0]
            made.append(candidates(f"{task}/{question}", known, clusters[known], task))
    return made


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 99),
    sizes=st.lists(st.integers(1, 9), min_size=12, max_size=40),
    questions=st.integers(1, 3),
    size=st.integers(1, 4),
)
def test_no_cluster_is_in_batches_of_different_numbers_and_no_row_twice_in_one(
    seed, sizes, questions, size
):
    asked = worlds(np.random.default_rng(seed), sizes, questions)
    try:
        dealt = deal(asked, batches=6, batch_size=size, seed=seed)
    except DataError:
        assert min(one.possible(size) for one in asked) < 6
        return
    homes = {}
    for one in asked:
        of = dict(zip(one.rows.tolist(), one.clusters.tolist(), strict=True))
        batches = dealt.rows[one.label]
        assert batches.shape == (dealt.batches, size)
        assert 2 <= dealt.batches <= min(6, one.possible(size))
        for m, rows in enumerate(batches.tolist()):
            assert len(set(rows)) == size
            for row in rows:
                assert homes.setdefault(of[row], m) == m


def test_questions_of_a_task_take_other_rows_while_there_are_enough_and_tasks_share_clusters():
    rows = np.arange(400)
    clusters = np.array([f"c{k // 4}" for k in rows])
    asked = [candidates(f"pisc/{q}", rows, clusters) for q in ("domain", "relation", "third")]
    dealt = deal(asked, batches=5, batch_size=20, seed=0)
    taken = np.concatenate([dealt.rows[one.label].ravel() for one in asked])
    assert len(set(taken)) == len(taken) == 300


def test_draws_follow_the_seed_and_nothing_else():
    rows, clusters = np.arange(60), np.arange(60).astype(str)
    asked = [candidates("a/x", rows, clusters), candidates("b/y", rows, clusters)]
    one, two = (deal(asked, batches=4, batch_size=5, seed=7) for _ in range(2))
    other = deal(asked, batches=4, batch_size=5, seed=8)
    assert all(np.array_equal(one.rows[label], two.rows[label]) for label in one.rows)
    assert not np.array_equal(one.rows["a/x"], other.rows["a/x"])


def test_the_question_with_the_fewest_clusters_decides_how_many_batches_all_have():
    rows = np.arange(100)
    rich = candidates("rich/x", rows, rows.astype(str))
    poor = candidates("poor/y", rows, (rows // 25).astype(str))  # four clusters
    dealt = deal([rich, poor], batches=9, batch_size=5, seed=0)
    assert (dealt.scarce, dealt.batches) == ("poor/y", 4)
    assert dealt.rows["rich/x"].shape == (4, 5)


def test_fewer_clusters_than_two_batches_are_refused_by_name_and_numbers():
    rows = np.arange(100)
    rich = candidates("rich/x", rows, rows.astype(str))
    with pytest.raises(
        DataError, match=r"poor/y: expected rows for two batches of 16.*1 cluster\."
    ):
        deal(
            [rich, candidates("poor/y", rows, np.full(100, "same"))],
            batches=4,
            batch_size=16,
            seed=0,
        )
    few = candidates("few/z", rows[:20], rows[:20].astype(str))
    with pytest.raises(DataError, match=r"few/z: .* found 20 rows in 20 clusters"):
        deal([rich, few], batches=4, batch_size=16, seed=0)
    lopsided = np.array(["big"] * 40 + ["small"] * 2)  # two clusters, one of them too small
    with pytest.raises(DataError, match=r"odd/w: .* found 42 rows in 2 clusters"):
        deal([candidates("odd/w", np.arange(42), lopsided)], batches=4, batch_size=16, seed=0)
