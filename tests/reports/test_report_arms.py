"""Arms, class weights, row lists and undefined metrics in the report."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from degradation.errors import DataError
from reports import style
from reports.load import read_records
from reports.report import write_report

TASK = "scenes-gesture"


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pixels: what is tested is the text."""
    monkeypatch.setattr(style, "DPI", 25)


@pytest.fixture
def run(tmp_path: Path, make_run: Callable[..., Path]) -> Path:
    return make_run(tmp_path / "r", "tiny", TASK)


def read(run: Path) -> dict:
    return json.loads((run / "record.json").read_text(encoding="utf-8"))


def with_arms(run: Path, edit_record: Callable[..., None]) -> None:
    """Read from the image as well: there the delta is positive."""
    content = read(run)
    arms = [
        {"name": "image", "regions": ["image"], "balanced": True},
        {"name": "plain", "regions": ["hand"], "balanced": False},
    ]
    others = []
    for one in content["comparisons"]:
        for arm, delta in (("image", 7.0), ("plain", -7.0)):
            if one["block"] == 5:
                changed = {
                    "probe": f"linear/{arm}",
                    "confirmatory": False,
                    "delta": {"value": delta, "low": delta - 1, "high": delta + 1},
                    "signature": f"{one['signature']}|arm:{arm}",
                }
                others.append(one | changed)
    task = content["task"] | {"regions": ["hand"], "balanced": True, "arms": arms}
    edit_record(run, task=task, comparisons=content["comparisons"] + others)


def report(results: Path, out: Path) -> str:
    return write_report(results, out).path.read_text(encoding="utf-8")


def rows_under(text: str, heading: str) -> list[list[str]]:
    section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_arms_stand_under_the_declared_reading_and_nowhere_else(
    run: Path, edit_record: Callable[..., None], tmp_path: Path
) -> None:
    before = report(tmp_path / "r", tmp_path / "before")
    assert "Other ways to read" not in before
    with_arms(run, edit_record)
    text = report(tmp_path / "r", tmp_path / "after")
    rows = rows_under(text, "Other ways to read the same features")
    assert [(row[0], row[2], row[3], row[4], row[-1]) for row in rows] == [
        ("gesture", "as declared", "hand", "balanced", "–"),
        ("gesture", "image", "image", "balanced", "**no**"),
        ("gesture", "plain", "hand", "none", "yes"),
    ]
    assert "+7.0" in rows[1][-2]
    section = text.split("## Other ways to read the same features")[1].split("\n## ")[0]
    rest = text.replace(section, "")
    assert "7.0" not in rest.split("## Rows left out")[0]
    assert rows_under(text, "Verdicts") == rows_under(before, "Verdicts")
    for figure in ("scores-tiny.csv", "map-tiny.csv", "baselines-tiny.csv"):
        one, two = (tmp_path / out / "figures" / figure for out in ("before", "after"))
        assert one.read_bytes() == two.read_bytes()
    numbers = pd.read_csv(tmp_path / "after" / "numbers.csv")
    arms = numbers[numbers.probe.str.contains("/")]
    assert len(arms) == 4
    assert not arms.confirmatory.any()
    assert set(arms.family) == {"BH over 4 (other arms, tiny)"}


def test_class_weights_are_stated(
    run: Path, edit_record: Callable[..., None], tmp_path: Path
) -> None:
    plain = "Every training row has the same weight in the fits."
    assert plain in report(tmp_path / "r", tmp_path / "plain")
    edit_record(run, task=read(run)["task"] | {"balanced": True})
    text = report(tmp_path / "r", tmp_path / "balanced")
    assert plain not in text
    assert "In the fits of gesture every class has the same weight" in text


def test_runs_on_all_rows_and_on_a_list_stand_side_by_side(
    run: Path, make_run: Callable[..., Path], edit_record: Callable[..., None], tmp_path: Path
) -> None:
    clean = make_run(tmp_path / "r", "tiny", TASK, folder=f"tiny/{TASK}@clean")
    with pytest.raises(DataError, match="found two"):
        report(tmp_path / "r", tmp_path / "out")
    edit_record(clean, task=read(clean)["task"] | {"row_list": "clean"})
    labels = [record.task.label for record in read_records(tmp_path / "r")]
    assert labels == [TASK, f"{TASK}@clean"]
    text = report(tmp_path / "r", tmp_path / "out")
    questions = [row[0] for row in rows_under(text, "Verdicts")]
    assert questions == [f"gesture ({TASK})", f"gesture ({TASK}@clean)"]
    assert "Questions marked @clean were probed on the rows of the list of that name only" in text
    assert "Not complete" not in text
    assert set(pd.read_csv(tmp_path / "out" / "numbers.csv").task) == {TASK, f"{TASK}@clean"}


def test_a_list_alone_is_labelled_too(
    run: Path, edit_record: Callable[..., None], tmp_path: Path
) -> None:
    edit_record(run, task=read(run)["task"] | {"row_list": "clean"})
    text = report(tmp_path / "r", tmp_path / "out")
    assert [row[0] for row in rows_under(text, "Verdicts")] == [f"gesture ({TASK}@clean)"]


def test_what_is_undefined_or_absent_is_said(
    run: Path, edit_record: Callable[..., None], tmp_path: Path
) -> None:
    undefined = [
        {"question": "gesture", "arm": "", "metric": name, "reason": "no row is of class b"}
        for name in ("recall:b", "average_precision:b")
    ]
    undefined.append(
        {"question": "gesture", "arm": "image", "metric": "accuracy", "reason": "No image."}
    )
    classes = [
        {"question": "gesture", "name": "a", "fitted": 0, "predicted": 3},
        {"question": "gesture", "name": "b", "fitted": 5, "predicted": 0},
    ]
    edit_record(run, undefined=undefined, classes=classes)
    summary = write_report(tmp_path / "r", tmp_path / "out")
    assert summary.incomplete == (
        "`tiny` has no `recall:b` and `average_precision:b` of gesture: no row is of class b.",
        "`tiny` has no `accuracy` of gesture in the arm `image`: No image.",
        "No test row of gesture is of class b: means over classes leave it out.",
        "No training row of gesture is of class a: no probe can predict it.",
    )
    assert re.search(r"> \*\*Not complete\.\*\*", summary.path.read_text(encoding="utf-8"))


def test_a_question_that_could_not_be_asked_is_named_once(
    run: Path, edit_record: Callable[..., None], tmp_path: Path
) -> None:
    content = read(run)
    reason = {"question": "gesture", "arm": "", "metric": "accuracy", "reason": "too few rows"}
    edit_record(
        run,
        comparisons=[one for one in content["comparisons"] if not one["confirmatory"]],
        undefined=[reason],
    )
    summary = write_report(tmp_path / "r", tmp_path / "out")
    assert summary.incomplete == ("`tiny` has no `accuracy` of gesture: too few rows.",)
