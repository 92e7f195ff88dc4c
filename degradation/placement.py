"""Where a picture lies in the array made of it, and the map that takes boxes and points along.

All corners are whole pixels, so the map is exact: a scale and an offset for each axis. What a cut
removes is known to be gone: its boxes and points become NaN, which everywhere means that the
sample has none, and are never moved to the border.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float64

from degradation.errors import DataError
from degradation.tasks.task import Rows

__all__ = ["Placement", "rows_in_arrays"]

Corners = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in the array made of it, in whole pixels.

    Attributes:
        picture: Height and width of the picture, upright.
        part: Left, top, right and bottom of the part that is scaled, in pixels of the picture.
        target: Where this part goes, in pixels of the array; it may reach outside.
        shape: Height and width of the array.
    """

    picture: tuple[int, int]
    part: Corners
    target: Corners
    shape: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Whether the part is the whole picture."""
        return self.part == (0, 0, self.picture[1], self.picture[0])

    @property
    def unmoved(self) -> bool:
        """Whether picture and array have the same normalised coordinates, as under the squash."""
        return self.whole and self.target == (0, 0, self.shape[1], self.shape[0])

    @property
    def _axes(self) -> tuple[tuple[int, ...], ...]:
        """Of x, then y: picture side, both ends of the part, both ends of the target, side."""
        return tuple(
            (self.picture[1 - i], *self.part[i::2], *self.target[i::2], self.shape[1 - i])
            for i in (0, 1)
        )

    @property
    def scale(self) -> Float64[np.ndarray, "2"]:
        """Factors of x and y from normalised picture to normalised array coordinates."""
        return np.array([n / (b - a) * ((d - c) / m) for n, a, b, c, d, m in self._axes])

    @property
    def offset(self) -> Float64[np.ndarray, "2"]:
        """What is added to x and y after scaling."""
        return np.array([(c - a * (d - c) / (b - a)) / m for _, a, b, c, d, m in self._axes])

    @property
    def seen(self) -> Float64[np.ndarray, "4"]:
        """The part of the picture that is in the array: xyxy, normalised by the picture."""
        low = [(a + (max(c, 0) - c) * (b - a) / (d - c)) / n for n, a, b, c, d, _ in self._axes]
        high = [(a + (min(d, m) - c) * (b - a) / (d - c)) / n for n, a, b, c, d, m in self._axes]
        return np.array(low + high)

    @property
    def real(self) -> Float64[np.ndarray, "4"]:
        """The part of the array that shows the picture: xyxy, normalised by the array."""
        low = [max(c, 0) / m for _, _, _, c, _, m in self._axes]
        high = [min(d, m) / m for _, _, _, _, d, m in self._axes]
        return np.array(low + high)

    def to_array(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Points x, y of the picture as points of the array; outside `real` if cut away.

        Args:
            points: Normalised by the sides of the picture; the result has the same dtype.
        """
        return (points.astype(np.float64) * self.scale + self.offset).astype(points.dtype)

    def to_picture(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """The inverse of `to_array`: points of the array as points of the picture."""
        return ((points.astype(np.float64) - self.offset) / self.scale).astype(points.dtype)

    def shows(self, points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """Whether points of the picture are in the array; NaN is not.

        Args:
            points: Normalised by the sides of the picture.
        """
        inside = (points >= self.seen[:2]) & (points <= self.seen[2:])
        return inside[:, 0] & inside[:, 1]

    def boxes_to_array(self, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
        """The visible parts of boxes of the picture as boxes of the array.

        Args:
            boxes: xyxy, normalised by the sides of the picture.

        Returns:
            xyxy, normalised by the sides of the array, the same dtype; NaN where nothing of a box
            is in the array. An inverted box stays inverted.
        """
        ends = boxes.astype(np.float64)
        low = np.maximum(ends[:, :2], self.seen[:2])
        high = np.minimum(ends[:, 2:], self.seen[2:])
        sides = ends[:, 2:] - ends[:, :2]
        # A box that only touches the array from outside has nothing in it; one without area may.
        gone = ((high < low) | ((high == low) & (sides > 0))).any(axis=1)
        gone &= (sides >= 0).all(axis=1)
        moved = np.concatenate([self.to_array(low), self.to_array(high)], axis=1)
        # Rounding can put an end at the border just beyond it.
        moved = np.clip(moved, np.tile(self.real[:2], 2), np.tile(self.real[2:], 2))
        return np.where(gone[:, None], np.nan, moved).astype(boxes.dtype)


def rows_in_arrays(
    rows: Rows, placements: Sequence[Sequence[Placement]], *, mask_pad: bool
) -> Rows:
    """The rows with their boxes and points in coordinates of the arrays.

    What is not in its array becomes NaN. With `mask_pad` the box `image` bounds what an array
    shows, so that pooling over the region `image` leaves padding out. Where all arrays have the
    coordinates of their pictures, as under the squash, the rows are returned as they are.

    Args:
        rows: The n samples, of f pictures each, with boxes and points of the pictures.
        placements: Of each picture, f for each of the n samples.
        mask_pad: Whether to add the box `image`, if there is padding.

    Raises:
        DataError: Samples of several pictures with points: of which picture, nothing says.
    """
    if all(one.unmoved for frames in placements for one in frames):
        return rows
    if rows.points.shape[1] and rows.pictures.shape[1] > 1:
        raise DataError(
            "Expected points of single pictures, found samples of several. Choose squash, which "
            "leaves points where they are."
        )
    boxes = {role: np.empty_like(column) for role, column in rows.boxes.items()}
    points = np.full_like(rows.points, np.nan)
    for row, frames in enumerate(placements):
        for frame, placement in enumerate(frames):
            for role, column in rows.boxes.items():
                boxes[role][row, [frame]] = placement.boxes_to_array(column[row, [frame]])
        if rows.points.shape[1]:
            shown = frames[0].shows(rows.points[row])
            points[row, shown] = frames[0].to_array(rows.points[row, shown])
    real = np.array([[one.real for one in frames] for frames in placements], dtype=np.float32)
    if mask_pad and (real != (0, 0, 1, 1)).any():
        boxes["image"] = real
    return replace(rows, boxes=boxes, points=points)
