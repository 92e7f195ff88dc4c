"""From Ego4D looking-at-me as its owners ship it to a report, on the miniature."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from degradation.scenes.export.registry import export
from sdiag.cli import app


def sdiag(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_from_the_owners_files_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quirks = ("videos", "half-unpacked", "gaps", "outside", "no-segments", "missing")
    export("lam", tmp_path / "data", scale=0.3, quirks=quirks)
    extracted = json.loads(
        sdiag(
            *("extract", "--task", "lam", "--data-root", "data"),
            *("--block", "2", "--workers", "2", "--json"),
        )
    )
    rows = {one["split"]: one["rows"] for one in extracted}
    left_out = {one["split"]: one["left_out"] for one in extracted}
    assert all("crop=face" in one["protocol"] for one in extracted)  # as the task says
    assert rows["train"] > 60
    assert left_out["train"] > 10
    assert left_out["test"] == 0  # every picture could be opened
    sdiag("probe", "--draws", "100", "--json")
    (file,) = (tmp_path / "sdiag-results").rglob("record.json")
    record = json.loads(file.read_text())
    metrics = {one["metric"] for one in record["comparisons"]}
    assert {"binary_mean_average_precision", "average_precision:viewer", "accuracy"} <= metrics
    assert {one["n"] for one in record["comparisons"]} == {rows["test"]}
    sdiag("report", "--out", "report")
    assert "lam" in (tmp_path / "report" / "report.md").read_text()
