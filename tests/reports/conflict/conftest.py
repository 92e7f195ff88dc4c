"""Plausible records of gradient conflict, made up: no gradient was taken for them."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from probes.conflict.records import (
    Change,
    ConflictRecord,
    Head,
    Interval,
    PairNumbers,
    Part,
    QuestionCard,
    SideRecord,
    SizeNumbers,
    TaskNumbers,
    Word,
)
from probes.records import PairCard

QUESTIONS = {
    "scenes-expression/expression": True,
    "scenes-gaze/gaze": True,
    "scenes-gesture/gesture": True,
    "scenes-looking/looking": True,
    "scenes-relation/domain": True,
    "scenes-relation/relation": True,
    "scenes-objects/kind": False,
    "scenes-objects/colour": False,
    "scenes-objects/backdrop": False,
}
KINDS = ("embedding", "attention", "mlp", "norm")
FAINT = "scenes-gaze/gaze"
"""The question that is below floor before, with every other."""
FELL, APART = (
    ("scenes-expression/expression", "scenes-gesture/gesture"),
    ("scenes-gesture/gesture", "scenes-looking/looking"),
)
"""Questions whose cosine fell for certain, and that conflict after."""


def around(value: float, width: float) -> Interval:
    """A value with a symmetric interval."""
    return Interval(value=value, low=value - width, high=value + width)


def word_of(cosine: Interval | None) -> Word:
    """As the intervals say."""
    if cosine is None:
        return "below floor"
    return "conflict" if cosine.high < 0 else "aligned" if cosine.low > 0 else "unclear"


def parts_of(depth: int) -> tuple[Part, ...]:
    """The whole, the blocks and the kinds of module."""
    return (
        Part(name="all", block=None, kind="", parameters=600_000, sketched=True),
        *(
            Part(name=f"block {i}", block=i, kind="", parameters=200_000, sketched=True)
            for i in range(depth)
        ),
        *(
            Part(name=kind, block=None, kind=kind, parameters=150_000, sketched=True)
            for kind in KINDS
        ),
        Part(name="block 0 mlp", block=0, kind="mlp", parameters=50_000, sketched=True),
    )


def numbers(first: str, second: str, part: str, cosine: Interval | None) -> PairNumbers:
    """What a side says of two questions."""
    return PairNumbers(
        first=first, second=second, part=part, raw=0.974, raw_of_means=0.81, floor=0.885,
        cosine=cosine, below_floor=() if cosine else (FAINT,),
        norm_ratio=around(1.4, 0.2) if cosine else None,
        in_conflict=Interval(value=0.47, low=0.3, high=0.64), null_low=0.2, null_high=0.9,
        p=0.004 if cosine else None, word=word_of(cosine),
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_conflict() -> Callable[..., ConflictRecord]:
    """A record: `make_conflict(names=("pre", "post"), depth=3, questions=QUESTIONS, **changes)`."""

    def make(
        names: tuple[str, ...] = ("pre", "post"),
        depth: int = 3,
        questions: dict[str, bool] = QUESTIONS,
        **changed: object,
    ) -> ConflictRecord:
        rng = np.random.default_rng(0)
        labels, parts = list(questions), parts_of(depth)
        pairs = list(combinations(labels, 2))
        base = {
            (pair, part.name): float(np.round(0.25 * rng.standard_normal(), 3))
            for pair in pairs
            for part in parts
        }
        base |= {(pair, "all"): 0.05 for pair in pairs}
        sides, cosines = [], []
        for place, name in enumerate(names):
            found: dict[tuple[tuple[str, str], str], Interval | None] = {}
            for pair in pairs:
                for part in parts:
                    value = base[pair, part.name]
                    if place and pair == FELL:
                        value -= 0.3
                    if place and pair == APART:
                        value = -0.4
                    faint = FAINT in pair and place == 0
                    found[pair, part.name] = None if faint else around(value, 0.2)
            cosines.append(found)
            step = int(name.removeprefix("step-")) if name.startswith("step-") else None
            sides.append(_side(name, step, labels, parts, pairs, found))
        changes = [
            _change(names[0], after, pair, part.name, cosines[0], cosines[k])
            for k, after in enumerate(names[1:], start=1)
            for pair in pairs
            for part in parts
        ]
        fields: dict[str, object] = {
            "tool_version": "0.1.0",
            "pair": PairCard(
                name="tiny", pre="tiny:pre", post="tiny:post", pre_digest="a1" * 32,
                post_digest="b2" * 32, lineage="The encoder tiny, trained on inside a model.",
                source="its training record", protocol="paired-native-grid v1", imported=False,
            ),
            "model": "tiny",
            "definition": "GCD is 1 minus the cosine of two gradients.",
            "reduction": "mean over rows", "parameters": "encoder", "split": "train",
            "row_list": "", "batch_size": 16, "batches": 32, "batches_asked": 32,
            "arithmetic": "float32", "exact": True, "sketch": 65536, "preconditioner": "none",
            "seed": 0, "draws": 2000, "questions": tuple(map(_card, questions.items())),
            "sides": tuple(sides), "changes": tuple(changes),
        }  # fmt: skip
        return ConflictRecord(**(fields | changed))

    return make


def _card(asked: tuple[str, bool]) -> QuestionCard:
    label, social = asked
    task, question = label.split("/")
    return QuestionCard(
        label=label, task=task, question=question, social=social,
        kind="gaze" if question == "gaze" else "classes", block=2, n=512, clusters=400,
        available=1500, rows_digest="e5" * 32,
    )  # fmt: skip


def _side(
    name: str,
    step: int | None,
    labels: list[str],
    parts: tuple[Part, ...],
    pairs: list[tuple[str, str]],
    found: dict[tuple[tuple[str, str], str], Interval | None],
) -> SideRecord:
    return SideRecord(
        name=name, labels="own", model=f"tiny:{name}", digest="a1" * 32, step=step,
        products=f"gcd-products-{name}.h5", products_sha256="f6" * 32,
        losses={label: around(0.42, 0.05) for label in labels},
        heads=tuple(
            Head(label=label, probe="logistic-l2", strength=1.0, strength_from="run record",
                 fitted=1500)
            for label in labels
        ),
        parts=parts,
        tasks=tuple(
            TaskNumbers(label=label, part=part.name, norm=0.8, signal=around(0.1, 0.02), floor=0.86)
            for part in parts for label in labels
        ),
        pairs=tuple(
            numbers(*pair, part.name, found[pair, part.name]) for part in parts for pair in pairs
        ),
        sizes=tuple(
            SizeNumbers(
                first=pair[0], second=pair[1], batch_size=16 * k, batches=32 // k,
                raw=0.974 - 0.03 * np.log2(k), floor=0.885 - 0.12 * np.log2(k),
                cosine=found[pair, "all"],
            )
            for pair in pairs for k in (1, 2, 4, 8, 16)
        ),
        signature=f"measure=gcd|side={name}|batch=16",
    )  # fmt: skip


def _change(
    before: str,
    after: str,
    pair: tuple[str, str],
    part: str,
    old: dict[tuple[tuple[str, str], str], Interval | None],
    new: dict[tuple[tuple[str, str], str], Interval | None],
) -> Change:
    first, last = old[pair, part], new[pair, part]
    known = first is not None and last is not None
    return Change(
        before=before, after=after, labels="own", first=pair[0], second=pair[1], part=part,
        cosine=around(last.value - first.value, 0.25) if known else None,
    )  # fmt: skip
