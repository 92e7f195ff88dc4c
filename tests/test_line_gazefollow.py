"""GazeFollow from its owners' files to a report, on the miniature and with the pair `tiny`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from degradation.scenes.export.registry import export
from sdiag.cli import app


def sdiag(*arguments: str) -> None:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_gazefollow_from_pictures_to_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quirks = ["bom", "inverted-heads", "lone-annotators", "invalid", "missing-pictures"]
    export("gazefollow", tmp_path / "data", scale=0.5, quirks=quirks)
    sdiag("extract", "--task", "gazefollow", "--data-root", "data", "--block", "2")
    sdiag("probe", "--draws", "200")
    sdiag("report", "--out", "report")
    (place,) = (tmp_path / "sdiag-results").rglob("gazefollow/record.json")
    record = json.loads(place.read_text())
    assert record["splits"]["train"]["left_out"]["gaze: no target in the picture"] > 5
    shown = {one["metric"]: one for one in record["comparisons"]}
    assert set(shown) == {"average_l2_error", "minimum_l2_error", "auc_score"}
    assert shown["average_l2_error"]["confirmatory"]
    assert shown["auc_score"]["pre"]["value"] > 70
    found = {(b["name"], b["metric"]): b["estimate"]["value"] for b in record["baselines"]}
    # Heads say where people look, on few rows; nobody is as good as the annotators are.
    for metric in ("average_l2_error", "minimum_l2_error"):
        assert found["human", metric] < shown[metric]["pre"]["value"] < found["centre", metric]
    assert found["human", "auc_score"] > 90
    report = (tmp_path / "report" / "report.md").read_text()
    assert "human" in report
    assert "| gaze |" in report
