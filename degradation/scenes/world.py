"""Composition of the pictures: one short function a framing, its label given, the rest at random.

`compose` is a pure function of its arguments. The label of a framing goes round by index in
seeded blocks, so classes are balanced, and no other chance depends on it, apart from what the
label is: a relation is worn by posture and props, of which several variants exist and many are
shared between the classes.
"""

import math

import numpy as np

from degradation.errors import ConfigError
from degradation.scenes import looks
from degradation.scenes.looks import aim, at_viewer, balanced, between, freely, pick
from degradation.scenes.pairs import pair
from degradation.scenes.records import (
    EXPRESSIONS,
    GESTURES,
    KINDS,
    LOOKING,
    PLACES,
    RELATIONS,
    Arm,
    Hand,
    Person,
    Scene,
    Thing,
)

FRAMINGS = ("expression", "gesture", "gaze", "relation", "looking", "objects")
FRAMES = 5


def compose(framing: str, split: str, index: int, *, seed: int = 0, frame: int = 0) -> Scene:
    """The specification of one picture.

    Args:
        framing: One of `FRAMINGS`.
        split: The name of a subject pool: train, val or test.
        index: Number of the picture (of the clip, for `looking`) in the split.
        seed: The seed of the world.
        frame: Frame of the clip, 0 to 4; the pictures of other framings have one frame.

    Returns:
        The scene, the same in every process.

    Raises:
        ConfigError: If there is no such framing, split or frame.
    """
    if framing not in FRAMINGS:
        raise ConfigError(
            f"Expected a framing out of {', '.join(FRAMINGS)}; found {framing!r}. Name one of them."
        )
    if not 0 <= frame < (FRAMES if framing == "looking" else 1):
        raise ConfigError(
            f"Expected a frame below {FRAMES} of a looking clip, or 0; found frame {frame} of "
            f"{framing}. Ask for a frame that exists."
        )
    rng = looks.generator(seed, framing, split, index)
    key = (seed, framing, split)
    match framing:
        case "expression":
            return _expression(rng, seed, split, balanced(EXPRESSIONS, index, *key))
        case "gesture":
            return _gesture(rng, seed, split, balanced(GESTURES, index, *key))
        case "gaze":
            return _gaze(rng, seed, split, f"{split}-{index}", balanced(_AIMS, index, *key))
        case "relation":
            return _relation(rng, seed, split, f"{split}-{index}", balanced(RELATIONS, index, *key))
        case "looking":
            return _looking(
                rng, seed, split, f"{split}-{index}", balanced(LOOKING, index, *key), frame
            )
        case _:
            return _objects(rng, seed, split, f"{split}-{index}", balanced(KINDS, index, *key))


_AIMS = ("thing", "thing", "thing", "viewer", "point")


def _scene(
    rng: np.random.Generator,
    framing: str,
    cluster: str,
    persons: tuple[Person, ...],
    **parts: object,
) -> Scene:
    """A scene around these persons, with a random backdrop, light and occluder."""
    defaults: dict[str, object] = {
        "hand": None,
        "things": (),
        "target": None,
        "gaze_kind": "viewer" if persons[0].target is None else "point",
        "relation": None,
        "counter": None,
        "looks": None,
    }
    return Scene(
        framing=framing,
        cluster=cluster,
        persons=persons,
        backdrop=looks.backdrop(rng),
        light=looks.light(rng),
        occluder=looks.occluder(rng),
        noise=int(rng.random() * 2**31),
        **(defaults | parts),  # type: ignore[arg-type]
    )


def _hanging(x: float, y: float, size: float, build: float) -> tuple[Arm, Arm]:
    """Two arms that hang at the sides."""
    left, right = (
        Arm(
            s,
            (x + s * 1.9 * build * size, y + 3.2 * size),
            (x + s * 1.8 * build * size, y + 4.8 * size),
        )
        for s in (-1, 1)
    )
    return left, right


def _person(
    rng: np.random.Generator,
    seed: int,
    split: str,
    spot: tuple[float, float, float],
    pose: tuple[float, float, tuple[float, float]],
    *,
    target: tuple[float, float] | None = None,
    expression: str | None = None,
) -> Person:
    """A random subject with the head at `spot` (x, y, half width) in this head pose."""
    x, y, size = spot
    build = between(rng, 0.85, 1.1)
    return Person(
        look=looks.any_subject(rng, seed, split),
        clothes=looks.clothes(rng),
        face=looks.face(rng, *pose, expression=expression),
        x=x,
        y=y,
        size=size,
        roll=between(rng, -0.1, 0.1),
        lean=between(rng, -0.25, 0.25),
        build=build,
        target=target,
        arms=_hanging(x, y, size, build),
    )


def _seen(
    spot: tuple[float, float, float], pose: tuple[float, float, tuple[float, float]]
) -> tuple[float, float] | None:
    """Where a pose looks: None for the viewer, or the point at which `aim` aims it."""
    yaw, pitch, pupil = pose
    across, down = yaw + 0.6 * pupil[0], pitch + 0.6 * pupil[1]
    if math.hypot(across, down) < 1e-6:
        return None
    return (spot[0] + 0.3 * math.tan(across), spot[1] + 0.3 * math.tan(down))


def _expression(rng: np.random.Generator, seed: int, split: str, label: str) -> Scene:
    size = between(rng, 0.225, 0.335)
    spot = (between(rng, 0.42, 0.58), between(rng, 0.44, 0.54), size)
    pose = freely(rng)
    person = _person(rng, seed, split, spot, pose, target=_seen(spot, pose), expression=label)
    things: tuple[Thing, ...] = ()
    if rng.random() < 0.3:
        things = (looks.thing(rng, pick(rng, (0.1, 0.9)), between(rng, 0.1, 0.9), 0.09),)
    return _scene(rng, "expression", person.look.subject, (person,), things=things)


def _gesture(rng: np.random.Generator, seed: int, split: str, label: str) -> Scene:
    side = pick(rng, ("left", "right"))
    sign = 1 if side == "right" else -1
    size = between(rng, 0.13, 0.17)
    half = between(rng, 0.14, 0.2)
    head_x = 0.5 - sign * between(rng, 0.12, 0.22)
    spot = (head_x, between(rng, 0.3, 0.42), size)
    hand_x = head_x + sign * (1.2 * size + between(rng, 0.85, 1.15) * half)
    hand_x = min(1 - 0.9 * half, max(0.9 * half, hand_x))
    roll = between(rng, -0.3, 0.3)
    hand = Hand(label, hand_x, between(rng, 0.3, 0.66), half, sign * roll, side)
    pose = freely(rng)
    person = _person(rng, seed, split, spot, pose, target=_seen(spot, pose))
    elbow = (
        hand.x + sign * between(rng, 0.0, 0.1),
        min(1.02, hand.y + half * between(rng, 1.7, 2.2)),
    )
    other = _hanging(*spot, person.build)[0 if sign > 0 else 1]
    raised = Arm(sign, elbow, hand.wrist, front=True)
    person = _with(person, arms=(other, raised))
    return _scene(rng, "gesture", person.look.subject, (person,), hand=hand)


def _with(person: Person, **changes: object) -> Person:
    values = {name: getattr(person, name) for name in Person.__slots__}
    return Person(**(values | changes))  # type: ignore[arg-type]


def _cells(
    rng: np.random.Generator, heads: list[tuple[float, float, float]], count: int, size: float
) -> list[tuple[float, float]]:
    """Centres for `count` things that overlap no head, not one another, and rarely a body."""
    taken = [(x, y, 1.35 * r) for x, y, r in heads]
    found: list[tuple[float, float]] = []
    for attempt in range(60):
        x, y = between(rng, 0.1, 0.9), between(rng, 0.12, 0.88)
        over_body = any(y > b and abs(x - a) < 1.5 * r + size for a, b, r in heads)
        if over_body and attempt < 40:
            continue
        if all(max(abs(x - a), abs(y - b)) > r + size for a, b, r in taken):
            found.append((x, y))
            taken.append((x, y, size * 1.05))
            if len(found) == count:
                break
    return found


def _gaze(rng: np.random.Generator, seed: int, split: str, cluster: str, kind: str) -> Scene:
    size = between(rng, 0.11, 0.16)
    two = rng.random() < 0.5
    x = between(rng, 0.15, 0.85)
    if two:
        x = between(rng, 0.14, 0.34) if rng.random() < 0.5 else between(rng, 0.66, 0.86)
    spots = [(x, between(rng, 0.22, 0.6), size)]
    if two:
        other = between(rng, 0.66, 0.86) if x < 0.5 else between(rng, 0.14, 0.34)
        spots.append((other, between(rng, 0.22, 0.6), size * between(rng, 0.85, 1.1)))
    half = between(rng, 0.075, 0.095)
    places = _cells(rng, spots, 3 + int(rng.random() * 2), half)
    things = tuple(looks.thing(rng, *place, half * between(rng, 0.9, 1.1)) for place in places)
    target = int(rng.random() * len(things)) if things else None
    persons = []
    for number, spot in enumerate(spots):
        mode = kind if number == 0 else pick(rng, _AIMS)
        chosen = target if number == 0 else int(rng.random() * max(1, len(things)))
        point = _gazed(rng, mode, spot, things, chosen)
        pose = at_viewer(rng) if point is None else _aimed(rng, spot, point)
        persons.append(_person(rng, seed, split, spot, pose, target=point))
    if kind == "thing" and not things:
        kind = "point"
    return _scene(
        rng, "gaze", cluster, tuple(persons), things=things, target=target, gaze_kind=kind
    )


def _aimed(
    rng: np.random.Generator, spot: tuple[float, float, float], point: tuple[float, float]
) -> tuple[float, float, tuple[float, float]]:
    """The pose of a head at `spot` that looks at a point of a wide scene, mostly by turning."""
    return aim(rng, point[0] - spot[0], point[1] - spot[1], share=(0.65, 0.95))


def _gazed(
    rng: np.random.Generator,
    mode: str,
    spot: tuple[float, float, float],
    things: tuple[Thing, ...],
    chosen: int | None,
) -> tuple[float, float] | None:
    """The point looked at: None for the viewer, a thing's centre, or a point off the head."""
    if mode == "viewer":
        return None
    if mode == "thing" and things and chosen is not None:
        return (things[chosen].x, things[chosen].y)
    while True:
        x, y = between(rng, 0.04, 0.96), between(rng, 0.04, 0.96)
        if math.hypot(x - spot[0], y - spot[1]) > 0.22:
            return (x, y)


def _relation(rng: np.random.Generator, seed: int, split: str, cluster: str, label: str) -> Scene:
    persons, counter = pair(rng, seed, split, label)
    things: tuple[Thing, ...] = ()
    if counter is not None or rng.random() < 0.4:
        y = between(rng, 0.76, 0.84) if counter is not None else between(rng, 0.1, 0.2)
        things = (looks.thing(rng, pick(rng, (0.12, 0.88)), y, between(rng, 0.07, 0.1)),)
    return _scene(rng, "relation", cluster, persons, things=things, relation=label, counter=counter)


def _looking(
    rng: np.random.Generator, seed: int, split: str, cluster: str, label: str, frame: int
) -> Scene:
    size, x, y = between(rng, 0.24, 0.33), between(rng, 0.44, 0.56), between(rng, 0.46, 0.52)
    time = frame / (FRAMES - 1)
    drift = [between(rng, -0.06, 0.06) for _ in range(3)]
    sweep = between(rng, -0.25, 0.25)
    blink = pick(rng, (0, 1, 3, 4, 9))
    stray = [rng.random() < 0.2 for _ in range(FRAMES)]
    direction, reach = between(rng, 0.0, 2 * math.pi), between(rng, 0.34, 0.95)
    across, down = 0.0, 0.0
    if label == "elsewhere" or (stray[frame] and frame in (0, FRAMES - 1)):
        across, down = reach * math.cos(direction), 0.7 * reach * math.sin(direction)
    head = between(rng, -0.3, 0.3) + sweep * (time - 0.5) + 0.45 * across
    nod = between(rng, -0.12, 0.12) + 0.4 * down + 0.15 * sweep * (time - 0.5)
    pupil = (max(-1.0, min(1.0, (across - head) / 0.6)), max(-1.0, min(1.0, (down - nod) / 0.6)))
    spot = (x + drift[0] * time, y + drift[1] * time, size * (1 + drift[2] * time))
    target = None
    if across or down:
        target = (spot[0] + 0.3 * math.tan(across), spot[1] + 0.3 * math.tan(down))
    person = _person(rng, seed, split, spot, (head, nod, pupil), target=target)
    expression = person.face
    face = looks.Face(
        expression.expression,
        expression.strength * (1 - 0.35 * abs(time - between(rng, 0.0, 1.0))),
        head,
        nod,
        pupil,
        1.0 if frame == blink else 0.0,
        expression.quirks,
    )
    return _scene(rng, "looking", cluster, (_with(person, face=face),), looks=label)


def _objects(rng: np.random.Generator, seed: int, split: str, cluster: str, kind: str) -> Scene:
    place = int(rng.random() * len(PLACES))
    column = place % 3
    desk = pick(rng, [c for c in range(3) if c != column])
    size = between(rng, 0.085, 0.12)
    spot = ((desk + between(rng, 0.4, 0.6)) / 3, between(rng, 0.26, 0.5), size)
    x = (column + between(rng, 0.42, 0.58)) / 3
    y = (place // 3 + between(rng, 0.45, 0.6)) / 2
    half = between(rng, 0.12, 0.15)
    main = looks.thing(rng, x, y, half, kind)
    taken = [spot, (x, y, half / 1.2)]
    small = between(rng, 0.06, 0.08)
    spots = _cells(rng, taken, 2 + int(rng.random() * 2), small)
    others = tuple(looks.thing(rng, *centre, small) for centre in spots)
    pose = freely(rng)
    person = _person(rng, seed, split, spot, pose, target=_seen(spot, pose))
    return _scene(rng, "objects", cluster, (person,), things=(main, *others), target=0)
