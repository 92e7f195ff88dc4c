"""The account of a provenance: what is drawn and written is what was found."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from degradation.errors import ConfigError
from degradation.provenance import Check, Provenance
from degradation.weight_distance import compare
from reports.provenance import distance_table, provenance_figure, sentences, write_provenance

NOTES = {"Software": "sdiag"}
State = dict[str, Tensor]


def state(seed: int, depth: int = 4) -> State:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    tensors = {"patch_embed.weight": drawn(8, 3, 2, 2), "positions": drawn(9, 8)}
    for i in range(depth):
        tensors |= {
            f"blocks.{i}.norm1.weight": 1 + 0.1 * drawn(8),
            f"blocks.{i}.attn.qkv.weight": drawn(24, 8),
            f"blocks.{i}.mlp.fc1.weight": drawn(16, 8),
        }
    return tensors


def moved(start: State, amount: float) -> State:
    generator = torch.Generator().manual_seed(99)
    return {
        name: tensor + amount * torch.randn(tensor.shape, generator=generator)
        for name, tensor in start.items()
    }


def found(post: State, switches: Mapping | None = None, **candidates: State) -> Provenance:
    """Comparisons in the order of the candidates, as `trace` would sort them."""
    comparisons = [
        compare(post, pre, candidate=name, switches=switches) for name, pre in candidates.items()
    ]
    return Provenance("post", tuple(comparisons))


@pytest.fixture
def descent() -> Provenance:
    base = state(1)
    return found(moved(base, 0.2), base=base, stranger=state(2))


def test_lines_are_the_distances_in_the_csv(
    descent: Provenance, tmp_path: Path, drawn: list[Figure]
) -> None:
    png = provenance_figure(descent, tmp_path / "figure", NOTES)
    data = pd.read_csv(png.with_suffix(".csv"))
    by_depth = data[(data.kind == "all") & data.place.notna()]
    (axes,) = drawn[0].axes
    assert len(axes.lines) == 3
    for line, name in zip(axes.lines, ("base", "stranger"), strict=False):
        rows = by_depth[by_depth.candidate == name]
        assert list(line.get_xdata()) == list(rows.place) == [-1, 0, 1, 2, 3]
        assert list(line.get_ydata()) == pytest.approx(list(rows.relative_l2), rel=1e-12)
        assert line.get_label() == name
    floor = by_depth[by_depth.candidate == "base"].floor
    assert list(axes.lines[2].get_ydata()) == pytest.approx(list(floor), rel=1e-12)
    near, far, _ = axes.lines
    assert near.get_linewidth() > far.get_linewidth()
    assert near.get_marker() != far.get_marker()
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert ticks == ["before", "0", "1", "2", "3"]


def test_everything_drawn_is_inside_the_axes(
    descent: Provenance, tmp_path: Path, drawn: list[Figure]
) -> None:
    provenance_figure(descent, tmp_path / "figure", NOTES)
    (axes,) = drawn[0].axes
    low, high = axes.get_ylim()
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    assert low == 0
    assert values.max() < high
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["base", "stranger", "what chance gives"]


def test_the_table_adds_up_by_kind_and_by_depth(descent: Provenance) -> None:
    table = distance_table(descent)
    whole = table[(table.part == "whole tower") & (table.candidate == "base")].set_index("kind")
    assert whole.n["all"] == whole.n.drop("all").sum()
    parts = table[(table.kind == "all") & (table.candidate == "base") & table.place.notna()]
    assert parts.n.sum() == whole.n["all"]
    assert list(parts.part) == ["before the blocks", *(f"block {i}" for i in range(4))]
    pre_size = (state(1)["blocks.2.mlp.fc1.weight"].double() ** 2).sum()
    mlp = table[(table.part == "block 2") & (table.kind == "mlp") & (table.candidate == "base")]
    post, pre = (moved(state(1), 0.2), state(1))
    gap = post["blocks.2.mlp.fc1.weight"].double() - pre["blocks.2.mlp.fc1.weight"].double()
    assert mlp.relative_l2.item() == pytest.approx(float((gap**2).sum() / pre_size) ** 0.5)
    assert (table.share * table.floor).to_numpy() == pytest.approx(table.relative_l2.to_numpy())


def test_sentences_name_the_origin_its_margin_and_chance(descent: Provenance) -> None:
    (said,) = sentences(descent)
    total = descent.comparisons[0].total
    assert said.startswith("post descends from base: relative distance ")
    assert f"{total.distance:.3g}, where chance gives {total.floor:.3g}" in said
    assert "the runner-up stranger is at 1." in said
    assert f"{descent.margin:.0%} nearer" in said


def test_sentences_say_none_where_chance_is_as_near() -> None:
    (said,) = sentences(found(state(1), stranger=state(2)))
    assert "descends from none of the candidates: the nearest, stranger, is at" in said
    (said,) = sentences(found(state(1), other={"positions": torch.ones(3)}))
    assert "They are other architectures." in said


def test_sentences_say_what_equal_weights_mean() -> None:
    base = state(1)
    _, said = sentences(found(base, base=base))
    assert said == "post and base have identical weights: every delta is exactly 0."
    _, said = sentences(found(base, {"activation": ("gelu", "quick_gelu")}, base=base))
    assert "other configurations (activation gelu → quick_gelu): deltas need not be 0." in said
    _, said = sentences(found({n: t.half().float() for n, t in base.items()}, base=base))
    assert said == "post is base rounded to half precision: deltas are 0 up to that rounding."
    both, *_ = sentences(found(moved(base, 0.1), a=base, b=base))
    assert both.startswith("post descends from a and b, which are equally near:")


def test_sentences_report_new_names_and_self_tests() -> None:
    base = state(1)
    post = {f"{'blocks.9.' if n == 'positions' else ''}{n}": t for n, t in base.items()}
    checks = (Check("blocks.2.", 3, 3, 1), Check("", 14, 13, 0))
    _, moved_names, passed, failed = sentences(found(post, base=base), checks)
    assert moved_names.startswith("1 tensors of post stand in base under other names")
    assert passed.startswith("Self-test passed: 3 of 3 tensors under blocks.2. are equal")
    assert "1 of them up to rounding" in passed
    assert failed.startswith("Self-test FAILED: 13 of 14 tensors of the tower are equal")


def test_the_account_is_written_whole_and_the_same_each_time(
    descent: Provenance, tmp_path: Path
) -> None:
    files = write_provenance(descent, (), tmp_path / "new" / "a", "sdiag provenance")
    again = write_provenance(descent, (), tmp_path / "b", "sdiag provenance")
    for one, other in zip((files.document, files.figure, files.tensors),
                          (again.document, again.figure, again.tensors), strict=True):  # fmt: skip
        assert one.read_bytes() == other.read_bytes()
    text = files.document.read_text()
    assert text.startswith("# Where post comes from\n\n- post descends from base:")
    assert "](provenance.png)" in text
    assert "```sh\nsdiag provenance\n```" in text
    with Image.open(files.figure) as png:
        assert png.text["Description"] == sentences(descent)[0]
    tensors = pd.read_csv(files.tensors)
    assert len(tensors) == 2 * len(state(1))
    assert set(tensors.state) == {"changed"}


def test_what_has_no_counterpart_is_listed_and_names_are_escaped(tmp_path: Path) -> None:
    base = state(1, depth=6)
    post = {n: t for n, t in base.items() if not n.startswith(("blocks.4.", "blocks.5.", "pos"))}
    one = found(post | {"cls": torch.ones(8)}, {"rope": (False, True)}, **{"a_b|<c>": base})
    files = write_provenance(one, (), tmp_path)
    text = files.document.read_text()
    assert "- `a_b|<c>`, post only: `cls`" in text
    assert "- `a_b|<c>`, pre only: `positions`, `blocks.4.norm1.weight`" in text
    assert "configuration pre → post: `rope False → True`" in text
    assert "descends from a\\_b|&lt;c&gt;:" in text


def test_without_any_counterpart_there_is_an_account_but_no_figure(tmp_path: Path) -> None:
    files = write_provenance(found(state(1), other={"x": torch.ones(3)}), (), tmp_path)
    assert files.figure is None
    assert not (tmp_path / "provenance.png").exists()
    assert "provenance.png" not in files.document.read_text()
    assert len(pd.read_csv(files.tensors)) == len(state(1)) + 1


def test_a_folder_that_cannot_be_written_is_named(descent: Provenance, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ConfigError, match=r"taken.*--out"):
        write_provenance(descent, (), tmp_path / "taken")


@pytest.mark.parametrize(("depth", "n_candidates"), [(1, 1), (40, 9)])
def test_labels_do_not_overlap(
    depth: int, n_candidates: int, tmp_path: Path, drawn: list[Figure]
) -> None:
    base = state(1, depth)
    names = [f"a-rather-long-name-of-a-candidate-{i}" for i in range(n_candidates)]
    provenance_figure(
        found(moved(base, 0.3), **{n: state(i, depth) for i, n in enumerate(names)}),
        tmp_path / "figure",
        NOTES,
    )
    figure = drawn[0]
    figure.draw_without_rendering()  # places are those of the resolution last drawn at
    renderer = figure.canvas.get_renderer()
    labels = [*figure.axes[0].get_xticklabels(), *figure.legends[0].get_texts()]
    boxes = [label.get_window_extent(renderer) for label in labels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    frame = figure.bbox
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
