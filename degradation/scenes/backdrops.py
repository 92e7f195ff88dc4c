"""Painting of what lies behind the people and before the lens, in the picture's frame."""

import math

import numpy as np

from degradation.scenes.brush import Brush, Rgb, mix, shade, shape
from degradation.scenes.records import Backdrop, Occluder

_BOOKS: tuple[Rgb, ...] = (
    (176, 84, 74),
    (92, 128, 150),
    (220, 182, 110),
    (116, 146, 104),
    (150, 110, 150),
)
_SKY: Rgb = (186, 220, 240)


def paint_backdrop(brush: Brush, backdrop: Backdrop) -> None:
    """Paint the backdrop over the whole frame."""
    brush.box(0, 0, 1, 1, backdrop.rgb)
    _KINDS[backdrop.kind](brush, backdrop)


def paint_occluder(brush: Brush, occluder: Occluder) -> None:
    """Paint the thing near the lens."""
    own = brush.at(complex(occluder.x, occluder.y), occluder.size, occluder.angle)
    if occluder.shape == "leaf":
        for turn in (-0.5, 0.0, 0.5):
            along = complex(math.cos(math.pi + turn), math.sin(math.pi + turn))
            own.oval(0.6 * along, 0.8, 0.26, shade((92, 136, 92), 0.9 + 0.2 * turn), math.pi + turn)
    elif occluder.shape == "bar":
        own.box(-0.6, -6, 0.2, 6, shade(occluder.rgb, 0.8))
    else:
        own.oval(0j, 1, 1, shade(occluder.rgb, 0.9))


def _floor(brush: Brush, backdrop: Backdrop) -> None:
    level = 0.74 + 0.12 * backdrop.layout[0]
    brush.box(0, level, 1, 1, mix(backdrop.accent, (150, 112, 84), 0.5))
    brush.box(0, level - 0.02, 1, level, mix(backdrop.rgb, (255, 255, 255), 0.5))


def _wall(brush: Brush, backdrop: Backdrop) -> None:
    a, b, c, d = backdrop.layout
    lit = mix(backdrop.rgb, (255, 248, 224), 0.45)
    x = 1.2 * b - 0.2
    brush.fill(
        np.array((complex(x, 0), complex(x + 0.3, 0), complex(x + 0.6, 1), complex(x + 0.3, 1))),
        lit,
    )
    _floor(brush, backdrop)
    if d < 0.6:
        x, y = 0.05 + 0.6 * c, 0.05 + 0.1 * a
        brush.box(x, y, x + 0.26, y + 0.2, shade(backdrop.accent, 0.7))
        brush.box(x + 0.02, y + 0.02, x + 0.24, y + 0.18, mix(backdrop.accent, _SKY, 0.5))
        own = brush.at(complex(x + 0.13, y + 0.17), 0.1)
        own.fill(
            shape(-1 + 0j, -0.3 - 0.9j, 0.2 - 0.3j, 0.5 - 0.6j, 1 + 0j), shade(backdrop.accent, 0.8)
        )


def _window(brush: Brush, backdrop: Backdrop) -> None:
    a, b, c, _ = backdrop.layout
    x, y, wide, high = 0.05 + 0.45 * a, 0.04 + 0.08 * b, 0.36 + 0.12 * c, 0.5
    frame = (248, 244, 234)
    brush.box(x - 0.03, y - 0.03, x + wide + 0.03, y + high + 0.03, frame)
    brush.box(x, y, x + wide, y + high, _SKY)
    brush.oval(complex(x + 0.3 * wide, y + 0.3 * high), 0.08, 0.035, (250, 252, 252))
    brush.oval(complex(x + 0.42 * wide, y + 0.26 * high), 0.06, 0.04, (250, 252, 252))
    brush.box(x, y + 0.72 * high, x + wide, y + high, (146, 186, 130))
    brush.box(x + wide / 2 - 0.012, y, x + wide / 2 + 0.012, y + high, frame)
    brush.box(x, y + high / 2 - 0.012, x + wide, y + high / 2 + 0.012, frame)
    _floor(brush, backdrop)


def _shelves(brush: Brush, backdrop: Backdrop) -> None:
    a, b, c, d = backdrop.layout
    wood = mix(backdrop.accent, (142, 100, 70), 0.65)
    key = int(1e6 * d)
    for row in range(3):
        y = 0.2 + 0.28 * row + 0.04 * a
        x = 0.02 + 0.1 * b
        for _ in range(9):
            key = (key * 1103515245 + 12345) % 2**31
            wide, high = 0.03 + 0.03 * (key >> 8 & 7) / 7, 0.1 + 0.06 * (key >> 12 & 7) / 7
            if key >> 16 & 3:
                book = mix(_BOOKS[(key >> 18) % 5], backdrop.rgb, 0.35 + 0.3 * c)
                brush.box(x, y - high, x + wide, y, book)
            x += 0.012 + wide * 1.8
        brush.box(0, y, 1, y + 0.025, wood)


def _outdoors(brush: Brush, backdrop: Backdrop) -> None:
    a, b, c, d = backdrop.layout
    sky = mix(_SKY, (252, 214, 178), 0.7 * d)
    brush.box(0, 0, 1, 1, sky)
    brush.oval(complex(0.1 + 0.8 * a, 0.12 + 0.1 * b), 0.075, 0.075, (255, 240, 190))
    for x, y in ((0.9 - 0.8 * a, 0.16), (0.2 + 0.5 * c, 0.26)):
        brush.oval(complex(x, y), 0.13, 0.04, (252, 252, 250))
    grass = mix((138, 178, 116), backdrop.accent, 0.25)
    brush.oval(complex(0.1 + 0.3 * b, 0.8), 0.6, 0.26, shade(grass, 0.86))
    brush.oval(complex(0.9 - 0.2 * c, 0.84), 0.6, 0.3, shade(grass, 0.94))
    brush.box(0, 0.8, 1, 1, grass)
    if b > 0.35:
        x = 0.06 + 0.88 * c
        brush.box(x - 0.02, 0.45, x + 0.02, 0.8, (126, 92, 68))
        brush.oval(complex(x, 0.36), 0.13, 0.16, shade(grass, 0.72))


def _wallpaper(brush: Brush, backdrop: Backdrop) -> None:
    a, _, c, d = backdrop.layout
    pale = mix(backdrop.rgb, (255, 252, 244), 0.35)
    if d < 0.5:
        step = 0.12 + 0.08 * c
        for number in range(int(1 / step) + 1):
            x = (number + a) * step
            brush.box(x, 0, x + step / 2, 1, pale)
    else:
        step = 0.17 + 0.06 * c
        for row in range(int(1 / step) + 1):
            for column in range(int(1 / step) + 1):
                brush.oval(
                    complex((column + a + 0.5 * (row % 2)) * step, (row + 0.5) * step),
                    0.024,
                    0.024,
                    pale,
                )
    _floor(brush, backdrop)


_KINDS = {
    "wall": _wall, "window": _window, "shelves": _shelves, "outdoors": _outdoors,
    "wallpaper": _wallpaper,
}  # fmt: skip
