"""PISC from its owners' files to a report, on the miniature and with the pair `tiny`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from degradation.scenes.export.registry import export
from sdiag.cli import app


def sdiag(*arguments: str) -> None:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_pisc_from_pictures_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export("pisc", tmp_path / "pisc", scale=0.5, quirks=["picture-missing"])
    tasks = ("--task", "pisc-relationship", "--task", "pisc-domain")
    sdiag("extract", *tasks, "--data-root", "pisc", "--block", "2")
    sdiag("probe", "--draws", "200")
    sdiag("report", "--out", "report")
    report = (tmp_path / "report" / "report.md").read_text()
    for question in ("relationship", "domain"):
        (place,) = (tmp_path / "sdiag-results").rglob(f"pisc-{question}/record.json")
        record = json.loads(place.read_text())
        (verdict,) = [one for one in record["comparisons"] if one["confirmatory"]]
        assert (verdict["question"], verdict["metric"]) == (question, "mean_average_precision")
        (chance,) = [
            one["estimate"]
            for one in record["baselines"]
            if (one["name"], one["metric"]) == ("prior", "mean_average_precision")
        ]
        # Postures and props are in the features: above the shares of classes, on few rows.
        assert verdict["pre"]["value"] > chance["value"] + 10
        assert f"| {question} |" in report
