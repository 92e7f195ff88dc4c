"""The section on robustness: what would have changed a delta, in words, a table and a figure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from probes.records import Estimate, Robustness, RunRecord, TrainingVariance, TuningPoint
from reports import style
from reports.load import read_records
from reports.verdicts.cells import Cell, judged_cells
from reports.verdicts.robustness import robustness_section, robustness_table

NOTES = {"Software": "sdiag", "Signature": "x"}
STRENGTHS = (0.001, 0.1, 10.0)


def varied(
    question: str, deltas: Sequence[float] = (-5, -6, -7), *, both: tuple[float, float] = (-8, -4),
    training: float = 0.5,
) -> Robustness:  # fmt: skip
    return Robustness(
        question=question, block=5, metric="accuracy",
        tuning=tuple(
            TuningPoint(strength=s, pre=70.0, post=70.0 + d,
                        delta=Estimate(value=d, low=d - 1, high=d + 1))
            for s, d in zip(STRENGTHS, deltas, strict=False)
        ),
        training=TrainingVariance(
            refits=5, mean=-6.0, low=both[0], high=both[1], sampling_se=1.0, training_sd=training,
            single_se=1.2,
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(one_pair: Path) -> tuple[RunRecord, ...]:
    """Expression, whose delta is -6.1 for certain, and colour, which hardly changed."""
    return tuple(
        run for run in read_records(one_pair)
        if run.task.name in ("scenes-expression", "scenes-objects")
    )  # fmt: skip


def made(runs: Sequence[RunRecord], *found: Robustness) -> tuple[list[Cell], list[RunRecord]]:
    records = [
        run.model_copy(
            update={"robustness": tuple(f for f in found if f.question in run.task.metrics)}
        )
        for run in runs
    ]
    return judged_cells(records, margin=2.0, alpha=0.05), records


def section(runs: Sequence[RunRecord], *found: Robustness, folder: Path) -> str:
    (folder / "figures").mkdir()
    return robustness_section(*made(runs, *found), folder / "figures", NOTES, 2.0)


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pixels: what is tested is what is drawn, not how finely."""
    monkeypatch.setattr(style, "DPI", 25)


def test_a_delta_that_nothing_changes(
    runs: tuple[RunRecord, ...], tmp_path: Path, drawn: list[Figure]
) -> None:
    text = section(runs, varied("expression"), varied("colour", (0, 0.5, 1)), folder=tmp_path)
    assert text.startswith(
        "No sign depends on tuning: with one strength on both sides, whichever from 0.001 to 10, "
        "no delta has the other sign with an interval that leaves 0 out. Other training rows move "
        "no delta more than other test rows would. Counting both, every interval that left 0 out "
        "still does."
    )
    assert (
        "| expression | −6.1 \\[−8.0, −4.2\\] | −7.0 to −5.0 | no | 1.0 | 0.5 "
        "| −6.0 \\[−8.0, −4.0\\] |"
    ) in text
    plotted = pd.read_csv(tmp_path / "figures" / "tuning-tiny.csv")
    assert plotted.question.tolist() == ["expression"] * 3 + ["colour"] * 3
    assert plotted.strength.tolist() == [*STRENGTHS] * 2
    (figure,) = drawn
    for axes, (question, rows) in zip(
        figure.axes, plotted.groupby("question", sort=False), strict=False
    ):
        assert axes.get_title(loc="left").startswith(question)
        assert axes.get_xscale() == "log"
        curve = next(line for line in axes.lines if line.get_marker() == ".")
        np.testing.assert_allclose(curve.get_xydata(), rows[["strength", "delta"]])
        (band,) = axes.collections
        low, high = band.get_paths()[0].get_extents().intervaly
        assert (low, high) == (rows.delta_low.min(), rows.delta_high.max())
        chosen = {line.get_marker(): line.get_xdata()[0] for line in axes.lines
                  if line.get_marker() in "os"}  # fmt: skip
        assert chosen == {"o": rows.strength_pre.iloc[0], "s": rows.strength_post.iloc[0]}
        assert "10⁻³" in [tick.get_text() for tick in axes.get_xticklabels()]


def test_what_depends_on_tuning_or_training_is_named(
    runs: tuple[RunRecord, ...], tmp_path: Path
) -> None:
    turned = varied("expression", (-5, 0.5, 3), both=(-9, 1), training=2.0)
    text = section(runs, turned, varied("colour", (-9, -9, -9), both=(-3, 3)), folder=tmp_path)
    assert text.startswith("The sign depends on tuning for **expression**: with some one strength")
    assert "Other training rows move expression more than other test rows would." in text
    assert "the interval of **expression** no longer leaves 0 out." in text
    assert "agree on" not in text
    rows = [line for line in text.splitlines() if line.startswith(("| expression", "| colour"))]
    assert [row.split(" | ")[3] for row in rows] == ["**yes**", "no"]


def test_refits_that_agree_on_another_delta_are_named(
    runs: tuple[RunRecord, ...], tmp_path: Path
) -> None:
    found = varied("expression", both=(-17, -9)), varied("colour", (0, 0, 0), both=(-12, -8))
    text = section(runs, *found, folder=tmp_path)
    assert "agree on another delta of **expression** and **colour**: how much is lost" in text


def test_parts_that_were_not_asked_for_leave_dashes(
    runs: tuple[RunRecord, ...], tmp_path: Path
) -> None:
    untuned = varied("expression").model_copy(update={"tuning": ()})
    text = section(runs, untuned, folder=tmp_path)
    assert text.startswith("Other training rows")
    assert "| – | – | 1.0 |" in text
    assert not list((tmp_path / "figures").glob("*.png"))
    fixed = varied("expression").model_copy(update={"training": None})
    frame = robustness_table(*made(runs, fixed))
    assert frame[["lowest", "highest", "sign_depends"]].iloc[0].tolist() == [-7.0, -5.0, False]
    assert frame["training_sd"].isna().all()


def test_older_records_and_other_blocks_have_no_section(
    runs: tuple[RunRecord, ...], tmp_path: Path
) -> None:
    assert section(runs, folder=tmp_path) == ""
    elsewhere = varied("expression").model_copy(update={"block": 1})
    assert robustness_table(*made(runs, elsewhere)).empty


def test_names_are_escaped(runs: tuple[RunRecord, ...], tmp_path: Path) -> None:
    name = "a|b <b>*x*</b> $m$"
    cells, records = made(runs, varied("expression", (-5, 0.5, 3)))
    odd = [
        Cell(**{key: getattr(cell, key) for key in cell.__slots__ if key != "label"}, label=name)
        for cell in cells
        if cell.label == "expression"
    ]
    (tmp_path / "figures").mkdir()
    text = robustness_section(odd, records, tmp_path / "figures", NOTES, 2.0)
    assert "<b>" not in text
    assert "**a|b &lt;b&gt;\\*x\\*&lt;/b&gt; \\$m\\$**" in text
    assert "| a\\|b &lt;b&gt;" in text
