"""The figures of trained models: what is drawn is what stands in the CSV beside them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from reports import style
from reports.fusion import curves_figure as fusion_curves_figure
from reports.transfer import against_figure as transfer_against_figure
from reports.transfer import change_figure as transfer_change_figure
from reports.transfer import matrix_figure as transfer_matrix_figure
from reports.transfer.words import certain
from socialfusion.records import FusionRecord
from socialfusion.transfer.against_conflict import AgainstRecord
from socialfusion.transfer.records import TransferRecord, VariantCard

NOTES = {"Software": "sdiag", "Signature": "x"}
Transfers = Callable[..., TransferRecord]
THREE = ("scenes-gesture", "scenes-gaze", "scenes-relation")


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pixels: what is tested is what is drawn, not how finely."""
    monkeypatch.setattr(style, "DPI", 25)


def test_every_cell_of_the_matrix_is_in_its_csv(
    make_transfer: Transfers, tmp_path: Path, drawn: list[Figure]
) -> None:
    record = make_transfer("a$b$", THREE)
    png = transfer_matrix_figure.matrix_figure(record, "x", tmp_path / "m", NOTES, margin=2.0)
    with Image.open(png) as image:
        assert image.text["Signature"] == "x"
    data = pd.read_csv(png.with_suffix(".csv"))
    (variant,) = record.variants
    pairs = [one for effects in variant.pairwise.values() for one in effects if one.declared]
    joint = [one for one in variant.joint if one.declared]
    assert len(data) == len(pairs) + len(joint) == 8 + 4
    assert data["change"].tolist() == [one.change.value for one in (*pairs, *joint)]
    axes = drawn[0].axes[0]
    boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    hatched = [patch for patch in boxes if patch.get_hatch()]
    assert len(hatched) == sum(not certain(one) for one in (*pairs, *joint))
    assert hatched
    assert len([text for text in axes.texts if text.get_text()]) == 12
    assert [tick.get_text() for tick in axes.get_xticklabels()][-1] == "all others"


def test_two_tasks_have_no_matrix(make_transfer: Transfers) -> None:
    assert transfer_matrix_figure.pairwise_variants(make_transfer(tasks=THREE[:2])) == []
    assert len(transfer_matrix_figure.pairwise_variants(make_transfer(tasks=THREE))) == 1


def test_changes_are_drawn_where_they_lie(
    make_card: Callable[..., VariantCard], tmp_path: Path, drawn: list[Figure]
) -> None:
    full, half = make_card(tasks=THREE).joint, make_card(tasks=THREE[1:], shift=1).joint
    png = transfer_change_figure.change_figure(
        {"A": full, "a panel with a title too long for one line": half}, ("n", "t"), "points",
        tmp_path / "c", NOTES, margin=2.0,
    )  # fmt: skip
    data = pd.read_csv(png.with_suffix(".csv"))
    assert len(data) == len(full) + len(half)
    left, right = drawn[0].axes
    marks = [line for line in right.lines if line.get_marker() not in ("None", "|")]
    assert [line.get_xdata()[0] for line in marks] == [one.change.value for one in half]
    rows = [tick.get_text() for tick in left.get_yticklabels()]
    keys = [(one.question, one.metric) for one in full]
    assert [line.get_ydata()[0] for line in marks] == [
        keys.index((one.question, one.metric)) for one in half
    ]
    assert rows[0] == "gesture: accuracy"
    assert "\n" in right.get_title(loc="left")


def test_curves_have_a_mean_over_seeds(
    two_runs: Sequence[FusionRecord], tmp_path: Path, drawn: list[Figure]
) -> None:
    png = fusion_curves_figure.curves_figure(two_runs, "t", tmp_path / "c", NOTES)
    data = pd.read_csv(png.with_suffix(".csv"))
    assert set(data["trained"]) == {"alone", "together"}
    assert len(data) == 2 * 4 * (10 + 2)  # seeds, a question in a run, points of both kinds
    axes = next(ax for ax in drawn[0].axes if ax.get_title(loc="left") == "gesture")
    bold = [line for line in axes.lines if line.get_linewidth() > 1.5]
    assert len(bold) == 4
    own = data[(data["question"] == "scenes-gesture/gesture") & (data["losses"] == "training")]
    mean = own[own["trained"] == "alone"].groupby("step")["loss"].mean()
    assert bold[0].get_ydata() == pytest.approx(mean.to_numpy())
    assert axes.get_yscale() == "log"


def test_losses_that_reach_zero_are_drawn(
    two_runs: Sequence[FusionRecord], tmp_path: Path, drawn: list[Figure]
) -> None:
    run = two_runs[0]
    point = run.losses[-1].model_copy(update={"losses": dict.fromkeys(run.losses[-1].losses, 0.0)})
    changed = run.model_copy(update={"losses": (*run.losses[:-1], point), "validation": ()})
    fusion_curves_figure.curves_figure([changed], "t", tmp_path / "c", NOTES)
    assert drawn[0].axes[0].get_yscale() == "linear"
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["trained alone"]


@pytest.mark.parametrize("sides", [("pre",), ("pre", "post", "step-000100")])
def test_points_of_conflict_and_transfer_are_numbered(
    make_against: Callable[..., AgainstRecord], tmp_path: Path, drawn: list[Figure],
    sides: tuple[str, ...],
) -> None:  # fmt: skip
    against = make_against(sides)
    png = transfer_against_figure.against_figure("tiny", against.comparisons, tmp_path / "a", NOTES)
    data = pd.read_csv(png.with_suffix(".csv"))
    assert data["gcd"].tolist() == [point.gcd for one in against.comparisons for point in one.pairs]
    panels = [ax for ax in drawn[0].axes if "ρ = −0.62" in ax.get_title(loc="left")]
    assert len(panels) == len(sides)
    assert [text.get_text() for text in panels[0].texts] == [str(i) for i in range(1, 11)]
    key = next(text for ax in drawn[0].axes for text in ax.texts if "\n" in text.get_text())
    assert key.get_text().splitlines()[0] == "1  scenes-expression × scenes-gesture"
