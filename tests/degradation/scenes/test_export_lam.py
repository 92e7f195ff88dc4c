"""The miniature of looking-at-me, read and held against a plain rendition of the owners' rule."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from degradation.errors import DataError
from degradation.scenes.export.registry import export, quirks_of
from degradation.tasks import Rows, get_task

REFUSED = {name for name, text in quirks_of("lam").items() if text.startswith("refused:")}
FAULTS = set(quirks_of("lam")) - REFUSED - {"videos"}


# ------------------------------------------------------------------ a plain rendition of the rule


def by_the_rule(folder: Path, owners: str) -> dict[str, tuple[list[float], int]]:
    """Box (pixels, xyxy) and label of every 13th face-frame by id, without looking at pictures."""
    listed = (folder / "split" / f"{owners}.list").read_text().split()
    found = {}
    for video in json.loads((folder / "json" / f"av_{owners}.json").read_text())["videos"]:
        for clip in video["clips"]:
            if clip["clip_uid"] not in listed:
                continue
            positive = set()
            for one in clip["social_segments_looking"] or []:
                for frame in range(one["start_frame"], one["end_frame"] + 1):
                    positive.add((frame, one["person"]))
            for person in clip["persons"][1:]:
                for path in person["tracking_paths"]:
                    boxes: dict[int, list[float]] = {}
                    for one in path["track"]:
                        x, y, w, h = (one[key] for key in ("x", "y", "width", "height"))
                        if w > 0 and h > 0 and one["frame"] != 0 and person["person_id"]:
                            boxes.setdefault(one["frame"], [x, y, x + w, y + h])
                    for frame in range(min(boxes, default=0), max(boxes, default=-1) + 1, 13):
                        name = f"{clip['clip_uid']}:{path['track_id']}:{frame}"
                        label = int((frame, person["person_id"]) in positive)
                        found.setdefault(name, (between(boxes, frame), label))
    return found


def between(boxes: Mapping[int, list[float]], frame: int) -> list[float]:
    before = max(f for f in boxes if f <= frame)
    after = min(f for f in boxes if f >= frame)
    share = 0.0 if before == after else (frame - before) / (after - before)
    return [(1 - share) * a + share * b for a, b in zip(boxes[before], boxes[after], strict=True)]


# ------------------------------------------------------------------ miniatures


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lam") / "data"
    export("lam", folder, seed=1)
    return folder


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lam-faulty") / "data"
    export("lam", folder, seed=1, scale=0.5, quirks=FAULTS)
    return folder


def reasons(rows: Rows) -> Counter[str]:
    return Counter(one.reason for one in rows.left_out)


def test_the_clean_miniature_is_read_whole(clean: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = get_task("lam", data_root=clean)
    assert task.splits == ("train", "test")
    assert task.spec.label_sets == {"looking": ("elsewhere", "viewer")}
    ids: set[str] = set()
    with caplog.at_level(logging.WARNING):
        for split in task.splits:
            rows = task.read(split)
            assert not rows.left_out
            assert 100 <= len(rows) <= 300
            assert rows.pictures.shape == (len(rows), 7)
            assert 0.1 < rows.labels["looking"].mean() < 0.3
            assert set(rows.clusters) == {name.split(":")[0] for name in rows.ids}
            assert ids.isdisjoint(rows.ids)
            ids.update(rows.ids)
            assert task.read(split) is rows
    assert not caplog.records


@pytest.mark.parametrize(("split", "owners"), [("train", "train"), ("test", "val")])
@pytest.mark.parametrize("which", ["clean", "faulty"])
def test_ids_labels_and_boxes_follow_the_rule(
    which: str, split: str, owners: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(which)
    task, expected = get_task("lam", data_root=folder), by_the_rule(folder, owners)
    rows = task.read(split)
    pictures = {"no such file", "neither pictures nor a video of the clip"}
    unseen = {one.id for one in rows.left_out if one.reason in pictures}
    outside = {one.id for one in rows.left_out if one.reason == "face outside the picture"}
    assert {*rows.ids, *unseen, *outside} == set(expected)
    assert bool(unseen and outside) == (which == "faulty" and split == "train")
    for row, name in enumerate(rows.ids):
        box, label = expected[name]
        width, height = task.open(rows.pictures[row, 3]).size
        shown = np.clip(np.array(box) / [width, height, width, height], 0, 1)
        np.testing.assert_allclose(rows.boxes["face"][row, 3], shown, atol=1e-6)
        assert rows.labels["looking"][row] == label
        assert rows.pictures[row, 3].endswith(f"/img_{int(name.split(':')[2]):05d}.jpg")


def test_faces_lie_in_their_boxes(clean: Path) -> None:
    """Inside the box is a face in front of a person's own colours; the grey margin is not."""
    task = get_task("lam", data_root=clean)
    rows = task.read("test")
    skins = []
    for row in range(0, len(rows), 7):
        picture = task.open(rows.pictures[row, 3])
        x1, y1, x2, y2 = rows.boxes["face"][row, 3] * np.tile(picture.size, 2)
        centre = np.asarray(picture)[round((y1 + y2) / 2), round((x1 + x2) / 2)].astype(int)
        skins.append(centre[0] - centre[2])  # all skins are redder than blue
    assert np.median(skins) > 20


def test_boxes_and_pictures_of_all_frames_can_be_used(faulty: Path) -> None:
    task = get_task("lam", data_root=faulty)
    for split in task.splits:
        rows = task.read(split)
        boxes = rows.boxes["face"]
        assert boxes.min() >= 0
        assert boxes.max() <= 1
        assert (boxes[..., :2] < boxes[..., 2:]).all()
        for reference in set(rows.pictures[::5].ravel()):
            task.open(reference)


def test_rows_are_in_the_order_of_frames(clean: Path) -> None:
    rows = get_task("lam", data_root=clean).read("train")
    keys = [(name.split(":")[0], int(name.split(":")[2])) for name in rows.ids]
    clips = list(dict.fromkeys(clip for clip, _ in keys))
    assert keys == sorted(keys, key=lambda key: (clips.index(key[0]), key[1]))


QUIRKS: dict[str, dict[str, int]] = {
    "no-segments": {},
    "no-person": {
        "looking segment without a person": 1,
        "looking segment of a person without a face": 1,
    },
    "empty-boxes": {
        "box without width or height": 2,
        "frame number 0 or less": 1,
        "face without a person": -1,
    },
    "gaps": {},
    "outside": {"face outside the picture": -1},
    "wearer": {"face of the camera wearer": -1},
    "repeated": {"frame twice in its track": 1, "track id twice in its clip": -1},
    "unlisted": {"clip is not in the list of the split": 1},
    "half-unpacked": {"no such file": -1},
    "missing": {"neither pictures nor a video of the clip": -1},
    "crlf": {},
}


def test_every_fault_has_a_test() -> None:
    assert set(QUIRKS) == FAULTS


@pytest.mark.parametrize("quirk", QUIRKS)
def test_each_quirk_is_counted(tmp_path: Path, quirk: str, clean: Path) -> None:
    export("lam", tmp_path / "data", seed=1, scale=0.5, quirks=[quirk])
    rows = get_task("lam", data_root=tmp_path / "data").read("train")
    counts = reasons(rows)
    assert set(counts) == set(QUIRKS[quirk])
    for reason, count in QUIRKS[quirk].items():  # -1: as many as it happens to be
        assert counts[reason] == count or (count == -1 and counts[reason] > 0)


def test_interpolated_boxes_are_samples(faulty: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        get_task("lam", data_root=faulty).read("train")
    (told,) = [one.getMessage() for one in caplog.records if "interpolated" in one.getMessage()]
    assert int(told.split(": ")[1].split()[0]) > 0


def test_videos_show_what_unpacked_pictures_show(clean: Path, tmp_path: Path) -> None:
    export("lam", tmp_path / "data", seed=1, scale=0.3, quirks=["videos", "half-unpacked"])
    unpacked, filmed = (get_task("lam", data_root=root) for root in (clean, tmp_path / "data"))
    pictures, frames = unpacked.read("train"), filmed.read("train")
    assert reasons(frames).keys() == {"video ends before the frame"}
    row_of = {name: row for row, name in enumerate(pictures.ids)}
    (short,) = {one.id.split(":")[0] for one in frames.left_out}
    different = []
    for row, name in enumerate(frames.ids):
        files, box = pictures.pictures[row_of[name]], pictures.boxes["face"][row_of[name]]
        if (uid := name.split(":")[0]) != short:
            shown = [f"videos/{uid}.mp4#{int(path[-9:-4])}" for path in files]
            assert frames.pictures[row].tolist() == shown
            np.testing.assert_array_equal(frames.boxes["face"][row], box)
        one = np.asarray(unpacked.open(files[3]), dtype=float)
        two = np.asarray(filmed.open(frames.pictures[row, 3]), dtype=float)
        different.append(np.abs(one - two).mean())
    assert len(set(frames.clusters) - {short}) > 5
    assert max(different) < 4  # grey levels, of two lossy codecs; another frame differs by more


@pytest.mark.parametrize(
    ("quirk", "match"),
    [
        ("appended", "Expected one JSON document .* twice"),
        ("derived", r"Expected av_train.json as Ego4D ships it, found Expected `object`"),
        ("unlabelled", "Expected looking segments in .*found none in"),
    ],
)
def test_refused_quirks(tmp_path: Path, quirk: str, match: str) -> None:
    assert quirk in REFUSED
    export("lam", tmp_path / "data", seed=1, scale=0.1, quirks=[quirk])
    task = get_task("lam", data_root=tmp_path / "data")
    with pytest.raises(DataError, match=match):
        task.read("train")
    assert len(task.read("test"))
