"""The section on gradient conflict says what the record says, words before numbers."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from probes.conflict.records import ConflictRecord, Interval
from reports.conflict import section
from reports.conflict.pairs import asked_pairs, cosine_interval, own_sides, two_places
from reports.conflict.section import conflict_section, conflict_sentences

NOTES = {"Software": "sdiag"}
Make = Callable[..., ConflictRecord]
SOCIAL = {"a/x": True, "b/y": True}


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """No figures are drawn; the text chunks that they would have had."""
    notes: list[dict[str, str]] = []

    def keep(record: ConflictRecord, *rest: object) -> Path:
        *_, stem, chunks = rest
        notes.append(chunks)
        return stem.with_name(f"{stem.name}.png")

    for name in ("conflict_figure", "parts_figure", "sizes_figure", "steps_figure"):
        monkeypatch.setattr(section, name, keep)
    return notes


def row_of(text: str, name: str) -> list[str]:
    """The cells of a pair in the main table."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_the_verdict_comes_first_and_counts_words(
    make_conflict: Make, undrawn: list, tmp_path: Path
) -> None:
    record = make_conflict()
    text = conflict_section(record, tmp_path, NOTES)
    first = text.split("\n\n")[0]
    assert first == conflict_sentences(record)
    assert first.startswith(
        "Of 15 pairs of social questions, by the gradients of encoder: "
        "pre: 10 unclear, 5 below the floor; post: 2 in conflict, 13 unclear."
    )
    assert "changed in 2 of 10 with an interval that leaves 0 out (0.5 would by chance" in first
    assert "gesture × looking by −0.45 \\[−0.70, −0.20\\]; expression × gesture by −0.30" in first
    assert (
        "a batch its median, 0.97 (post), is what nearly orthogonal gradients give, but a" in first
    )


def test_a_row_sets_both_sides_beside_each_other(
    make_conflict: Make, undrawn: list, tmp_path: Path
) -> None:
    text = conflict_section(make_conflict(), tmp_path, NOTES)
    assert row_of(text, "expression × gesture") == [
        "expression × gesture", "0.97 → 0.97", "0.89 → 0.89", "+0.05 \\[−0.15, +0.25\\]",
        "−0.25 \\[−0.45, −0.05\\]", "−0.30 \\[−0.55, −0.05\\]",
        "? unclear → ▼ conflict",
    ]  # fmt: skip


def test_of_many_pairs_those_have_a_row_of_which_something_is_told(
    make_conflict: Make, undrawn: list, tmp_path: Path
) -> None:
    record = make_conflict()
    text = conflict_section(record, tmp_path, NOTES)
    before, _, after = text.partition("<details>")
    rows = [line for line in before.splitlines() if line.startswith("| ")][2:]
    assert [row.split(" |")[0] for row in rows] == ["| expression × gesture", "| gesture × looking"]
    assert "Of 34 other pairs (13 social × social, 18 social × control, 3 control" in before
    assert "conflict-pairs-tiny.csv" in after
    numbers = pd.read_csv(tmp_path / "conflict-pairs-tiny.csv")
    assert len(numbers) == 2 * 36
    faint = numbers[(numbers.questions == "gaze × gesture") & (numbers.side == "pre")].iloc[0]
    assert faint.word == "below floor"
    assert pd.isna(faint.cosine)
    assert faint.norm_ratio != faint.norm_ratio
    questions = pd.read_csv(tmp_path / "conflict-questions-tiny.csv")
    assert len(questions) == 2 * 9


def test_few_pairs_all_have_a_row(make_conflict: Make, undrawn: list, tmp_path: Path) -> None:
    record = make_conflict(questions={"scenes-gaze/gaze": True, "a/x": True, "b/y": False})
    text = conflict_section(record, tmp_path, NOTES)
    (faint,) = (row_of(text, name) for name in ("gaze × x",))
    assert faint[3:6] == ["– (gaze below floor)", "+0.05 \\[−0.15, +0.25\\]", "–"]
    assert faint[6] == "∅ below floor → ? unclear"
    assert "| x × y |" in text
    assert "can be told from 0" not in text


def test_one_side_only_has_no_change(make_conflict: Make, undrawn: list, tmp_path: Path) -> None:
    record = make_conflict(names=("pre",))
    text = conflict_section(record, tmp_path, NOTES)
    assert "→" not in text
    assert "Change" not in text
    assert "changed in" not in text
    assert "| expression × gesture |" not in text  # unclear on this side
    assert len(pd.read_csv(tmp_path / "conflict-pairs-tiny.csv")) == 36


def test_without_social_pairs_all_pairs_are_told(
    make_conflict: Make, undrawn: list, tmp_path: Path
) -> None:
    text = conflict_section(make_conflict(questions={"a/x": True, "b/y": False}), tmp_path, NOTES)
    assert text.startswith("Of 1 pair of questions, by the gradients")


def test_everything_below_floor(make_conflict: Make, undrawn: list, tmp_path: Path) -> None:
    questions = {"scenes-gaze/gaze": True, "a/x": True}
    text = conflict_section(make_conflict(questions=questions), tmp_path, NOTES)
    assert "pre: 1 below the floor; post: 1 unclear" in text
    assert "No change can be told" in text


def test_open_intervals_are_no_finding(make_conflict: Make, undrawn: list, tmp_path: Path) -> None:
    record = make_conflict(questions=SOCIAL)
    loose = Interval(value=-0.7, low=None, high=None)
    sides = [
        side.model_copy(
            update={"pairs": tuple(one.model_copy(update={"cosine": loose}) for one in side.pairs)}
        )
        for side in record.sides
    ]
    text = conflict_section(record.model_copy(update={"sides": tuple(sides)}), tmp_path, NOTES)
    assert "pre: 1 unclear (all with an open interval); post: 1 unclear (all" in text
    assert "cannot be told from noise: of conflict nothing is known yet" in text
    assert row_of(text, "x × y")[3] == "−0.70 (open)"


def test_steps_of_a_model_that_is_no_pair(
    make_conflict: Make, undrawn: list, tmp_path: Path
) -> None:
    names = ("step-000500", "step-000100", "step-001000")
    record = make_conflict(names=names, pair=None, model="runs/joint", changes=())
    assert [side.name for side in own_sides(record)] == [names[1], names[0], names[2]]
    text = conflict_section(record, tmp_path, NOTES)
    assert "Corrected cosine, step 100 | Corrected cosine, step 1000" in text
    assert "**While it was trained.**" in text
    assert undrawn[0]["Signature"].count("\n") == 2


def test_names_are_escaped(make_conflict: Make, undrawn: list, tmp_path: Path) -> None:
    record = make_conflict(
        questions={"a|b/x<i>*y*": True, "c/`z`": True}, parameters="<b>", split="| x |",
        definition="[x](http://x)", preconditioner="<u>", row_list="`", batches_asked=40,
    )  # fmt: skip
    text = conflict_section(record, tmp_path, NOTES)
    prose = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)
    for bad in ("<i>", "<b>", "<u>", "*y*", "[x]("):
        assert bad not in prose
    assert "x&lt;i&gt;\\*y\\* × \\`z\\`" in text
    assert "32 batches (40 were asked for)" in text


def test_questions_of_the_same_name_are_told_with_their_task(make_conflict: Make) -> None:
    record = make_conflict(questions={"a/kind": True, "b/kind": False, "c/z": True})
    assert [pair.name for pair in asked_pairs(record)] == [
        "kind (a) × z", "kind (a) × kind (b)", "kind (b) × z",
    ]  # fmt: skip


def test_swapped_labels_stand_apart(make_conflict: Make, undrawn: list, tmp_path: Path) -> None:
    record = make_conflict(questions=SOCIAL)
    swapped = record.sides[0].model_copy(update={"labels": "swapped"})
    record = record.model_copy(update={"sides": (*record.sides, swapped)})
    text = conflict_section(record, tmp_path, NOTES)
    assert len(row_of(text, "x × y")) == 7
    numbers = pd.read_csv(tmp_path / "conflict-pairs-tiny.csv")
    assert numbers.labels.tolist() == ["own", "own", "swapped"]


def test_no_record_gives_no_section(tmp_path: Path) -> None:
    assert conflict_section(None, tmp_path, NOTES) == ""


def test_open_ends_and_zeros() -> None:
    assert two_places(-0.004) == two_places(0.0) == "0.00"
    half_open = Interval(value=0.3, low=0.1, high=None)
    assert cosine_interval(half_open) == "+0.30 [+0.10, open]"
    assert cosine_interval(Interval(value=-1.2, low=None, high=-0.1)) == "−1.20 [open, −0.10]"
    assert cosine_interval(Interval(value=0.9, low=None, high=None)) == "+0.90 (open)"
