"""Gradient conflict beside transfer: planted relations are found, and none where there is none."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from degradation.errors import DataError
from probes.conflict.records import (
    ConflictRecord,
    Interval,
    PairNumbers,
    QuestionCard,
    SideRecord,
)
from probes.records import Estimate, PairCard
from socialfusion.records import FusionSettings
from socialfusion.transfer.against_conflict import (
    conflict_against_transfer,
    read_against,
    task_correlation,
    write_against,
)
from socialfusion.transfer.records import Count, Effect, TransferRecord, VariantCard

TASKS = ("a", "b", "c", "d", "e")
UNKNOWN = Interval(value=0.5, low=None, high=None)


def numbers(first, second, gcd):
    cosine = None if gcd is None else Interval(value=1 - gcd, low=0.9 - gcd, high=1.1 - gcd)
    return PairNumbers(
        first=first, second=second, part="all", raw=1, raw_of_means=1, floor=0.9, cosine=cosine,
        below_floor=() if gcd is not None else (first,), norm_ratio=None, in_conflict=UNKNOWN,
        null_low=None, null_high=None, p=None, word="unclear" if gcd is not None else "below floor",
    )  # fmt: skip


def conflict(degrees, *, questions=None, digest="enc", pair=True, tasks=TASKS):
    """Sides `pre`, of other weights, and `post`; `degrees`: two questions to GCD."""
    questions = questions or dict.fromkeys(tasks, ("q",))

    def side(name, digest):
        return SideRecord(
            name=name, labels="own", model=f"tiny:{name}", digest=digest, step=None, products="x",
            products_sha256="x", losses={}, heads=(), parts=(), tasks=(), sizes=(), signature="s",
            pairs=tuple(numbers(*key, gcd) for key, gcd in degrees.items()),
        )  # fmt: skip

    card = PairCard(
        name="tiny", pre="tiny:pre", post="tiny:post", pre_digest="x", post_digest=digest,
        lineage="l", source="s", protocol="p", imported=False,
    )  # fmt: skip
    return ConflictRecord(
        tool_version="0", pair=card if pair else None, model="tiny", definition="d", reduction="r",
        parameters="encoder", split="train", row_list="", batch_size=16, batches=8, batches_asked=8,
        arithmetic="float32", exact=True, sketch=0, preconditioner="none", seed=0, draws=0,
        questions=tuple(
            QuestionCard(
                label=f"{task}/{name}", task=task, question=name, social=True, kind="classes",
                block=2, n=1, clusters=1, available=1, rows_digest="d",
            )
            for task, names in questions.items()
            for name in names
        ),
        sides=(side("pre", "other"), side("post", digest)), changes=(),
    )  # fmt: skip


def effect(question, relative, *, declared=True):
    value = relative if relative is not None else 0.0
    return Effect(
        question=question, metric="accuracy", declared=declared, counted=True, before=50, after=50,
        change=Estimate(value=value, low=value - 1, high=value + 1), by_seed=(value,), se=1, dof=9,
        low_90=value - 1, high_90=value + 1, p=0.5, p_adjusted=0.5, sampling=1, training=1,
        relative=relative, n=9, clusters=9, word="undecided",
    )  # fmt: skip


def transfer(directed, *, questions=None, tasks=TASKS, digest="enc"):
    """`directed`: (task, task beside) to the change in %."""
    questions = questions or dict.fromkeys(tasks, ("q",))
    pairwise = {
        beside: tuple(
            effect(f"{task}/{name}", directed[task, beside])
            for task in tasks
            if (task, beside) in directed
            for name in questions[task]
        )
        for beside in tasks
    }
    variant = VariantCard(
        name="equal-samples", budget="per-task", row_list="", runs=(), joint=(),
        count=Count(of=0, positive=0, negative=0, surely_positive=0, surely_negative=0, metrics=()),
        pairwise=pairwise if directed else {}, undefined={},
    )  # fmt: skip
    trained = FusionSettings(encoder="tiny:post", tasks=tasks, language_model="lm", steps=1)
    return TransferRecord(
        tool_version="0", name="tiny", settings=trained, tasks=tasks, encoder_digest=digest,
        language_model_digest="lm", seeds=(0,), margin=2, variants=(variant,), signature="s",
    )  # fmt: skip


def planted(sign, tasks=TASKS):
    """Degrees in some order, and transfer that follows them by the sign."""
    pairs = list(combinations(tasks, 2))
    order = np.random.default_rng(2).permutation(len(pairs))
    degrees = {(f"{a}/q", f"{b}/q"): 0.8 + 0.03 * k for (a, b), k in zip(pairs, order, strict=True)}
    directed = {}
    for (a, b), k in zip(pairs, order, strict=True):
        directed[a, b], directed[b, a] = sign * k + 3.0, sign * k - 3.0
    return degrees, directed


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
    with pytest.raises(DataError, match=r"found them between 3 of a, b, c, d, e; a/q and b/q"):
        conflict_against_transfer(conflict(degrees), transfer(directed))


def test_records_that_do_not_belong_together_are_refused():
    degrees, directed = planted(-1)
    with pytest.raises(DataError, match="sdiag transfer --pairwise"):
        conflict_against_transfer(conflict(degrees), transfer({}))
    with pytest.raises(DataError, match="on the same encoder"):
        conflict_against_transfer(conflict(degrees, digest="third"), transfer(directed))
    both = conflict_against_transfer(conflict(degrees, pair=False), transfer(directed))
    assert [one.side for one in both.comparisons] == ["pre", "post"]  # checkpoints of a model
    flat = dict.fromkeys(degrees, 1.0)
    with pytest.raises(DataError, match="have no ranks"):
        conflict_against_transfer(conflict(flat), transfer(directed))


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
