"""Painting of heads: skull, hair, and a face whose features turn with the head.

Local frame: the head is 2 wide and about 2.4 high around the origin, y down. A feature sits at an
azimuth on a cylinder of radius 1; turning the head by yaw moves it to x = sin(azimuth + yaw) and
narrows it by the cosine.
"""

import math

import numpy as np

from degradation.scenes.brush import CIRCLE, Brush, Rgb, mix, shade
from degradation.scenes.records import Face, Person

_INK: Rgb = (48, 34, 36)
_ANGLES = np.linspace(0, 2 * math.pi, 40, endpoint=False)
_LID = np.linspace(-1, 1, 9)
_ARCH = 1 - _LID**2
_LOW_HAIR = {"long": 1.5, "bob": 0.95, "curly": 0.75}

# For each expression: inner and outer brow (up is negative), eye opening and slant, mouth corners
# (down is positive),
# mouth half width, upper and lower lip in the middle, cheek blush, and nose wrinkling.
_MOODS = {
    "neutral": (0.00, 0.00, 0.82, 0.00, 0.00, 0.30, 0.00, 0.04, 0.25, 0.0),
    "happy": (-0.06, -0.06, 0.62, 0.02, -0.20, 0.50, 0.00, 0.34, 0.95, 0.0),
    "sad": (-0.26, 0.16, 0.58, 0.20, 0.20, 0.30, -0.06, -0.02, 0.2, 0.0),
    "surprised": (-0.32, -0.28, 1.40, 0.00, 0.06, 0.22, -0.18, 0.34, 0.35, 0.0),
    "angry": (0.24, -0.16, 0.66, -0.26, 0.16, 0.44, -0.06, 0.16, 0.6, 0.35),
    "disgusted": (0.16, 0.04, 0.36, -0.04, 0.10, 0.36, -0.16, 0.06, 0.1, 1.0),
}


def paint_hair_behind(brush: Brush, person: Person) -> None:
    """Paint the hair that hangs behind the neck, for the styles that have it."""
    look = person.look
    low = _LOW_HAIR.get(look.style)
    back = shade(look.hair_rgb, 0.8)
    sway = -0.25 * math.sin(person.face.yaw)
    if low is not None:
        brush.oval(complex(sway, 0.1), 1.18, 1.2, back)
        if look.style != "curly":
            edge = (-1.18 + sway, 0.0, 1.18 + sway, low)
            brush.box(*edge, back)
            brush.oval(complex(sway, low), 1.18, 0.22, back)
    elif look.style == "bun":
        brush.oval(complex(2 * sway, -1.2), 0.46, 0.42, back)


def paint_head(brush: Brush, person: Person) -> None:
    """Paint ears, face, hair, and the features of the expression."""
    look, face = person.look, person.face
    yaw = face.yaw
    for azimuth in (-1.5, 1.5):
        if abs(azimuth + yaw) < 1.75:
            at = complex(1.02 * math.sin(azimuth + yaw) * look.width, 0.1 + 0.3 * face.pitch)
            brush.oval(at, 0.2, 0.26, shade(look.skin, 0.9))
    sine = np.sin(_ANGLES)
    half = look.width * (1 - look.taper * np.clip(sine, 0, 1) ** 2)
    outline = half * np.cos(_ANGLES) + 1.2j * sine
    brush.fill(outline, look.skin)
    _paint_cheeks(brush, person)
    if look.beard and not person.child:
        _paint_beard(brush, person)
    _paint_eyes(brush, person)
    _paint_nose(brush, person)
    _paint_mouth(brush, person)
    if look.style != "bald":
        _paint_hair(brush, person)


def _mood(face: Face) -> list[float]:
    """The numbers of the expression at its strength, each a little off by the wearer's quirks."""
    calm, full = _MOODS["neutral"], _MOODS[face.expression]
    found = [c + (f - c) * face.strength for c, f in zip(calm, full, strict=True)]
    reach = (0.04, 0.04, 0.06, 0.03, 0.04, 0.04)
    for i, (quirk, most) in enumerate(zip(face.quirks, reach, strict=True)):
        found[i] += quirk * most
    return found


def _on_face(face: Face, azimuth: float, y: float) -> tuple[complex, float]:
    """Where a feature lies in the picture of the head, and how narrow the turn makes it."""
    angle = azimuth + face.yaw
    narrow = math.cos(angle)
    return complex(0.96 * math.sin(angle), y + 0.45 * face.pitch * (0.5 + 0.5 * narrow)), narrow


def _paint_hair(brush: Brush, person: Person) -> None:
    look, face = person.look, person.face
    style, colour = look.style, look.hair_rgb
    low = {"long": 0.75, "bob": 0.6, "curly": 0.35}.get(style, 0.08)
    fringe = {"bob": -0.36, "spiky": -0.62, "long": -0.5, "bun": -0.68}.get(style, -0.56)
    dome = np.linspace(
        math.asin(low / 1.36), math.asin(low / 1.36) - math.pi - 2 * math.asin(low / 1.36), 22
    )
    reach = 1.12 if style in ("long", "bob", "curly") else 1.06
    outer = reach * look.width * np.cos(dome) + 1.34j * np.sin(dome)
    azimuth = np.array((-1.42, -1.25, -1.05, -0.55, 0.0, 0.55, 1.05, 1.25, 1.42))
    side = 0.12 * face.quirks[5]
    height = np.array(
        (
            low,
            -0.1,
            -0.42,
            fringe + 0.04 + side,
            fringe - 0.06,
            fringe + 0.04 - side,
            -0.42,
            -0.1,
            low,
        )
    )
    x = 1.02 * look.width * np.sin(np.clip(azimuth + face.yaw, -1.5, 1.5))
    line = x + 1j * (height + 0.4 * face.pitch * (height < 0.2))
    if style == "spiky":
        outer = outer * np.where(np.arange(22) % 2, 1.14, 0.98)
    brush.fill(np.concatenate((outer, line)), colour)
    if style == "curly":
        for angle in (3.1, 3.6, 4.1, 4.6, 5.1, 5.6, 6.2):
            brush.oval(complex(1.02 * math.cos(angle), 1.12 * math.sin(angle)), 0.34, 0.32, colour)
    elif style in ("short", "bob", "long"):
        lit = mix(colour, (255, 240, 220), 0.22)
        start = complex(-0.55 + 0.3 * face.yaw, -0.98)
        brush.stroke((start, start + 0.35 - 0.12j, start + 0.75 - 0.1j), 0.09, lit)


def _paint_beard(brush: Brush, person: Person) -> None:
    look, face = person.look, person.face
    angles = np.linspace(0.05, math.pi - 0.05, 16)
    sine = np.sin(angles)
    outer = look.width * (1 - look.taper * sine**2) * np.cos(angles) + 1.22j * sine
    middle, _ = _on_face(face, 0.0, 0.46)
    inner = np.array(
        (
            complex(-0.8 + 0.2 * face.yaw, 0.1),
            middle - 0.3,
            middle + 0.3,
            complex(0.8 + 0.2 * face.yaw, 0.1),
        )
    )
    brush.fill(np.concatenate((outer, inner)), mix(look.hair_rgb, look.skin, 0.25))


def _paint_cheeks(brush: Brush, person: Person) -> None:
    face, skin = person.face, person.look.skin
    *_, blush, _ = _mood(face)
    for azimuth in (-0.72, 0.72):
        spot, narrow = _on_face(face, azimuth, 0.32)
        if narrow > 0.25:
            brush.oval(spot, 0.2 * narrow, 0.14, mix(skin, (226, 88, 76), 0.28 * blush))


def _paint_eyes(brush: Brush, person: Person) -> None:
    look, face = person.look, person.face
    inner, outer, opening, slant, *_ = _mood(face)
    opening *= 1 - 0.97 * face.closed
    big = look.eye_size * (1.15 if person.child else 1.0)
    brow = shade(look.hair_rgb, 0.62)
    for side in (-1, 1):
        spot, narrow = _on_face(face, 0.46 * side, -0.1)
        if narrow < 0.2:
            continue
        wide, high = 0.27 * big * narrow, 0.25 * big * opening
        tip = slant * side * 0.45
        upper = -high * _ARCH + tip * _LID * 0.6
        lower = 0.8 * high * _ARCH + tip * _LID * 0.3
        rim = spot + np.concatenate((wide * _LID + 1j * upper, (wide * _LID + 1j * lower)[::-1]))
        if face.closed < 0.5:
            brush.fill(rim, (252, 250, 246))
            _paint_iris(brush, face, look.eyes, spot, (wide, high, tip), 0.16 * big)
        brush.stroke(
            (
                spot + complex(wide * t, u)
                for t, u in zip(_LID[::2].tolist(), upper[::2].tolist(), strict=True)
            ),
            0.065,
            _INK,
        )
        lift = -0.36 - 0.1 * (opening - 0.8)
        near = spot + complex(-side * 0.2 * narrow, lift + inner)
        middle = spot + complex(side * 0.06 * narrow, lift - 0.07 + 0.4 * (inner + outer))
        far = spot + complex(side * 0.32 * narrow, lift + outer)
        brush.stroke((near, middle, far), 0.115, brow)
        if look.glasses:
            ring = spot + 0.37 * (narrow * CIRCLE.real + 0.95j * CIRCLE.imag)
            brush.stroke([*ring[::2].tolist(), complex(ring[0])], 0.05, (60, 56, 70))
    if look.glasses:
        bridge, _ = _on_face(face, 0.0, -0.12)
        brush.stroke((bridge - 0.1, bridge + 0.1), 0.05, (60, 56, 70))


def _paint_iris(
    brush: Brush,
    face: Face,
    colour: Rgb,
    spot: complex,
    lids: tuple[float, float, float],
    radius: float,
) -> None:
    """Paint iris and pupil where the gaze has them, cut by the lids."""
    wide, high, tip = lids
    middle = complex(face.pupil[0] * 0.62 * wide, face.pupil[1] * 0.6 * max(high, 0.12))
    for part, shade_of in ((1.0, colour), (0.52, (20, 16, 20))):
        disc = middle + radius * part * CIRCLE[::2]
        x = np.clip(disc.real, -0.95 * wide, 0.95 * wide)
        t = x / wide
        arch = 1 - t**2
        y = np.minimum(
            np.maximum(disc.imag, -high * arch + 0.6 * tip * t), 0.8 * high * arch + 0.3 * tip * t
        )
        brush.fill(spot + x + 1j * y, shade_of)


def _paint_nose(brush: Brush, person: Person) -> None:
    face, skin = person.face, person.look.skin
    wrinkle = _mood(face)[9]
    spot, _ = _on_face(face, 0.0, 0.26 - 0.05 * wrinkle)
    spot += 0.16 * math.sin(face.yaw)
    dark = shade(skin, 0.8)
    brush.oval(spot, 0.13 + 0.04 * wrinkle, 0.085, dark)
    brush.oval(spot - 0.04j, 0.11, 0.08, shade(skin, 0.97))
    if wrinkle > 0.3:
        line = shade(skin, 0.62)
        for side in (-1, 1):
            for step in (0.0, 0.12):
                start = spot + complex(side * 0.06, -0.2 - step)
                brush.stroke((start, start + complex(side * 0.16, -0.06)), 0.05, line)
            start = spot + complex(side * 0.2, 0.0)
            brush.stroke((start, start + complex(side * 0.16, 0.22)), 0.05, line)


def _paint_mouth(brush: Brush, person: Person) -> None:
    face = person.face
    *_, corner, half, top, bottom, _, wrinkle = _mood(face)
    spot, narrow = _on_face(face, 0.0, 0.62)
    half *= max(0.45, narrow)
    lip = shade(mix(person.look.skin, (176, 60, 64), 0.55), 0.85)
    skew = 0.1 * wrinkle * (face.expression == "disgusted") * (1 if face.quirks[0] > 0 else -1)
    base = corner * (1 - _ARCH) + skew * _LID
    upper = base + top * _ARCH
    lower = base + bottom * _ARCH
    if bottom - top < 0.12:
        middle = 0.5 * (upper + lower)
        points = [
            spot + complex(half * t, y) for t, y in zip(_LID.tolist(), middle.tolist(), strict=True)
        ]
        brush.stroke(points, 0.1, shade(lip, 0.7))
        return
    rim = spot + np.concatenate((half * _LID + 1j * upper, (half * _LID + 1j * lower)[::-1]))
    brush.fill(rim, (112, 34, 42))
    if face.expression in ("happy", "angry"):
        gap = (lower - upper) * (0.4 if face.expression == "happy" else 0.72)
        inset = 0.9 if face.expression == "happy" else 0.94
        teeth = np.concatenate(
            (
                half * inset * _LID + 1j * (upper + 0.015),
                (half * inset * _LID + 1j * (upper + gap))[::-1],
            )
        )
        brush.fill(spot + teeth, (252, 248, 240))
        if face.expression == "angry":
            brush.stroke(
                (
                    spot + complex(-0.8 * half, upper[4] + 0.09),
                    spot + complex(0.8 * half, upper[4] + 0.09),
                ),
                0.035,
                (150, 120, 120),
            )
    elif face.expression == "disgusted":
        brush.oval(spot + complex(0.25 * half, bottom + 0.02), 0.4 * half, 0.14, (226, 112, 116))
    brush.stroke([*rim.tolist(), complex(rim[0])], 0.05, lip)
