"""Gradient conflict arranged for tables and figures: names, groups of pairs, sides, numbers.

A record holds every pair of questions on every part of the model, for every side. What is told is
less: the questions by short names, social pairs first, and two sides, the earlier and the later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from probes.conflict.records import (
    Change,
    ConflictRecord,
    Interval,
    PairNumbers,
    QuestionCard,
    SideRecord,
)

__all__ = [
    "CONTROL",
    "GLYPHS",
    "MIXED",
    "SOCIAL",
    "WHOLE",
    "Asked",
    "Changes",
    "Measured",
    "asked_pairs",
    "bounded",
    "changes_between",
    "compared_sides",
    "cosine_interval",
    "measured_on",
    "own_sides",
    "question_names",
    "side_title",
    "told_from_zero",
    "two_places",
]

SOCIAL, MIXED, CONTROL = "social × social", "social × control", "control × control"
WHOLE = "all"
"""Name of the part that holds every parameter chosen."""
GLYPHS = {"conflict": "▼", "aligned": "▲", "unclear": "?", "below floor": "∅"}


@dataclass(frozen=True, slots=True)
class Asked:
    """Two questions whose gradients were compared.

    Attributes:
        first: Label as in the record.
        second: Likewise.
        names: Both as people read them.
        group: `SOCIAL`, `MIXED` or `CONTROL`.
    """

    first: str
    second: str
    names: tuple[str, str]
    group: str

    @property
    def name(self) -> str:
        """Both, as people read them."""
        return " × ".join(self.names)

    @property
    def key(self) -> frozenset[str]:
        """Both labels, in no order."""
        return frozenset((self.first, self.second))


Measured = dict[tuple[frozenset[str], str], PairNumbers]
"""Numbers of one side by the two questions and the name of the part."""
Changes = dict[tuple[frozenset[str], str], Change]
"""Changes between two sides, likewise."""


def question_names(questions: Sequence[QuestionCard]) -> dict[str, str]:
    """By label: the question, with its task where two tasks ask the same."""
    asked = [one.question for one in questions]
    return {
        one.label: f"{one.question} ({one.task})" if asked.count(one.question) > 1 else one.question
        for one in questions
    }


def asked_pairs(record: ConflictRecord) -> tuple[Asked, ...]:
    """Every two questions once: social pairs first, then mixed ones, then control pairs."""
    names = question_names(record.questions)
    cards = record.questions
    found = [
        Asked(one.label, other.label, (names[one.label], names[other.label]), _group(one, other))
        for i, one in enumerate(cards)
        for other in cards[i + 1 :]
    ]
    return tuple(sorted(found, key=lambda pair: (SOCIAL, MIXED, CONTROL).index(pair.group)))


def _group(one: QuestionCard, other: QuestionCard) -> str:
    return (CONTROL, MIXED, SOCIAL)[one.social + other.social]


def own_sides(record: ConflictRecord) -> tuple[SideRecord, ...]:
    """The sides measured with their own labels: pre before post, steps by their number."""
    own = [side for side in record.sides if side.labels == "own"]
    order = {"pre": -2, "post": -1}
    return tuple(sorted(own, key=lambda side: (order.get(side.name, side.step or 0), side.name)))


def compared_sides(record: ConflictRecord) -> tuple[SideRecord, ...]:
    """The first and the last of the sides; one if there is no other."""
    own = own_sides(record)
    return own if len(own) < 2 else (own[0], own[-1])


def side_title(side: SideRecord) -> str:
    """A side as people read it: `pre`, `post`, `step 500`."""
    return side.name if side.step is None else f"step {side.step}"


def measured_on(side: SideRecord) -> Measured:
    """The numbers of a side by questions and part."""
    return {(frozenset((one.first, one.second)), one.part): one for one in side.pairs}


def changes_between(record: ConflictRecord, sides: Sequence[SideRecord]) -> Changes:
    """What changed between two sides, by questions and part; empty for a single side."""
    if len(sides) < 2:
        return {}
    names = (sides[0].name, sides[-1].name)
    return {
        (frozenset((one.first, one.second)), one.part): one
        for one in record.changes
        if (one.before, one.after) == names and one.labels == "own"
    }


def told_from_zero(number: Interval | None) -> bool:
    """Whether 0 lies outside of the interval, which may be open on the other side."""
    if number is None:
        return False
    low, high = number.low, number.high
    return (low is not None and low > 0) or (high is not None and high < 0)


def two_places(value: float, *, sign: bool = True) -> str:
    """A cosine or a degree of conflict, with a true minus and no negative zero."""
    text = f"{value:{'+' if sign else ''}.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def bounded(number: Interval | None) -> bool:
    """Whether an interval has an end; noise may leave any value possible."""
    return number is not None and (number.low is not None or number.high is not None)


def cosine_interval(number: Interval) -> str:
    """A cosine or its change with an interval, of which ends may be open."""
    if not bounded(number):
        return f"{two_places(number.value)} (open)"
    low, high = ("open" if end is None else two_places(end) for end in (number.low, number.high))
    return f"{two_places(number.value)} [{low}, {high}]"
