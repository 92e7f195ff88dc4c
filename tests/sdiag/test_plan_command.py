"""`sdiag plan`: sample sizes on the terminal and as JSON, by formula and from a pilot."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from degradation.errors import ConfigError, DataError
from probes.records import Comparison, Estimate, PairCard, RunRecord, TaskCard
from probes.runs import write_run
from sdiag.cli import app


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["plan", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def rows(*arguments: str) -> list[dict]:
    return json.loads(run("--json", *arguments))["rows"]


def test_the_known_figures_are_the_default() -> None:
    assert [(row["flips"], row["paired"], row["unpaired"]) for row in rows()] == [
        (10, 488, 2389), (15, 733, 2389), (25, 1224, 2389), (35, 1715, 2389),
    ]  # fmt: skip
    text = run()
    for figure in ("488", "733", "1,224", "1,715", "2,389"):
        assert figure in text
    assert max(map(len, text.splitlines())) <= 100


def test_corrected_for_many_comparisons() -> None:
    found = rows("--comparisons", "60", "--flips", "10", "--flips", "25")
    assert [row["paired"] for row in found] == [1090, 2731]
    assert "Holm over 60" in run("--comparisons", "60")


def test_clusters_multiply_by_the_design_effect() -> None:
    clustered = rows("--rows-per-cluster", "5", "--correlation", "0.25", "--flips", "10")[0]
    assert clustered["paired"] == round(2 * 488.19)
    assert clustered["unpaired"] == round(2 * 2388.80)
    assert "design effect 2" in run("--rows-per-cluster", "5", "--correlation", "0.25")


def test_what_so_many_images_show() -> None:
    seen = rows("--images", "488", "--flips", "10")[0]["detectable"]
    assert seen == pytest.approx(4.0, abs=0.01)
    assert rows("--images", "20", "--flips", "10", "--drop", "2")[0]["detectable"] is None
    assert "none: too few flips" in run("--images", "20", "--flips", "10", "--drop", "2")


def test_a_drop_needs_as_many_flips() -> None:
    assert [row["flips"] for row in rows("--drop", "20")] == [25, 35]
    assert [row["flips"] for row in rows("--drop", "50")] == [50]
    with pytest.raises(ConfigError, match="drop of 20 points, 10 % flips"):
        run("--drop", "20", "--flips", "10")


def write_pilot(results: Path, *, se: float | None, half: float = 1.645, flips: int = 40) -> None:
    delta = Estimate(value=-2.0, low=-4.0, high=0.0)
    comparison = Comparison(
        question="mood", block=2, probe="linear", metric="accuracy", higher_is_better=True,
        confirmatory=True, pre=delta, post=delta, delta=delta, delta_low_90=-2 - half,
        delta_high_90=-2 + half, p=0.04, p_mcnemar=None, broken=flips // 2 + 4,
        fixed=flips // 2 - 4, n=400, clusters=100, se=se, strength_pre=1, strength_post=1,
        selection="", signature="",
    )  # fmt: skip
    record = RunRecord(
        tool_version="0", seed=0, draws=100, splits={}, baselines=(), comparisons=(comparison,),
        predictions_sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        task=TaskCard(
            name="moods", kind="classes", social=True, label_sets={"mood": ("a", "b")},
            regions=("face",), metrics={"mood": ("accuracy",)}, cluster="subject", source="",
        ),
        pair=PairCard(
            name="own", pre="", post="", pre_digest="", post_digest="", lineage="", source="",
            protocol="", imported=False,
        ),
    )  # fmt: skip
    write_run(results / "own" / "moods", record, b"")


@pytest.mark.parametrize("se", [1.0, None])
def test_a_pilot_says_how_many_of_its_kind(tmp_path: Path, se: float | None) -> None:
    write_pilot(tmp_path, se=se)
    (row,) = json.loads(run("--pilot", str(tmp_path), "--json"))
    far = 1.959964 + 0.841621
    assert row["flips"] == 10
    assert row["needed"] == pytest.approx(400 * (far / 4) ** 2, rel=1e-3)
    assert row["detectable"] == pytest.approx(far, rel=1e-3)
    assert row["design_effect"] == pytest.approx(1e-4 / ((0.1 - 0.0004) / 400), rel=1e-3)
    assert row["equivalence"] == pytest.approx(400 * ((1.644854 + 1.281552) / 2) ** 2, rel=1e-3)
    text = run("--pilot", str(tmp_path))
    assert "own moods mood" in text
    assert "10.0 %" in text


def test_a_pilot_without_any_change_is_refused(tmp_path: Path) -> None:
    write_pilot(tmp_path, se=0.0)
    with pytest.raises(DataError, match="results of another pair"):
        run("--pilot", str(tmp_path))
