"""What two runs have in common, side by side: what `compare_runs` returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from probes.conflict.records import Interval
from probes.records import Estimate

__all__ = [
    "Change",
    "Compared",
    "Key",
    "Kind",
    "Matched",
    "Setting",
    "Shown",
    "TrainingChange",
    "Word",
    "match",
]

Word = Literal["fell", "held", "open", ""]
Kind = Literal["conflict", "transfer", "ablation", "diagnosis", "drift"]
Key = tuple[str, str]
"""Name of a pair, empty where there is none, and of what was asked of it."""
Member = TypeVar("Member")


@dataclass(frozen=True, slots=True)
class Matched(Generic[Member]):
    """Records of one kind from two folders.

    Attributes:
        both: Those that belong together.
        absent: Those that only the first folder has.
        new: Those that only the second has.
    """

    both: tuple[tuple[Member, Member], ...]
    absent: tuple[Member, ...]
    new: tuple[Member, ...]


def match(ones: Mapping[Key, Member], others: Mapping[Key, Member]) -> Matched[Member]:
    """The records of two folders that belong together.

    They do if their keys agree; if their second parts agree, where each folder holds a single
    pair; and anyway, where each holds a single record.

    Args:
        ones: Records of one kind by key, from the first folder.
        others: The same from the second.
    """
    if len(ones) == len(others) == 1:
        return Matched(tuple(zip(ones.values(), others.values(), strict=True)), (), ())
    alone = all(len({pair for pair, _ in each}) == 1 for each in (ones, others))
    first, second = (
        {("" if alone else pair, name): one for (pair, name), one in each.items()}
        for each in (ones, others)
    )
    return Matched(
        tuple((one, second[key]) for key, one in first.items() if key in second),
        tuple(one for key, one in first.items() if key not in second),
        tuple(one for key, one in second.items() if key not in first),
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that is not the same in both runs.

    Attributes:
        name: Of the setting.
        first: Its value in the first run.
        second: Its value in the second.
        where: The tasks, questions of tasks, or records, where that is so.
    """

    name: str
    first: str
    second: str
    where: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One declared question of linear probes in both runs; numbers are in points.

    Attributes:
        pair: Name of the pair in the first run.
        task: Label of the task in the first run.
        question: Of the task.
        metric: The declared one, for people.
        pre: Score or error before, in either run.
        post: Score or error after.
        change_pre: Change of the score before, with its 95 % interval; negative is worse.
        change: Change of the score after.
        unpaired: Why the change is not paired; empty if it is.
        word: Whether the score after fell by more than the bound; empty without a bound.
    """

    pair: str
    task: str
    question: str
    metric: str
    pre: tuple[float, float]
    post: tuple[float, float]
    change_pre: Estimate
    change: Estimate
    unpaired: str
    word: Word

    @property
    def title(self) -> str:
        """What was asked, of which run."""
        return f"{self.question} of {self.pair} on {self.task}"


@dataclass(frozen=True, slots=True)
class TrainingChange:
    """One metric of one question of a trained model in both runs; numbers are in points.

    Attributes:
        run: Name of the first run.
        question: `task/question`.
        metric: For people.
        declared: Whether it is the first metric of the question.
        scores: Score or error in either run.
        change: Second less first, with the 95 % interval of test rows; negative is worse. What
            another training seed would change is not in it.
        unpaired: Why the change is not paired; empty if it is.
        word: Whether a declared score fell by more than the bound; empty without a bound, and for
            other metrics.
    """

    run: str
    question: str
    metric: str
    declared: bool
    scores: tuple[float, float]
    change: Estimate
    unpaired: str
    word: Word

    @property
    def title(self) -> str:
        """What was asked, of which run."""
        return f"{self.question} by {self.run}"


@dataclass(frozen=True, slots=True)
class Shown:
    """One number that both runs have and that nothing is judged by.

    Attributes:
        kind: Of the record. Numbers are cosines in a `conflict`, points in a `transfer` and an
            `ablation`, per cent of what was read above chance in a `diagnosis`; of `drift` they are
            similarities, or an angle in degrees.
        name: Of the record: a pair or model, a transfer, a pair on a task.
        where: The side, variant or setting; empty for an analysis of one pair and task.
        questions: What was asked, as `task/question`: two of a `conflict`, none of features alone.
        measure: The metric or measure, for people; empty where a kind has only one.
        first: In the first run, with its 95 % interval; None where it has no value.
        second: In the second run.
        change: Second less first, of a `conflict` that saw the same batches; else None.
        words: What it comes to in either run; empty where there are no words.
    """

    kind: Kind
    name: str
    where: str
    questions: tuple[str, ...]
    measure: str
    first: Interval | None
    second: Interval | None
    change: Interval | None
    words: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Compared:
    """Two runs, or two folders of runs, side by side.

    Attributes:
        settings: What differs.
        changes: Of each declared question of linear probes that both have.
        trainings: Of each metric of trained models that both have.
        shown: What else both have.
        absent: Declared scores of the first that the second does not have, each with the reason.
        new: What only the second has.
        unshown: What else could not be compared, each with the reason.
        max_drop: The bound, in points; None if there is none.
    """

    settings: tuple[Setting, ...]
    changes: tuple[Change, ...]
    trainings: tuple[TrainingChange, ...]
    shown: tuple[Shown, ...]
    absent: tuple[str, ...]
    new: tuple[str, ...]
    unshown: tuple[str, ...]
    max_drop: float | None

    @property
    def fell(self) -> tuple[str, ...]:
        """The declared scores that fell by more than the bound, in words."""
        return tuple(one.title for one in (*self.changes, *self.trainings) if one.word == "fell")

    @property
    def passed(self) -> bool:
        """Whether no declared score fell by more than the bound and none went missing."""
        return self.max_drop is None or not (self.fell or self.absent)
