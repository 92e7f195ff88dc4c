"""Painting of raised hands, one short recipe a gesture.

Local frame: the hand fills the square from -1 to 1, fingers up, wrist at the bottom, thumb to the
left, as a left hand held up to the viewer at the right of the picture; the other hand is its
mirror image. `like` and `dislike` come in from the side.
"""

import numpy as np

from degradation.scenes.brush import CIRCLE, Brush, Rgb, shade, shape

_PALM = shape(
    -0.42 + 0.0j,
    -0.3 - 0.12j,
    0.3 - 0.12j,
    0.44 + 0.02j,
    0.42 + 0.5j,
    0.28 + 0.8j,
    -0.22 + 0.8j,
    -0.42 + 0.48j,
)
_FIST = shape(
    -0.46 - 0.2j,
    -0.36 - 0.34j,
    0.38 - 0.34j,
    0.48 - 0.18j,
    0.46 + 0.4j,
    0.28 + 0.75j,
    -0.22 + 0.75j,
    -0.46 + 0.4j,
)
_SIDE = shape(-0.36 - 0.24j, 0.3 - 0.26j, 0.66 + 0.02j, 0.72 + 0.6j, 0.3 + 0.64j, -0.36 + 0.62j)
_STRAIGHT = (
    (-0.31 + 0.0j, -0.46 - 0.68j),
    (-0.1 - 0.02j, -0.14 - 0.86j),
    (0.12 - 0.02j, 0.18 - 0.82j),
    (0.32 + 0.04j, 0.48 - 0.58j),
)
_WIDTH = 0.24
_EDGE = 0.085


def paint_hand(brush: Brush, gesture: str, skin: Rgb) -> None:
    """Paint the hand that makes this gesture."""
    _GESTURES[gesture](brush, skin)


def _finger(brush: Brush, start: complex, end: complex, skin: Rgb, width: float = _WIDTH) -> None:
    brush.bar(start, end, width + _EDGE, shade(skin, 0.62))
    brush.bar(start, end, width, skin)


def _base(brush: Brush, outline: np.ndarray, skin: Rgb) -> None:
    middle = outline.mean()
    brush.fill(middle + (outline - middle) * 1.1, shade(skin, 0.62))
    brush.fill(outline, skin)


def _folded(brush: Brush, skin: Rgb, fingers: tuple[int, ...]) -> None:
    """Knuckles of the fingers that are folded into the palm."""
    for finger in fingers:
        x = -0.33 + 0.22 * finger
        _finger(brush, complex(x, -0.22), complex(x, 0.12), skin, 0.2)


def _palm(brush: Brush, skin: Rgb) -> None:
    _finger(brush, -0.28 + 0.42j, -0.78 - 0.02j, skin)
    for start, end in _STRAIGHT:
        _finger(brush, start, end, skin)
    brush.fill(_PALM, skin)
    brush.stroke((-0.25 + 0.22j, 0.05 + 0.14j, 0.3 + 0.22j), 0.05, shade(skin, 0.8))


def _fist(brush: Brush, skin: Rgb) -> None:
    _base(brush, _FIST, skin)
    _folded(brush, skin, (0, 1, 2, 3))
    _finger(brush, -0.4 + 0.36j, 0.12 + 0.26j, skin)


def _like(brush: Brush, skin: Rgb, down: int = 1) -> None:
    flip = (lambda z: z) if down > 0 else np.conjugate
    _finger(brush, flip(0.02 - 0.1j), flip(-0.06 - 0.82j), skin, 0.28)
    _base(brush, flip(_SIDE), skin)
    for row in range(4):
        y = -0.14 + 0.22 * row
        _finger(brush, flip(complex(0.06, y)), flip(complex(-0.38, y)), skin, 0.19)
    _finger(brush, flip(0.14 - 0.04j), flip(-0.04 - 0.6j), skin, 0.26)


def _dislike(brush: Brush, skin: Rgb) -> None:
    _like(brush, skin, -1)


def _peace(brush: Brush, skin: Rgb) -> None:
    _finger(brush, -0.18 - 0.0j, -0.44 - 0.8j, skin)
    _finger(brush, 0.02 - 0.0j, 0.28 - 0.82j, skin)
    _base(brush, _FIST, skin)
    _folded(brush, skin, (2, 3))
    _finger(brush, -0.36 + 0.38j, 0.16 + 0.16j, skin)


def _point(brush: Brush, skin: Rgb) -> None:
    _base(brush, _FIST, skin)
    _finger(brush, -0.3 + 0.0j, -0.36 - 0.86j, skin, 0.27)
    _folded(brush, skin, (1, 2, 3))
    _finger(brush, -0.38 + 0.4j, 0.08 + 0.28j, skin)


def _ok(brush: Brush, skin: Rgb) -> None:
    for start, end in _STRAIGHT[1:]:
        _finger(brush, start, end + 0.04, skin)
    brush.fill(_PALM, skin)
    ring = (-0.46 - 0.04j) + 0.3 * CIRCLE[::2]
    loop = [*ring.tolist(), complex(ring[0]), complex(ring[1])]
    brush.stroke(loop, 0.31, shade(skin, 0.62))
    brush.stroke(loop, 0.22, skin)
    brush.bar(-0.24 + 0.2j, -0.05 + 0.5j, 0.3, skin)


_GESTURES = {
    "palm": _palm,
    "fist": _fist,
    "like": _like,
    "dislike": _dislike,
    "peace": _peace,
    "point": _point,
    "ok": _ok,
}
