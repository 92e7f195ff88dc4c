"""Sides of pictures, read from the heads of their files.

Some data sets give boxes in pixels without saying of how many. The heads of ordinary JPEG and PNG
files are read here, in tens of microseconds each; whatever is out of the ordinary (other formats,
damaged files, orientations in odd places) is left to Pillow, so that the answers are Pillow's.
"""

import os
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from degradation.errors import DataError
from degradation.pixels import picture_size

__all__ = ["picture_sizes"]

THREADS = 16
"""More than cores: on a network disk most of the time is waiting."""
PART = 256
FIRST, MORE = 4096, 1 << 18
"""Bytes read of a JPEG at first, and of one whose metadata are longer than that."""

_OPEN = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended, progressive: what Pillow reads
_TABLES = frozenset((0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)))  # segments to step over
_PNG, _TEXTS = b"\x89PNG\r\n\x1a\n", (b"eXIf", b"tEXt", b"zTXt", b"iTXt")


def picture_sizes(root: Path, paths: Sequence[str]) -> Int64[np.ndarray, "n 2"]:
    """Width and height of each picture, upright (after its EXIF orientation); -1 if unreadable.

    Only the heads are looked at: a picture that is cut off after its head has a size.

    Args:
        root: Data root.
        paths: Relative to it; must have passed `degradation.tasks.disk.Pictures.faults`.
    """
    base = os.path.join(root, "")
    parts = [paths[start : start + PART] for start in range(0, len(paths), PART)]

    def sizes(part: Sequence[str]) -> list[tuple[int, int]]:
        return [_size(base + path) for path in part]

    with ThreadPoolExecutor(THREADS) as pool:
        found = [size for one in pool.map(sizes, parts) for size in one]
    return np.array(found, dtype=np.int64).reshape(len(paths), 2)


def _size(path: str) -> tuple[int, int]:
    try:
        file = os.open(path, _OPEN)
    except (OSError, ValueError):  # ValueError: a null character
        return (-1, -1)
    try:
        head = os.read(file, FIRST)
        size = None
        if head.startswith(b"\xff\xd8\xff"):
            size = _jpeg(head)
            if size is None and len(head) == FIRST:
                size = _jpeg(head + os.read(file, MORE))
        elif head.startswith(_PNG):
            size = _png(file, head)
    except OSError:  # a folder
        return (-1, -1)
    finally:
        os.close(file)
    if size is not None:
        return size
    try:
        return picture_size(Path(path))
    except DataError:
        return (-1, -1)


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """Size of a JPEG file with one frame header; None if that takes more than this to say.

    The segments up to the scan are stepped over (ITU T.81, annex B): marker, then length.
    """
    size, orientation, place, end = None, 0, 2, len(head)
    while place + 10 <= end:
        if head[place] != 0xFF:
            return None
        marker = head[place + 1]
        length = head[place + 2] << 8 | head[place + 3]
        if marker == 0xDA:
            if size is None or 0 in size or place + 2 + length > end:
                return None
            return size[::-1] if orientation > 4 else size
        if marker in _FRAMES:
            bits, height, width, components = struct.unpack_from(">BHHB", head, place + 4)
            if size is not None or bits != 8 or components not in (1, 3, 4):
                return None
            size = (width, height)
        elif marker not in _TABLES:
            return None
        elif marker == 0xE1:
            segment = head[place + 4 : place + 2 + length]
            if place + 2 + length > end or orientation:
                return None
            if segment.startswith(b"Exif\0\0"):
                orientation = _exif_orientation(segment[6:])
                if not orientation:
                    return None
            elif b"rientation" in segment:  # XMP, which counts where EXIF says nothing
                return None
        place += 2 + length
    return None


def _exif_orientation(tiff: bytes) -> int:
    """The orientation in the first directory of EXIF data, 1 to 8; 0 if it is not to be had."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return 0
    (place,) = struct.unpack_from(f"{order}I", tiff, 4)
    if place + 2 > len(tiff):
        return 0
    (count,) = struct.unpack_from(f"{order}H", tiff, place)
    if place + 2 + 12 * count > len(tiff):
        return 0
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind, values, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
        if tag == 0x0112:
            return value if (kind, values) == (3, 1) and 1 <= value <= 8 else 0
    return 0


def _png(file: int, head: bytes) -> tuple[int, int] | None:
    """Size of a PNG file without metadata that could turn it; None if that takes more to say.

    All its chunks are stepped over, since they may stand after the pixels.
    """
    if head[8:16] != b"\0\0\0\rIHDR" or zlib.crc32(head[12:29]).to_bytes(4, "big") != head[29:33]:
        return None
    size = struct.unpack_from(">II", head, 16)
    place = 33
    while True:
        chunk = head[place : place + 8] if place + 8 <= len(head) else os.pread(file, 8, place)
        if len(chunk) < 8 or chunk[4:] in _TEXTS or 0 in size:
            return None
        if chunk[4:] == b"IEND":
            return size
        place += 12 + int.from_bytes(chunk[:4], "big")
