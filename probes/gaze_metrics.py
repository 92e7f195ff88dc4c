"""Gaze metrics of each row, as the GazeFollow literature defines them, and what humans reach.

All distances are in normalised coordinates, so a picture's aspect ratio is ignored, as in the
literature. The names that are easily confused, for a predicted point p and annotated points g_k:

    average_l2_error   ||p - mean_k g_k||: GazeFollow's "Avg L2"
    mean_distance      mean_k ||p - g_k||, never smaller than the former
    minimum_l2_error   min_k ||p - g_k||: GazeFollow's "Min L2"
    peak_l2_error      average_l2_error of the peak of the map, decoded as gaze models do it
    auc_score          AUC at the picture's own size, one positive pixel for each annotator
    auc_on_grid        AUC over the cells of the map, those with an annotated point positive

Gaze models report a cell of their 64 x 64 map as its corner (column / 64, row / 64), which lies
half a cell, 0.011, up and left of its centre; `peak_l2_error` does the same. Everywhere else the
centre of a cell is (i + 0.5) / n. The AUC of VideoAttentionTarget (64 x 64, squares as positives)
is another one and not here.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from probes.gaze import cell_of
from probes.metrics import GazeOutcome

__all__ = ["gaussian_maps", "gaze_outcome", "human_outcome", "resize", "roc_auc"]

LITERATURE_GRID = (64, 64)
SIGMA = 3.0
"""Deviation, in cells of the 64 x 64 grid, of the map that stands for a point."""
REACH = 9
"""Cells at which that map is cut off, three deviations (Chong et al., CVPR 2020)."""
CHUNK = 512
"""Rows measured at once."""
PIXELS = 1 << 17
"""Pixels of a map counted at once: they stay in the processor's cache while every positive is
compared with them."""


def gaze_outcome(
    heat: Float32[np.ndarray, "n t"],
    grid: tuple[int, int],
    predicted: Float[np.ndarray, "n 2"],
    points: Float[np.ndarray, "n a 2"],
    sizes: Int64[np.ndarray, "n 2"],
) -> GazeOutcome:
    """All gaze metrics of each row.

    A value is NaN where a row has no annotated point and, for an AUC, where every pixel or cell is
    positive. `auc_score` is NaN throughout unless all sizes are known: the mean over some rows
    would be another number.

    Args:
        heat: Score of each cell in raster order, shape (n, h*w).
        grid: Rows and columns (h, w) of the map.
        predicted: Points, normalised xy, shape (n, 2).
        points: Annotated points, normalised xy, NaN-padded, shape (n, a, 2).
        sizes: Width and height of the pictures in pixels, 0 where not known, shape (n, 2).
    """
    known = np.isfinite(points).all(axis=2)
    count = known.sum(axis=1)
    away = np.linalg.norm(points - predicted[:, None], axis=2).astype(np.float64)
    nearest = np.where(known, away, np.inf).min(axis=1, initial=np.inf)
    mean = _quotient(np.where(known[..., None], points, 0).sum(axis=1, dtype=np.float64), count)
    cells = cell_of(points, grid)
    on_grid = [
        roc_auc(row.reshape(grid), np.unique(cell[cell >= 0]), grid)
        for row, cell in zip(heat, cells, strict=True)
    ]
    return GazeOutcome(
        {
            "average_l2_error": np.linalg.norm(predicted - mean, axis=1).astype(np.float64),
            "mean_distance": _quotient(np.where(known, away, 0).sum(axis=1)[:, None], count)[:, 0],
            "minimum_l2_error": np.where(count > 0, nearest, np.nan),
            "peak_l2_error": np.linalg.norm(_peak_corners(heat, grid) - mean, axis=1),
            "auc_score": _at_original_size(heat, grid, points, sizes),
            "auc_on_grid": np.array(on_grid, dtype=np.float64),
        }
    )


def _quotient(
    sums: Float64[np.ndarray, "n k"], count: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, "n k"]:
    """Sums over the count of their row; NaN where that is 0."""
    below = np.broadcast_to(count[:, None], sums.shape)
    return np.divide(sums, below, out=np.full_like(sums, np.nan), where=below > 0)


def _at_original_size(
    heat: Float32[np.ndarray, "n t"],
    grid: tuple[int, int],
    points: Float[np.ndarray, "n a 2"],
    sizes: Int64[np.ndarray, "n 2"],
) -> Float64[np.ndarray, " n"]:
    """AUC of each map resized to its picture; NaN throughout if a size is not known."""
    if not (sizes > 0).all():
        return np.full(len(heat), np.nan)
    return np.array(
        [
            roc_auc(row.reshape(grid), _pixels(own, width, height), (height, width))
            for row, own, (width, height) in zip(heat, points, sizes.tolist(), strict=True)
        ],
        dtype=np.float64,
    )


def _pixels(points: Float[np.ndarray, "a 2"], width: int, height: int) -> Int64[np.ndarray, " p"]:
    """Flat indices of the pixels (int(x * W), int(y * H)) that hold a point, each once.

    At most the last column and row, as the literature clips them. The product is rounded to the
    precision in which points are stored, so that 0.7 of 640 is pixel 448 in float32 too.
    """
    own = points[np.isfinite(points).all(axis=1)]
    x, y = (own * np.array([width, height], dtype=own.dtype)).T.astype(np.int64)
    return np.unique(np.clip(y, 0, height - 1) * width + np.clip(x, 0, width - 1))


# ------------------------------------------------------------------ AUC by ranks


def roc_auc(
    heat: Float32[np.ndarray, "h w"], positive: Int64[np.ndarray, " p"], shape: tuple[int, int]
) -> float:
    """Exact area under the ROC curve of a map that is resized to `shape`.

    That is the share of pairs of a positive and a negative pixel that the map ranks rightly, a tie
    counting half. Only the ranks of the positives are needed: pixels above and level with each are
    counted and nothing is sorted. Where the map is exactly 0 around its support, as a truncated
    Gaussian is, only the support is resized; everything else is known to be 0. And interpolated
    pixels lie between their cells, so parts of the map that are all below a positive need not be
    looked at.

    Args:
        heat: Scores of the cells.
        positive: Flat indices of the positive pixels, each once; the others are negative.
        shape: Height and width of the resized map.

    Returns:
        The area, NaN without positives or without negatives, or if a score is NaN.

    Example:
        >>> round(roc_auc(np.float32([[0, 1], [2, 3]]), np.array([2]), (2, 2)), 4)
        0.6667
    """
    n, p = shape[0] * shape[1], len(positive)
    if p in (0, n) or np.isnan(heat).any():
        return float("nan")
    rows, columns = (_support(heat.any(axis=1 - axis), shape[axis]) for axis in (0, 1))
    resized = _Resized(heat, shape, columns)
    y, x = np.divmod(positive, shape[1])
    inside = (y >= rows.start) & (y < rows.stop) & (x >= columns.start) & (x < columns.stop)
    values = np.zeros(p, dtype=np.float32)
    values[inside] = resized.at(y[inside], x[inside])
    outside = n - len(rows) * len(columns)
    above, level = outside * (values < 0), outside * (values == 0)
    step = max(1, PIXELS // max(1, len(columns)))
    # Few pixels can all lie between the cells that are not 0.
    for start in range(rows.start, rows.stop, step) if columns else ():
        stop = min(start + step, rows.stop)
        lowest, highest = resized.bounds(start, stop)
        above[values < lowest] += (stop - start) * len(columns)
        unsettled = np.flatnonzero((values >= lowest) & (values <= highest))
        if not len(unsettled):
            continue
        pixels = resized.rows(start, stop)
        found = np.empty(pixels.shape, dtype=bool)
        for k in unsettled:
            above[k] += np.count_nonzero(np.greater(pixels, values[k], out=found))
            level[k] += np.count_nonzero(np.equal(pixels, values[k], out=found))
    below = n - above - level
    # Pairs of two positives are no pairs: take them out again.
    below -= (values[None] < values[:, None]).sum(axis=1)
    level -= (values[None] == values[:, None]).sum(axis=1)
    return float((2 * below + level).sum() / (2 * p * (n - p)))


def _support(used: Bool[np.ndarray, " cells"], length: int) -> range:
    """The pixels of an axis of this length that a used cell can reach; empty if none is used."""
    if used.all():
        return range(length)
    low, high, _ = _axis(len(used), length)
    reached = np.flatnonzero(used[low] | used[high])
    return range(reached[0], reached[-1] + 1) if len(reached) else range(0)


def resize(
    heat: Float32[np.ndarray, "h w"], shape: tuple[int, int]
) -> Float32[np.ndarray, "height width"]:
    """The map at another size, by bilinear interpolation in float32, nothing quantised.

    Pixel i of n lies at (i + 0.5) * cells / n - 0.5, and beyond the outermost centres the map stays
    as it is: torch's `interpolate(mode="bilinear", align_corners=False)` and OpenCV's
    `INTER_LINEAR`, as in Gaze-LLE.

    Args:
        heat: The map.
        shape: Height and width wanted.
    """
    return _Resized(heat, shape, range(shape[1])).rows(0, shape[0])


class _Resized:
    """A resized map, interpolated along x; along y it is where rows or pixels are asked for."""

    def __init__(
        self, heat: Float32[np.ndarray, "h w"], shape: tuple[int, int], columns: range
    ) -> None:
        low, high, share = _axis(heat.shape[1], shape[1])
        part = slice(columns.start, columns.stop)
        left = heat[:, low[part]]
        self.first = columns.start
        self.wide = left + share[part] * (heat[:, high[part]] - left)
        self.rise = np.diff(self.wide, axis=0, append=self.wide[-1:])
        self.low, _, self.share = _axis(heat.shape[0], shape[0])

    def bounds(self, start: int, stop: int) -> tuple[float, float]:
        """Values between which all pixels of some rows lie, rounding allowed for."""
        part = self.wide[self.low[start] : self.low[stop - 1] + 2]
        lowest, highest = float(part.min()), float(part.max())
        slack = 1e-6 * max(abs(lowest), abs(highest))
        return lowest - slack, highest + slack

    def rows(self, start: int, stop: int) -> Float32[np.ndarray, "height width"]:
        """The pixels of some rows."""
        low = self.low[start:stop]
        pixels = self.rise[low]
        pixels *= self.share[start:stop, None]
        pixels += self.wide[low]
        return pixels

    def at(
        self, y: Int64[np.ndarray, " p"], x: Int64[np.ndarray, " p"]
    ) -> Float32[np.ndarray, " p"]:
        """Single pixels, the same to the last bit."""
        low, column = self.low[y], x - self.first
        return self.rise[low, column] * self.share[y] + self.wide[low, column]


@lru_cache(maxsize=512)
def _axis(
    cells: int, pixels: int
) -> tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"], Float32[np.ndarray, " _"]]:
    """For each pixel of an axis: the cells before and after it, and the share of the latter."""
    place = np.maximum((np.arange(pixels) + 0.5) * (cells / pixels) - 0.5, 0)
    low = np.minimum(place.astype(np.int64), cells - 1)
    share = np.where(low == cells - 1, 0, place - low)
    return low, np.minimum(low + 1, cells - 1), share.astype(np.float32)


def _peak_corners(
    heat: Float32[np.ndarray, "n t"], grid: tuple[int, int]
) -> Float64[np.ndarray, "n 2"]:
    """Upper left corner of the highest cell of the map at 64 x 64, normalised xy."""
    h, w = LITERATURE_GRID
    peaks = np.array([resize(row.reshape(grid), (h, w)).argmax() for row in heat], dtype=np.int64)
    return np.stack([peaks % w / w, peaks // w / h], axis=1)


# ------------------------------------------------------------------ what humans reach


def gaussian_maps(points: Float[np.ndarray, "n 2"]) -> Float32[np.ndarray, "n t"]:
    """The map that stands for a point in the literature, 64 x 64, raster order, peak 1.

    A Gaussian of deviation 3 cells around the cell that holds the point, 0 more than 9 cells away
    from it along x or y.
    """
    factors = []
    cells = LITERATURE_GRID[0]
    for at in points.T:
        centre = np.clip((at * cells).astype(np.int64), 0, cells - 1)
        offset = np.arange(cells) - centre[:, None]
        bell = np.exp(-(offset**2) / (2 * SIGMA**2))
        factors.append(np.where(np.abs(offset) <= REACH, bell, 0).astype(np.float32))
    across, down = factors
    return (down[:, :, None] * across[:, None, :]).reshape(len(points), cells * cells)


def human_outcome(
    points: Float[np.ndarray, "n a 2"], sizes: Int64[np.ndarray, "n 2"]
) -> GazeOutcome:
    """The gaze metrics of one annotator against the others, mean over who is left out.

    The annotator's point is the prediction, and a Gaussian around it is the map (GazeFollow's "one
    human" row); the grid of `auc_on_grid` is 64 x 64 then. NaN in rows with fewer than two
    annotators.

    Args:
        points: Annotated points, normalised xy, NaN-padded, shape (n, a, 2).
        sizes: Width and height of the pictures in pixels, 0 where not known, shape (n, 2).
    """
    n = len(points)
    known = np.isfinite(points).all(axis=2)
    asked = known & (known.sum(axis=1, keepdims=True) > 1)
    sizes = sizes if (sizes > 0).all() else np.zeros_like(sizes)
    total: dict[str, np.ndarray] = {}
    for row, annotator in _parts(*np.nonzero(asked)):
        others = points[row].copy()
        others[np.arange(len(row)), annotator] = np.nan
        own = points[row, annotator]
        one = gaze_outcome(gaussian_maps(own), LITERATURE_GRID, own, others, sizes[row])
        for name, values in one.values.items():
            np.add.at(total.setdefault(name, np.zeros(n)), row, values)
    count = asked.sum(axis=1)
    return GazeOutcome(
        {name: _quotient(values[:, None], count)[:, 0] for name, values in total.items()}
    )


def _parts(
    row: Int64[np.ndarray, " k"], annotator: Int64[np.ndarray, " k"]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs some at a time, which bounds memory; one part at least."""
    for start in range(0, max(len(row), 1), CHUNK):
        yield row[start : start + CHUNK], annotator[start : start + CHUNK]
