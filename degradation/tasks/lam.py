"""Ego4D looking-at-me: does this person look at the camera wearer, over seven frames of the face?

Read from the annotation as it is downloaded; of what the owners' scripts derive from it, only the
pictures are used if they are there. The rules are those of their code (EGO4D/social-interactions,
branch lam):

* The first person of a clip is the camera wearer and has no samples.
* A face-frame is positive if it lies in a looking segment of its person, both ends included. A
  clip without segments is negative throughout. `is_at_me` is not looked at: it is false throughout
  the release, and its maintainers say to take all segments as true (facebookresearch/Ego4d,
  issue 52).
* Face-frames of no width or height, of frame 0 or without a person are dropped. Gaps inside a
  track are filled by linear interpolation of the box, however long, and such frames may be samples
  as well as neighbours.
* Every 13th frame of a track is a sample, from its first one on, in both splits: with its box and
  those of three frames on either side. Neighbours that are missing (beyond the ends of the track,
  no picture, a face outside it) are replaced by the next one towards the middle.

Unlike there, a box that begins left of or above the picture is cut off, not moved. Rows of a clip
are in the order of their frames, whatever the track, so that a video is read once.

Picture n is `img_%05d.jpg` number n, or the n-th of the video at 30 a second; both count from 1.
The owners take frame number n of the annotation for picture n, which may be one frame early if
the annotation counts from 0; `frame_offset` shifts it.

Rows left out are counted by face-frame, before every 13th is taken where the fault is one of the
annotation; whole clips and looking segments count as one each.
"""

import functools
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64
from PIL.Image import Image

from degradation.errors import DataError
from degradation.pixels import inside_root, open_picture
from degradation.tasks.about import About
from degradation.tasks.disk import NO_FILE, Pictures, data_folder, read_bytes
from degradation.tasks.ego4d import Clip, read_clips
from degradation.tasks.lam_tracks import (
    REACH,
    STRIDE,
    TrackSamples,
    hold,
    looking_frames,
    track_samples,
)
from degradation.tasks.sizes import picture_sizes
from degradation.tasks.task import Arm, LeftOut, Rows, Task, TaskSpec
from degradation.tasks.video import VideoPictures, video_facts

__all__ = ["ABOUT", "FRAME_OFFSET", "lam_task"]

FRAME_OFFSET = 0
"""Number of a picture less the annotation's number of its frame."""

_OWNERS = {"train": "train", "test": "val"}  # their own test labels are hidden
_OUTSIDE = "face outside the picture"
_MOST_OUTSIDE = 0.2  # of all samples: more are a matter of the pictures, not of single boxes
_PLAUSIBLE = (0.05, 0.30)  # positives; 0.136 by the class weights of the owners' code

_log = logging.getLogger(__name__)

ABOUT = About(
    title="Ego4D Looking-At-Me",
    paper="Grauman et al., Ego4D: Around the World in 3,000 Hours of Egocentric Video, CVPR 2022 "
    "(arXiv 2110.07058)",
    page="https://ego4d-data.org",
    access="The Ego4D licence must be signed; the download keys come by mail and last for days.",
    licence="Ego4D licence agreement: research and commercial use as it says, no redistribution, "
    "no identification of people.",
    layout={
        "json/av_train.json": "annotation of the training clips, as downloaded",
        "json/av_val.json": "annotation of the validation clips, as downloaded",
        "split/*.list": "train.list and val.list of EGO4D/social-interactions, branch lam; without "
        "them, all clips of each annotation file",
        "video_imgs/*/img_*.jpg": "pictures by clip at 30 a second, as scripts/extract_frame.sh "
        "of the same repository unpacks them; or else",
        "videos/*.mp4": "clips, as its scripts/download_clips.py cuts them",
    },
    notes=(
        "The split test is the official validation set: labels of the official test are hidden.",
        "The lists name 385 and 50 clips; 4 training clips are in neither and are left out.",
        "About 14 % of the face-frames look at the viewer, so the majority is right in 86 %.",
        "Boxes are in pixels: pictures and videos must have the size of the downloaded ones.",
        "Pictures from a video need the extra sdiag[video].",
    ),
)


def lam_task(name: str, *, data_root: Path | None = None, frame_offset: int = FRAME_OFFSET) -> Task:
    """The task `lam` of kind `track`, with f = 7 pictures a row.

    Args:
        name: Its name.
        data_root: The folder `data` of the owners' code, see `ABOUT.layout`.
        frame_offset: Number of a picture less the annotation's number of its frame.

    Raises:
        ConfigError: No data root was given.
        DataError: It is no folder.
    """
    folder = data_folder(data_root, name)
    spec = TaskSpec(
        name=name,
        kind="track",
        social=True,
        label_sets={"looking": ("elsewhere", "viewer")},
        roles=("face",),
        regions=("image",),
        metrics={
            "looking": (
                "binary_mean_average_precision",
                "average_precision:viewer",
                "accuracy",
            )
        },
        cluster="clip",
        source=f"Ego4D av_train.json and av_val.json (official validation as test), every "
        f"{STRIDE}th face-frame, picture number = frame number + {frame_offset}",
        balanced=True,
        arms=(Arm("unweighted", ("image",)),),
        crop="face",
    )
    read = functools.partial(_read, folder=folder, offset=frame_offset)
    opener = functools.partial(_open, folder=folder, videos=VideoPictures(folder))
    return Task(spec, tuple(_OWNERS), read=functools.cache(read), open=opener)


def _open(reference: str, *, folder: Path, videos: VideoPictures) -> Image:
    path, mark, number = reference.partition("#")
    return videos(path, int(number)) if mark else open_picture(path, root=folder)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The k rows of one clip, as the columns of `Rows`."""

    ids: np.ndarray
    pictures: np.ndarray
    boxes: Float32[np.ndarray, "k f 4"]
    labels: Int64[np.ndarray, " k"]
    clusters: np.ndarray
    interpolated: int


def _read(split: str, *, folder: Path, offset: int) -> Rows:
    if split not in _OWNERS:
        raise DataError(f"Expected one of the splits {', '.join(_OWNERS)}, found {split!r}.")
    owners = _OWNERS[split]
    path = folder / "json" / f"av_{owners}.json"
    if (folder / "data" / "json").is_dir() and not path.exists():
        raise DataError(
            f"Expected the file {path}, found a folder `data` instead. Give {folder / 'data'} as "
            "--data-root."
        )
    listed = _listed(folder, owners)
    parts: list[_Part] = []
    left_out: list[LeftOut] = []
    seen, segments = set(), 0
    for clip in read_clips(path, owners):
        seen.add(clip.uid)
        segments += len(clip.segments)
        if listed is not None and clip.uid not in listed:
            left_out.append(LeftOut(clip.uid, "clip is not in the list of the split"))
        elif part := _part(clip, folder, offset, left_out):
            parts.append(part)
    left_out += [
        LeftOut(uid, "clip of the list is not annotated") for uid in listed or () if uid not in seen
    ]
    if not segments:
        raise DataError(
            f"Expected looking segments in {path}, found none in {len(seen)} clips. Put the "
            "annotated file there, not the one of the test clips."
        )
    rows = _joined(parts, left_out)
    _check(rows, sum(part.interpolated for part in parts), path)
    return rows


def _listed(folder: Path, owners: str) -> dict[str, None] | None:
    """The clips of a split list, in order; None if there is no list."""
    lists = {}
    for name in _OWNERS.values():
        path = folder / "split" / f"{name}.list"
        if path.exists():
            lines = read_bytes(path).decode("utf-8-sig", errors="replace").splitlines()
            lists[name] = dict.fromkeys(filter(None, map(str.strip, lines)))
    first, second = (lists.get(name, {}) for name in _OWNERS.values())
    if both := first.keys() & second.keys():
        raise DataError(
            f"Expected each clip in one split list of {folder / 'split'}, found {len(both)} in "
            f"both, first {min(both)!r}. Take the lists as their owners ship them."
        )
    return lists.get(owners)


def _joined(parts: list[_Part], left_out: list[LeftOut]) -> Rows:
    def column(name: str, empty: np.ndarray) -> np.ndarray:
        return np.concatenate([empty, *(getattr(part, name) for part in parts)])

    wide = 2 * REACH + 1
    ids = column("ids", np.empty(0, dtype=object))
    return Rows(
        ids=ids,
        pictures=column("pictures", np.empty((0, wide), dtype=object)),
        boxes={"face": column("boxes", np.empty((0, wide, 4), dtype=np.float32))},
        labels={"looking": column("labels", np.empty(0, dtype=np.int64))},
        points=np.empty((len(ids), 0, 2), dtype=np.float32),
        clusters=column("clusters", np.empty(0, dtype=object)),
        left_out=tuple(left_out),
    )


def _check(rows: Rows, interpolated: int, path: Path) -> None:
    """Check that there are rows, and say what is noteworthy about them."""
    if not len(rows):
        counts = Counter(one.reason for one in rows.left_out)
        why = ", ".join(f"{count} x {reason}" for reason, count in counts.most_common(5))
        raise DataError(
            f"Expected samples in {path}, found none that can be used ({why or 'no faces'}). Put "
            "clips into video_imgs/ or videos/ beside json/."
        )
    outside = sum(one.reason == _OUTSIDE for one in rows.left_out)
    if outside > _MOST_OUTSIDE * (outside + len(rows)):
        raise DataError(
            f"Expected the boxes of {path} inside the pictures, found {outside} of "
            f"{outside + len(rows)} outside. They are in pixels of the clips as they were "
            "downloaded: unpack or cut them again without scaling."
        )
    share = float(np.mean(rows.labels["looking"]))
    _log.info("%s: %d of %d samples have an interpolated box", path.name, interpolated, len(rows))
    if not _PLAUSIBLE[0] <= share <= _PLAUSIBLE[1]:
        _log.warning(
            "%s: %.1f %% of %d samples look at the viewer, where about 14 %% are usual; is the "
            "annotation whole, and are the segments those of looking?",
            path.name, 100 * share, len(rows),
        )  # fmt: skip


# ------------------------------------------------------------------ one clip


def _part(clip: Clip, folder: Path, offset: int, left_out: list[LeftOut]) -> _Part | None:
    """The rows of a clip, if it has samples; adds to `left_out`."""
    _leave_out_segments(clip, left_out)
    samples = _samples(clip, left_out)
    if not samples:
        return None

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(one, name) for one in samples.values()])[order]

    counts = [len(one.frames) for one in samples.values()]
    tracks = np.repeat(np.arange(len(samples)), counts)
    order = np.lexsort((tracks, np.concatenate([one.frames for one in samples.values()])))
    windows, inside = column("windows") + offset, column("inside")
    pictures = _pictures(folder, clip.uid, np.unique(windows[inside]))
    places = np.searchsorted(pictures.numbers, np.where(inside, windows, pictures.numbers[0]))
    boxes = np.clip(column("boxes") / np.tile(pictures.size, 2), 0, 1).astype(np.float32)
    faults = pictures.faults[places]
    shown = (boxes[..., 0] < boxes[..., 2]) & (boxes[..., 1] < boxes[..., 3])
    faults[~shown & (faults == "")] = _OUTSIDE
    names = np.array(list(samples), dtype=object)[tracks[order]]
    ids = np.array(
        [
            f"{clip.uid}:{name}:{frame}"
            for name, frame in zip(names, column("frames").tolist(), strict=True)
        ],
        dtype=object,
    )
    good = faults[:, REACH] == ""
    left_out += map(LeftOut, ids[~good], faults[~good, REACH])
    held = hold((inside & (faults == ""))[good])
    return _Part(
        ids=ids[good],
        pictures=pictures.references[np.take_along_axis(places[good], held, axis=1)],
        boxes=np.take_along_axis(boxes[good], held[..., None], axis=1),
        labels=column("positive")[good].astype(np.int64),
        clusters=np.full(good.sum(), clip.uid, dtype=object),
        interpolated=int(column("interpolated")[good].sum()),
    )


def _samples(clip: Clip, left_out: list[LeftOut]) -> dict[str, TrackSamples]:
    """The samples of the tracks that have some, by track id; adds to `left_out`."""
    looking = looking_frames(clip.segments)
    found: dict[str, TrackSamples] = {}
    used: set[str] = set()
    dropped: Mapping[str, np.ndarray]
    for track in clip.tracks:
        if track.id in used:
            dropped = {"track id twice in its clip": track.frames}
        else:
            used.add(track.id)
            found[track.id] = track_samples(track, looking)
            dropped = found[track.id].dropped
        left_out += [
            LeftOut(f"{clip.uid}:{track.id}:{frame}", reason)
            for reason, frames in dropped.items()
            for frame in frames.tolist()
        ]
    return {name: one for name, one in found.items() if len(one.frames)}


def _leave_out_segments(clip: Clip, left_out: list[LeftOut]) -> None:
    """Add the looking segments that make no face-frame positive, as far as they themselves tell."""
    tracked = {track.person for track in clip.tracks if not track.wearer}
    for number, one in enumerate(clip.segments):
        if not one.person:
            reason = "looking segment without a person"
        elif one.person not in tracked:
            reason = "looking segment of a person without a face"
        elif one.last < one.first:
            reason = "looking segment that ends before it starts"
        else:
            continue
        left_out.append(LeftOut(f"{clip.uid}:segment {number}", reason))


@dataclass(frozen=True, slots=True, eq=False)
class _Pictures:
    """The p pictures of a clip that are needed.

    Attributes:
        numbers: Ascending, shape (p,).
        references: As `Task.open` understands them, object array of str, shape (p,).
        faults: Why each cannot be opened, empty if it can, object array of str, shape (p,).
        size: Width and height of all.
    """

    numbers: Int64[np.ndarray, " p"]
    references: np.ndarray
    faults: np.ndarray
    size: tuple[int, int]


def _pictures(folder: Path, uid: str, numbers: Int64[np.ndarray, " p"]) -> _Pictures:
    """The pictures of a clip: unpacked ones, or if there are none of these, those of its video."""
    images = [f"video_imgs/{uid}/img_{number:05d}.jpg" for number in numbers]
    faults = np.array(Pictures(folder).faults(images), dtype=object)
    if (faults != NO_FILE).any():
        there = [path for path, fault in zip(images, faults, strict=True) if not fault]
        size = _first_size(folder, there)
        if there and size is None:
            faults[:] = "no picture of the clip can be read"
        return _Pictures(numbers, np.array(images, dtype=object), faults, size or (1, 1))
    video, size = f"videos/{uid}.mp4", (1, 1)
    try:
        if inside_root(video, folder).is_file():
            facts = video_facts(folder / video)
            size = facts.width, facts.height
            last = numbers[-1] if facts.pictures is None else facts.pictures
            faults = np.where(numbers <= last, "", "video ends before the frame").astype(object)
            faults[numbers < 1] = "video starts after the frame"
        else:
            faults[:] = "neither pictures nor a video of the clip"
    except DataError:
        faults[:] = "video cannot be read"
    references = np.array([f"{video}#{number}" for number in numbers], dtype=object)
    return _Pictures(numbers, references, faults, size)


def _first_size(folder: Path, paths: list[str]) -> tuple[int, int] | None:
    """Width and height of the first picture whose head can be read."""
    for path in paths:
        width, height = picture_sizes(folder, [path])[0].tolist()
        if width > 0:
            return width, height
    return None
