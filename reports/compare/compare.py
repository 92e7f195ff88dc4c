"""Two runs side by side: which settings differ, and by how much each number changed.

A change is second minus first, in points, and negative means worse, for errors too. Where both runs
predicted the same rows it is paired (`reports.compare.scores`).

A declared score, of linear probes after or of a trained model, *fell* by more than a bound if the
whole 95 % interval of its change lies below it, and *held* if the whole interval lies above;
otherwise it is *open*. There is no correction for many questions: where nothing changed, an
interval hardly ever lies below the bound. All else is shown beside it, and judged by nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from degradation.errors import ConfigError
from probes.records import RunRecord
from reports.compare.probes import (
    absent_questions,
    declared_questions,
    new_questions,
    probe_changes,
    run_title,
)
from reports.compare.records import Compared, Key, Matched, match
from reports.compare.settings import (
    Settings,
    differing,
    question_settings,
    run_settings,
    training_settings,
)
from reports.compare.shown import KINDS, Source, absent_numbers, shown_numbers
from reports.compare.trainings import absent_scores, new_scores, training_changes
from reports.load import Results, load_results
from socialfusion.records import FusionRecord

__all__ = ["compare_runs"]

Run = TypeVar("Run", RunRecord, FusionRecord)


def compare_runs(first: Path, second: Path, *, max_drop: float | None = None) -> Compared:
    """Compare two runs, or the runs of two folders that belong together.

    Records belong together if they are of the same kind, pair and task, or name; of one task, where
    each folder holds a single pair; and if each folder holds a single one, they do anyway.

    Args:
        first: Folder of a run, of a pair, of a trained model or of results: what there was.
        second: The same: what there is now.
        max_drop: Points by which a declared score may fall; None to judge nothing.

    Raises:
        CacheError: Scalar products of gradients are missing or damaged.
        ConfigError: A folder without records, a bound that means nothing or that there are no
            scores for, or no two records that belong together.
        DataError: A record that is damaged, of another schema, or was changed after its run.
    """
    if max_drop is not None and not 0 <= max_drop < 100:
        raise ConfigError(
            f"Expected a drop between 0 and 100 points, found {max_drop}. Try --max-drop 2."
        )
    one, other = load_results(first), load_results(second)
    if max_drop is not None and not (one.records or one.trainings.runs):
        raise ConfigError(
            f"Expected scores below {first} to hold against --max-drop {max_drop:g}, found "
            f"{_held(one)}. Leave --max-drop out, or name a folder with runs of `sdiag probe` or "
            "`sdiag train-socialfusion`."
        )
    found = _Found(
        (one, other),
        match(_probed(one), _probed(other)),
        match(_trained(one), _trained(other)),
        tuple((kind, match(kind.members(one), kind.members(other))) for kind in KINDS),
    )
    if not any(each.both for each in found.matches()):
        raise ConfigError(
            f"Expected records of the same kind, of the same pairs, tasks or names, in {first} and "
            f"{second}, found {_held(one)} and {_held(other)}. Name two runs that belong together."
        )
    return Compared(
        settings=differing(found.settings()),
        changes=tuple(
            change
            for runs in found.probes.both
            for change in probe_changes(runs, found.folders(runs), max_drop=max_drop)
        ),
        trainings=tuple(
            change
            for runs in found.trained.both
            for change in training_changes(runs, found.folders(runs), max_drop=max_drop)
        ),
        shown=tuple(
            number
            for kind, each in found.kinds
            for both in each.both
            for number in shown_numbers(kind, *both)
        ),
        absent=tuple(found.absent()),
        new=tuple(found.new()),
        unshown=tuple(found.unshown()),
        max_drop=max_drop,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """The records of two folders, matched kind by kind."""

    results: tuple[Results, Results]
    probes: Matched[RunRecord]
    trained: Matched[FusionRecord]
    kinds: tuple[tuple[Source, Matched[Any]], ...]

    def matches(self) -> Iterator[Matched[Any]]:
        """All kinds."""
        yield from (self.probes, self.trained, *(each for _, each in self.kinds))

    def folders(self, runs: tuple[Run, Run]) -> tuple[Path, Path]:
        """Where two runs lie."""
        first, second = (
            results.trainings.folders[run.run]
            if isinstance(run, FusionRecord)
            else results.folders[run.pair.name, run.task.label]
            for results, run in zip(self.results, runs, strict=True)
        )
        return first, second

    def settings(self) -> Iterator[tuple[str, Settings, Settings]]:
        """The settings of all that belongs together, and where they hold."""
        for one, other in self.probes.both:
            yield run_title(one), run_settings(one), run_settings(other)
            asked, also = declared_questions(one), declared_questions(other)
            for question in (name for name in asked if name in also):
                where = f"{question} of {run_title(one)}"
                yield where, question_settings(asked[question]), question_settings(also[question])
        for run, now in self.trained.both:
            yield run.run, training_settings(run), training_settings(now)
        for kind, each in self.kinds:
            for a, b in each.both:
                yield kind.title(a), kind.settings(a), kind.settings(b)

    def absent(self) -> Iterator[str]:
        """Declared scores that only the first folder has."""
        for runs in self.probes.both:
            yield from absent_questions(runs)
        for run in self.probes.absent:
            yield f"{run_title(run)}: the second has no such run"
        for runs in self.trained.both:
            yield from absent_scores(runs, declared=True)
        for run in self.trained.absent:
            yield f"{run.run}: the second has no such trained model"

    def new(self) -> Iterator[str]:
        """What only the second folder has."""
        for runs in self.probes.both:
            yield from new_questions(runs)
        yield from map(run_title, self.probes.new)
        for runs in self.trained.both:
            yield from new_scores(runs)
        yield from (run.run for run in self.trained.new)
        for kind, each in self.kinds:
            yield from map(kind.title, each.new)

    def unshown(self) -> Iterator[str]:
        """What else could not be compared."""
        for runs in self.trained.both:
            yield from absent_scores(runs, declared=False)
        for kind, each in self.kinds:
            for both in each.both:
                yield from absent_numbers(kind, *both)
            yield from (f"{kind.title(one)}: the second has none" for one in each.absent)
        for which, results in zip(("first", "second"), self.results, strict=True):
            for one in results.left_out:
                where = f"{one.pair} on {one.task}" if one.task else one.pair
                yield f"{one.analysis} of {where}: in the {which} it {one.reason}"
            for (command, name), reason in results.trainings.left_out.items():
                yield f"{command} {name}: in the {which} it {reason}"
            for name in (*results.unfinished, *results.trainings.unfinished):
                yield f"{name}: in the {which} it did not finish"


def _probed(results: Results) -> Mapping[Key, RunRecord]:
    return {(run.pair.name, run.task.label): run for run in results.records}


def _trained(results: Results) -> Mapping[Key, FusionRecord]:
    return {("", name): run for name, run in results.trainings.runs.items()}


def _held(results: Results) -> str:
    """What a folder holds, in words."""
    names = {
        "probes": [" ".join(key) for key in _probed(results)],
        "trained models": list(results.trainings.runs),
        **{kind.kind: [kind.name(one) for one in kind.members(results).values()] for kind in KINDS},
    }
    told = [
        f"{kind} ({', '.join(own[:3])}{', ...' * (len(own) > 3)})"
        for kind, own in names.items()
        if own
    ]
    return ", ".join(told) or "other analyses only"
