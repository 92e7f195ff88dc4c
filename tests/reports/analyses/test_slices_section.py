"""The sections on slices and on places: what they say, draw and escape, from records alone."""

import pandas as pd
import pytest
from slice_worlds import planted_world, token_world, write_tokens

from probes.records import Estimate
from probes.run import probe_pair
from probes.slices.run import slice_run
from probes.slices.where import where_pair
from reports.analyses.slices import attribute_table, slice_table, slices_section
from reports.analyses.where import region_table, where_section

NOTES = {"Signature": "made up", "Software": "sdiag"}


@pytest.fixture(scope="module")
def sliced(tmp_path_factory):
    """Slices of a run that lost its dim pictures."""
    folder = tmp_path_factory.mktemp("slices")
    task, splits = planted_world(sizes={"train": 90, "val": 40, "test": 240})
    write_tokens(folder / "cache", task, splits, token_block=None)
    places = (folder / "cache", task.name, "planted")
    probe_pair(*places, results=folder / "results", draws=200, curve=False, refits=0)
    return slice_run(folder / "cache", folder / "results" / "planted" / task.name)


@pytest.fixture(scope="module")
def placed(tmp_path_factory):
    """A pair that lost the faces."""
    folder = tmp_path_factory.mktemp("where")
    task, splits = token_world(sizes={"train": 80, "val": 40, "test": 80})
    write_tokens(folder / "cache", task, splits)
    return where_pair(folder / "cache", task.name, "planted", results=folder / "results")


def figures_in(tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    return folder


def test_the_section_names_the_worst_slice_of_a_kind_that_differs(sliced, tmp_path):
    folder = figures_in(tmp_path)
    text = slices_section([sliced], folder, NOTES)
    (dim,) = [one for one in sliced.slices if one.value == "dim"]
    assert "Slices differ by light" in text
    assert "the worst is dim with" in text
    assert f"n = {dim.n}" in text
    assert "By class, face area they are not shown to differ." in text
    assert "expected at least 10 clusters, found 2" in text  # the hats
    (png,) = folder.glob("*.png")
    assert f"](figures/{png.name})" in text
    plotted = pd.read_csv(png.with_suffix(".csv")).set_index(["attribute", "slice"])
    assert len(plotted) == len(sliced.slices)
    row = plotted.loc["light", "dim"]
    assert row["delta"] == pytest.approx(dim.delta.value)
    assert row["shrunken_low"] == pytest.approx(dim.shrunken.low)
    assert row["p_adjusted"] >= dim.p
    first = png.read_bytes()
    assert slices_section([sliced], folder, NOTES) == text
    assert png.read_bytes() == first


def test_even_losses_and_no_records(sliced, tmp_path):
    assert slices_section([], tmp_path, NOTES) == ""
    assert where_section([], tmp_path, NOTES) == ""
    even = sliced.model_copy(
        update={"attributes": tuple(one.model_copy(update={"p": 0.4}) for one in sliced.attributes)}
    )
    text = slices_section([even], figures_in(tmp_path), NOTES)
    assert "No split shows slices that differ (class, face area, light" in text
    assert "Slices differ" not in text


def test_names_are_escaped_and_long_lists_cut(sliced, tmp_path):
    folder = figures_in(tmp_path)
    base = next(one for one in sliced.slices if one.attribute == "light")
    many = tuple(
        base.model_copy(
            update={
                "value": f"<b>|v{i}",
                "delta": Estimate(value=-i, low=-i - 2, high=2 - i),
                "shrunken": Estimate(value=-i / 2, low=-i / 2 - 1, high=1 - i / 2),
            }
        )
        for i in range(70)
    )
    card = next(one for one in sliced.attributes if one.attribute == "light")
    odd = sliced.model_copy(
        update={"slices": many, "attributes": (card.model_copy(update={"worst": "<b>|v69"}),)}
    )
    text = slices_section([odd], folder, NOTES)
    assert "<b>" not in text
    assert "&lt;b&gt;|v69" in text
    (png,) = folder.glob("*.png")
    assert len(pd.read_csv(png.with_suffix(".csv"))) == 70
    assert png.stat().st_size > 10_000


def test_tables_have_one_row_a_slice_a_kind_and_a_region(sliced, placed):
    slices = slice_table([sliced])
    assert len(slices) == len(sliced.slices)
    assert slices["slice"].str.contains(r"small \(\d+\.\d to \d+\.\d %\)").sum() == 1
    kinds = attribute_table([sliced])
    assert kinds["sliced by"].tolist() == [one.attribute for one in sliced.attributes]
    assert kinds.set_index("sliced by").loc["light", "worst"] == "dim"
    other = sliced.model_copy(update={"pair": sliced.pair.model_copy(update={"name": "twin"})})
    both = attribute_table([sliced, other])
    alone = kinds["BH p (differ)"].tolist()
    assert both["BH p (differ)"].tolist() == alone * 2  # pairs are families of their own
    assert region_table([placed])["region"].tolist() == ["face", "face", "background", "background"]
    assert region_table([]).empty


def test_the_map_tells_regions_n_and_intervals(placed, tmp_path):
    folder = figures_in(tmp_path)
    text = where_section([placed], folder, NOTES)
    face = next(one for one in placed.regions if one.region == "face")
    assert f"| {face.n} | {face.pre.value:.1f} |" in text
    assert "points in the median. 80 test rows, 1,280 tokens; fitted on 960 tokens" in text
    (png,) = folder.glob("where-*.png")
    plotted = pd.read_csv(png.with_suffix(".csv"))
    whole, boxed = placed.maps
    assert len(plotted) == 16 + 64
    picture = plotted[plotted["frame"] == "picture"]
    assert picture["delta"].tolist() == pytest.approx(whole.delta)
    assert picture["delta_low"].tolist() == pytest.approx(whole.low)
    assert set(picture["n"]) == {80}
    unknown = plotted[plotted["frame"] == "face"]["delta"].isna()
    assert unknown.tolist() == [value is None for value in boxed.delta]
    first = png.read_bytes()
    where_section([placed], folder, NOTES)
    assert png.read_bytes() == first
