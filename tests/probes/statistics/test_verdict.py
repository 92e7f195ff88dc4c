import numpy as np
import pytest

from probes.records import Comparison, Estimate, PairCard, RunRecord, TaskCard
from probes.statistics.verdict import judge


def comparison(delta, half, p, *, confirmatory=True, metric="accuracy", block=0):
    return Comparison(
        question="q", block=block, probe="logistic-l2", metric=metric, higher_is_better=True,
        confirmatory=confirmatory, pre=Estimate(value=80, low=78, high=82),
        post=Estimate(value=80 + delta, low=77, high=83),
        delta=Estimate(value=delta, low=delta - 1.2 * half, high=delta + 1.2 * half),
        delta_low_90=delta - half, delta_high_90=delta + half, p=p, p_mcnemar=None, broken=None,
        fixed=None, n=100, clusters=50, strength_pre=0.1, strength_post=0.1, selection="",
        signature="",
    )  # fmt: skip


def record(*comparisons, pair="tiny", task="t"):
    return RunRecord(
        tool_version="0", seed=0, draws=10, splits={}, baselines=(), predictions_sha256="",
        task=TaskCard(
            name=task, kind="classes", social=True, label_sets={"q": ("a", "b")}, regions=("face",),
            metrics={"q": ("accuracy", "macro_f1")}, cluster="picture", source="",
        ),
        pair=PairCard(
            name=pair, pre="", post="", pre_digest="", post_digest="", lineage="", source="",
            protocol="", imported=False,
        ),
        comparisons=comparisons,
    )  # fmt: skip


def words(*comparisons, **options):
    return [verdict.word for verdict in judge([record(*comparisons)], **options)]


@pytest.mark.parametrize(
    ("delta", "half", "p", "word"),
    [
        (-5, 2, 0.001, "degraded"),
        (5, 2, 0.001, "improved"),
        (-5, 6, 0.3, "undecided"),
        (0, 0, 1.0, "equivalent"),
        (-0.5, 0.3, 0.001, "equivalent"),  # certain, and too small to matter
        (-1.5, 0.6, 0.001, "degraded"),  # the interval reaches beyond the margin
        (-1.5, 0.5, 0.001, "equivalent"),  # and here it just does not
        (0, 3, 1.0, "undecided"),
    ],
)
def test_words(delta, half, p, word):
    assert words(comparison(delta, half, p)) == [word]


def test_margin_and_alpha_are_the_callers():
    cell = comparison(-1, 0.5, 0.03)
    assert words(cell) == ["equivalent"]
    assert words(cell, margin=1.0) == ["degraded"]
    assert words(cell, margin=1.0, alpha=0.01) == ["undecided"]


def test_holm_spans_all_records_and_confirmatory_cells_only():
    records = [
        record(comparison(-5, 2, 0.02), comparison(-5, 2, 0.9, confirmatory=False), task="a"),
        record(comparison(-5, 2, 0.03), pair="other", task="b"),
    ]
    first, explored, second = judge(records)
    assert first.p_adjusted == pytest.approx(0.04)
    assert second.p_adjusted == pytest.approx(0.04)
    assert (first.pair, second.pair, second.task) == ("tiny", "other", "b")
    assert first.family == "Holm over 2 (confirmatory)"
    assert explored.p_adjusted == pytest.approx(0.9)


def test_maps_are_corrected_by_pair_and_by_rank_of_metric():
    p = [0.01, 0.02, 0.03, 0.9]
    cells = [comparison(-5, 2, each, confirmatory=False, block=i) for i, each in enumerate(p)]
    other = [comparison(-5, 2, 0.04, confirmatory=False, metric="macro_f1")]
    verdicts = judge([record(*cells, *other), record(*other, pair="second")])
    np.testing.assert_allclose([one.p_adjusted for one in verdicts[:4]], [0.04, 0.04, 0.04, 0.9])
    assert [one.word for one in verdicts[:4]] == ["degraded"] * 3 + ["undecided"]
    assert [one.p_adjusted for one in verdicts[4:]] == [0.04, 0.04]
    assert verdicts[0].family == "BH over 4 (map of first metrics, tiny)"


def test_nothing_to_judge():
    assert judge([]) == []
