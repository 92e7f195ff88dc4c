"""Records of gradient conflict off the disk, and where they stand in the report."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from degradation.errors import DataError
from probes.conflict.records import ConflictRecord, QuestionCard, write_conflict
from reports import style
from reports.conflict import section as conflict
from reports.document import Document, Settings, compose
from reports.load import load_results
from reports.report import write_report
from reports.sentences import incomplete
from reports.verdicts import sections
from reports.verdicts.cells import judged_cells
from socialfusion.transfer.against_conflict import AgainstRecord, write_against

Make = Callable[..., ConflictRecord]
Run = Callable[..., Path]
TASKS = ("scenes-expression", "scenes-objects")
QUESTIONS = {
    "scenes-expression/expression": True,
    "scenes-gaze/gaze": True,
    "scenes-objects/kind": False,
}


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures are drawn: what is tested is the text."""

    def stem_of(*given: object) -> Path:
        return next(one for one in given if isinstance(one, Path))

    for module in (conflict, sections):
        for name in list(vars(module)):
            if name.endswith("_figure") and not name.startswith("_"):
                monkeypatch.setattr(module, name, stem_of)


@pytest.fixture
def results(tmp_path: Path, make_run: Run) -> Path:
    """Results of a social and a control task."""
    folder = tmp_path / "results"
    for task in TASKS:
        make_run(folder, "tiny", task)
    return folder


def write(folder: Path, record: ConflictRecord) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_conflict(folder, record)


def composed(results: Path, folder: Path) -> Document:
    """The report as Markdown."""
    loaded = load_results(results)
    cells = judged_cells(loaded.records, margin=2.0, alpha=0.05)
    settings = Settings(margin=2.0, alpha=0.05, command=None)
    return compose(loaded, cells, settings, folder, folder / "numbers.csv")


def headings(text: str) -> list[str]:
    return re.findall(r"^##+ (.*)$", text, flags=re.MULTILINE)


def other_weights(record: ConflictRecord) -> dict[str, object]:
    return {"pair": record.pair.model_copy(update={"post_digest": "other"})}


def more_rows(record: ConflictRecord) -> dict[str, object]:
    def grown(card: QuestionCard) -> QuestionCard:
        return card.model_copy(update={"available": 1501})

    return {"questions": tuple(map(grown, record.questions))}


@pytest.mark.parametrize(
    ("change", "said"), [(other_weights, "other weights"), (more_rows, "other rows")]
)
def test_what_is_not_of_the_runs_is_left_out_and_named(
    results: Path, make_conflict: Make, change: Callable[..., dict[str, object]], said: str
) -> None:
    record = make_conflict(questions=QUESTIONS)
    write(results / "tiny", record)
    assert [one.record for one in load_results(results).conflicts] == [record]
    write(results / "tiny", record.model_copy(update=change(record)))
    loaded = load_results(results)
    assert loaded.conflicts == ()
    (sentence,) = incomplete(loaded)
    assert sentence == (
        f"The gcd analysis of `tiny` is left out, for it was made from {said} than the runs; run "
        "`sdiag gcd` again."
    )


def test_other_row_lists_say_nothing_of_the_rows(results: Path, make_conflict: Make) -> None:
    record = make_conflict(questions=QUESTIONS, row_list="clean")
    write(results / "tiny", record.model_copy(update=more_rows(record)))
    assert len(load_results(results).conflicts) == 1


def test_two_of_the_same_pair_are_refused(results: Path, make_conflict: Make) -> None:
    for folder in ("tiny", "copy"):
        write(results / folder, make_conflict(questions=QUESTIONS))
    with pytest.raises(DataError, match="found two"):
        load_results(results)


def test_a_damaged_record_is_named(results: Path) -> None:
    (results / "tiny" / "gcd.json").write_text('{"schema_version": 1}', encoding="utf-8")
    with pytest.raises(DataError, match=r"tiny/gcd\.json.*Run `sdiag gcd` again"):
        load_results(results)


def test_the_record_against_transfer_is_read_beside_it(results: Path, make_conflict: Make) -> None:
    write(results / "tiny", make_conflict(questions=QUESTIONS))
    against = AgainstRecord(
        tool_version="0", model="tiny", definition="d", comparisons=(), undefined={}
    )
    write_against(results / "tiny", against)
    (one,) = load_results(results).conflicts
    assert one.against == against


def test_conflict_stands_before_the_explanation(
    results: Path, make_conflict: Make, undrawn: None, tmp_path: Path
) -> None:
    write(results / "tiny", make_conflict(questions=QUESTIONS, tool_version="0.0.9"))
    document = composed(results, tmp_path)
    assert headings(document.text)[:4] == [
        "Verdicts", "Social against control questions", "Gradient conflict", "Which explanation",
    ]  # fmt: skip
    opening = document.text.split("## ")[0]
    assert "Of two explanations of what the training did, lost decodability is *" in opening
    assert document.incomplete == ("The records were made with different versions: 0.0.9, 0.1.0.",)
    row = "| `sdiag gcd` | `tiny` | `scenes-expression`, `scenes-gaze`, `scenes-objects` | 0 |"
    assert row in document.text


def test_conflict_without_runs_judges_nothing(
    make_conflict: Make, undrawn: None, tmp_path: Path
) -> None:
    name = "a|b <b>x</b>\n# up"
    record = make_conflict(questions=QUESTIONS, model=name)
    pair = record.pair.model_copy(update={"name": name})
    write(tmp_path / "r" / "x", record.model_copy(update={"pair": pair}))
    text = composed(tmp_path / "r", tmp_path).text
    assert "Nothing is judged of `a|b <b>x</b> # up`" in text
    assert headings(text)[:2] == ["Gradient conflict", "Which explanation"]
    prose = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)
    assert "<b>" not in prose
    assert not re.search("^# up", text, flags=re.MULTILINE)


def test_a_model_that_is_no_pair_has_a_section_of_its_own(
    results: Path, make_conflict: Make, undrawn: None, tmp_path: Path
) -> None:
    names = ("step-000100", "step-000200", "step-000300")
    record = make_conflict(names=names, questions=QUESTIONS, pair=None, model="joint-a")
    write(results / "socialfusion" / "joint-a", record)
    found = headings(composed(results, tmp_path).text)
    assert "Gradient conflict in `joint-a`" in found
    assert "Gradient conflict" not in found
    assert "Which explanation" not in found


@pytest.mark.slow
def test_every_figure_of_conflict_is_shown(
    results: Path, make_conflict: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(style, "DPI", 25)
    write(results / "tiny", make_conflict(questions=QUESTIONS))
    summary = write_report(results, tmp_path / "out")
    text = summary.path.read_text(encoding="utf-8")
    shown = set(re.findall(r"\]\((figures/conflict[^)]*\.png)\)", text))
    drawn = {f"figures/{p.name}" for p in summary.path.parent.glob("figures/conflict*.png")}
    assert drawn == shown
    assert len(drawn) == 3
