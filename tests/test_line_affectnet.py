"""From AffectNet as its owners ship it to a report, on the miniature with the embedded pair."""

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


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ("affectnet", ()),
        pytest.param("affectnet-7", ("class-folders",), marks=pytest.mark.slow),
    ],
)
def test_from_the_owners_files_to_a_report(tmp_path: Path, monkeypatch, task, shape):
    monkeypatch.chdir(tmp_path)
    export("affectnet", tmp_path / "data", scale=0.25, quirks=(*shape, "no-expression"))
    extracted = json.loads(
        sdiag("extract", "--task", task, "--data-root", "data", "--block", "2", "--json")
    )
    tested = {one["split"]: one["rows"] for one in extracted}["test"]
    assert tested == (24 if task == "affectnet" else 21)
    sdiag("probe", "--draws", "100", "--json")
    (file,) = (tmp_path / "sdiag-results").rglob("record.json")
    record = json.loads(file.read_text())
    accuracies = [one for one in record["comparisons"] if one["metric"] == "accuracy"]
    assert {one["n"] for one in accuracies} == {tested}
    sdiag("report", "--out", "report")
    assert task in (tmp_path / "report" / "report.md").read_text()
