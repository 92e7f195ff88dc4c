"""One sample as both encoders see it: opened, scaled and hashed once.

What can be read off the pixels without an encoder is computed here too, since this is the part of
an extraction that runs in many threads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, UInt8

from degradation.errors import CacheError, DataError
from degradation.geometry import Geometry
from degradation.pictures import picture_features
from degradation.pictures_cache import PicturesCache, View
from degradation.pixels import pixel_hash, to_rgb
from degradation.placement import Placement
from degradation.tasks.task import Rows, Task
from degradation.views import view

__all__ = ["Reader", "Sample"]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One sample as read, or the reason why it cannot be.

    Attributes:
        row: Its position in the split.
        pixels: The pixels of its frames, shape (f, h, w, 3); None if they cannot be read.
        placements: Where the picture of each frame lies in them.
        hash: Hash of all of them.
        features: Features without an encoder, by dataset name.
        reason: Why there are no pixels.
    """

    row: int
    pixels: UInt8[np.ndarray, "f h w 3"] | None = None
    placements: tuple[Placement, ...] = ()
    hash: bytes = b""
    features: Mapping[str, Float32[np.ndarray, "1 1 _"]] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """Opens the pictures of a split; may be called from many threads.

    Attributes:
        task: The task, which opens pictures.
        rows: The split as it was read.
        geometry: How pictures become pixels; with a size.
        features: Whether features without an encoder are wanted.
        cache: Pictures on disk as encoders see them; None for none.
        check_every: Every so many rows, the pictures are opened although they are in the cache,
            and compared.
    """

    task: Task
    rows: Rows
    geometry: Geometry
    features: bool = True
    cache: PicturesCache | None = None
    check_every: int = 256

    def __call__(self, row: int) -> Sample:
        """The sample at a position of the split.

        Raises:
            CacheError: A picture on disk is not that of the data root any more.
        """
        views = []
        trust = row % self.check_every != 0
        for frame, reference in enumerate(self.rows.pictures[row]):
            try:
                views.append(self._view(reference, self._box(row, frame), trust=trust))
            except DataError as error:
                # Without the name, so that pictures with the same fault are counted together.
                return Sample(row, reason=str(error).replace(reference, "<picture>"))
        placements = tuple(one.placement for one in views)
        if reason := self._lost(row, placements):
            return Sample(row, reason=reason)
        if len({one.pixels.shape for one in views}) > 1:
            return Sample(
                row, reason=f"Geometry {self.geometry.kind} gives its pictures different shapes."
            )
        pixels = np.stack([one.pixels for one in views])
        hashes = b"".join(one.hash for one in views)
        if len(views) > 1:
            hashes = pixel_hash(np.frombuffer(hashes, dtype=np.uint8))
        features = picture_features(pixels[None]) if self.features else {}
        return Sample(row, pixels, placements, hashes, features)

    def _box(self, row: int, frame: int) -> Float32[np.ndarray, "4"] | None:
        """The box that the picture is cut to; None without a cut."""
        role = self.geometry.crop
        return self.rows.boxes[role][row, frame] if role else None

    def _lost(self, row: int, placements: tuple[Placement, ...]) -> str:
        """What the sample needs and has, but no array shows, as a reason; empty if nothing."""
        if all(one.unmoved for one in placements):
            return ""
        for role in self.task.spec.regions:
            if role not in self.rows.boxes:
                continue
            boxes = self.rows.boxes[role][row]
            moved = [one.boxes_to_array(boxes[[f]]) for f, one in enumerate(placements)]
            if np.isfinite(boxes).all(axis=1).any() and np.isnan(moved).any(axis=(1, 2)).all():
                return f"Geometry {self.geometry.kind} cuts the whole box {role!r} away."
        points = self.rows.points[row]
        if np.isfinite(points).all(axis=1).any() and not placements[0].shows(points).any():
            return f"Geometry {self.geometry.kind} cuts all annotated points away."
        return ""

    def _view(self, reference: str, box: Float32[np.ndarray, "4"] | None, *, trust: bool) -> View:
        """One picture as encoders see it."""
        if self.cache is None:
            return self._opened(reference, box)
        kept = self.cache.get(reference, box)
        if kept and trust:
            return kept
        try:
            opened = self._opened(reference, box)
        except DataError as error:
            if kept:
                raise _outdated(reference, self.cache) from error
            raise
        if kept and (kept.hash, kept.placement) != (opened.hash, opened.placement):
            raise _outdated(reference, self.cache)
        if not kept:
            self.cache.put(reference, opened, box)
        return opened

    def _opened(self, reference: str, box: Float32[np.ndarray, "4"] | None) -> View:
        """One picture, opened and scaled."""
        pixels, placement = view(to_rgb(self.task.open(reference)), self.geometry, box=box)
        return View(pixels, placement, pixel_hash(pixels))


def _outdated(reference: str, cache: PicturesCache) -> CacheError:
    return CacheError(
        f"The picture of {reference!r} in {cache.folder} is not that of the data root any "
        "more. Delete this folder, or leave out --cache-pictures."
    )
