"""From a face track to samples: which frames, with which boxes, with which label.

Arrays only: no pictures, no files. Boxes stay in pixels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from degradation.tasks.ego4d import Segment, Track

__all__ = ["REACH", "STRIDE", "TrackSamples", "hold", "looking_frames", "track_samples"]

STRIDE = 13
"""Of so many frames of a track, one is a sample."""
REACH = 3
"""Frames before and after a sample that belong to it."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackSamples:
    """The k samples of a track, and its face-frames that were not used.

    Attributes:
        frames: Frame numbers, shape (k,).
        windows: Frame numbers of the sample and its neighbours, shape (k, 7).
        inside: Which of these the track has, shape (k, 7).
        boxes: xyxy in pixels, shape (k, 7, 4); meaningless where not inside.
        positive: Whether the person looks at the camera wearer, shape (k,).
        interpolated: Whether the sample's own box is not annotated, shape (k,).
        dropped: Frame numbers by reason.
    """

    frames: Int64[np.ndarray, " k"]
    windows: Int64[np.ndarray, "k f"]
    inside: Bool[np.ndarray, "k f"]
    boxes: Float64[np.ndarray, "k f 4"]
    positive: Bool[np.ndarray, " k"]
    interpolated: Bool[np.ndarray, " k"]
    dropped: Mapping[str, Int64[np.ndarray, " _"]]


def looking_frames(segments: Iterable[Segment]) -> dict[str, Int64[np.ndarray, "s 2"]]:
    """First and last frame of the looking segments by person, those without a person left out."""
    found: dict[str, list[tuple[int, int]]] = {}
    for one in segments:
        if one.person:
            found.setdefault(one.person, []).append((one.first, one.last))
    return {person: np.array(ends, dtype=np.int64) for person, ends in found.items()}


def track_samples(track: Track, looking: Mapping[str, Int64[np.ndarray, "s 2"]]) -> TrackSamples:
    """The samples of a track: its every 13th frame, from the first that can be used.

    Args:
        track: As annotated.
        looking: From `looking_frames`.
    """
    frames, boxes, dropped = _usable(track)
    if not len(frames):
        return _none(dropped)
    sampled = np.arange(frames[0], frames[-1] + 1, STRIDE)
    windows = sampled[:, None] + np.arange(-REACH, REACH + 1)
    spread = np.stack([np.interp(windows, frames, side) for side in boxes.T], axis=-1)
    segments = looking.get(track.person, np.empty((0, 2), dtype=np.int64))
    looks = (sampled[:, None] >= segments[:, 0]) & (sampled[:, None] <= segments[:, 1])
    return TrackSamples(
        frames=sampled,
        windows=windows,
        inside=(windows >= frames[0]) & (windows <= frames[-1]),
        boxes=spread,
        positive=np.any(looks, axis=1),
        interpolated=~np.isin(sampled, frames),
        dropped=dropped,
    )


def _none(dropped: Mapping[str, Int64[np.ndarray, " _"]]) -> TrackSamples:
    none = np.empty(0, dtype=np.int64)
    windows = np.empty((0, 2 * REACH + 1), dtype=np.int64)
    boxes = np.empty((*windows.shape, 4))
    empty = none.astype(bool)
    return TrackSamples(none, windows, windows.astype(bool), boxes, empty, empty, dropped)


def _usable(
    track: Track,
) -> tuple[Int64[np.ndarray, " k"], Float64[np.ndarray, "k 4"], dict[str, Int64[np.ndarray, " _"]]]:
    """Frames in ascending order with their boxes as xyxy, and the frames dropped by reason."""
    frames, (x, y, width, height) = track.frames, track.boxes.T
    faults = {
        "face of the camera wearer": np.full(len(frames), track.wearer),
        "face without a person": np.full(len(frames), not track.person),
        "frame number 0 or less": frames <= 0,
        "box without width or height": (width <= 0) | (height <= 0),
    }
    good = np.ones(len(frames), dtype=bool)
    dropped = {}
    for reason, fault in faults.items():
        dropped[reason] = frames[good & fault]  # each face counts once, by its first fault
        good &= ~fault
    order = np.flatnonzero(good)[np.argsort(frames[good], kind="stable")]
    repeated = np.diff(frames[order], prepend=-1) == 0
    dropped["frame twice in its track"] = frames[order[repeated]]
    order = order[~repeated]
    boxes = np.stack([x, y, x + width, y + height], axis=-1)
    return frames[order], boxes[order], {k: v for k, v in dropped.items() if len(v)}


def hold(usable: Bool[np.ndarray, "k f"]) -> Int64[np.ndarray, "k f"]:
    """For each place of a window the nearest usable one towards the middle, which must be usable.

    Example:
        >>> hold(np.array([[False, False, True, True, False]])).tolist()
        [[2, 2, 2, 3, 3]]
    """
    width = usable.shape[1]
    places = np.tile(np.arange(width), (len(usable), 1))
    middle = width // 2
    for step in range(1, middle + 1):
        for place, inner in (
            (middle - step, middle - step + 1),
            (middle + step, middle + step - 1),
        ):
            places[:, place] = np.where(usable[:, place], place, places[:, inner])
    return places
