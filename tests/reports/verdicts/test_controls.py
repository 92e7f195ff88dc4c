"""The control baselines in a report: an untrained tower, and shuffled labels."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from probes.record_files import write_record
from probes.records import Baseline, Estimate
from reports import style
from reports.load import read_records
from reports.names import reader_label
from reports.verdicts import readers
from reports.verdicts.cells import Cell, judged_cells
from reports.verdicts.sections import readers_section
from reports.verdicts.tables import confirmatory

CONTROLS = {"random-tower": 44.0, "shuffled-pre": 52.0, "shuffled-post": 49.0}


@pytest.fixture
def results(tmp_path: Path, make_pair: Callable[..., None]) -> Path:
    """A pair whose every question has the control baselines beside its others."""
    make_pair(tmp_path / "results", "tiny")
    for path in (tmp_path / "results").rglob("record.json"):
        (run,) = read_records(path.parent)
        added = [
            Baseline(question=one.question, name=name, metric=one.metric,
                     estimate=Estimate(value=value, low=value - 3, high=value + 3))
            for one in run.comparisons if one.confirmatory
            for name, value in CONTROLS.items()
        ]  # fmt: skip
        run = run.model_copy(update={"baselines": (*run.baselines, *added)})
        write_record(path, run)
    return tmp_path / "results"


@pytest.fixture
def cells(results: Path) -> list[Cell]:
    return confirmatory(judged_cells(read_records(results), margin=2.0, alpha=0.05))


def test_a_probe_of_shuffled_labels_is_never_the_best_baseline(cells: list[Cell]) -> None:
    best = {cell.label: cell.best_baseline.name for cell in cells}
    assert best["expression"] == "random-tower"
    assert best["colour"] == "pixels"
    assert best["gaze"] == "head-position"


def test_the_figure_of_readers_shows_those_of_the_side_it_is_about(
    cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []

    def keep(figure: Figure, *args: object) -> Path:
        figures.append(figure)
        return style.save_figure(figure, *args)

    monkeypatch.setattr(readers, "save_figure", keep)
    png = readers.readers_figure(cells, tmp_path / "readers", {})
    (figure,) = figures
    drawn = [line for axes in figure.axes for line in axes.lines if line.get_marker() in ("h", "d")]
    values = {mark: {line.get_xdata()[0] for line in drawn if line.get_marker() == mark}
              for mark in "hd"}  # fmt: skip
    assert values == {"h": {CONTROLS["random-tower"]}, "d": {CONTROLS["shuffled-pre"]}}
    data = pd.read_csv(png.with_suffix(".csv"))
    assert set(data[data.value.isin(CONTROLS.values())].reader) == {"random-tower", "shuffled-pre"}
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(set(words)) == len(words)
    assert {"random tower", "shuffled labels, pre", "prior or centre"} <= set(words)
    assert "shuffled labels, post" not in words
    # No line of one question lies on another.
    for axes in figure.axes:
        places = [
            round(line.get_ydata()[0], 6)
            for line in axes.lines
            if len(line.get_xdata()) == 1 and line.get_marker() != "None"
        ]
        assert len(set(places)) == len(places)


def test_the_section_says_what_they_are_where_there_are_any(
    cells: list[Cell], tmp_path: Path
) -> None:
    without = [replace(cells[0], baselines=cells[0].baselines[:3])]
    text = readers_section(cells, tmp_path, {})
    plain = readers_section(without, tmp_path, {})
    header = text.splitlines()[0]
    for name in CONTROLS:
        assert header.count(f"| {reader_label(name)} |") == 1
    assert header.count("prior or centre") == 1
    for words in ("*Random tower* is the architecture", "*Shuffled labels* are those of other"):
        assert words in text
        assert words not in plain
    (row,) = re.findall(r"^\| expression, .*44\.0.*$", text, flags=re.MULTILINE)
    assert "52.0" in row
    assert "49.0" in row
