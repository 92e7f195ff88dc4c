"""A miniature of Ego4D looking-at-me: the folder `data` of its owners' code.

A clip is a handful of shots; in each, one or two people of the framing `looking` stand side by
side, each followed by one face track of 14 to 40 frames. The five frames of the rendered world are
held for three frames each and run back and forth, so that every 13th frame, from the first, shows
one of the middle frames: those look where their label says. One track in five looks at the viewer
and is a looking segment. Subjects of the two splits are disjoint.

As in the owners' tree, picture `img_%05d.jpg` number n, or the n-th of the video, is frame n of the
annotation.
"""

import bisect
import functools
import io
import json
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from degradation.scenes.looks import generator
from degradation.scenes.records import Box
from degradation.scenes.render import render
from degradation.scenes.world import compose

__all__ = ["QUIRKS", "write"]

QUIRKS: Mapping[str, str] = {
    "videos": "the clips are videos/*.mp4 and not unpacked into pictures",
    "no-segments": "in one training clip nobody noted who looks: its segments are null",
    "no-person": "looking segments without a person, and of a person who is nowhere",
    "empty-boxes": "faces without width or height, of frame 0, and of an empty person id",
    "gaps": "frames are missing inside the tracks of one clip",
    "outside": "faces that reach over the edge of the picture, and one outside it",
    "wearer": "the camera wearer, first of the persons, has a track",
    "repeated": "a frame twice in its track, and a track id twice in its clip",
    "unlisted": "a training clip that is in no split list but full.list",
    "half-unpacked": "one clip lacks its last pictures",
    "missing": "one clip is annotated and listed, but was not downloaded",
    "crlf": "the split lists have Windows line ends and a blank line",
    "appended": "refused: av_train.json was written twice into one file",
    "derived": "refused: a face track derived from av_train.json is in its place",
    "unlabelled": "refused: no clip of av_train.json has looking segments",
}

_CLIPS = {"train": 18, "val": 12}
_POOLS = {"train": "train", "val": "test"}
_SHOTS = 3
_VIEWER_EVERY = 5
_FORMATS = ((288, 128), (240, 112), (352, 160), (128, 176))  # even, as yuv420p needs
_HELD = tuple(np.repeat((2, 3, 4, 3, 2, 1, 0, 1), 3).tolist())
_GREY = (112, 112, 116)


@dataclass(frozen=True, slots=True)
class _Track:
    """One person of a shot: its number in the world, where it stands, and its frames."""

    index: int
    viewer: bool
    person: int
    left: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Clip:
    """A clip as it is shot; `side` is that of a person's square part of the picture."""

    uid: str
    pool: str
    width: int
    height: int
    side: int
    shots: tuple[tuple[_Track, ...], ...]

    @property
    def frames(self) -> int:
        """Number of its frames: two more than the last track needs."""
        return max(track.last for track in self.shots[-1]) + 2


def write(folder: Path, *, seed: int, scale: float, quirks: Collection[str]) -> None:
    """Fill an empty folder; see `degradation.scenes.export.registry`."""
    clips = {split: _shoot(split, seed, scale) for split in _CLIPS}
    records = {split: [_annotated(clip, seed) for clip in shot] for split, shot in clips.items()}
    _spoil(records["train"], quirks)
    for name in ("json", "csv", "split"):
        (folder / name).mkdir()
    for split, annotated in records.items():
        _write_annotation(folder / "json" / f"av_{split}.json", split, annotated)
    _write_lists(folder / "split", clips, quirks)
    _write_manifest(folder / "csv" / "manifest.csv", records)
    _spoil_file(folder / "json" / "av_train.json", records["train"], quirks)
    for split, shot in clips.items():
        for number, clip in enumerate(shot):
            spoilt = number if split == "train" else -1
            if spoilt == 6 and "missing" in quirks:
                continue
            short = spoilt == 7 and "half-unpacked" in quirks
            pictures = _pictures(clip, seed, clip.frames * 2 // 3 if short else clip.frames)
            if "videos" in quirks:
                _write_video(folder / "videos" / f"{clip.uid}.mp4", pictures)
            else:
                _write_pictures(folder / "video_imgs" / clip.uid, pictures)


# ------------------------------------------------------------------ what is shot


def _shoot(split: str, seed: int, scale: float) -> list[_Clip]:
    rng = generator(seed, "lam", split)
    numbers = count()
    viewers, others = (_indices(split, seed, label) for label in ("viewer", "elsewhere"))
    clips = []
    for clip in range(max(9 if split == "train" else 4, round(_CLIPS[split] * scale))):
        width, height = _FORMATS[clip % len(_FORMATS)]
        side = min(width, height)
        shots, start = [], 3
        for _ in range(_SHOTS):
            places = width // side
            people = 1 + int(rng.integers(places))
            free = width - people * side
            shot = []
            for place in range(people):
                viewer = next(numbers) % _VIEWER_EVERY == 2
                first = start + int(rng.integers(5))
                shot.append(
                    _Track(
                        index=next(viewers if viewer else others),
                        viewer=viewer,
                        person=place + 1,
                        left=place * side + int(rng.integers(free + 1)) * (place == people - 1),
                        first=first,
                        last=first + int(rng.integers(13, 40)),
                    )
                )
            shots.append(tuple(shot))
            start = max(track.last for track in shot) + 1
        uid = str(uuid.UUID(bytes=rng.bytes(16), version=4))
        clips.append(_Clip(uid, _POOLS[split], width, height, side, tuple(shots)))
    return clips


def _indices(split: str, seed: int, label: str) -> Iterator[int]:
    """Numbers of the world's clips with a label, without end."""
    pool = _POOLS[split]
    return (i for i in count() if compose("looking", pool, i, seed=seed).looks == label)


def _world_frame(track: _Track, frame: int) -> int:
    return _HELD[max(0, frame - track.first) % len(_HELD)]


@functools.lru_cache(1024)
def _seen(pool: str, track: _Track, moment: int, side: int, seed: int) -> tuple[Image.Image, Box]:
    """What a track shows at a frame of the world, and the box of the face in it."""
    scene = compose("looking", pool, track.index, seed=seed, frame=moment)
    return render(scene, side), scene.boxes()["face"]


def _pictures(clip: _Clip, seed: int, frames: int) -> Iterator[Image.Image]:
    """The pictures of the frames from 1 to `frames`; the same object while nothing moves."""
    painted: dict[tuple[tuple[_Track, int], ...], Image.Image] = {}
    ends = [max(track.last for track in shot) for shot in clip.shots]
    for frame in range(1, frames + 1):
        shot = clip.shots[min(bisect.bisect_left(ends, frame), len(ends) - 1)]
        now = tuple((track, _world_frame(track, frame)) for track in shot)
        if now not in painted:
            painted[now] = Image.new("RGB", (clip.width, clip.height), _GREY)
            for track, moment in now:
                panel, _ = _seen(clip.pool, track, moment, clip.side, seed)
                painted[now].paste(panel, (track.left, 0))
        yield painted[now]


def _write_pictures(folder: Path, pictures: Iterator[Image.Image]) -> None:
    folder.mkdir(parents=True)
    encoded: dict[int, bytes] = {}
    for number, picture in enumerate(pictures, start=1):
        if id(picture) not in encoded:
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=92)
            encoded[id(picture)] = buffer.getvalue()
        (folder / f"img_{number:05d}.jpg").write_bytes(encoded[id(picture)])


def _write_video(path: Path, pictures: Iterator[Image.Image]) -> None:
    import av  # here, since it is optional and only videos need it

    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=30, options={"crf": "16", "preset": "veryfast", "threads": "1"}
        )
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            if not number:
                stream.width, stream.height = picture.size
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


# ------------------------------------------------------------------ what is written of it


def _annotated(clip: _Clip, seed: int) -> dict[str, Any]:
    """A clip as in `av_*.json`, with the fields that the schema of its owners names."""
    persons = [_person(0, wearer=True), *(_person(n) for n in (1, 2))]
    segments = []
    for number, track in enumerate(track for shot in clip.shots for track in shot):
        persons[track.person]["tracking_paths"].append(
            {
                "track_id": f"{clip.uid[:8]}_{number}",
                "track": [_face(clip, track, f, seed) for f in range(track.first, track.last + 1)],
                "suspect": False,
                "unmapped_frames_count": 0,
                "unmapped_frames": [],
            }
        )
        if track.viewer:
            segments.append(_segment(str(track.person), track.first, track.last))
    video = str(uuid.uuid5(uuid.UUID(clip.uid), "video"))
    return {
        "clip_uid": clip.uid,
        "source_clip_uid": str(uuid.uuid5(uuid.UUID(clip.uid), "source")),
        "video_uid": video,
        "video_start_sec": 0.0,
        "video_end_sec": clip.frames / 30,
        "video_start_frame": 0,
        "video_end_frame": clip.frames,
        "valid": True,
        "camera_wearer": _person(0, wearer=True),
        "persons": persons,
        "missing_voice_segments": [],
        "transcriptions": [],
        "social_segments_talking": [],
        "social_segments_looking": segments,
    }


def _person(number: int, *, wearer: bool = False) -> dict[str, Any]:
    return {
        "person_id": str(number),
        "camera_wearer": wearer,
        "tracking_paths": [],
        "voice_segments": [],
    }


def _face(clip: _Clip, track: _Track, frame: int, seed: int) -> dict[str, Any]:
    _, box = _seen(clip.pool, track, _world_frame(track, frame), clip.side, seed)
    x1, y1, x2, y2 = (clip.side * value for value in box)
    return {
        "x": track.left + x1,
        "y": y1,
        "width": x2 - x1,
        "height": y2 - y1,
        "frame": frame,
        "video_frame": frame,
        "clip_frame": None,
    }


def _segment(person: str | None, first: int, last: int) -> dict[str, Any]:
    return {
        "start_time": first / 30,
        "end_time": last / 30,
        "start_frame": first,
        "end_frame": last,
        "person": person,
        "target": None,
        "is_at_me": False,  # as in all of the release, although all of these are at the wearer
    }


def _write_annotation(path: Path, split: str, clips: list[dict[str, Any]]) -> None:
    videos = [{"video_uid": one["video_uid"], "split": split, "clips": [one]} for one in clips]
    head = {"date": "2022-03-01", "version": "v1", "description": "Audio-Visual Diarization"}
    path.write_text(json.dumps({**head, "videos": videos}))


def _write_lists(folder: Path, clips: Mapping[str, list[_Clip]], quirks: Collection[str]) -> None:
    end = "\r\n" if "crlf" in quirks else "\n"
    names = {split: [clip.uid for clip in some] for split, some in clips.items()}
    names["full"] = [*names["train"], *names["val"]]
    if "unlisted" in quirks:
        del names["train"][5]
    for name, uids in names.items():
        lines = [*uids, ""] if "crlf" in quirks else uids
        (folder / f"{name}.list").write_text("".join(one + end for one in lines), newline="")


def _write_manifest(path: Path, records: Mapping[str, list[dict[str, Any]]]) -> None:
    uids = [one["video_uid"] for some in records.values() for one in some]
    lines = [f"{uid},full_scale,s3://ego4d-consortium-sharing/{uid}.mp4," for uid in uids]
    path.write_text("\n".join(["video_uid,type,canonical_s3_location,benchmarks", *lines, ""]))


# ------------------------------------------------------------------ quirks


def _spoil(clips: list[dict[str, Any]], quirks: Collection[str]) -> None:
    """Add faults to the annotation of training clips; clips 5 to 7 are left to other quirks."""
    tracks = [[p for one in clip["persons"] for p in one["tracking_paths"]] for clip in clips]
    if "no-segments" in quirks:
        clips[0]["social_segments_looking"] = None
    if "no-person" in quirks:
        clips[1]["social_segments_looking"] += [_segment(None, 1, 60), _segment("-1", 1, 60)]
    if "empty-boxes" in quirks:
        for face, change in enumerate(({"width": 0}, {"height": -3.5}, {"frame": 0})):
            tracks[2][0]["track"][face] |= change
        nobody = _person(0) | {"person_id": ""}
        nobody["tracking_paths"] = [tracks[2][1] | {"track_id": "nobody"}]
        clips[2]["persons"].append(nobody)
    if "gaps" in quirks:
        for one in tracks[3]:
            del one["track"][6:16]
    if "outside" in quirks:
        for face in tracks[4][0]["track"]:
            face |= {"y": face["y"] - 60, "height": face["height"] + 60}
        for face in tracks[4][1]["track"]:
            face["x"] += 1000
    if "wearer" in quirks:
        wearer = tracks[8][0] | {"track_id": "wearer"}
        clips[8]["persons"][0]["tracking_paths"].append(wearer)
    if "repeated" in quirks:
        tracks[8][1]["track"].append(dict(tracks[8][1]["track"][-1]))
        clips[8]["persons"][1]["tracking_paths"].append(tracks[8][0])
    if "unlabelled" in quirks:
        for clip in clips:
            clip["social_segments_looking"] = None


def _spoil_file(path: Path, clips: list[dict[str, Any]], quirks: Collection[str]) -> None:
    """Replace or double the annotation of the training clips."""
    if "derived" in quirks:
        path.write_text(json.dumps(clips[0]["persons"][1]["tracking_paths"][0]["track"]))
    if "appended" in quirks:
        path.write_text(path.read_text() * 2)
