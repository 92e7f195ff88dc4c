"""The figures of gradient conflict: what is drawn is what stands in the CSV beside them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from probes.conflict.records import ConflictRecord, Interval
from reports import style
from reports.conflict import figure as conflict_figure
from reports.conflict import parts_figure as conflict_parts_figure
from reports.conflict import sizes_figure as conflict_sizes_figure
from reports.conflict import steps_figure as conflict_steps_figure
from reports.conflict.pairs import Asked, asked_pairs

NOTES = {"Software": "sdiag", "Signature": "x"}
FEW = {"a/x": True, "scenes-gaze/gaze": True, "b/y": False}
Make = Callable[..., ConflictRecord]


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pixels: what is tested is what is drawn, not how finely."""
    monkeypatch.setattr(style, "DPI", 25)


def texts(figure: Figure, title: str) -> list[str]:
    (axes,) = (ax for ax in figure.axes if ax.get_title(loc="left") == title)
    return [one.get_text() for one in axes.texts]


def pairs_of(record: ConflictRecord) -> tuple[Asked, ...]:
    return tuple(pair for pair in asked_pairs(record) if pair.group == "social × social")


def test_every_cell_of_the_map_is_in_its_csv(
    make_conflict: Make, tmp_path: Path, drawn: list[Figure]
) -> None:
    record = make_conflict(questions=FEW)
    png = conflict_figure.conflict_figure(record, tmp_path / "map", NOTES)
    data = pd.read_csv(png.with_suffix(".csv"))
    assert list(data.panel.unique()) == ["pre", "post", "post less pre"]
    floors = data[data["first"] == data["second"]]
    assert len(floors) == 6
    assert set(floors.floor) == {0.86}
    cells = data[data["first"] != data["second"]]
    assert len(cells) == 9
    for side in record.sides:
        for one in cells[cells.panel == side.name].itertuples():
            found = side.pair(one.first, one.second)
            assert one.word == found.word
            assert np.isnan(one.cosine) == (found.cosine is None)
    assert sorted(texts(drawn[0], "pre")) == ["+0.05", "0.86", "0.86", "0.86", "floor", "floor"]
    assert Image.open(png).text["Signature"] == "x"


def test_only_what_is_certain_is_marked_and_not_hatched(
    make_conflict: Make, tmp_path: Path, drawn: list[Figure]
) -> None:
    questions = {"scenes-gesture/gesture": True, "scenes-looking/looking": True, "b/y": True}
    conflict_figure.conflict_figure(make_conflict(questions=questions), tmp_path / "map", NOTES)
    said = texts(drawn[0], "post")
    assert said.count("−0.40\n▼") == 1
    assert said.count("+0.05") == 2
    (axes,) = (ax for ax in drawn[0].axes if ax.get_title(loc="left") == "post")
    hatched = [patch for patch in axes.patches if patch.get_hatch()]
    assert len(hatched) == 2


def test_parts_are_stacked_blocks_kinds_whole(
    make_conflict: Make, tmp_path: Path, drawn: list[Figure]
) -> None:
    record = make_conflict(questions=FEW)
    png = conflict_parts_figure.parts_figure(record, pairs_of(record), tmp_path / "p", NOTES)
    rows = ["block 0", "block 1", "block 2", "embedding", "attention", "mlp", "norm"]
    ticks = [one.get_text() for one in drawn[0].axes[0].get_yticklabels()]
    assert ticks == [*rows, "all parameters"]
    data = pd.read_csv(png.with_suffix(".csv"))
    assert list(data[data.panel == "pre"].part) == [*rows, "all"]
    found = record.side("post")
    for one in data[data.panel == "post"].itertuples():
        assert one.cosine == found.pair(one.first, one.second, one.part).cosine.value


def test_deep_models_stand_side_by_side_without_numbers(
    make_conflict: Make, tmp_path: Path, drawn: list[Figure]
) -> None:
    record = make_conflict(depth=24, questions=FEW)
    conflict_parts_figure.parts_figure(record, pairs_of(record), tmp_path / "p", NOTES)
    panels = [ax for ax in drawn[0].axes if ax.get_title(loc="left")]
    assert len({ax.get_position().y0 for ax in panels}) == 1
    assert not any(ax.texts for ax in panels)


def test_raw_number_and_floor_by_batch_size(
    make_conflict: Make, tmp_path: Path, drawn: list[Figure]
) -> None:
    record = make_conflict(questions=FEW)
    png = conflict_sizes_figure.sizes_figure(record, pairs_of(record), tmp_path / "s", NOTES)
    data = pd.read_csv(png.with_suffix(".csv"))
    post = data[data.side == "post"]
    assert list(post.batch_size) == [16, 32, 64, 128, 256]
    assert list(post.batches) == [32, 16, 8, 4, 2]
    assert post.raw.iloc[0] == 0.974
    assert set(post.corrected.round(6)) == {0.95}
    assert data[data.side == "pre"].corrected.isna().all()
    bold = [line for line in drawn[0].axes[1].lines if line.get_marker() == "s"]
    np.testing.assert_allclose(bold[0].get_ydata(), post.raw)


def test_what_has_no_bound_has_no_colour_and_no_curve(
    make_conflict: Make, tmp_path: Path, drawn: list[Figure]
) -> None:
    record = make_conflict(names=("post",), questions={"a/x": True, "b/y": True})
    loose = Interval(value=-0.7, low=None, high=None)
    (side,) = record.sides
    pairs = tuple(one.model_copy(update={"cosine": loose}) for one in side.pairs)
    record = record.model_copy(update={"sides": (side.model_copy(update={"pairs": pairs}),)})
    conflict_figure.conflict_figure(record, tmp_path / "map", NOTES)
    (cell,) = [patch for patch in drawn[0].axes[0].patches if patch.get_hatch()]
    assert cell.get_facecolor() == (1, 1, 1, 1)
    png = conflict_sizes_figure.sizes_figure(record, asked_pairs(record), tmp_path / "s", NOTES)
    assert pd.read_csv(png.with_suffix(".csv")).corrected.isna().all()


def test_every_step_is_drawn(make_conflict: Make, tmp_path: Path, drawn: list[Figure]) -> None:
    names = ("step-000100", "step-000300", "step-000900")
    record = make_conflict(names=names, questions=FEW, pair=None, model="joint")
    png = conflict_steps_figure.steps_figure(record, asked_pairs(record), tmp_path / "t", NOTES)
    data = pd.read_csv(png.with_suffix(".csv"))
    assert list(data.side.unique()) == ["step 100", "step 300", "step 900"]
    assert [tick.get_text() for tick in drawn[0].axes[0].get_xticklabels()] == ["100", "300", "900"]
    panel = next(ax for ax in drawn[0].axes if ax.get_title(loc="left") == "x ×\ngaze")
    (line,) = [line for line in panel.lines if line.get_marker() == "s"]
    assert list(line.get_xdata()) == [1, 2]  # below floor at the first step


@pytest.mark.parametrize(
    "questions",
    [FEW, pytest.param({f"a/{'long' * 9}{i}": i < 8 for i in range(11)}, marks=pytest.mark.slow)],
)
def test_labels_are_whole_and_do_not_overlap(
    make_conflict: Make, questions: dict[str, bool], tmp_path: Path, drawn: list[Figure]
) -> None:
    record = make_conflict(questions=questions)
    conflict_figure.conflict_figure(record, tmp_path / "map", NOTES)
    for figure in drawn:
        figure.draw_without_rendering()
        renderer = figure.canvas.get_renderer()
        for ax in filter(lambda each: each.axison, figure.axes):
            upright = [*ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label, ax.title]
            boxes = [one.get_window_extent(renderer) for one in upright if one.get_text()]
            assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
            turned = [one.get_window_extent(renderer) for one in ax.get_xticklabels()]
            for box in (*boxes, *turned):
                assert min(box.x0, box.y0, figure.bbox.x1 - box.x1) >= -1  # pixel
