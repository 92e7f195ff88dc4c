"""Painting of bodies: neck, torso with clothes, arms with what they hold, and the head on top.

The body's local frame has its origin at the middle of the head and the head's half width as its
unit. Arms are given in the picture and painted there, since two people may hold the same thing.
"""

from degradation.scenes.brush import Brush, mix, shade, shape
from degradation.scenes.heads import paint_hair_behind, paint_head
from degradation.scenes.records import Arm, Clothes, Person
from degradation.scenes.things import paint_prop

_SHOULDER = (1.2, 2.0)
_TORSO = shape(
    -0.34 + 1.3j, 0.34 + 1.3j, 0.95 + 1.55j, 1.36 + 1.8j, 1.48 + 2.3j, 1.36 + 4.4j, 1.42 + 9j,
    -1.42 + 9j, -1.36 + 4.4j, -1.48 + 2.3j, -1.36 + 1.8j, -0.95 + 1.55j,
)  # fmt: skip
_WHITE = (246, 244, 238)


def paint_person(brush: Brush, person: Person) -> None:
    """Paint one person, apart from the front arms. The brush's frame is the picture's."""
    centre = complex(person.x, person.y)
    body = brush.at(centre, person.size, 0.25 * person.roll)
    head = brush.at(centre, person.size, person.roll)
    paint_hair_behind(head, person)
    skin = person.look.skin
    body.bar(0.8j, 1.6j, 0.72, shade(skin, 0.84))
    _paint_torso(body, person)
    for arm in person.arms:
        if not arm.front:
            paint_arm(brush, person, arm)
    paint_head(head, person)


def paint_arm(brush: Brush, person: Person, arm: Arm) -> None:
    """Paint a sleeve from shoulder to wrist, what the hand holds, and the hand as a plain shape."""
    unit = person.size
    thin = 0.8 if person.child else 1.0
    x, y = _SHOULDER
    start = complex(person.x + arm.shoulder * x * person.build * unit, person.y + y * unit)
    elbow, wrist = complex(*arm.elbow), complex(*arm.wrist)
    rgb = shade(person.clothes.rgb, 0.87)
    edge = shade(rgb, 0.72)
    width = 0.72 * unit * thin
    brush.bar(start, elbow, width + 0.1 * unit, edge, 0.94 * width)
    brush.bar(elbow, wrist, 0.9 * width + 0.06 * unit, edge, 0.78 * width)
    brush.bar(start, elbow, width, rgb, 0.86 * width)
    brush.bar(elbow, wrist, 0.84 * width, rgb, 0.7 * width)
    along = (wrist - elbow) / (abs(wrist - elbow) or 1.0)
    if arm.holds:
        offset = 0.26 * along + (0.25j if arm.holds == "bag" else -0.55j)
        paint_prop(brush.at(wrist + unit * offset, unit), arm.holds, person.clothes.accent)
    palm = wrist + 0.26 * unit * along
    brush.oval(palm, 0.36 * unit * thin, 0.36 * unit * thin, shade(person.look.skin, 0.66))
    brush.oval(palm, 0.3 * unit * thin, 0.3 * unit * thin, shade(person.look.skin, 0.96))


def _paint_torso(body: Brush, person: Person) -> None:
    wear = person.clothes
    build = person.build * (0.82 if person.child else 1.0)
    outline = _TORSO.real * build + 1j * _TORSO.imag + 0.15j * person.lean * _TORSO.real
    body.fill(outline, wear.rgb)
    _paint_pattern(body, wear, build)
    if wear.garment == "suit":
        body.fill(shape(-0.62 + 1.4j, 0.62 + 1.4j, 0.0 + 3.3j), _WHITE)
        tie = shade(wear.accent, 0.75)
        body.fill(shape(-0.13 + 1.6j, 0.13 + 1.6j, 0.2 + 2.9j, 0.0 + 3.2j, -0.2 + 2.9j), tie)
        dark = shade(wear.rgb, 0.74)
        body.fill(shape(-0.66 + 1.38j, -0.98 + 1.75j, -0.72 + 2.1j, 0.0 + 3.5j), dark)
        body.fill(shape(0.66 + 1.38j, 0.98 + 1.75j, 0.72 + 2.1j, 0.0 + 3.5j), dark)
    elif wear.garment == "hoodie":
        body.fill(
            shape(-0.9 + 1.45j, 0.9 + 1.45j, 0.5 + 2.15j, -0.5 + 2.15j), shade(wear.rgb, 0.78)
        )
        body.stroke((-0.25 + 2.1j, -0.28 + 2.8j), 0.09, wear.accent)
        body.stroke((0.25 + 2.1j, 0.28 + 2.8j), 0.09, wear.accent)
    elif wear.garment == "apron":
        bib = mix(wear.accent, _WHITE, 0.3)
        body.fill(
            shape(
                -0.7 + 2.1j,
                0.7 + 2.1j,
                0.78 + 3.3j,
                1.15 + 3.6j,
                1.2 + 8j,
                -1.2 + 8j,
                -1.15 + 3.6j,
                -0.78 + 3.3j,
            ),
            bib,
        )
        body.stroke((-0.62 + 2.2j, -0.5 + 1.5j), 0.12, bib)
        body.stroke((0.62 + 2.2j, 0.5 + 1.5j), 0.12, bib)
    else:
        body.oval(1.42j, 0.46, 0.26, shade(person.look.skin, 0.84))


def _paint_pattern(body: Brush, wear: Clothes, build: float) -> None:
    half = 1.3 * build
    if wear.pattern == "striped":
        for step in range(5):
            y = 2.15 + 0.62 * step
            body.box(-half, y, half, y + 0.26, wear.accent)
    elif wear.pattern == "dotted":
        for row in range(5):
            for column in range(3 if row % 2 else 2):
                spot = complex((column - (1 if row % 2 else 0.5)) * 0.78 * build, 2.25 + 0.55 * row)
                body.oval(spot, 0.13, 0.13, wear.accent)
