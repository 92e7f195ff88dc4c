"""AffectNet's miniature: clean, each quirk alone, all at once, and those that are refused."""

from collections import Counter

import numpy as np
import pytest

from degradation.errors import DataError
from degradation.scenes.export.registry import export
from degradation.tasks import get_task

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,"
    "valence,arousal"
)


def reasons(rows) -> Counter:
    return Counter(left.reason for left in rows.left_out)


@pytest.mark.parametrize("shape", [(), ("release-2021",), ("class-folders",)])
def test_a_clean_miniature_leaves_nothing_out(tmp_path, shape):
    export("affectnet", tmp_path / "x", scale=0.2, quirks=shape)
    task = get_task("affectnet", data_root=tmp_path / "x")
    for split in task.splits:
        rows = task.read(split)
        assert not rows.left_out
        assert set(rows.labels["expression"].tolist()) == set(range(8))
    assert len(np.unique(np.concatenate([task.read(s).ids for s in task.splits]).astype(str))) == (
        sum(len(task.read(split)) for split in task.splits)
    )


EXPECTED = {
    "missing-pictures": {"no such file": 2},
    "no-expression": {
        "label 8 (none) is no expression": 1,
        "label 9 (uncertain) is no expression": 1,
        "label 10 (no face) is no expression": 1,
    },
    "wrong-labels": {"label outside 0 to 10": 1, "label is no whole number": 1},
    "no-face-box": {"no face box (negative width or height)": 1, "no face box": 1},
    "several-faces": {},
    "repeated-faces": {"the same face again": 1, "the same face with several labels": 2},
    "boxes-beyond": {"the face box lies outside the picture": 1},
    "bare-lists": {},
    "unreadable-pictures": {"the picture cannot be read": 1},
    "fewer-contempt": {},
}
REFUSED = {
    "two-shapes": "in 2 shapes",
    "named-folders": "found anger, contempt",
    "third-split": "divided the data anew",
    "empty-list": "an empty file",
    "cut-list": "Expected 9 columns in line",
}


def test_every_quirk_is_tested():
    from degradation.scenes.export.affectnet import QUIRKS

    others = {"release-2021", "class-folders", "damaged-labels", "strays"}
    assert {*EXPECTED, *others, *REFUSED} == set(QUIRKS)
    assert {name for name, text in QUIRKS.items() if text.startswith("refused:")} == set(REFUSED)


def test_all_quirks_of_2017_at_once(tmp_path):
    export("affectnet", tmp_path / "x", scale=0.2, quirks=set(EXPECTED))
    task = get_task("affectnet", data_root=tmp_path / "x")
    for split in task.splits:
        assert reasons(task.read(split)) == sum(map(Counter, EXPECTED.values()), Counter())
    assert sum("@" in name for name in task.read("train").ids) == 3  # two faces, a repeated one


@pytest.mark.parametrize("quirk", ["missing-pictures", "boxes-beyond"])
def test_a_quirk_alone_adds_its_fault_alone(tmp_path, quirk):
    export("affectnet", tmp_path / "x", scale=0.1, quirks=(quirk,))
    task = get_task("affectnet", data_root=tmp_path / "x")
    assert reasons(task.read("train")) == EXPECTED[quirk]


@pytest.mark.parametrize("shape", ["release-2021", "class-folders"])
def test_all_quirks_of_the_other_shapes(tmp_path, shape):
    quirks = {"no-expression", "missing-pictures", "damaged-labels", "strays", "fewer-contempt"}
    export("affectnet", tmp_path / "x", scale=0.3, quirks={shape, *quirks})
    rows = get_task("affectnet", data_root=tmp_path / "x").read("test")
    found = reasons(rows)
    assert found["label 9 (uncertain) is no expression"] == 1
    if shape == "release-2021":
        assert found["no such file"] == 2
        assert found["no label file"] == 2  # one label file was deleted, and Thumbs.db has none
        assert found["the label file is empty"] == 1
        assert found["the label file is no NumPy array of one value"] == 2
    else:
        assert found["not in a class folder"] == 1
        assert found["not a picture by its suffix"] == 1
        counts = Counter(rows.labels["expression"].tolist())
        assert (counts[7], counts[6]) == (3, 4)


@pytest.mark.parametrize("quirk", REFUSED)
def test_refused_quirks(tmp_path, quirk):
    shape = () if quirk.endswith("-list") else ("release-2021",)
    export("affectnet", tmp_path / "x", scale=0.1, quirks=(*shape, quirk))
    with pytest.raises(DataError, match=REFUSED[quirk]):
        get_task("affectnet", data_root=tmp_path / "x").read("train")
