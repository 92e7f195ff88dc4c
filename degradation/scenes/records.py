"""The specification of a rendered picture: who and what is where, in which look, with which labels.

Records only, no chance and no paint. Positions and sizes are normalised to the frame (x right, y
down, in [0, 1]); a head's `size` is half its width. Angles are radians; yaw and pitch are
positive to the right and downwards as seen in the picture.
"""

import math
from dataclasses import dataclass

from degradation.scenes.brush import Rgb

EXPRESSIONS = ("neutral", "happy", "sad", "surprised", "angry", "disgusted")
GESTURES = ("palm", "fist", "like", "dislike", "peace", "point", "ok")
RELATIONS = ("friends", "family", "couple", "professional", "commercial", "none")
DOMAINS = ("intimate", "non-intimate", "none")
DOMAIN_OF = {
    "friends": "intimate",
    "family": "intimate",
    "couple": "intimate",
    "professional": "non-intimate",
    "commercial": "non-intimate",
    "none": "none",
}
LOOKING = ("elsewhere", "viewer")
KINDS = ("ball", "cup", "book", "lamp", "plant", "clock", "box", "car", "kite", "bottle")
COLOURS = {
    "red": (206, 58, 52),
    "orange": (236, 138, 48),
    "yellow": (242, 202, 66),
    "green": (96, 158, 78),
    "teal": (52, 150, 150),
    "blue": (62, 106, 190),
    "purple": (132, 84, 168),
    "pink": (236, 136, 164),
    "brown": (130, 88, 58),
    "white": (244, 240, 230),
}
PLACES = (
    "upper left", "upper middle", "upper right", "lower left", "lower middle", "lower right",
)  # fmt: skip
HAIR_COLOURS = {
    "black": (40, 34, 38),
    "brown": (98, 62, 42),
    "blond": (226, 184, 104),
    "red": (176, 78, 40),
    "grey": (168, 166, 166),
}
HAIR_STYLES = ("short", "long", "curly", "bun", "spiky", "bob", "bald")
PATTERNS = ("plain", "striped", "dotted")
GARMENTS = ("shirt", "hoodie", "suit", "apron")
BACKDROPS = ("wall", "window", "shelves", "outdoors", "wallpaper")
LIGHTS = ("bright", "soft", "dim", "warm", "cool")

Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """What a subject always looks like: skin, hair and the shape of the face."""

    subject: str
    skin: Rgb
    hair: str
    hair_rgb: Rgb
    style: str
    eyes: Rgb
    width: float
    taper: float
    eye_size: float
    glasses: bool
    beard: bool


@dataclass(frozen=True, slots=True)
class Clothes:
    """A garment, its pattern and its named colour with the shades in which it is painted."""

    garment: str
    pattern: str
    colour: str
    rgb: Rgb
    accent: Rgb


@dataclass(frozen=True, slots=True)
class Face:
    """The state of a face: expression with its strength, head pose, and pupils in the eyes.

    `quirks` are six numbers in [-1, 1] that vary how the expression is worn.
    """

    expression: str
    strength: float
    yaw: float
    pitch: float
    pupil: Point
    closed: float
    quirks: tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm: its shoulder (-1 left, 1 right in the picture), elbow, wrist, and what it holds.

    `front` arms are painted over both bodies, the others with their own body, below its head.
    """

    shoulder: int
    elbow: Point
    wrist: Point
    holds: str | None = None
    front: bool = False


@dataclass(frozen=True, slots=True)
class Hand:
    """A raised hand: gesture, centre, half size, roll, and its side of the body in the picture."""

    gesture: str
    x: float
    y: float
    size: float
    roll: float
    side: str

    @property
    def wrist(self) -> Point:
        """Where the forearm ends."""
        sign = 1.0 if self.side == "right" else -1.0
        sideways = self.gesture in ("like", "dislike")
        local = complex(0.62, 0.30 if self.gesture == "like" else -0.30) if sideways else 0.62j
        turned = local * complex(math.cos(self.roll), math.sin(self.roll))
        return (self.x + sign * turned.real * self.size, self.y + turned.imag * self.size)

    @property
    def box(self) -> Box:
        """The square that holds the painted hand."""
        half = 1.06 * self.size
        return (self.x - half, self.y - half, self.x + half, self.y + half)


@dataclass(frozen=True, slots=True)
class Person:
    """One person: look, clothes, face, head place and arms; `target` None looks at the viewer."""

    look: Look
    clothes: Clothes
    face: Face
    x: float
    y: float
    size: float
    roll: float
    lean: float
    build: float
    target: Point | None
    arms: tuple[Arm, ...]
    child: bool = False

    @property
    def head_box(self) -> Box:
        """The box of the head with hair."""
        return (
            self.x - 1.2 * self.size,
            self.y - 1.45 * self.size,
            self.x + 1.2 * self.size,
            self.y + 1.3 * self.size,
        )

    @property
    def face_box(self) -> Box:
        """The box of the face, from hairline to chin."""
        return (
            self.x - self.size,
            self.y - 0.95 * self.size,
            self.x + self.size,
            self.y + 1.25 * self.size,
        )

    @property
    def body_box(self) -> Box:
        """The box of the whole visible person, arms at the sides."""
        half = 1.2 * self.size + 0.75 * self.build * self.size
        return (self.x - half, self.y - 1.45 * self.size, self.x + half, 1.0)


@dataclass(frozen=True, slots=True)
class Thing:
    """An object: kind, named colour and its shade, centre, half size, tilt, and if on a ledge."""

    kind: str
    colour: str
    rgb: Rgb
    x: float
    y: float
    size: float
    tilt: float
    ledge: bool

    @property
    def place(self) -> str:
        """The third and half of the frame in which the centre lies, one of `PLACES`."""
        return PLACES[min(2, int(self.x * 3)) + (3 if self.y >= 0.5 else 0)]

    @property
    def box(self) -> Box:
        """The square around the thing."""
        half = 1.06 * self.size
        return (self.x - half, self.y - half, self.x + half, self.y + half)


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What is behind: its kind, two colours, and numbers in [0, 1] that place its parts."""

    kind: str
    rgb: Rgb
    accent: Rgb
    layout: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Light:
    """The light: its name, direction, slope across the frame, level, and tint by channel."""

    name: str
    angle: float
    slope: float
    level: float
    tint: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Occluder:
    """A blurred thing near the lens at an edge of the frame: a leaf, a bar or a disc."""

    shape: str
    rgb: Rgb
    x: float
    y: float
    size: float
    angle: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A whole picture with its labels; `relation` and `looks` are None in other framings."""

    framing: str
    cluster: str
    persons: tuple[Person, ...]
    hand: Hand | None
    things: tuple[Thing, ...]
    target: int | None
    gaze_kind: str
    backdrop: Backdrop
    light: Light
    occluder: Occluder | None
    relation: str | None
    counter: Rgb | None
    looks: str | None
    noise: int

    @property
    def expression(self) -> str:
        """The expression of the main person."""
        return self.persons[0].face.expression

    @property
    def gesture(self) -> str | None:
        """The gesture of the raised hand, if any."""
        return self.hand.gesture if self.hand else None

    @property
    def domain(self) -> str | None:
        """The coarser class of the relation."""
        return DOMAIN_OF[self.relation] if self.relation else None

    @property
    def thing(self) -> Thing | None:
        """The target thing, if any."""
        return None if self.target is None else self.things[self.target]

    def gaze_point(self) -> Point:
        """Where the main person looks, normalised; (nan, nan) for the viewer."""
        target = self.persons[0].target
        return target if target is not None else (math.nan, math.nan)

    def boxes(self) -> dict[str, Box]:
        """The boxes that exist, by role, normalised xyxy, clipped to the frame."""
        main = self.persons[0]
        found = {"face": main.face_box, "head": main.head_box}
        if self.hand:
            found["hand"] = self.hand.box
        if len(self.persons) > 1:
            found["person_a"] = main.body_box
            found["person_b"] = self.persons[1].body_box
        if self.thing:
            found["object"] = self.thing.box
        return {role: _clip(box) for role, box in found.items()}


def _clip(box: Box) -> Box:
    x0, y0, x1, y1 = (min(1.0, max(0.0, value)) for value in box)
    return (x0, y0, x1, y1)
