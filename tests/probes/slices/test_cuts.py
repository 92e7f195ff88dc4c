"""Which rows a slice holds, and that predicted rows are found again."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from degradation.errors import PairingError
from probes.metrics import ClassOutcome
from probes.questions import Prediction
from probes.slices.cuts import cuts
from probes.slices.matching import positions
from probes.table import Table


def table_of(spec, *, boxes, attributes=None, n=9, labels=None):
    task = spec(
        label_sets={"mood": ("sad", "glad", "mad")},
        metrics={"mood": ("accuracy",)},
        roles=tuple(boxes),
        regions=tuple(boxes) or ("image",),
    )
    return Table(
        spec=task, features={}, pictures={}, row_list="", chosen={},
        splits=np.full(n, "test", object),
        ids=np.array([f"p{i}" for i in range(n)], dtype=object),
        clusters=np.array([f"c{i // 2}" for i in range(n)], dtype=object),
        labels={"mood": np.arange(n) % 2 if labels is None else labels}, boxes=boxes,
        points=np.zeros((n, 0, 2), np.float32), sizes=np.zeros((n, 2), np.int64),
        attributes=attributes or {},
    )  # fmt: skip


def squares(areas):
    side = np.sqrt(np.asarray(areas, dtype=np.float64))
    return np.stack([0 * side, 0 * side, side, side], axis=1).astype(np.float32)


def test_slices_by_class_box_and_attribute(spec):
    hats = np.array(["red", "", "blue"] * 3, dtype=object)
    areas = [0.1, 0.9, 0.5, 0.2, 0.8, 0.4, 0.3, 0.7, np.nan]
    table = table_of(spec, boxes={"face": squares(areas)}, attributes={"hat": hats})
    rows = np.array([8, 0, 1, 2, 3, 4, 5, 6])
    found, unknown = cuts(table, "mood", rows)
    assert [(one.attribute, one.value, int(one.rows.sum())) for one in found] == [
        ("class", "sad", 5), ("class", "glad", 3), ("class", "mad", 0),
        ("face area", "small", 3), ("face area", "middle", 2), ("face area", "large", 2),
        ("face area", "no box", 1), ("hat", "blue", 3), ("hat", "red", 3),
    ]  # fmt: skip
    assert unknown == {"hat": 2}
    by_name = {(one.attribute, one.value): one for one in found}
    assert rows[by_name["class", "glad"].rows].tolist() == [1, 3, 5]
    assert rows[by_name["face area", "small"].rows].tolist() == [0, 3, 6]
    assert by_name["face area", "small"].bounds == pytest.approx((0.1, 0.3))
    assert by_name["face area", "middle"].bounds == pytest.approx((0.4, 0.5))
    assert by_name["face area", "no box"].bounds is None
    assert rows[by_name["hat", "blue"].rows].tolist() == [8, 2, 5]


AREAS = st.sampled_from([0.01, 0.04, 0.25, 1, np.nan])


@given(areas=arrays(np.float64, st.integers(1, 30), elements=AREAS))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_row_is_in_one_slice_of_area_and_equal_areas_stay_together(spec, areas):
    n = len(areas)
    table = table_of(spec, boxes={"face": squares(areas)}, n=n, labels=np.zeros(n, np.int64))
    found = [one for one in cuts(table, "mood", np.arange(n))[0] if one.attribute == "face area"]
    assert (np.sum([one.rows for one in found], axis=0) == 1).all()
    for area in (0.01, 0.04, 0.25, 1):
        assert sum(bool(one.rows[areas == area].any()) for one in found) <= 1
    tops = [one.bounds for one in found if one.bounds]
    assert tops == sorted(tops)


def test_gaze_has_no_classes_and_an_attribute_called_class_keeps_apart(spec):
    classes = {"class": np.array(["a"] * 9, dtype=object)}
    table = table_of(spec, boxes={}, attributes=classes)
    assert [one.attribute for one in cuts(table, "gaze", np.arange(9))[0]] == ["class"]
    named = {one.attribute for one in cuts(table, "mood", np.arange(9))[0]}
    assert named == {"class", "class *"}


def prediction(ids, *, labels=None, clusters=None):
    labels = np.zeros(len(ids), np.int64) if labels is None else labels
    scores = np.full((len(ids), 3), 1 / 3, np.float32)
    ids = np.array(ids, dtype=object)
    own = np.array(["c0"] * len(ids) if clusters is None else clusters, dtype=object)
    return Prediction("mood", 0, "p", "pre", ids, own, ClassOutcome(labels, scores), scores)


def test_predicted_rows_are_found_by_id_and_refused_if_they_differ(spec):
    table = table_of(spec, boxes={})
    one = prediction(["p3", "p0"], labels=np.array([1, 0]), clusters=["c1", "c0"])
    assert positions(table, one).tolist() == [3, 0]
    with pytest.raises(PairingError, match=r"row 'p99' .*none among its 9"):
        positions(table, prediction(["p0", "p99"]))
    with pytest.raises(PairingError, match="cluster c9 of the predicted row 'p1'"):
        positions(table, prediction(["p0", "p1"], clusters=["c0", "c9"]))
    with pytest.raises(PairingError, match=r"label 2 of the predicted row 'p1' .* found 1"):
        positions(table, prediction(["p0", "p1"], labels=np.array([0, 2])))
    assert positions(replace(table, labels={}), prediction(["p0"])).tolist() == [0]
