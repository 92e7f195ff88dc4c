"""Painting of things: objects of the scene, and the props that people hold.

Local frame: an object fills the square from -1 to 1, y down. Each kind has an outline of its own
in the named colour, with details in fixed neutral colours, so that kind and colour do not depend
on each other.
"""

import math

from degradation.scenes.brush import CIRCLE, Brush, Rgb, mix, shade, shape
from degradation.scenes.records import Thing

_CREAM: Rgb = (250, 244, 228)
_DARK: Rgb = (62, 54, 62)
_WOOD: Rgb = (150, 108, 74)


def paint_thing(brush: Brush, thing: Thing) -> None:
    """Paint a thing with its ledge and soft shadow; the brush's frame is the picture's."""
    centre = complex(thing.x, thing.y)
    if thing.ledge and thing.kind not in ("kite", "clock"):
        still = brush.at(centre, thing.size)
        still.box(-1.0, 0.84, 1.0, 1.04, _WOOD)
        still.box(-1.0, 0.98, 1.0, 1.04, shade(_WOOD, 0.7))
        own = still
    else:
        own = brush.at(centre, 0.9 * thing.size, thing.tilt)
    _KINDS[thing.kind](own, thing.rgb)


def paint_prop(brush: Brush, prop: str, accent: Rgb) -> None:
    """Paint something held in a hand, about two units wide."""
    _PROPS[prop](brush, accent)


def _ball(brush: Brush, rgb: Rgb) -> None:
    brush.oval(0j, 0.86, 0.86, shade(rgb, 0.6))
    brush.oval(0j, 0.78, 0.78, rgb)
    brush.fill(0.78 * CIRCLE.real * 0.32 + 0.78j * CIRCLE.imag, mix(rgb, _CREAM, 0.75))
    brush.oval(-0.42 - 0.4j, 0.14, 0.14, (255, 255, 255))


def _cup(brush: Brush, rgb: Rgb) -> None:
    brush.oval(0.62 + 0.05j, 0.34, 0.4, shade(rgb, 0.7))
    brush.oval(0.62 + 0.05j, 0.18, 0.24, _CREAM)
    brush.fill(shape(-0.7 - 0.6j, 0.62 - 0.6j, 0.5 + 0.82j, -0.58 + 0.82j), rgb)
    brush.oval(-0.04 - 0.6j, 0.66, 0.2, shade(rgb, 0.66))
    brush.oval(-0.04 - 0.57j, 0.52, 0.13, (84, 56, 44))


def _book(brush: Brush, rgb: Rgb) -> None:
    brush.fill(
        shape(-0.94 - 0.56j, 0 - 0.36j, 0.94 - 0.56j, 0.94 + 0.66j, 0 + 0.86j, -0.94 + 0.66j), rgb
    )
    brush.fill(shape(-0.8 - 0.66j, 0 - 0.44j, 0 + 0.7j, -0.8 + 0.5j), _CREAM)
    brush.fill(shape(0.8 - 0.66j, 0 - 0.44j, 0 + 0.7j, 0.8 + 0.5j), shade(_CREAM, 0.9))
    for y in (-0.3, 0.0, 0.3):
        brush.stroke((complex(-0.62, y - 0.08), complex(-0.16, y + 0.04)), 0.07, (150, 140, 140))


def _lamp(brush: Brush, rgb: Rgb) -> None:
    brush.box(-0.08, 0.0, 0.08, 0.8, _DARK)
    brush.oval(0.78j, 0.5, 0.12, _DARK)
    brush.fill(shape(-0.36 - 0.92j, 0.36 - 0.92j, 0.82 + 0.16j, -0.82 + 0.16j), rgb)
    brush.fill(shape(-0.82 + 0.16j, 0.82 + 0.16j, 0.7 + 0.02j, -0.7 + 0.02j), (255, 236, 170))


def _plant(brush: Brush, rgb: Rgb) -> None:
    leaf = (86, 140, 84)
    for angle, reach in ((-2.5, 0.62), (-0.65, 0.62), (-2.0, 0.78), (-1.15, 0.78), (-1.57, 0.86)):
        tip = complex(reach * math.cos(angle), reach * math.sin(angle))
        brush.oval(0.08j + 0.55 * tip, 0.46 * reach, 0.17, shade(leaf, 0.8 + 0.3 * reach), angle)
    brush.fill(shape(-0.6 + 0.12j, 0.6 + 0.12j, 0.42 + 0.86j, -0.42 + 0.86j), rgb)
    brush.box(-0.66, 0.04, 0.66, 0.26, shade(rgb, 0.78))


def _clock(brush: Brush, rgb: Rgb) -> None:
    brush.oval(0j, 0.9, 0.9, rgb)
    brush.oval(0j, 0.66, 0.66, _CREAM)
    for step in range(4):
        turn = 1j**step
        brush.bar(0.5 * turn, 0.58 * turn, 0.09, _DARK)
    brush.stroke((-0.48j, 0j, 0.32 + 0.16j), 0.12, _DARK)


def _box(brush: Brush, rgb: Rgb) -> None:
    brush.fill(shape(-0.84 - 0.3j, 0.3 - 0.3j, 0.3 + 0.86j, -0.84 + 0.86j), rgb)
    brush.fill(
        shape(-0.84 - 0.3j, -0.34 - 0.78j, 0.84 - 0.78j, 0.3 - 0.3j),
        mix(rgb, (255, 255, 255), 0.35),
    )
    brush.fill(shape(0.3 - 0.3j, 0.84 - 0.78j, 0.84 + 0.36j, 0.3 + 0.86j), shade(rgb, 0.66))
    brush.box(-0.4, -0.3, -0.16, 0.86, mix(rgb, _CREAM, 0.7))


def _car(brush: Brush, rgb: Rgb) -> None:
    brush.fill(shape(-0.56 - 0.02j, -0.34 - 0.56j, 0.36 - 0.56j, 0.62 - 0.02j), shade(rgb, 0.82))
    brush.fill(shape(-0.42 - 0.06j, -0.26 - 0.44j, 0.0 - 0.44j, 0.0 - 0.06j), (200, 226, 238))
    brush.fill(shape(0.1 - 0.06j, 0.1 - 0.44j, 0.3 - 0.44j, 0.48 - 0.06j), (200, 226, 238))
    brush.bar(-0.72 + 0.22j, 0.72 + 0.22j, 0.48, rgb)
    for x in (-0.48, 0.48):
        brush.oval(complex(x, 0.5), 0.28, 0.28, _DARK)
        brush.oval(complex(x, 0.5), 0.12, 0.12, (210, 206, 206))


def _kite(brush: Brush, rgb: Rgb) -> None:
    brush.stroke((0.3j, 0.16 + 0.6j, -0.1 + 0.76j, 0.1 + 0.96j), 0.08, _DARK)
    brush.fill(shape(-0.95j, 0.62 - 0.35j, 0 + 0.5j, -0.62 - 0.35j), rgb)
    brush.fill(shape(-0.95j, 0.62 - 0.35j, 0 - 0.35j), mix(rgb, _CREAM, 0.6))
    brush.fill(shape(-0.35j, -0.62 - 0.35j, 0 + 0.5j), shade(rgb, 0.74))


def _bottle(brush: Brush, rgb: Rgb) -> None:
    brush.box(-0.13, -0.95, 0.13, -0.3, shade(rgb, 0.8))
    brush.box(-0.17, -0.96, 0.17, -0.76, _DARK)
    brush.fill(
        shape(-0.14 - 0.5j, 0.14 - 0.5j, 0.4 - 0.1j, 0.4 + 0.86j, -0.4 + 0.86j, -0.4 - 0.1j), rgb
    )
    brush.box(-0.4, 0.12, 0.4, 0.52, _CREAM)


def _phone(brush: Brush, accent: Rgb) -> None:
    brush.box(-0.42, -0.8, 0.42, 0.6, _DARK)
    brush.box(-0.32, -0.66, 0.32, 0.44, mix(accent, (210, 236, 250), 0.7))


def _held_cup(brush: Brush, accent: Rgb) -> None:
    brush.fill(
        shape(-0.48 - 0.8j, 0.48 - 0.8j, 0.38 + 0.4j, -0.38 + 0.4j), mix(accent, _CREAM, 0.5)
    )
    brush.oval(-0.8j, 0.48, 0.15, (110, 70, 50))


def _folder(brush: Brush, accent: Rgb) -> None:
    brush.fill(shape(-0.95 - 0.75j, 0.75 - 0.95j, 0.95 + 0.6j, -0.75 + 0.75j), (214, 176, 104))
    brush.fill(shape(-0.75 - 0.62j, 0.62 - 0.78j, 0.76 + 0.38j, -0.6 + 0.5j), (252, 250, 244))
    for y in (-0.35, 0.0):
        brush.stroke((complex(-0.5, y), complex(0.5, y - 0.12)), 0.1, (140, 140, 150))


def _laptop(brush: Brush, accent: Rgb) -> None:
    brush.box(-1.0, -1.15, 1.0, 0.15, (92, 96, 108))
    brush.box(-0.86, -1.02, 0.86, 0.04, mix(accent, (206, 230, 246), 0.75))
    brush.fill(shape(-1.0 + 0.15j, 1.0 + 0.15j, 1.25 + 0.45j, -1.25 + 0.45j), (176, 180, 188))


def _bag(brush: Brush, accent: Rgb) -> None:
    brush.stroke((-0.35 - 0.2j, -0.25 - 0.6j, 0.25 - 0.6j, 0.35 - 0.2j), 0.12, (120, 84, 54))
    brush.fill(shape(-0.8 - 0.3j, 0.8 - 0.3j, 0.9 + 1.2j, -0.9 + 1.2j), (206, 164, 112))
    brush.oval(0.5j, 0.36, 0.36, accent)


def _parcel(brush: Brush, accent: Rgb) -> None:
    brush.box(-1.0, -0.65, 1.0, 0.75, (198, 152, 98))
    brush.box(-0.2, -0.65, 0.2, 0.75, mix(accent, _CREAM, 0.3))


def _coin(brush: Brush, accent: Rgb) -> None:
    brush.fill(shape(-0.8 - 0.5j, 0.8 - 0.62j, 0.86 + 0.28j, -0.74 + 0.4j), (150, 192, 142))
    brush.oval(0.03 - 0.1j, 0.3, 0.3, (238, 206, 96))


def _flowers(brush: Brush, accent: Rgb) -> None:
    brush.fill(shape(-0.5 - 0.5j, 0.5 - 0.5j, 0 + 0.8j), (120, 164, 110))
    for spot in (-0.45 - 0.75j, 0.45 - 0.75j, 0 - 1.0j, 0 - 0.5j):
        brush.oval(spot, 0.34, 0.34, (226, 92, 112))
        brush.oval(spot, 0.13, 0.13, (250, 222, 120))


def _held_book(brush: Brush, accent: Rgb) -> None:
    brush.fill(
        shape(-0.9 - 0.6j, 0 - 0.4j, 0.9 - 0.6j, 0.9 + 0.5j, 0 + 0.7j, -0.9 + 0.5j),
        mix(accent, _DARK, 0.3),
    )
    brush.fill(
        shape(-0.76 - 0.66j, 0 - 0.46j, 0.76 - 0.66j, 0.76 + 0.3j, 0 + 0.5j, -0.76 + 0.3j), _CREAM
    )


_KINDS = {
    "ball": _ball, "cup": _cup, "book": _book, "lamp": _lamp, "plant": _plant, "clock": _clock,
    "box": _box, "car": _car, "kite": _kite, "bottle": _bottle,
}  # fmt: skip
_PROPS = {
    "phone": _phone, "cup": _held_cup, "folder": _folder, "laptop": _laptop, "bag": _bag,
    "box": _parcel, "coin": _coin, "flowers": _flowers, "book": _held_book,
}  # fmt: skip
