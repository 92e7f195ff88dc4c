"""Looking-at-me: the reader on annotation written by hand, and on bad input."""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from degradation.errors import ConfigError, DataError
from degradation.tasks import Rows, get_task
from degradation.tasks.lam_tracks import hold

WIDTH, HEIGHT = 100, 50


def reasons(rows: Rows) -> Counter[str]:
    return Counter(one.reason for one in rows.left_out)


def track(name: str, frames: Iterable[int], box: tuple[float, ...] = (10, 5, 20, 30)) -> dict:
    x, y, width, height = box
    faces = [
        {"x": x, "y": y, "width": width, "height": height, "frame": frame, "clip_frame": None}
        for frame in frames
    ]
    return {"track_id": name, "track": faces, "suspect": False}


def looks(person: str | None, first: int, last: int) -> dict:
    return {"person": person, "start_frame": first, "end_frame": last, "is_at_me": False}


def clip(uid: str, *tracks: dict, segments: list[dict] | None = None) -> dict:
    persons = [{"person_id": "0", "camera_wearer": True, "tracking_paths": []}]
    persons += [
        {"person_id": str(number), "tracking_paths": [one]} for number, one in enumerate(tracks, 1)
    ]
    return {"clip_uid": uid, "persons": persons, "social_segments_looking": segments}


def write(root: Path, *clips: dict, owners: str = "train", pictures: int = 60) -> Path:
    """A data root with one annotation file, and so many unpacked pictures a clip."""
    (root / "json").mkdir(exist_ok=True)
    videos = [{"video_uid": "v", "split": owners, "clips": list(clips)}]
    (root / "json" / f"av_{owners}.json").write_text(json.dumps({"videos": videos}))
    for one in clips:
        folder = root / "video_imgs" / one["clip_uid"]
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, pictures + 1):
            Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"img_{number:05d}.jpg")
    return root


def read(root: Path, split: str = "train", **options: Any) -> Rows:
    return get_task("lam", data_root=root, **options).read(split)


def numbers(rows: Rows) -> list[list[int]]:
    return [[int(path[-9:-4]) for path in row] for row in rows.pictures]


def test_stride_windows_ends_and_labels(tmp_path: Path) -> None:
    # Frames 5, 18 and 31 are samples; the segment ends at 18, inclusive.
    write(tmp_path, clip("c", track("t", range(5, 34)), segments=[looks("1", 6, 18)]))
    rows = read(tmp_path)
    assert rows.ids.tolist() == ["c:t:5", "c:t:18", "c:t:31"]
    assert rows.labels["looking"].tolist() == [0, 1, 0]
    assert numbers(rows) == [
        [5, 5, 5, 5, 6, 7, 8],
        [15, 16, 17, 18, 19, 20, 21],
        [28, 29, 30, 31, 32, 33, 33],
    ]
    np.testing.assert_allclose(rows.boxes["face"], np.broadcast_to([0.1, 0.1, 0.3, 0.7], (3, 7, 4)))


def test_a_segment_counts_for_its_person_only(tmp_path: Path) -> None:
    both = track("a", [1]), track("b", [1])
    write(tmp_path, clip("c", *both, segments=[looks("2", 1, 1), looks(None, 1, 9)]))
    rows = read(tmp_path)
    assert dict(zip(rows.ids, rows.labels["looking"].tolist(), strict=True)) == {
        "c:a:1": 0,
        "c:b:1": 1,
    }
    assert reasons(rows) == {"looking segment without a person": 1}


def test_gaps_are_filled_in_a_straight_line(tmp_path: Path) -> None:
    path = track("t", [1, 27])
    path["track"][1] |= {"x": 36, "width": 33}
    write(tmp_path, clip("c", path, segments=[looks("1", 1, 9)]))
    rows = read(tmp_path)
    assert rows.ids.tolist() == ["c:t:1", "c:t:14", "c:t:27"]
    np.testing.assert_allclose(rows.boxes["face"][1, 3], [0.23, 0.1, 0.495, 0.7], atol=1e-6)


def test_frames_may_be_in_any_order(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).permutation(np.arange(3, 40)).tolist()
    write(tmp_path, clip("c", track("t", frames), segments=[looks("1", 1, 9)]))
    assert read(tmp_path).ids.tolist() == ["c:t:3", "c:t:16", "c:t:29"]


def test_a_missing_neighbour_is_held_from_the_middle(tmp_path: Path) -> None:
    write(tmp_path, clip("c", track("t", range(1, 30)), segments=[looks("1", 1, 9)]))
    for number in (12, 16):
        (tmp_path / "video_imgs" / "c" / f"img_{number:05d}.jpg").unlink()
    rows = read(tmp_path)
    assert numbers(rows)[1] == [11, 13, 13, 14, 15, 15, 17]
    (tmp_path / "video_imgs" / "c" / "img_00014.jpg").unlink()
    rows = read(tmp_path)
    assert rows.ids.tolist() == ["c:t:1", "c:t:27"]
    assert [(one.id, one.reason) for one in rows.left_out] == [("c:t:14", "no such file")]


def test_boxes_over_the_edge_are_cut_off(tmp_path: Path) -> None:
    tracks = (
        track("over", [1], (-10, -5, 30, 20)),
        track("right", [1], (90, 40, 50, 50)),
        track("outside", [1], (100, 5, 20, 20)),
        *(track(f"inside {n}", [1]) for n in range(3)),
    )
    write(tmp_path, clip("c", *tracks, segments=[looks("1", 1, 9)]))
    rows = read(tmp_path)
    np.testing.assert_allclose(
        rows.boxes["face"][:2, 3], [[0, 0, 0.2, 0.3], [0.9, 0.8, 1, 1]], atol=1e-6
    )
    assert reasons(rows) == {"face outside the picture": 1}


def test_pictures_that_were_scaled_down(tmp_path: Path) -> None:
    tracks = (track(f"t{x}", [1], (x, 5, 20, 20)) for x in range(0, 200, 25))
    write(tmp_path, clip("c", *tracks, segments=[looks("1", 1, 9)]))
    with pytest.raises(DataError, match=r"found 4 of 8 outside.*without scaling"):
        read(tmp_path)


def test_frame_offset_moves_the_pictures_only(tmp_path: Path) -> None:
    write(tmp_path, clip("c", track("t", range(5, 19)), segments=[looks("1", 1, 9)]))
    plain, moved = read(tmp_path), read(tmp_path, frame_offset=1)
    assert (np.array(numbers(moved)) == np.array(numbers(plain)) + 1).all()
    assert moved.ids.tolist() == plain.ids.tolist()
    specs = [get_task("lam", data_root=tmp_path, frame_offset=n).spec.source for n in (0, 1)]
    assert specs[0] != specs[1]


def test_a_clip_without_segments_is_negative(tmp_path: Path) -> None:
    quiet = clip("quiet", track("t", [1]))
    del quiet["social_segments_looking"]
    write(tmp_path, quiet, clip("c", track("t", [1]), segments=[looks("1", 1, 1)]))
    assert read(tmp_path).labels["looking"].tolist() == [0, 1]


@pytest.mark.parametrize("positive", [0, 50, 100])
def test_an_unusual_share_of_positives_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, positive: int
) -> None:
    end = 13 * 40 * positive // 100
    write(tmp_path, clip("c", track("t", range(1, 521)), segments=[looks("1", 0, end)]), pictures=1)
    folder = tmp_path / "video_imgs" / "c"
    for number in range(2, 521):
        (folder / f"img_{number:05d}.jpg").hardlink_to(folder / "img_00001.jpg")
    read(tmp_path)
    assert [f"{positive}.0 %" in one.getMessage() for one in caplog.records] == [True]


def test_lists_decide_the_split(tmp_path: Path) -> None:
    segments = [looks("1", 1, 1)]
    write(tmp_path, *(clip(uid, track("t", [1]), segments=segments) for uid in ("a", "b")))
    assert read(tmp_path).ids.tolist() == ["a:t:1", "b:t:1"]
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "train.list").write_bytes(b"\xef\xbb\xbfb\r\n\r\nnobody\r\n")
    rows = read(tmp_path)
    assert rows.ids.tolist() == ["b:t:1"]
    assert {one.id: one.reason for one in rows.left_out} == {
        "a": "clip is not in the list of the split",
        "nobody": "clip of the list is not annotated",
    }
    (tmp_path / "split" / "val.list").write_text("b\n")
    with pytest.raises(DataError, match=r"each clip in one split list .* first 'b'"):
        read(tmp_path)


def test_unusable_tracks_alone(tmp_path: Path) -> None:
    empty = track("t", [])
    write(tmp_path, clip("c", empty, segments=[looks("1", 1, 1)]), clip("d", segments=[]))
    with pytest.raises(DataError, match=r"Expected samples in .*none that can be used"):
        read(tmp_path)


# ------------------------------------------------------------------ bad input


def broken(root: Path, text: str | bytes) -> None:
    path = root / "json" / "av_train.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


ONE = {"videos": [{"clips": [clip("c", track("t", [1]), segments=[looks("1", 1, 1)])]}]}


def changed(**change: Any) -> str:
    copy = json.loads(json.dumps(ONE))
    copy["videos"][0]["clips"][0]["persons"][1]["tracking_paths"][0]["track"][0].update(change)
    return json.dumps(copy)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"", "found an empty file"),
        (b"  \n", "found an empty file"),
        (json.dumps(ONE)[:-20], "It looks cut off"),
        (b"\xff\xfe\x00" * 20, "Expected JSON in"),
        (json.dumps(ONE) + "\r\n" + json.dumps(ONE), "twice"),
        ('{"annotations": []}', "missing required field `videos`"),
        ('{"videos": [{"clips": [{"clip_uid": "c"}]}]}', r"`persons`.*\(clip c\)"),
        ('{"videos": [{"clips": [[]]}]}', "Expected `object`"),
        (changed(x=None), r"`null` - at `\$\.persons\[1\]\.tracking_paths\[0\]\.track\[0\]\.x`"),
        (changed(frame="7"), "Expected `int`, got `str`"),
        (json.dumps({"videos": ONE["videos"] * 2}), "Expected each clip once .*'c' twice"),
        (json.dumps({"videos": [ONE["videos"][0] | {"split": "val"}]}), "were mixed up"),
        ('{"videos": []}', "Expected looking segments"),
    ],
)
def test_annotation_files_that_are_refused(tmp_path: Path, text: str | bytes, match: str) -> None:
    write(tmp_path, clip("c"))
    broken(tmp_path, text)
    with pytest.raises(DataError, match=match) as raised:
        read(tmp_path)
    assert "av_train.json" in str(raised.value)


def test_a_missing_annotation(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected the file .*av_val\.json, found nothing"):
        read(tmp_path, "test")
    with pytest.raises(ConfigError, match="--data-root"):
        get_task("lam")
    with pytest.raises(DataError, match="splits train, test"):
        read(tmp_path, "val")


def test_the_folder_above_the_data(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", clip("c", track("t", [1]), segments=[looks("1", 1, 1)]))
    with pytest.raises(DataError, match=r"Give .*/data as --data-root"):
        read(tmp_path)


def test_no_pictures_at_all(tmp_path: Path) -> None:
    write(tmp_path, clip("c", track("t", [1]), segments=[looks("1", 1, 1)]), pictures=0)
    with pytest.raises(DataError, match="1 x neither pictures nor a video of the clip"):
        read(tmp_path)


def test_names_that_leave_the_root(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    outside = clip("../../elsewhere", track("t", [1]), segments=[looks("1", 1, 1)])
    write(tmp_path / "data", outside, clip("c", track("t", [1])))
    assert (tmp_path / "elsewhere" / "img_00001.jpg").exists()
    assert reasons(read(tmp_path / "data")) == {"path leaves the data root": 1}


def test_a_circle_of_links(tmp_path: Path) -> None:
    write(tmp_path, clip("c", track("t", [1]), segments=[looks("1", 1, 1)]))
    write(
        tmp_path,
        clip("c", track("t", [1])),
        clip("d", track("t", [1]), segments=[looks("1", 1, 1)]),
    )
    circle = tmp_path / "video_imgs" / "d"
    for file in circle.iterdir():
        file.unlink()
    circle.rmdir()
    circle.symlink_to("d")
    assert sum(reasons(read(tmp_path)).values()) == 1


def test_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        clip("c", track("t", [1, 14]), segments=[looks("1", 1, 1)]),
        clip("d", track("t", [1])),
    )
    (tmp_path / "video_imgs" / "c" / "img_00001.jpg").write_bytes(b"")
    assert len(read(tmp_path)) == 3  # the size comes from another; opening the picture will fail
    (tmp_path / "video_imgs" / "d" / "img_00001.jpg").write_bytes(b"")
    assert reasons(read(tmp_path)) == {"no picture of the clip can be read": 1}


def film(path: Path, count: int) -> None:
    import av

    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(count):
            frame = av.VideoFrame.from_image(Image.new("RGB", (WIDTH, HEIGHT)))
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_a_video_shorter_than_its_annotation(tmp_path: Path) -> None:
    write(tmp_path, clip("c", track("t", range(1, 40)), segments=[looks("1", 1, 9)]), pictures=0)
    film(tmp_path / "videos" / "c.mp4", 16)
    task = get_task("lam", data_root=tmp_path)
    rows = task.read("train")
    assert rows.pictures[:, 3].tolist() == ["videos/c.mp4#1", "videos/c.mp4#14"]
    assert rows.pictures[1].tolist()[4:] == [
        "videos/c.mp4#15",
        "videos/c.mp4#16",
        "videos/c.mp4#16",
    ]
    assert reasons(rows) == {"video ends before the frame": 1}
    assert task.open("videos/c.mp4#16").size == (WIDTH, HEIGHT)
    with pytest.raises(DataError, match=r"videos/c\.mp4#17"):
        task.open("videos/c.mp4#17")


def test_videos_that_cannot_be_read_and_no_pyav(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = [looks("1", 1, 1)]
    write(tmp_path, *(clip(uid, track("t", [1]), segments=segments) for uid in "cd"), pictures=0)
    film(tmp_path / "videos" / "c.mp4", 3)
    (tmp_path / "videos" / "d.mp4").write_bytes(b"")
    assert reasons(read(tmp_path)) == {"video cannot be read": 1}
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"Install `sdiag\[video\]`, or unpack the videos"):
        read(tmp_path)
    write(tmp_path, *(clip(uid, track("t", [1]), segments=segments) for uid in "cd"), pictures=1)
    assert len(read(tmp_path)) == 2  # unpacked pictures need no decoder


def test_holding_towards_the_middle() -> None:
    rng = np.random.default_rng(0)
    usable = rng.random((500, 7)) < 0.6
    usable[:, 3] = True
    for row, places in zip(usable, hold(usable), strict=True):
        for place in range(7):
            towards = range(place, 3, 1) if place < 3 else range(place, 3, -1)
            assert places[place] == next((p for p in towards if row[p]), 3)
