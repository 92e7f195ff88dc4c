"""Which of two explanations: every word by the rule that is printed beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from probes.conflict.records import ConflictRecord, Interval
from probes.records import Estimate
from probes.statistics.contrast import Contrast
from reports.explanations import (
    conflict_finding,
    decodability_finding,
    explanations_section,
)
from reports.load import Conflict, read_records
from reports.verdicts.cells import Cell, judged_cells
from socialfusion.transfer.against_conflict import AgainstRecord, Comparison, PairPoint

Make = Callable[..., ConflictRecord]
TWO = {"a/x": True, "b/y": True}


@pytest.fixture(scope="module")
def cells(one_pair: Path) -> list[Cell]:
    return judged_cells(read_records(one_pair), margin=2.0, alpha=0.05)


def contrast(low: float, high: float) -> Contrast:
    form = Estimate(value=(low + high) / 2, low=low, high=high)
    return Contrast(
        pair="tiny", parts=(), social=-3.0, control=0.0, difference=form, se=1.0, dof=30.0, p=0.01,
        relative=None, p_relative=None, clusters=9, shared=0,
    )  # fmt: skip


def kept(cells: Sequence[Cell], *words: str) -> list[Cell]:
    """Declared social cells with these verdicts, and all controls."""
    return [
        cell
        for cell in cells
        if cell.comparison.confirmatory and (not cell.task.social or cell.verdict in words)
    ]


def with_numbers(
    record: ConflictRecord, after: Interval | None, change: Interval | None = None
) -> ConflictRecord:
    """The record with these numbers for every two questions."""
    word = "below floor" if after is None else "unclear"
    sides = [
        side.model_copy(
            update={
                "pairs": tuple(
                    one.model_copy(update={"cosine": after, "word": word}) for one in side.pairs
                )
            }
        )
        for side in record.sides
    ]
    changes = [one.model_copy(update={"cosine": change}) for one in record.changes]
    return record.model_copy(update={"sides": tuple(sides), "changes": tuple(changes)})


def interval(value: float, width: float) -> Interval:
    return Interval(value=value, low=value - width, high=value + width)


@pytest.mark.parametrize(
    ("words", "found", "said"),
    [
        (("degraded", "undecided"), contrast(-5, -1), "supported"),
        (("degraded", "undecided"), contrast(-5, 1), "undecided"),
        (("degraded",), contrast(1, 5), "not supported"),
        (("degraded",), None, "undecided"),
        (("undecided",), contrast(-5, -1), "undecided"),
        (("equivalent",), contrast(-5, -1), "not supported"),
        (("equivalent",), None, "not supported"),
        ((), contrast(-5, -1), "not measured"),
    ],
)
def test_lost_decodability_by_its_rule(
    cells: list[Cell], words: tuple[str, ...], found: Contrast | None, said: str
) -> None:
    finding = decodability_finding(kept(cells, *words), (), [found] if found else [])
    assert finding.word == said


def test_what_speaks_for_lost_decodability_is_counted(cells: list[Cell]) -> None:
    finding = decodability_finding(cells, (), [contrast(-5, -1)])
    social = [c.verdict for c in cells if c.comparison.confirmatory and c.task.social]
    assert (
        f"{social.count('degraded')} of 6 social questions are degraded, and 0 of 3"
        in (finding.evidence[0])
    )
    assert "`sdiag diagnose` says of which kind" in finding.evidence[-1]


@pytest.mark.parametrize(
    ("after", "change", "said"),
    [
        (interval(-0.4, 0.1), interval(0.0, 0.05), "supported"),
        (interval(0.4, 0.05), interval(-0.3, 0.1), "supported"),
        (interval(-0.4, 0.39), interval(0.0, 0.05), "undecided"),  # not for all pairs looked at
        (interval(0.1, 0.15), interval(0.0, 0.05), "not supported"),
        (interval(0.1, 0.15), interval(0.0, 0.2), "undecided"),
        (interval(0.0, 0.3), interval(0.0, 0.05), "undecided"),
        (interval(0.1, 0.15), None, "undecided"),
        (None, None, "undecided"),
        (Interval(value=-0.4, low=None, high=None), interval(0.0, 0.05), "undecided"),
        (Interval(value=-0.4, low=None, high=-0.2), interval(0.0, 0.05), "supported"),
    ],
)
def test_gradient_conflict_by_its_rule(
    make_conflict: Make, after: Interval | None, change: Interval | None, said: str
) -> None:
    record = make_conflict(questions=TWO | {"c/z": True})
    assert conflict_finding(with_numbers(record, after, change)).word == said


def test_a_single_side_is_judged_without_a_change(make_conflict: Make) -> None:
    record = make_conflict(names=("post",), questions=TWO)
    assert conflict_finding(with_numbers(record, interval(0.2, 0.1))).word == "not supported"
    assert conflict_finding(with_numbers(record, interval(-0.2, 0.1))).word == "supported"


def test_control_pairs_neither_support_nor_hide(make_conflict: Make) -> None:
    record = make_conflict(questions={"a/x": True, "b/y": False})
    finding = conflict_finding(with_numbers(record, interval(-0.5, 0.1)))
    assert finding.word == "not measured"
    full = conflict_finding(make_conflict())
    assert full.word == "supported"
    assert full.evidence[0] == (
        "In conflict for certain: gesture × looking −0.40 \\[−0.60, −0.20\\]. "
        "Fell for certain: gesture × looking −0.45 \\[−0.70, −0.20\\]."
    )
    assert full.evidence[1] == (
        "Post: 2 of 15 social pairs conflict (mean corrected cosine 0.00); 0 of 18 pairs with a "
        "control conflict (mean corrected cosine +0.05)."
    )
    assert (
        "Pre: 0 of 15 social pairs conflict (mean corrected cosine of 10 that can be told"
        in (full.evidence[2])
    )


def test_cosines_that_cannot_be_told_from_noise_have_no_mean(make_conflict: Make) -> None:
    found = with_numbers(make_conflict(questions=TWO), Interval(value=-0.9, low=None, high=None))
    finding = conflict_finding(found)
    assert finding.word == "undecided"
    assert finding.evidence[0] == "1 of 1 social pairs cannot be told from noise."
    assert "0.9" not in " ".join(finding.evidence)


def test_what_was_not_measured_is_named_with_its_command(cells: list[Cell]) -> None:
    text = explanations_section(cells, (), [contrast(-5, -1)], None)
    assert text.startswith(
        "Of two explanations of what the training did, lost decodability is *supported* and "
        "gradient conflict is *not measured*."
    )
    assert "| gradient conflict | **not measured** | `sdiag gcd` measures it. |" in text
    nothing = explanations_section([], (), [], None)
    assert "`sdiag probe` measures it" in nothing
    assert "foretells" not in nothing


def test_the_rule_stands_beside_the_words(cells: list[Cell], make_conflict: Make) -> None:
    text = explanations_section(cells, (), [], Conflict(make_conflict()))
    assert "a cosine below −0.1 or a fall by more than 0.1" in text
    assert "Neither word says what caused what" in text
    assert "`sdiag gcd --against-transfer`" in text


@pytest.mark.parametrize(
    ("rho", "p", "said"),
    [
        (-0.7, 0.02, "Tasks that conflict more help each other less"),
        (0.7, 0.02, "Tasks that conflict more help each other more"),
        (-0.7, 0.2, "It is not shown that conflict foretells transfer"),
    ],
)
def test_conflict_against_transfer(make_conflict: Make, rho: float, p: float, said: str) -> None:
    point = PairPoint(first="a", second="b", gcd=1, transfer=2, to_first=1, to_second=3)
    one = Comparison(
        side="pre", part="all", transfer="t`1", variant="equal-steps<b>", tasks=tuple("abcd"),
        pairs=(point,) * 6, rho=Interval(value=rho, low=None, high=None), p=p, relabellings=24,
        exact=True, left_out={},
    )  # fmt: skip
    against = AgainstRecord(
        tool_version="0", model="tiny", definition="d", comparisons=(one,),
        undefined={"post <i>": "too *few*"},
    )  # fmt: skip
    text = explanations_section([], (), [], Conflict(make_conflict(questions=TWO), against))
    assert f"- {said}" in text
    assert "over 6 pairs of 4 tasks (pre against ``t`1``, equal-steps&lt;b&gt;)" in text.replace(
        "`` t`1 ``", "``t`1``"
    )
    assert f"is {'−' if rho < 0 else '+'}0.70 (too few tasks for an interval), p = {p:.3f}" in text
    assert "open on post &lt;i&gt;: too \\*few\\*" in text
