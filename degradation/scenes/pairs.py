"""Postures of two people by their relation.

Each relation has several variants that share no single cue: touching (couple, family, friends,
professional), something between the hands (friends, professional, commercial), sizes (family, but
anyone may stand further back), clothes (suits and aprons, worn now and then by anyone). Only
`none` has the two apart, each busy alone.
"""

from dataclasses import dataclass, replace

import numpy as np

from degradation.scenes import looks
from degradation.scenes.brush import Rgb
from degradation.scenes.looks import aim, at_viewer, between, pick
from degradation.scenes.records import Arm, Clothes, Look, Person

_CASUAL = ("shirt", "hoodie")
_VARIANTS = {
    "couple": ("heads", "hands", "embrace", "flowers"),
    "family": ("child", "led", "kin", "carried"),
    "friends": ("shoulders", "five", "toast", "selfie"),
    "professional": ("shake", "folder", "laptop"),
    "commercial": ("bag", "box", "coin"),
    "none": ("apart", "away", "phone"),
}
_GAPS = {
    "heads": (2.0, 2.8), "hands": (2.7, 4.6), "embrace": (2.1, 3.0), "flowers": (2.6, 4.4),
    "child": (2.4, 3.8), "led": (2.8, 4.4), "kin": (2.5, 3.8), "carried": (1.6, 2.2),
    "shoulders": (2.5, 3.9), "five": (2.9, 4.6), "toast": (2.8, 4.5), "selfie": (2.2, 3.2),
    "shake": (2.9, 4.7), "folder": (2.7, 4.5), "laptop": (2.7, 4.5),
    "bag": (2.9, 4.7), "box": (2.9, 4.7), "coin": (2.9, 4.7),
    "apart": (2.9, 5.2), "away": (2.7, 5.0), "phone": (2.8, 5.2),
}  # fmt: skip
_CHILD_DROP = {"child": 2.4, "led": 2.4, "carried": 1.7}


@dataclass(frozen=True, slots=True)
class _Figure:
    """Head place and body of one of the two; `side` is -1 for the left one."""

    x: float
    y: float
    size: float
    build: float
    side: int

    def spot(self, across: float, down: float) -> tuple[float, float]:
        """A point `across` head units inward and `down` head units below the head's centre."""
        return (self.x - self.side * across * self.size, self.y + down * self.size)

    def arm(
        self, inner: bool, elbow: tuple[float, float], wrist: tuple[float, float], **more: object
    ) -> Arm:
        """An arm from the inner or outer shoulder to a wrist (frame), by an elbow (head units)."""
        shoulder = -self.side if inner else self.side
        return Arm(shoulder, self.spot(*elbow), wrist, **more)  # type: ignore[arg-type]

    def idle(self, inner: bool, holds: str | None = None) -> Arm:
        """An arm that hangs, or is bent to hold something at the chest."""
        sign = 1 if inner else -1
        if holds:
            return self.arm(
                inner, (sign * 1.9, 3.3), self.spot(sign * 0.7, 3.0), holds=holds, front=True
            )
        return self.arm(
            inner, (sign * 1.75 * self.build, 3.2), self.spot(sign * 1.7 * self.build, 4.8)
        )


def pair(
    rng: np.random.Generator, seed: int, split: str, relation: str
) -> tuple[tuple[Person, Person], Rgb | None]:
    """Two people in this relation, and the colour of a counter before them, if there is one."""
    variant = pick(rng, _VARIANTS[relation])
    left, right = _place(rng, variant)
    swap = rng.random() < 0.5
    first, second = (right, left) if swap else (left, right)
    child = variant in _CHILD_DROP
    if child:
        small = second.size * between(rng, 0.68, 0.82)
        drop = _CHILD_DROP[variant] * second.size * between(rng, 0.6, 1.0)
        second = replace(second, size=small, y=second.y + drop)
    elif rng.random() < 0.35:  # shorter, or further back: sizes must not give a family away
        small = second.size * between(rng, 0.74, 0.95)
        second = replace(second, size=small, y=second.y + between(rng, 0.0, 1.5) * second.size)
    arms = _arms(rng, variant, first, second)
    wear = _wear(rng, relation, variant)
    faces = (looks.any_subject(rng, seed, split), looks.any_subject(rng, seed, split))
    if relation == "family" and rng.random() < 0.6:
        faces = (faces[0], _kin(faces[0], faces[1]))
    persons = tuple(
        _build(rng, relation, variant, me, you, look, clothes, own, child and me is second)
        for me, you, look, clothes, own in zip(
            (first, second), (second, first), faces, wear, arms, strict=True
        )
    )
    has_counter = rng.random() < (0.55 if relation == "commercial" else 0.2)
    wood = looks.jitter(rng, pick(rng, ((176, 128, 88), (206, 170, 128), (130, 150, 150))))
    return (persons[0], persons[1]), (wood if has_counter else None)


def _place(rng: np.random.Generator, variant: str) -> tuple[_Figure, _Figure]:
    """The left and the right figure, some head units apart, near the middle of the frame."""
    size = between(rng, 0.095, 0.125)
    gap = between(rng, *_GAPS[variant]) * size
    middle = between(rng, 0.44, 0.56)
    y = between(rng, 0.3, 0.38)
    ratio = between(rng, 0.86, 1.0)
    sizes = (size, size * ratio) if rng.random() < 0.5 else (size * ratio, size)
    drop = (between(rng, -0.02, 0.04), between(rng, -0.02, 0.04))
    left = _Figure(middle - gap / 2, y + drop[0], sizes[0], between(rng, 0.85, 1.1), -1)
    right = _Figure(middle + gap / 2, y + drop[1], sizes[1], between(rng, 0.85, 1.1), 1)
    return left, right


def _arms(
    rng: np.random.Generator, variant: str, one: _Figure, two: _Figure
) -> tuple[tuple[Arm, ...], tuple[Arm, ...]]:
    """The arms of the two figures; the first one leads where the variant is not symmetric."""
    middle = (one.x + two.x) / 2

    def meet(down: float) -> tuple[float, float]:
        return (middle, (one.y + two.y) / 2 + down * one.size)

    match variant:
        case "heads" | "hands":
            joint = meet(between(rng, 3.4, 4.4))
            first = (one.idle(False), one.arm(True, (1.7, 3.6), joint, front=True))
            return first, (two.idle(False), two.arm(True, (1.7, 3.6), joint, front=True))
        case "embrace":
            hug = one.arm(True, (1.6, 3.7), two.spot(-0.6, between(rng, 3.2, 4.2)), front=True)
            return (one.idle(False), hug), (
                two.idle(False),
                two.arm(True, (1.2, 3.6), one.spot(0.3, 2.7), front=True),
            )
        case "flowers" | "bag" | "box" | "coin" | "folder" | "laptop":
            joint = meet(between(rng, 2.6, 3.4))
            give = one.arm(True, (1.6, 3.5), joint, holds=variant, front=True)
            take = two.arm(True, (1.6, 3.5), (joint[0], joint[1] + 0.5 * one.size), front=True)
            return (one.idle(False), give), (two.idle(False), take)
        case "child":
            touch = one.arm(True, (1.8, 3.0), two.spot(0.2, 1.7), front=True)
            return (one.idle(False), touch), (two.idle(False), two.idle(True))
        case "led":
            joint = meet(between(rng, 4.0, 4.6))
            first = (one.idle(False), one.arm(True, (1.6, 3.4), joint, front=True))
            return first, (two.idle(False), two.arm(True, (1.7, 2.6), joint, front=True))
        case "carried":
            hold = one.arm(False, (-1.9, 3.5), two.spot(0.3, 3.2), front=True)
            return (hold, one.arm(True, (2.6, 3.6), two.spot(-0.3, 2.6), front=True)), ()
        case "kin":
            hug = one.arm(True, (1.9, 1.7), two.spot(-1.1, 2.0), front=True)
            return (one.idle(False), hug), (two.idle(False), two.idle(True))
        case "shoulders":
            mine = one.arm(True, (1.9, 1.5), two.spot(-1.1, 2.0), front=True)
            yours = two.arm(True, (1.9, 1.6), one.spot(0.2, 2.0))
            return (one.idle(False), mine), (two.idle(False), yours)
        case "five" | "toast" | "shake":
            joint = meet(
                {"five": -0.3, "toast": 2.0, "shake": 3.4}[variant] + between(rng, -0.2, 0.3)
            )
            bend = (2.0, 2.6) if variant == "five" else (1.7, 3.4)
            off, holds = (0.42 * one.size, "cup") if variant == "toast" else (0.1 * one.size, None)
            return tuple(  # type: ignore[return-value]
                (
                    me.idle(False),
                    me.arm(
                        True, bend, (joint[0] + me.side * off, joint[1]), holds=holds, front=True
                    ),
                )
                for me in (one, two)
            )
        case "selfie":
            lift = one.arm(
                False,
                (-2.1, 2.2),
                one.spot(-2.0, between(rng, -0.2, 0.6)),
                holds="phone",
                front=True,
            )
            return (lift, one.idle(True)), (
                two.idle(False),
                two.arm(True, (1.2, 3.3), one.spot(0.6, 2.9), front=True),
            )
        case "phone":
            return (one.idle(False, "phone"), one.idle(True)), (two.idle(False), two.idle(True))
        case _:
            holds = pick(rng, (None, "book", "cup", "bag"))
            return (one.idle(False, holds), one.idle(True)), (two.idle(False), two.idle(True))


def _wear(rng: np.random.Generator, relation: str, variant: str) -> tuple[Clothes, Clothes]:
    """The clothes of the two: what the relation suggests, or now and then anything."""
    first, second = looks.clothes(rng, _CASUAL), looks.clothes(rng, _CASUAL)
    odd = rng.random() < 0.3
    if odd or relation == "none":
        return looks.clothes(rng), looks.clothes(rng)
    if relation == "professional":
        suited = looks.clothes(rng, ("suit",))
        return suited, (looks.clothes(rng, ("suit",)) if rng.random() < 0.75 else second)
    if relation == "commercial":
        return looks.clothes(rng, ("apron",)), (
            second if rng.random() < 0.8 else looks.clothes(rng, ("suit",))
        )
    if variant == "kin":
        return first, first
    return first, second


def _kin(look: Look, other: Look) -> Look:
    """A relative: the other subject's face with this one's skin and hair colour."""
    hair, rgb = (look.hair, look.hair_rgb) if look.hair != "grey" else (other.hair, other.hair_rgb)
    return replace(other, skin=look.skin, hair=hair, hair_rgb=rgb, eyes=look.eyes)


def _build(
    rng: np.random.Generator,
    relation: str,
    variant: str,
    me: _Figure,
    you: _Figure,
    look: Look,
    clothes: Clothes,
    arms: tuple[Arm, ...],
    child: bool,
) -> Person:
    """One of the two, as placed, with a head that leans and looks as the variant allows."""
    x, y = me.x, me.y
    if child:
        look = replace(look, beard=False, style="short" if look.style == "bald" else look.style)
    chance = rng.random()
    target: tuple[float, float] | None = (you.x, you.y)
    if relation == "none" and chance < 0.7:
        target = (x + me.side * between(rng, 0.1, 0.4), y + between(rng, -0.1, 0.35))
    elif chance > (0.7 if relation == "none" else 0.5):
        target = None if chance < 0.85 else (between(rng, 0.0, 1.0), between(rng, 0.2, 0.9))
    if target is None or max(abs(target[0] - x), abs(target[1] - y)) < 0.08:
        target, pose = None, at_viewer(rng)
    else:
        pose = aim(rng, target[0] - x, target[1] - y)
    close = variant in ("heads", "embrace", "selfie", "carried")
    roll = -me.side * between(rng, 0.12, 0.3) if close else between(rng, -0.12, 0.12)
    return Person(
        look=look,
        clothes=clothes,
        face=looks.face(rng, *pose),
        x=x,
        y=y,
        size=me.size,
        roll=roll,
        lean=between(rng, -0.2, 0.2),
        build=me.build,
        target=target,
        arms=arms,
        child=child,
    )
