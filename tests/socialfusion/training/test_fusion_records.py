"""The record of a run, its predictions, and the command that makes them."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from degradation.errors import DataError
from probes.metrics import evaluate, resolve
from sdiag.cli import app
from socialfusion.records import (
    PREDICTIONS,
    RECORD,
    read_fusion,
    read_fusion_predictions,
    run_folder,
)


def test_numbers_follow_from_the_predictions(train, tmp_path) -> None:
    record = train(steps=2)
    folder = run_folder(tmp_path, "run")
    answers = read_fusion_predictions(folder, record)
    assert list(answers) == ["scenes-looking/looking", "scenes-gaze/gaze"]
    classes = {one.label: one.classes for one in record.questions}
    for score in record.scores:
        one = answers[score.question]
        assert (one.block, one.side) == (1, "pre")
        value = evaluate(resolve(score.metric, classes[score.question]), one.outcome)[0]
        assert score.estimate.value == pytest.approx(100 * value, rel=1e-5)
        assert score.estimate.low <= score.estimate.value <= score.estimate.high
    path = folder / PREDICTIONS
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="is not the file that"):
        read_fusion_predictions(folder, record)
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        read_fusion_predictions(folder, record)
    (folder / RECORD).write_text('{"schema_version": 9}')
    with pytest.raises(DataError, match="schema version 1"):
        read_fusion(folder)
    assert read_fusion(tmp_path / "nothing") is None


def test_the_command_trains_and_prints(cache, tmp_path) -> None:
    options = [
        "train-socialfusion", "--cache", str(cache), "--results", str(tmp_path), "--task",
        "scenes-looking", "--steps", "2", "--connector-width", "12", "--lora-rank", "2",
        "--mixing", "temperature:2", "--budget", "total", "--rows", "none",
    ]  # fmt: skip
    runner = CliRunner()
    done = runner.invoke(app, options)
    assert "row lists named 'none'" in str(done.exception)
    done = runner.invoke(app, [*options[:-2], "--json", "--generate"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["run"] == "scenes-looking-seed0"
    assert record["settings"]["temperature"] == 2
    assert np.isfinite([one["estimate"]["value"] for one in record["scores"]]).all()
    again = runner.invoke(app, [*options[:-2], "--resume"])
    assert again.exit_code == 0
    assert "scenes-looking/looking" in again.stdout
    assert "2 steps" in again.stdout
