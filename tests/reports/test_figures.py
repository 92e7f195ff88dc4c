"""The figures: what is drawn is what stands in the CSV beside them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from reports import heatmap, style
from reports.load import read_records
from reports.verdicts import readers, scores, steps
from reports.verdicts.cells import Cell, judged_cells
from reports.verdicts.tables import confirmatory, steps_table

NOTES = {"Software": "sdiag", "Signature": "x"}


@pytest.fixture(scope="module")
def tiny(one_pair: Path) -> list[Cell]:
    return judged_cells(read_records(one_pair), margin=2.0, alpha=0.05)


def marks(figure: Figure, marker: str) -> list[tuple[float, float]]:
    """Places of all single marks of a kind, panel by panel."""
    return [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() == marker and len(line.get_xdata()) == 1
    ]


def bars(figure: Figure, colour: str) -> list[tuple[float, float]]:
    """Both ends of all horizontal bars of a colour."""
    return [
        tuple(line.get_xdata())
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() == "None" and line.get_color() == colour and len(line.get_xdata()) == 2
    ]


def test_scores_csv_is_what_is_drawn(tiny: list[Cell], tmp_path: Path, drawn: list[Figure]) -> None:
    png = scores.scores_figure(confirmatory(tiny), tmp_path / "scores", NOTES, 2.0)
    data = pd.read_csv(png.with_suffix(".csv"))
    (figure,) = drawn
    post_bars = bars(figure, style.POST["color"])
    assert sorted(post_bars) == sorted(zip(data.post_low, data.post_high, strict=True))
    chance = [x for line_x in bars(figure, style.INK) for x in set(line_x) if len(set(line_x)) == 1]
    assert set(data.chance) <= set(chance)
    degraded = data[data.verdict == "degraded"]
    assert sorted(x for x, _ in marks(figure, "v")) == sorted(degraded.delta)
    assert data.best_baseline.tolist()[:2] == ["pixels", "head-position"]


def test_the_delta_stands_on_the_row_of_its_question(
    tiny: list[Cell], tmp_path: Path, drawn: list[Figure]
) -> None:
    scores.scores_figure(confirmatory(tiny), tmp_path / "scores", NOTES, 2.0)
    left, right = drawn[0].axes[:2]
    row = [label.get_text().split("\n")[0] for label in left.get_yticklabels()].index("gesture")
    (delta,) = [c.comparison.delta.value for c in confirmatory(tiny) if c.label == "gesture"]
    places = [line.get_xydata()[0].tolist() for line in right.lines if line.get_marker() == "v"]
    assert [delta, row] in places
    text = right.texts[row].get_text()
    assert text == "−3.4 [−5.2, −1.6]\n▼ degraded"


def test_map_cells_have_the_numbers_hatches_and_frames_of_their_verdicts(
    tiny: list[Cell], tmp_path: Path, drawn: list[Figure]
) -> None:
    mapped = heatmap.mapped_cells(tiny)
    png = heatmap.heatmap_figure(mapped, tmp_path / "map", NOTES, 7.0)
    data = pd.read_csv(png.with_suffix(".csv"))
    axes = drawn[0].axes[0]
    assert len(data) == 9 * 6
    hatched = [patch for patch in axes.patches if patch.get_hatch()]
    framed = [patch for patch in axes.patches if not patch.get_fill()]
    assert len(hatched) == (data.verdict == "undecided").sum() > 0
    assert len(framed) == data.confirmatory.sum() == 9
    texts = [text.get_text() for text in axes.texts]
    for word, glyph in (("degraded", "▼"), ("equivalent", "≈"), ("improved", "▲")):
        assert sum(glyph in text for text in texts) == (data.verdict == word).sum() > 0
    column = [label.get_text().split("\n")[0] for label in axes.get_xticklabels()]
    left = axes.get_xticks()[column.index("expression")] - 0.5
    faces = {p.get_y(): p.get_facecolor() for p in axes.patches if p.get_x() == left}
    shown = data[(data.question == "expression") & (data.block == 4)].delta.item()
    assert faces[4] == pytest.approx(style.DIVERGING(0.5 + 0.5 * shown / 7.0))


def test_colour_scale_is_centred_and_common() -> None:
    assert style.DIVERGING(0.5)[:3] == pytest.approx((0.97, 0.97, 0.97), abs=0.01)
    assert heatmap.colour_range([], 2.0) == 4.0
    red, blue = np.array(style.DIVERGING(0.1)), np.array(style.DIVERGING(0.9))
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_readers_csv_is_what_is_drawn(
    tiny: list[Cell], tmp_path: Path, drawn: list[Figure]
) -> None:
    png = readers.readers_figure(confirmatory(tiny), tmp_path / "readers", NOTES)
    data = pd.read_csv(png.with_suffix(".csv"))
    pixels = data[data.reader == "pixels"].value
    assert sorted(x for x, _ in marks(drawn[0], "s")) == sorted(pixels)
    assert sorted(x for x, _ in marks(drawn[0], "o")) == sorted(
        data[data.reader == "trained features, pre"].value
    )


def test_steps_csv_is_what_is_drawn(world: Path, tmp_path: Path, drawn: list[Figure]) -> None:
    table = steps_table(judged_cells(read_records(world), margin=2.0, alpha=0.05))
    assert table.groupby("question").step.apply(list).iloc[0] == [
        "200",
        "400",
        "800",
        "1600",
        "end",
    ]
    png = steps.steps_figure(table, tmp_path / "steps", NOTES, 2.0)
    data = pd.read_csv(png.with_suffix(".csv"))
    axes = drawn[0].axes
    titles = [ax.get_title("left").split("\n")[0] for ax in axes]
    assert titles[0] == "expression (social)"
    assert titles[-1] == "backdrop (control)"
    line = next(one for one in axes[0].lines if len(one.get_xdata()) == 6)
    expression = data[data.question == "expression"]
    assert list(line.get_xdata()) == [0, *expression.place]
    assert list(line.get_ydata()) == [0, *expression.delta]
    assert [label.get_text() for label in axes[-1].get_xticklabels()] == ["0", *expression.step]


@pytest.mark.parametrize("blocks", [1, 40])
def test_nothing_overlaps_at_the_edges(
    tiny: list[Cell], tmp_path: Path, drawn: list[Figure], blocks: int
) -> None:
    one = next(c for c in heatmap.mapped_cells(tiny) if c.comparison.confirmatory)
    cells = [
        Cell(
            **{
                name: getattr(one, name) for name in one.__slots__ if name != "comparison"
            },
            comparison=one.comparison.model_copy(update={"block": block}),
        )
        for block in range(blocks)
    ]  # fmt: skip
    heatmap.heatmap_figure(cells, tmp_path / "map", NOTES, 7.0)
    figure = drawn[0]
    renderer = figure.canvas.get_renderer()
    frame = figure.bbox
    texts = [t for t in figure.axes[0].texts if t.get_text()]
    boxes = [t.get_window_extent(renderer) for t in texts]
    assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 and frame.y0 <= b.y0 for b in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_drawable_names() -> None:
    assert style.drawable("two\nlines") == "two lines"
    assert style.drawable("名 ok") == "� ok"
    assert len(style.drawable("x" * 99)) == style.LONGEST_NAME
