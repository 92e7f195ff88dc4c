"""Captions of scenes, in the package's own words: lower case, tokens separated by single spaces.

A social caption names everything: people, expression, gesture, gaze, relation, objects and
surroundings. A plain one names people's looks, objects and surroundings in the same manner, and
never anything social. What the framing is about comes first in both kinds.
"""

import functools
import math

import numpy as np

from degradation.scenes.looks import pick
from degradation.scenes.records import (
    COLOURS,
    DOMAINS,
    EXPRESSIONS,
    GARMENTS,
    GESTURES,
    HAIR_COLOURS,
    KINDS,
    LIGHTS,
    PATTERNS,
    PLACES,
    RELATIONS,
    Person,
    Scene,
    Thing,
)

_HAIR = {
    "short": "short {} hair", "long": "long {} hair", "curly": "curly {} hair",
    "bun": "{} hair in a bun",
    "spiky": "spiky {} hair", "bob": "straight {} hair", "bald": "a bald head",
}  # fmt: skip
_BACKDROPS = {
    "wall": ("a plain wall", "a bare wall"),
    "window": ("a window", "a bright window"),
    "shelves": ("shelves of books", "a wall of shelves"),
    "outdoors": ("green hills", "a green field"),
    "wallpaper": ("patterned wallpaper", "a patterned wall"),
}
_EXPRESSIONS = {
    "neutral": ("a neutral face", "a calm , neutral face"),
    "happy": ("a happy face", "a happy smile"),
    "sad": ("a sad face", "a sad frown"),
    "surprised": ("a surprised face", "a surprised look"),
    "angry": ("an angry face", "an angry scowl"),
    "disgusted": ("a disgusted face", "a disgusted grimace"),
}
_GESTURES = {
    "palm": ("shows an open palm", "raises an open palm"),
    "fist": ("makes a fist", "raises a closed fist"),
    "like": ("gives a thumbs up sign of like", "makes the like sign , thumb up"),
    "dislike": ("gives a thumbs down sign of dislike", "makes the dislike sign , thumb down"),
    "peace": ("makes the peace sign", "shows a peace sign with two fingers"),
    "point": ("makes a point with one finger", "raises one finger to point"),
    "ok": ("makes the ok sign", "shows an ok sign with a ring of two fingers"),
}
_RELATIONS = {
    "friends": ("two friends together , an intimate relation", "good friends , close and intimate"),
    "family": ("a family , an intimate relation", "two of one family , close and intimate"),
    "couple": ("a couple in love , an intimate relation", "a loving couple , close and intimate"),
    "professional": (
        "two professional partners , a non-intimate relation",
        "a professional meeting , non-intimate",
    ),
    "commercial": (
        "a commercial sale , a non-intimate relation",
        "a commercial deal , non-intimate",
    ),
    "none": ("two strangers with no relation", "two strangers , none knows the other"),
}
_RUN_ON = " . "


def caption(scene: Scene, *, social: bool, rng: np.random.Generator) -> str:
    """A caption of the scene.

    Args:
        scene: What to describe.
        social: Whether to name expression, gesture, gaze and relation.
        rng: Chooses among the templates.

    Returns:
        About 20 to 60 words out of `vocabulary`, separated by single spaces.
    """
    parts = [_social(scene, rng)] if social else []
    most = (2 if scene.framing == "objects" else 1) + (not social)
    things = _things(scene, rng, most)
    if scene.framing == "objects":
        parts.insert(0, things)
        things = ""
    parts += [] if social else [_people(scene, rng)]
    parts += [things, _surroundings(scene, rng)]
    return _RUN_ON.join(part for part in parts if part) + " ."


def brief(scene: Scene, *, social: bool, rng: np.random.Generator, others: int = 2) -> str:
    """A short caption: what the framing is about, and some other facts drawn at random.

    Alt-texts are as short. Over many draws everything that `caption` names gets named.

    Args:
        scene: What to describe.
        social: Whether social facts are among those that may be named.
        rng: Draws the facts and chooses among the templates.
        others: Number of further facts.
    """
    facts = _facts(scene, social=social, rng=rng)
    order = [0, *(1 + rng.permutation(len(facts) - 1)[:others])]
    return _RUN_ON.join(facts[i] for i in order) + " ."


def everything(scene: Scene, *, social: bool, rng: np.random.Generator) -> str:
    """All that `brief` may name of the scene, in one caption."""
    return _RUN_ON.join(_facts(scene, social=social, rng=rng)) + " ."


def _facts(scene: Scene, *, social: bool, rng: np.random.Generator) -> list[str]:
    """All that may be said of a scene, one fact a phrase, led by what the framing is about."""
    main = scene.persons[0]
    plain = [_person(person, social=False) for person in scene.persons]
    things = [_thing(thing) for thing in scene.things]
    around = [_surroundings(scene, rng)]
    if not social:
        lead = things if scene.framing == "objects" else plain
        return lead + [fact for fact in (*plain, *things, *around) if fact not in lead]
    face = f"a person has {pick(rng, _EXPRESSIONS[scene.expression])}"
    gaze = f"a person {_gaze(scene, rng)}"
    facts = [face, gaze, _person(main, social=True), *plain[1:], *things, *around]
    match scene.framing:
        case "gesture" if scene.hand is not None:
            sign = pick(rng, _GESTURES[scene.hand.gesture])
            facts.insert(0, f"a person {sign} with the hand on the {scene.hand.side}")
        case "relation" if scene.relation is not None:
            facts.insert(0, pick(rng, _RELATIONS[scene.relation]))
        case "gaze" | "looking":
            facts[:2] = [gaze, face]
        case "objects":
            facts = things + [fact for fact in facts if fact not in things]
    return facts


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """Every word and sign that a caption may contain, sorted."""
    names = (
        *EXPRESSIONS, *GESTURES, *RELATIONS, *DOMAINS, *KINDS, *COLOURS, *PLACES,
        *HAIR_COLOURS, *PATTERNS, *GARMENTS, *LIGHTS, *_HAIR.values(), *_TEMPLATES,
    )  # fmt: skip
    banks = (_BACKDROPS, _EXPRESSIONS, _GESTURES, _RELATIONS)
    phrases = (*names, *(text for bank in banks for texts in bank.values() for text in texts))
    return tuple(sorted({word for text in phrases for word in text.split() if word != "{}"}))


def _person(person: Person, *, social: bool) -> str:
    """The looks of a person; plain words leave out the garment, which hints at a relation."""
    wear, look = person.clothes, person.look
    pattern = "" if wear.pattern == "plain" else f" {wear.pattern}"
    garment = wear.garment if social else "top"
    hair = _HAIR[look.style].format(look.hair)
    return f"a person with {hair} in {_a(wear.colour)}{pattern} {garment}"


def _people(scene: Scene, rng: np.random.Generator) -> str:
    first = _person(scene.persons[0], social=False)
    if len(scene.persons) == 1:
        return pick(rng, (first, f"there is {first}"))
    return f"{first} and {_person(scene.persons[1], social=False)}"


def _short(person: Person) -> str:
    """The looks of a person in few words, for captions that have much else to say."""
    hair = "bald head" if person.look.style == "bald" else f"{person.look.hair} hair"
    return f"a person with {hair} in {person.clothes.colour}"


def _thing(thing: Thing) -> str:
    return f"{_a(thing.colour)} {thing.kind} at the {thing.place}"


def _a(word: str) -> str:
    """The word behind its article."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _things(scene: Scene, rng: np.random.Generator, most: int) -> str:
    """The target thing first, then others, at most `most` in all, so that captions stay short."""
    order = [scene.thing] if scene.thing else []
    order += [thing for thing in scene.things if thing is not scene.thing]
    told = [_thing(thing) for thing in order[:most]]
    if not told:
        return ""
    return pick(rng, ("there is ", "")) + " , ".join(told)


def _surroundings(scene: Scene, rng: np.random.Generator) -> str:
    behind = pick(rng, _BACKDROPS[scene.backdrop.kind])
    name = scene.light.name
    return pick(
        rng,
        (
            f"{behind} behind , in {name} light",
            f"{name} light , {behind} behind",
            f"before {behind}",
        ),
    )


def _social(scene: Scene, rng: np.random.Generator) -> str:
    """The social sentence, led by what the framing is about."""
    main = scene.persons[0]
    face = f"has {pick(rng, _EXPRESSIONS[scene.expression])}"
    gaze = _gaze(scene, rng)
    who = _short(main) if len(scene.persons) > 1 else _person(main, social=True)
    match scene.framing:
        case "gesture" if scene.hand is not None:
            sign = (
                f"{pick(rng, _GESTURES[scene.hand.gesture])} with the hand on the {scene.hand.side}"
            )
            return f"{who} {sign} , {face} and {gaze}"
        case "relation" if scene.relation is not None:
            other = scene.persons[1]
            mood = pick(rng, _EXPRESSIONS[other.face.expression])
            pair = pick(rng, _RELATIONS[scene.relation])
            return f"{pair} : {who} {face} and {gaze} , {_short(other)} has {mood}"
        case "gaze" if len(scene.persons) > 1:
            return f"{who} {gaze} and {face} , beside {_short(scene.persons[1])}"
        case "gaze" | "looking":
            return f"{who} {gaze} and {face}"
        case _:
            return f"{who} {face} and {gaze}"


def _gaze(scene: Scene, rng: np.random.Generator) -> str:
    """Where the main person looks, at the viewer, a thing, the other person or past them.

    The words for the head and for the way of the gaze are used for nothing else (but `straight`,
    which hair can be too), so that they mean the same wherever they stand.
    """
    main = scene.persons[0]
    verb = f"with {_head(main)} {pick(rng, ('looks', 'is looking'))}"
    if main.target is None:
        return f"{verb} at the viewer"
    x, y = main.target
    way = _way(main, main.target)
    for thing in scene.things:
        if max(abs(thing.x - x), abs(thing.y - y)) < 0.5 * thing.size:
            return f"{verb} {way} at the {thing.colour} {thing.kind}"
    for other in scene.persons[1:]:
        if max(abs(other.x - x), abs(other.y - y)) < other.size:
            return f"{verb} {way} at the other person"
    return f"{verb} {way} past the viewer"


def _head(person: Person) -> str:
    """Which way the head is turned, whatever the eyes do."""
    yaw, pitch = person.face.yaw, person.face.pitch
    across = "straight" if abs(yaw) < 0.15 else "left-turned" if yaw < 0 else "right-turned"
    down = "" if abs(pitch) < 0.15 else " raised" if pitch < 0 else " lowered"
    return f"a {across}{down} head"


def _way(person: Person, point: tuple[float, float]) -> str:
    """One of eight directions from the head to the point, and whether it is far."""
    dx, dy = point[0] - person.x, point[1] - person.y
    reach = "far" if math.hypot(dx, dy) > 0.4 else ""
    across = "" if abs(dx) < 0.41 * abs(dy) else "leftward" if dx < 0 else "rightward"
    down = "" if abs(dy) < 0.41 * abs(dx) else "upward" if dy < 0 else "downward"
    return " ".join(word for word in (reach, across, down) if word)


_TEMPLATES = (
    "a person with in a an top and there is at the , : .",
    "a person with bald head hair in before behind light",
    "has with the hand on the left right looks is looking at the viewer past the other person",
    "beside",
    "straight left-turned right-turned raised lowered head",
    "far leftward rightward upward downward",
)
