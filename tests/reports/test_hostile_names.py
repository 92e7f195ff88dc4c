"""Names that act on whatever shows them: terminals, spreadsheets, XML, the direction of text."""

import csv
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from reports import markdown
from reports.csv_files import write_csv
from reports.report import write_report

UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202e\u2066\u200f\uffff]")
NAME = "\x1b[31mred\x00 \u202eevil\u200f \u2066x\uffff"


@pytest.mark.parametrize("write", [markdown.escape, markdown.code, lambda t: markdown.fenced([t])])
def test_characters_that_cannot_be_seen_are_marked(write: Callable[[str], str]) -> None:
    assert not UNSEEN.search(write(NAME))
    assert "red� �evil� �x�" in write(NAME)
    assert "👩‍👧 שלום" in write("👩‍👧 שלום")


def test_no_file_of_a_report_holds_what_acts_unseen(
    tmp_path: Path, make_run: Callable[..., Path], edit_record: Callable[..., None]
) -> None:
    folder = make_run(tmp_path / "results", "pair", "scenes-gaze")
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    comparisons = [one | {"signature": NAME} for one in record["comparisons"]]
    pair = record["pair"] | {"name": f"={NAME}", "lineage": NAME}
    edit_record(folder, pair=pair, comparisons=comparisons, tool_version=NAME)
    out = write_report(tmp_path / "results", tmp_path / "out").path.parent
    for path in (*out.glob("report.*"), *out.rglob("*.svg")):
        assert not UNSEEN.search(path.read_text(encoding="utf-8")), path
    for path in out.rglob("*.svg"):
        ET.parse(path)
    with (out / "numbers.csv").open(encoding="utf-8", newline="") as file:
        assert {row["pair"][:2] for row in csv.DictReader(file)} == {"'="}


def test_a_spreadsheet_is_given_no_formula(tmp_path: Path) -> None:
    names = ["=cmd()", "+1+1", "-x", "@SUM(1)", "\tx", "plain", "a=b"]
    write_csv(pd.DataFrame({"name": names, "delta": [-1.5, *range(6)]}), tmp_path / "t.csv")
    back = pd.read_csv(tmp_path / "t.csv")
    assert list(back["name"]) == ["'" + name for name in names[:5]] + names[5:]
    assert list(back["delta"]) == [-1.5, *range(6)]
