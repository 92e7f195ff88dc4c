"""The chances of the social world: seeded generators, subjects, and what varies freely.

Generators are derived by name (SHA-256 of the parts), so that a picture does not depend on any
other. Subjects are fixed for good by (seed, split, number); the splits own disjoint pools.
"""

import functools
import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from degradation.errors import ConfigError
from degradation.scenes.brush import Real, Rgb, mix
from degradation.scenes.records import (
    BACKDROPS,
    COLOURS,
    EXPRESSIONS,
    GARMENTS,
    HAIR_COLOURS,
    HAIR_STYLES,
    KINDS,
    LIGHTS,
    PATTERNS,
    Backdrop,
    Clothes,
    Face,
    Light,
    Look,
    Occluder,
    Point,
    Thing,
)

T = TypeVar("T")

SUBJECTS = {"train": 400, "val": 80, "test": 160, "pretrain": 2000, "pretrain-val": 200}
_SKINS: tuple[Rgb, ...] = (
    (250, 222, 196),
    (238, 192, 152),
    (212, 156, 112),
    (162, 108, 72),
    (104, 68, 50),
)
_EYES: tuple[Rgb, ...] = ((70, 48, 36), (60, 92, 64), (64, 100, 150), (36, 28, 28))
_WALLS: tuple[Rgb, ...] = (
    (240, 222, 196), (214, 226, 214), (206, 220, 232), (240, 208, 190), (226, 214, 232),
    (188, 200, 196), (246, 232, 200), (198, 180, 164), (166, 186, 204),
)  # fmt: skip
_TINTS = {
    "bright": (1.02, 1.01, 0.99),
    "soft": (1.0, 0.99, 0.97),
    "dim": (0.98, 0.97, 1.0),
    "warm": (1.05, 0.98, 0.88),
    "cool": (0.92, 0.98, 1.05),
}


def digest(*parts: object) -> int:
    """A 128-bit number fixed by the text of the parts, the same in every process."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:16], "little")


def generator(*parts: object) -> np.random.Generator:
    """The generator that belongs to these names and numbers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(digest(*parts))))


def balanced(classes: Sequence[T], index: int, *parts: object) -> T:
    """The class of picture `index`: each run of len(classes) has every class, in a seeded order."""
    block, place = divmod(index, len(classes))
    key = digest("order", *parts, block)
    left = list(range(len(classes)))
    for _ in range(place):
        key, turn = divmod(key, len(left))
        left.pop(turn)
    return classes[left[key % len(left)]]


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(rng.random() * len(options))]


def between(rng: np.random.Generator, low: Real, high: Real) -> float:
    """A number uniform in [low, high)."""
    return low + (high - low) * rng.random()


def jitter(rng: np.random.Generator, colour: Rgb, reach: Real = 14) -> Rgb:
    """The colour with each channel moved by at most `reach`."""
    r, g, b = (min(255, max(0, int(c + between(rng, -reach, reach)))) for c in colour)
    return (r, g, b)


@functools.lru_cache(maxsize=2048)
def subject(seed: int, split: str, number: int) -> Look:
    """The look of one subject of a split's pool."""
    rng = generator(seed, "subject", split, number)
    tone = between(rng, 0.0, len(_SKINS) - 1.001)
    base = int(tone)
    skin = jitter(rng, mix(_SKINS[base], _SKINS[base + 1], tone - base), 6)
    hair = pick(rng, tuple(HAIR_COLOURS))
    return Look(
        subject=f"{split}-{number:03d}",
        skin=skin,
        hair=hair,
        hair_rgb=jitter(rng, HAIR_COLOURS[hair], 10),
        style=pick(rng, HAIR_STYLES),
        eyes=pick(rng, _EYES),
        width=between(rng, 0.9, 1.0),
        taper=between(rng, 0.05, 0.3),
        eye_size=between(rng, 0.9, 1.1),
        glasses=rng.random() < 0.16,
        beard=rng.random() < 0.12,
    )


def any_subject(rng: np.random.Generator, seed: int, split: str) -> Look:
    """A subject of the split's pool.

    Raises:
        ConfigError: If the split has no pool.
    """
    if split not in SUBJECTS:
        raise ConfigError(
            f"Expected a split out of {', '.join(SUBJECTS)}; found {split!r}. Name one of them."
        )
    return subject(seed, split, int(rng.random() * SUBJECTS[split]))


def clothes(rng: np.random.Generator, garments: Sequence[str] = GARMENTS) -> Clothes:
    """Random clothes out of these garments."""
    garment = pick(rng, garments)
    pattern = pick(rng, PATTERNS) if garment in ("shirt", "apron") else "plain"
    colour = pick(rng, tuple(COLOURS))
    rgb = jitter(rng, COLOURS[colour])
    accent = mix(rgb, (255, 250, 240) if sum(rgb) < 480 else (70, 70, 90), between(rng, 0.55, 0.8))
    return Clothes(garment, pattern, colour, rgb, accent)


def face(
    rng: np.random.Generator, yaw: float, pitch: float, pupil: Point, expression: str | None = None
) -> Face:
    """A face in this pose with the expression given, or a random one."""
    quirks = tuple((2 * rng.random(6) - 1).tolist())
    return Face(
        expression=expression or pick(rng, EXPRESSIONS),
        strength=between(rng, 0.65, 1.0),
        yaw=yaw,
        pitch=pitch,
        pupil=pupil,
        closed=0.0,
        quirks=quirks,
    )


def aim(
    rng: np.random.Generator, dx: float, dy: float, share: tuple[float, float] = (0.45, 0.8)
) -> tuple[float, float, Point]:
    """The yaw, pitch and pupils of a head that looks at a point (dx, dy) away, in frame units.

    The gaze angle is atan(distance / 0.3), so that a near target is told from a far one; the head
    turns a random share of it and the eyes the rest.
    """
    part = between(rng, *share)
    across, down = math.atan(dx / 0.3), math.atan(dy / 0.3)
    yaw, pitch = part * across, part * down
    return yaw, pitch, (_pupil(across - yaw), _pupil(down - pitch))


def at_viewer(rng: np.random.Generator, reach: float = 0.35) -> tuple[float, float, Point]:
    """The yaw, pitch and pupils of a head turned by up to `reach`, with the eyes on the viewer."""
    yaw, pitch = between(rng, -reach, reach), between(rng, -0.5 * reach, 0.5 * reach)
    return yaw, pitch, (_pupil(-yaw), _pupil(-pitch))


def _pupil(angle: float) -> float:
    return max(-1.0, min(1.0, angle / 0.6))


def freely(rng: np.random.Generator) -> tuple[float, float, Point]:
    """The yaw, pitch and pupils of a head that looks at the viewer or past it, evenly."""
    if rng.random() < 0.5:
        return at_viewer(rng, 0.3)
    return aim(rng, between(rng, -0.35, 0.35), between(rng, -0.15, 0.2))


def thing(
    rng: np.random.Generator, x: float, y: float, size: float, kind: str | None = None
) -> Thing:
    """A thing of this kind, or a random one, in a random colour."""
    colour = pick(rng, tuple(COLOURS))
    kind = kind or pick(rng, KINDS)
    tilt = between(rng, -0.2, 0.2)
    return Thing(kind, colour, jitter(rng, COLOURS[colour]), x, y, size, tilt, rng.random() < 0.5)


def backdrop(rng: np.random.Generator) -> Backdrop:
    """A random backdrop."""
    a, b, c, d = rng.random(4).tolist()
    return Backdrop(
        pick(rng, BACKDROPS),
        jitter(rng, pick(rng, _WALLS)),
        jitter(rng, pick(rng, _WALLS)),
        (a, b, c, d),
    )


def light(rng: np.random.Generator) -> Light:
    """A random light."""
    name = pick(rng, LIGHTS)
    level = between(rng, 0.74, 0.84) if name == "dim" else between(rng, 0.98, 1.08)
    angle, slope = between(rng, 0.0, 2 * math.pi), between(rng, 0.03, 0.13)
    return Light(name, angle, slope, level, _TINTS[name])


def occluder(rng: np.random.Generator, chance: float = 0.18) -> Occluder | None:
    """With this chance, something near the lens that hides a border of the frame."""
    if rng.random() >= chance:
        return None
    angle = between(rng, 0.0, 2 * math.pi)
    reach = between(rng, 0.58, 0.66)
    return Occluder(
        pick(rng, ("leaf", "bar", "disc")),
        jitter(rng, COLOURS[pick(rng, tuple(COLOURS))]),
        0.5 + reach * math.cos(angle),
        0.5 + reach * math.sin(angle),
        between(rng, 0.12, 0.22),
        angle,
    )
