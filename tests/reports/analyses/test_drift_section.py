"""The section on drift: what is drawn and written is what the records hold."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from probes.drift.measures import MEASURES
from probes.drift.records import (
    BlockMap,
    Curve,
    DriftRecord,
    Missing,
    Number,
    Shape,
    Similarity,
)
from probes.records import RunRecord
from probes.runs import read_run
from reports import style
from reports.analyses import drift as section
from reports.analyses.drift import drift_section, drift_table

NOTES = {"Software": "sdiag"}


def around(value: float) -> Number:
    return Number(value=value, low=value - 0.05, high=value + 0.05)


def square(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, values.tolist()))


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pixels: what is tested is what is drawn, not how finely."""
    monkeypatch.setattr(style, "DPI", 40)


@pytest.fixture(scope="session")
def run(one_pair: Path) -> RunRecord:
    return read_run(one_pair / "tiny" / "scenes-expression")


@pytest.fixture
def record(run: RunRecord) -> Callable[..., DriftRecord]:
    """A drift record of the same task and rows as `run`."""

    def make(depth: int = 3, **changes: object) -> DriftRecord:
        block, n = 5, 1200
        gaps = np.abs(np.subtract.outer(range(depth), range(depth)))
        maps = [
            BlockMap(
                measure="linear_cka", sides=sides, blocks=tuple(range(depth)), n=n,
                values=square(top * 0.9**gaps), low=square(top * 0.9**gaps - 0.02),
                high=square(top * 0.9**gaps + 0.02),
            )
            for sides, top in (("pre-pre", 1.0), ("pre-post", 0.6), ("post-post", 1.0))
        ]  # fmt: skip
        similarities = [
            Similarity(
                measure=name, block=block, n=n, number=around(value), null=0.01, null_best=0.02,
                question="expression" if name == "class_subspace" else "", halves=0.8,
            )
            for name, value in (
                ("linear_cka", 0.61), ("mutual_knn", 0.4), ("procrustes_angle", 33.3),
                ("class_subspace", 0.21),
            )
        ]  # fmt: skip
        shapes = [
            Shape(
                measure=name, block=block, n=n, pre=around(pre), post=around(post),
                question="expression" if name == "class_variance" else "",
                change=around(post - pre), pre_halves=(pre, pre + 1), post_halves=(post, post),
                null=0.001 if name == "class_variance" else None,
            )
            for name, pre, post in (("effective_rank", 56.2, 41.5), ("class_variance", 0.3, 0.02))
        ]  # fmt: skip
        shares = tuple(around(share) for share in (0.4, 0.7, 0.9, 1.0))
        curves = [
            Curve(measure=name, question=question, block=block, n=n, components=(1, 2, 4, 8),
                  pre=shares, post=() if name == "fisher_top" else shares[::-1])
            for name, question in (
                ("variance_top", ""), ("class_top", "expression"), ("fisher_top", "expression")
            )
        ]  # fmt: skip
        fields: dict[str, object] = {
            "tool_version": "0.1.0", "task": run.task, "pair": run.pair, "splits": run.splits,
            "seed": 0, "measured": ("test",), "regions": ("face",), "n": n, "clusters": 300,
            "left_out": {"no face box": 4}, "block": block, "row_cap": 2000, "n_capped": n,
            "groups": 20, "shuffles": 19, "neighbours": 10, "bandwidth": 0.8, "identical": (),
            "similarities": tuple(similarities), "shapes": tuple(shapes), "curves": tuple(curves),
            "maps": tuple(maps), "signature": "task=x|n=1200",
            "missing": (Missing(measure="fisher_top", block=block, question="expression",
                                reason="post: the class means differ by no more than chance"),),
        }  # fmt: skip
        return DriftRecord(**(fields | changes))

    return make


def test_the_table_sets_drift_beside_the_probes_delta(
    record: Callable[..., DriftRecord], run: RunRecord, tmp_path: Path
) -> None:
    text = drift_section([record()], [run], tmp_path, NOTES)
    assert text.startswith("Drift says changed, not lost")
    (row,) = [line for line in text.splitlines() if line.startswith("| expression | 5 | 0.610")]
    (cell,) = [one for one in run.comparisons if one.confirmatory]
    delta = f"{abs(cell.delta.value):.1f}"
    assert row.startswith(
        "| expression | 5 | 0.610 (0.010) | 0.400 (0.010) | 33.3 (0.0) | 0.210 (0.010) | "
        "56.2 → 41.5 | 0.300 → 0.020 | 1.00 → 0.40 | −" + delta
    )
    assert "4 left out without a box" in text
    assert "- Fisher ratio in the first components, block 5, expression: post: the class" in text
    numbers = pd.read_csv(tmp_path / "drift-measures-tiny.csv")
    for one in record().similarities:
        (value,) = numbers[numbers.measure == MEASURES[one.measure].label].value
        assert value == one.number.value
    own = numbers[numbers.measure == "variance between classes, less chance"].set_index("of")
    assert own.loc[["pre", "post", "change"], "value"].tolist() == pytest.approx([0.3, 0.02, -0.28])
    ends = own.loc["change", ["low", "high", "mixed_labels"]].tolist()
    assert ends == pytest.approx([-0.33, -0.23, 0.001])
    assert own.loc["pre", ["first_half", "second_half"]].tolist() == [0.3, 1.3]


def test_a_delta_of_other_rows_or_another_block_is_not_shown(
    record: Callable[..., DriftRecord],
    run: RunRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(section, "drift_figure", lambda record, stem, notes: stem)
    card = run.splits["test"].model_copy(update={"rows_digest": "00" * 32})
    other = run.model_copy(update={"splits": run.splits | {"test": card}})
    for one, runs in ((record(), [other]), (record(), []), (record(block=4), [run])):
        text = drift_section([one], runs, tmp_path, NOTES)
        lines = [line for line in text.splitlines() if line.startswith("| expression | ")]
        assert all(line.endswith("| – |") for line in lines)


def test_what_is_drawn_is_what_the_record_holds(
    record: Callable[..., DriftRecord], tmp_path: Path, drawn: list[Figure]
) -> None:
    one = record()
    text = drift_section([one], [], tmp_path / ".", NOTES)
    png = tmp_path / "drift-tiny-scenes-expression.png"
    assert f"]({tmp_path.name}/{png.name})" in text
    data = pd.read_csv(png.with_suffix(".csv"))
    axes = {ax.get_title(loc="left"): ax for ax in drawn[0].axes}
    for held in one.maps:
        (image,) = axes[held.sides.replace("-", " and ")].images
        np.testing.assert_array_equal(image.get_array(), held.values)
        rows = data[(data.panel == "map") & (data.side == held.sides)]
        np.testing.assert_array_equal(rows.value, np.ravel(held.values))
        np.testing.assert_array_equal(rows.low, np.ravel(held.low))
    panel = axes["Class signal: expression"]
    (held,) = [curve for curve in one.curves if curve.measure == "class_top"]
    for side, look in (("pre", style.PRE), ("post", style.POST)):
        (line,) = [one for one in panel.lines if one.get_marker() == look["marker"]]
        values = [number.value for number in getattr(held, side)]
        np.testing.assert_array_equal(line.get_ydata(), values)
        rows = data[(data.measure == "class_top") & (data.side == side)]
        np.testing.assert_array_equal(rows.value, values)
    said = [text.get_text() for text in axes["Fisher ratio: expression"].texts]
    assert said == ["post: no signal\nabove chance"]


@pytest.mark.parametrize("depth", [pytest.param(1, marks=pytest.mark.slow), 33])
def test_labels_do_not_overlap(
    record: Callable[..., DriftRecord], depth: int, tmp_path: Path, drawn: list[Figure]
) -> None:
    drift_section([record(depth)], [], tmp_path, NOTES)
    figure = drawn[0]
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    for ax in figure.axes:
        labels = [*ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label]
        boxes = [label.get_window_extent(renderer) for label in labels if label.get_text()]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_names_are_escaped_and_files_are_named_for_any_system(
    record: Callable[..., DriftRecord], run: RunRecord, tmp_path: Path
) -> None:
    pair = run.pair.model_copy(update={"name": "a|<b>"})
    text = drift_section([record(pair=pair)], [], tmp_path, NOTES)
    assert "<b>" not in text
    (png,) = tmp_path.glob("*.png")
    assert png.name.startswith("drift-a__b_-scenes-expression-")


def test_no_records_give_no_section_and_none_measured_no_rows(
    record: Callable[..., DriftRecord], tmp_path: Path
) -> None:
    assert drift_section([], [], tmp_path, NOTES) == ""
    assert list(drift_table([record()])["block"]) == [5]
    empty = record(similarities=(), shapes=(), curves=(), maps=(), missing=())
    assert not len(drift_table([empty]))


def test_a_block_without_values_is_drawn_as_such(
    record: Callable[..., DriftRecord], tmp_path: Path, drawn: list[Figure]
) -> None:
    one = record()
    values = tuple((None, *row[1:]) for row in one.maps[1].values)
    holed = one.maps[1].model_copy(update={"values": values, "low": values, "high": values})
    drift_section([record(maps=(one.maps[0], holed, one.maps[2]))], [], tmp_path, NOTES)
    axes = {ax.get_title(loc="left"): ax for ax in drawn[0].axes}
    said = [text.get_text() for text in axes["pre and post"].texts]
    assert said.count("none") == 3
