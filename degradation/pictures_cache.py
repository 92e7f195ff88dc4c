"""Pictures as encoders see them, on disk, so that a second pair of the same size decodes nothing.

One file for each picture, named by what decides its pixels: the geometry, the task, where its rows
come from, the picture's reference, and the box if it is cut to one. It holds the sides of the
picture as it was opened, the hash of the pixels and the pixels themselves, uncompressed:
h * w * 3 bytes, 0.4 MB at 378. What is torn or damaged does not fit its hashes and is decoded
again, so files are not synced.
"""

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from degradation.cache.schema import pictures_folder, plain
from degradation.errors import CacheError
from degradation.geometry import Geometry
from degradation.pixels import pixel_hash
from degradation.placement import Placement
from degradation.protocol import VERSION
from degradation.tasks.task import TaskSpec
from degradation.views import place

__all__ = ["PicturesCache", "View", "pictures_cache"]

_HASH_BYTES = 16
_SIDES = np.dtype("<u4")  # height and width of the picture, between the two hashes
_HEAD_BYTES = 2 * _HASH_BYTES + 2 * _SIDES.itemsize


class View(NamedTuple):
    """One picture as encoders see it.

    Attributes:
        pixels: Its pixels.
        placement: Where the picture lies in them.
        hash: Hash of the pixels.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    placement: Placement
    hash: bytes


@dataclass(frozen=True, slots=True)
class PicturesCache:
    """Pictures of one task as encoders see them; made by `pictures_cache`.

    Attributes:
        folder: Where they are.
        geometry: How they were made; with a size.
    """

    folder: Path
    geometry: Geometry

    def path(self, reference: str, box: Float32[np.ndarray, "4"] | None = None) -> Path:
        """File of a picture; two hundred and fifty-six folders, since a task may have a million.

        Args:
            reference: As the task names it.
            box: Box that it is cut to.
        """
        facts = reference.encode() + (b"" if box is None else b"\x00" + box.tobytes())
        name = hashlib.sha256(facts).hexdigest()[:32]
        return self.folder / name[:2] / name[2:]

    def get(self, reference: str, box: Float32[np.ndarray, "4"] | None = None) -> View | None:
        """A picture; None if it cannot be read or is damaged. Arguments as for `path`."""
        try:
            data = self.path(reference, box).read_bytes()
        except OSError:
            return None
        head, body = data[_HASH_BYTES:_HEAD_BYTES], data[_HEAD_BYTES:]
        if pixel_hash(np.frombuffer(head, np.uint8)) != data[:_HASH_BYTES]:
            return None
        stored = head[:_HASH_BYTES]
        height, width = np.frombuffer(head, _SIDES, offset=_HASH_BYTES).tolist()
        placement = place(width, height, self.geometry, box=box)
        if len(body) != math.prod(placement.shape) * 3:
            return None
        pixels = np.frombuffer(body, np.uint8).reshape(*placement.shape, 3)
        return View(pixels, placement, stored) if pixel_hash(pixels) == stored else None

    def put(self, reference: str, view: View, box: Float32[np.ndarray, "4"] | None = None) -> None:
        """Keep a picture. Arguments as for `path`.

        Raises:
            CacheError: The disk is full or cannot be written.
        """
        path = self.path(reference, box)
        head = view.hash + np.array(view.placement.picture, _SIDES).tobytes()
        check = pixel_hash(np.frombuffer(head, np.uint8))
        # Two rows may share a picture, and two runs a task: each writer has its own file.
        part = path.with_name(f"{path.name}.{os.getpid()}-{get_ident()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(check + head + view.pixels.tobytes())
            os.replace(part, path)
        except OSError as error:
            raise CacheError(
                f"Could not keep a picture in {self.folder} ({error.strerror or error}). Make "
                "room, or leave out --cache-pictures and delete this folder."
            ) from error


def pictures_cache(root: Path, spec: TaskSpec, geometry: Geometry) -> PicturesCache:
    """The pictures of a task as encoders see them, below `<root>/pictures/`.

    Args:
        root: Root of all caches.
        spec: The task, for its name and source.
        geometry: How pictures become pixels; with a size.
    """
    facts = json.dumps([spec.name, spec.source, VERSION, plain(geometry)], sort_keys=True)
    name = hashlib.sha256(facts.encode()).hexdigest()[:16]
    return PicturesCache(pictures_folder(root) / name, geometry)
