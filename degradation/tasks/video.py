"""Single pictures out of MP4 files, by number, as exactly as if all had been unpacked.

Pictures are numbered from 1 at 30 a second, as `ffmpeg -i X.mp4 -vf fps=30 img_%05d.jpg` numbers
the files that it writes: picture n is the last frame of the video whose time since the first one,
rounded to whole thirtieths of a second (a half upwards), is at most n - 1. In a video of constant
30 frames a second this is its n-th frame.

Needs PyAV, the optional extra `video`.
"""

import math
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from PIL import Image

from degradation.errors import ConfigError, DataError
from degradation.geometry import MAX_PIXELS
from degradation.pixels import inside_root

__all__ = ["RATE", "VideoFacts", "VideoPictures", "video_facts"]

RATE = 30
"""Pictures a second."""

_KEPT = 8
"""Frames kept of an open video: the seven of a row may be asked for again by the next row, and one
more tells that the seventh is the last of its thirtieth of a second."""
_OPEN = 2
"""Videos that a thread keeps open; rows come clip by clip."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What the head of a video says.

    Attributes:
        width: In pixels.
        height: In pixels.
        pictures: How many pictures it has at 30 a second; None where the head is not exact.
    """

    width: int
    height: int
    pictures: int | None


def video_facts(path: Path) -> VideoFacts:
    """Sides and length of a video; no picture is decoded.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: It is missing, no MP4, cut off or without pictures.
    """
    with _explained(str(path)), _opened(path) as container:
        stream = _stream(container)
        # At a variable rate, the length in the head leaves out how late the last frame is shown.
        constant = stream.duration and stream.average_rate == stream.base_rate
        pictures = _thirtieths(stream.duration * stream.time_base) if constant else None
        return VideoFacts(stream.width, stream.height, pictures)


@dataclass(slots=True)
class VideoPictures:
    """Opens pictures of the videos below a root; may be called from many threads.

    Each thread has open videos of its own, at most two; they are closed when it ends. Asking in
    ascending order is fast: a video is wound forward only where that saves decoding.

    Attributes:
        root: Which no video may leave, not even by a link.
    """

    root: Path
    _own: threading.local = field(default_factory=threading.local, init=False, repr=False)

    def __call__(self, path: str, number: int) -> Image.Image:
        """Picture `number`, counted from 1, of the video at `path` below the root; RGB.

        Raises:
            ConfigError: PyAV is not installed.
            DataError: There is no such video or picture, or it is damaged or not upright.
        """
        if not hasattr(self._own, "shelf"):
            self._own.shelf = _Shelf()
        inside_root(path, self.root)
        return self._own.shelf.picture(self.root / path, number)


class _Shelf:
    """The open videos of one thread, those used last at the end."""

    def __init__(self) -> None:
        self._reels: OrderedDict[Path, _Reel] = OrderedDict()
        weakref.finalize(self, _close, self._reels)  # PyAV's own references go in a circle

    def picture(self, path: Path, number: int) -> Image.Image:
        with _explained(f"{path}#{number}"):
            reel = self._reels.pop(path, None) or _Reel(path)
            try:
                picture = reel.picture(number)
            except BaseException:
                reel.close()  # where it stands is not known any more
                raise
        self._reels[path] = reel
        if len(self._reels) > _OPEN:
            self._reels.popitem(last=False)[1].close()
        return picture


def _close(reels: "OrderedDict[Path, _Reel]") -> None:
    for reel in reels.values():
        reel.close()


class _Fault(Exception):
    """What was expected of a video and what was found."""


class _Decoded(NamedTuple):
    """A frame and the picture, counted from 0, from which on it is shown; at the end, no frame."""

    slot: int
    frame: Any


class _Reel:
    """One open video and the frames decoded last, in order of time, each in a slot of its own."""

    def __init__(self, path: Path) -> None:
        self._container = _opened(path)
        self._stream = _stream(self._container)
        decoder = self._stream.codec_context
        decoder.thread_count = 1  # whoever asks has threads of its own
        decoder.options = {"err_detect": "explode"}  # or it paints over what is damaged
        self._rate = RATE * self._stream.time_base  # slots in a unit of the video's time
        self._kept: deque[_Decoded] = deque(maxlen=_KEPT)
        self._origin: int | None = None
        self._end = 0
        self._frames = self._decoded()
        self._advance()

    def close(self) -> None:
        self._kept.clear()
        self._frames.close()
        self._container.close()

    def picture(self, number: int) -> Image.Image:
        """Picture `number`, counted from 1."""
        slot = number - 1
        if slot < 0:
            raise _Fault("Expected a picture, counted from 1, found a lower number")
        self._wind(slot)
        while self._kept[-1].slot <= slot:  # only the next frame tells that this one is the last
            if self._kept[-1].frame is None:
                raise _Fault("Expected a video as long as its annotation, found its end before")
            self._advance()
        frame = next(one.frame for one in reversed(self._kept) if one.slot <= slot)
        if frame.is_corrupt:
            raise _Fault("Expected a whole picture, found a damaged one")
        if frame.rotation % 360:
            raise _Fault(f"Expected an upright video, found one turned by {frame.rotation} degrees")
        return frame.to_image()

    def _wind(self, slot: int) -> None:
        """Go to a key frame at or before `slot`, unless what is here leads there as well."""
        first, last = self._kept[0], self._kept[-1]
        if first.slot <= slot < last.slot or (slot >= last.slot and last.frame is None):
            return
        index = self._stream.index_entries
        time = self._origin + math.floor(slot / self._rate)
        key = index.search_timestamp(time)
        if first.slot <= slot and (key < 0 or index[key].timestamp <= last.frame.pts):
            return
        self._start_at(time)
        while self._kept[0].slot > slot:  # a key frame may be shown later than it is stored
            if key < 0:
                raise _Fault("Expected a key frame before the picture, found none")
            self._start_at(index[key].timestamp - 1)
            key = index.search_timestamp(index[key].timestamp - 1)

    def _start_at(self, time: int) -> None:
        """Decode the last key frame that is stored at or before a time of the file."""
        self._frames.close()
        self._container.seek(time, stream=self._stream)
        self._kept.clear()
        self._frames = self._decoded()
        self._advance()

    def _decoded(self) -> Generator[Any, None, None]:
        """The frames from the next key frame on, in order of time."""
        first = None
        for packet in self._container.demux(self._stream):
            if first is None and packet.is_keyframe:
                first = packet.pts
            # What is stored after a key frame and shown before it leans on what was not decoded.
            if packet.pts is None or (first is not None and packet.pts >= first):
                yield from packet.decode()

    def _advance(self) -> None:
        """Decode one more frame, or note the end."""
        frame = next(self._frames, None)
        if frame is None:
            if self._origin is None:
                raise _Fault("Expected a video, found no picture in it")
            self._kept.append(_Decoded(self._end, None))
            return
        if frame.pts is None:
            raise _Fault("Expected a video whose frames have times, found one without")
        if self._origin is None:
            self._origin = frame.pts
        slot = _thirtieths((frame.pts - self._origin) * self._stream.time_base)
        if self._kept and self._kept[-1].slot == slot:
            self._kept.pop()  # of several frames in a slot, the last is shown
        self._kept.append(_Decoded(slot, frame))
        after = frame.pts + (frame.duration or 1 / self._rate)
        self._end = _thirtieths((after - self._origin) * self._stream.time_base)


def _thirtieths(seconds: Fraction) -> int:
    """Whole thirtieths of a second, a half upwards, as ffmpeg's filter `fps` rounds."""
    return math.floor(seconds * RATE + Fraction(1, 2))


def _av() -> ModuleType:
    try:
        import av  # here, since it is optional and only videos need it
    except ImportError as error:
        raise ConfigError(
            "Expected PyAV, which decodes videos, found that it is not installed. Install "
            "`sdiag[video]`, or unpack the videos into pictures with ffmpeg."
        ) from error
    return av


def _opened(path: Path) -> Any:
    # The format is named, since others can name further files and addresses to be opened.
    return _av().open(str(path), format="mp4")


def _stream(container: Any) -> Any:
    """The video stream, after checking that its pictures can be held."""
    stream = next(iter(container.streams.video), None)
    if stream is None or not 0 < stream.width * stream.height <= MAX_PIXELS:
        found = "none" if stream is None else f"{stream.width} x {stream.height}"
        raise _Fault(f"Expected a video of at most {MAX_PIXELS:,} pixels, found {found}")
    return stream


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """What goes wrong, as errors of ours."""
    failure = _av().error.FFmpegError
    try:
        yield
    except (_Fault, failure) as error:
        what = f"Expected a whole MP4 video, found: {getattr(error, 'strerror', '') or error}"
        raise DataError(
            f"{error if isinstance(error, _Fault) else what}: {where}. Cut or download it again, "
            "or unpack it with ffmpeg."
        ) from error
