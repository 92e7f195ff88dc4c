"""From HaGRIDv2 as its owners ship it to a report, on the miniature with the embedded pair."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from degradation.scenes.export.registry import export
from sdiag.cli import app


def sdiag(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.exception or done.output
    return done.stdout


@pytest.mark.slow
def test_from_the_owners_files_to_a_report(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export("hagrid", tmp_path / "data", scale=0.5, quirks=("misspelt-class", "lengths-differ"))
    extracted = json.loads(
        sdiag("extract", "--task", "hagrid", "--data-root", "data", "--block", "2", "--json")
    )
    rows = {one["split"]: one["rows"] for one in extracted}
    assert rows == {"train": 3 * 34 - 1, "val": 34, "test": 2 * 34}
    sdiag("probe", "--draws", "100", "--json")
    (file,) = (tmp_path / "sdiag-results").rglob("record.json")
    record = json.loads(file.read_text())
    scores = [one for one in record["comparisons"] if one["metric"] == "accuracy"]
    assert {one["n"] for one in scores} == {68}
    # More than twice what guessing gets right: hands and labels belong together.
    assert max(one["pre"]["value"] for one in scores) > 2 * 100 / 34
    sdiag("report", "--out", "report")
    assert "hagrid" in (tmp_path / "report" / "report.md").read_text()
