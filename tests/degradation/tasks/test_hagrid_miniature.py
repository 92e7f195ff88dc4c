"""HaGRIDv2's miniature: clean, all quirks at once, one alone, and those that are refused."""

import logging
from collections import Counter

import numpy as np
import pytest

from degradation.errors import DataError
from degradation.scenes.export.registry import export
from degradation.tasks import get_task
from degradation.tasks.hagrid_files import TARGETS

LEFT = [0.1, 0.2, 0.2, 0.3]
RIGHT = [0.6, 0.1, 0.2, 0.2]
BOTH = [0.1, 0.1, 0.7, 0.4]


def reasons(rows) -> Counter:
    return Counter(left.reason for left in rows.left_out)


def test_a_clean_miniature_leaves_nothing_out(tmp_path, caplog):
    export("hagrid", tmp_path / "x", scale=0.1)
    task = get_task("hagrid", data_root=tmp_path / "x")
    with caplog.at_level(logging.WARNING):
        rows = {split: task.read(split) for split in task.splits}
    assert not caplog.records
    for one in rows.values():
        assert not one.left_out
        assert one.labels["gesture"].tolist() == list(range(34))
    subjects = [set(one.clusters) for one in rows.values()]
    assert len(set.union(*subjects)) == sum(map(len, subjects))


EXPECTED = {
    "small-version": {},
    "misspelt-class": {},
    "united-lists": {},
    "no-landmarks": {},
    "missing-pictures": {"no such file": 1},
    "missing-class": {"the pictures of this class are not there": 1},
    "partial": {},
    "only-idle-hands": {"only idle hands in the folder of a gesture": 1},
    "another-label": {},
    "unknown-label": {"unknown gesture label": 1},
    "lengths-differ": {"labels and boxes differ in number": 1},
    "garbled-rows": {
        "the annotation lacks a field or has one of another type": 1,
        "no labels": 1,
        "no user_id": 1,
    },
    "boxes-beyond": {"the hand box lies outside the picture": 1, "the hand box is empty": 1},
    "older-files": {},
    "shared-subject": {},
    "shared-picture": {"listed in a later split too": 1},
}
REFUSED = {
    "json-empty": "an empty file",
    "json-twice": "one JSON document",
    "json-other": "another data set's file",
    "two-copies": "pictures of call once",
    "no-annotations": "found pictures",
}


def test_every_quirk_is_tested():
    from degradation.scenes.export.hagrid import QUIRKS

    assert set(EXPECTED) | set(REFUSED) == set(QUIRKS)
    assert {name for name, text in QUIRKS.items() if text.startswith("refused:")} == set(REFUSED)


@pytest.fixture(scope="module")
def all_quirks(tmp_path_factory):
    """The task on a miniature with every quirk that can be read, one training picture a target."""
    folder = tmp_path_factory.mktemp("hagrid") / "x"
    export("hagrid", folder, scale=0.01, quirks=set(EXPECTED))
    return get_task("hagrid", data_root=folder)


def test_all_quirks_at_once(all_quirks):
    rows = all_quirks.read("train")
    assert reasons(rows) == sum(map(Counter, EXPECTED.values()), Counter())
    # One more picture is listed than there are targets, and two targets have no annotations.
    assert len(rows) + len(rows.left_out) == 34 + 1 - 2
    assert all_quirks.open(rows.pictures[0, 0]).size[0] >= 128
    assert all(str(path).startswith("hagridv2_512/") for path in rows.pictures[:, 0])
    assert "hand_heart2" in {name.partition("/")[0] for name in rows.ids}
    (mute,) = np.flatnonzero([name.startswith("mute/") for name in rows.ids])
    assert TARGETS[rows.labels["gesture"][mute]] == "rock"


def test_a_quirk_alone_adds_its_fault_alone(tmp_path):
    export("hagrid", tmp_path / "x", scale=0.01, quirks=("lengths-differ",))
    rows = get_task("hagrid", data_root=tmp_path / "x").read("train")
    assert reasons(rows) == EXPECTED["lengths-differ"]
    assert len(rows) == 33


@pytest.mark.parametrize("quirk", REFUSED)
def test_refused_quirks(tmp_path, quirk):
    export("hagrid", tmp_path / "x", scale=0.01, quirks=(quirk,))
    with pytest.raises(DataError, match=REFUSED[quirk]):
        get_task("hagrid", data_root=tmp_path / "x").read("train")
