"""Ego4D's audio-visual annotation, `av_train.json` and `av_val.json`, as columns.

Of each clip: its persons with their face tracks, and the segments in which somebody looks at the
camera wearer. Schema: the documentation of Ego4D's AV diarization and social benchmarks. The files
have hundreds of megabytes, so only one clip at a time becomes objects.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float64, Int64

from degradation.errors import DataError
from degradation.tasks.disk import read_bytes, refused_json

__all__ = ["Clip", "Segment", "Track", "read_clips"]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One face over k frames, as annotated: in any order, with gaps, repeats and empty boxes.

    Attributes:
        id: Unique in its clip, as far as its owners keep to it.
        person: Person id; may be empty.
        wearer: Whether it is of the camera wearer, the first person of each clip.
        frames: Frame numbers in the clip, shape (k,).
        boxes: Left, top, width and height in pixels, shape (k, 4).
    """

    id: str
    person: str
    wearer: bool
    frames: Int64[np.ndarray, " k"]
    boxes: Float64[np.ndarray, "k 4"]


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames, both ends included, in which a person looks at the camera wearer.

    Attributes:
        person: Person id; None or empty if it was not noted.
        first: First frame.
        last: Last frame.
    """

    person: str | None
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Five minutes of a video.

    Attributes:
        uid: Name of its folder of pictures, or of its video file.
        tracks: Of all persons, in the order of the file.
        segments: Looking segments; many clips have none.
    """

    uid: str
    tracks: tuple[Track, ...]
    segments: tuple[Segment, ...]


class _Face(msgspec.Struct, gc=False):
    frame: int
    x: float
    y: float
    width: float
    height: float


class _Path(msgspec.Struct, gc=False):
    track_id: str
    track: list[_Face]


class _Person(msgspec.Struct, gc=False):
    person_id: str | None
    tracking_paths: list[_Path] = []


class _Looking(msgspec.Struct, gc=False):
    person: str | None
    start_frame: int
    end_frame: int


class _Clip(msgspec.Struct, gc=False):
    clip_uid: str
    persons: list[_Person]
    social_segments_looking: list[_Looking] | None = None


class _Video(msgspec.Struct, gc=False):
    clips: list[msgspec.Raw]
    split: str = ""


class _File(msgspec.Struct, gc=False):
    videos: list[_Video]


_FILE = msgspec.json.Decoder(_File)
_CLIP = msgspec.json.Decoder(_Clip)


def read_clips(path: Path, split: str) -> Iterator[Clip]:
    """The clips of an annotation file, one by one.

    Args:
        path: `av_train.json` or `av_val.json` as downloaded.
        split: What the file calls its split, `train` or `val`.

    Raises:
        DataError: The file is missing, empty, cut off, written twice, another one, of another
            split, or has a clip twice.
    """
    data = read_bytes(path)
    seen: set[str] = set()
    for number, video in enumerate(_decoded(_FILE, data, path).videos):
        if video.split not in ("", split):
            raise DataError(
                f"Expected the split {split!r} in {path}, found {video.split!r} at "
                f"$.videos[{number}].split. The files were mixed up: download them again."
            )
        for raw in video.clips:
            clip = _decoded(_CLIP, raw, path)
            if clip.clip_uid in seen:
                raise DataError(
                    f"Expected each clip once in {path}, found {clip.clip_uid!r} twice. "
                    "Download the file again."
                )
            seen.add(clip.clip_uid)
            yield _columns(clip)


def _decoded(decoder: msgspec.json.Decoder, part: bytes | msgspec.Raw, path: Path) -> Any:
    """A file, or one of its clips, checked for what is used of it."""
    try:
        return decoder.decode(part)
    except msgspec.ValidationError as error:
        where = "" if decoder is _FILE else f" (clip {_uid(part)})"
        raise DataError(
            f"Expected {path.name} as Ego4D ships it, found {error}{where}: {path}. Put the file "
            "that was downloaded there, not one that was derived from it."
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused_json(path, bytes(part), str(error)) from error


def _uid(raw: bytes | msgspec.Raw) -> str:
    clip = msgspec.json.decode(raw)
    return str(clip.get("clip_uid", "without clip_uid") if isinstance(clip, dict) else clip)


def _columns(clip: _Clip) -> Clip:
    tracks = [
        _track(path, person.person_id or "", wearer=number == 0)
        for number, person in enumerate(clip.persons)
        for path in person.tracking_paths
    ]
    segments = [
        Segment(one.person, one.start_frame, one.end_frame)
        for one in clip.social_segments_looking or ()
    ]
    return Clip(clip.clip_uid, tuple(tracks), tuple(segments))


def _track(path: _Path, person: str, *, wearer: bool) -> Track:
    faces = path.track
    return Track(
        id=path.track_id,
        person=person,
        wearer=wearer,
        frames=np.array([one.frame for one in faces], dtype=np.int64),
        boxes=np.array(
            [(one.x, one.y, one.width, one.height) for one in faces], dtype=np.float64
        ).reshape(-1, 4),
    )
