"""Axis letters and coordinates, fixed once for the whole project.

Shapes in annotations and docstrings use these letters:

    n samples      b batch      f frames of one sample      a annotators
    t tokens       h w grid rows and columns (t = h * w, raster order)
    d width        l blocks     c classes     p parameters     s picture side in pixels
    k sketch size  r LoRA rank

Coordinates: x to the right, y down, both normalised to [0, 1] by the picture's sides; boxes are
(x1, y1, x2, y2). The centre of cell i of n lies at (i + 0.5) / n. Blocks are numbered from 0;
block i is the output of the i-th transformer block, before any final norm, merger or projector.

Sign: every delta is post minus pre, in points (x 100), and negative means worse: errors are
flipped once, in `probes.metrics`.
"""

from typing import Literal

Side = Literal["pre", "post"]
SIDES: tuple[Side, Side] = ("pre", "post")
