"""Two runs side by side: which settings differ, and by how much each declared score changed.

A change is second minus first, in points, and negative means worse, for errors too. Where both runs
predicted the same rows it is paired: its interval is Student's t on the jackknife over clusters,
each left out of both. Where they did not, the interval adds the variances of two independent
samples (Welch), which is wider, and says so.

A question *fell* by more than a bound if the whole 95 % interval of the change of its score after
lies below it, and *held* if the whole interval lies above; otherwise it is *open*. There is no
correction for many questions: where nothing changed, an interval hardly ever lies below the bound.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Literal

import numpy as np

from degradation.errors import ConfigError
from probes.metrics import ClassOutcome, GazeOutcome, Metric, Outcome, delta, evaluate, resolve
from probes.predictions import read_predictions
from probes.questions import Prediction
from probes.records import Comparison, Estimate, RunRecord
from probes.runs import PREDICTIONS
from probes.statistics.bootstrap import stream
from probes.statistics.clusters import group_rows
from probes.statistics.jackknife import influences, leave_out
from probes.statistics.student import Spread, rare_changes, spread, t_interval
from reports.load import Results, load_results
from reports.names import metric_label

__all__ = ["Change", "Compared", "Setting", "Word", "compare_runs"]

Word = Literal["fell", "held", "open", ""]
KNOWN = ("task", "rows", "pair", "pre", "post", "pixels", "question", "metric", "seed", "sdiag")
"""Fields of a signature that are compared once a run, from its record."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that is not the same in both runs.

    Attributes:
        name: Of the setting.
        first: Its value in the first run.
        second: Its value in the second.
        where: The tasks, or questions of tasks, where that is so.
    """

    name: str
    first: str
    second: str
    where: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One declared question in both runs; numbers are in points.

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


@dataclass(frozen=True, slots=True)
class Compared:
    """Two runs, or two folders of runs, side by side.

    Attributes:
        settings: What differs.
        changes: Of each declared question that both have.
        absent: Declared questions of the first that the second does not have, each with the reason.
        new: Runs and questions that only the second has.
        max_drop: The bound, in points; None if there is none.
    """

    settings: tuple[Setting, ...]
    changes: tuple[Change, ...]
    absent: tuple[str, ...]
    new: tuple[str, ...]
    max_drop: float | None

    @property
    def passed(self) -> bool:
        """Whether no question fell by more than the bound and none went missing."""
        fell = any(one.word == "fell" for one in self.changes)
        return self.max_drop is None or not (fell or self.absent)


def compare_runs(first: Path, second: Path, *, max_drop: float | None = None) -> Compared:
    """Compare two runs, or the runs of two folders that belong together.

    Runs belong together if they are of one pair and task; of one task, where each folder holds a
    single pair; and if each folder holds a single run, they do anyway.

    Args:
        first: Folder of a run, of a pair or of results: what there was.
        second: The same: what there is now.
        max_drop: Points by which a score after may fall; None to judge nothing.

    Raises:
        ConfigError: A folder without runs, a bound that means nothing, or no two runs that belong
            together.
        DataError: A record that is damaged, of another schema, or was changed after its run.
    """
    if max_drop is not None and not 0 <= max_drop < 100:
        raise ConfigError(
            f"Expected a drop between 0 and 100 points, found {max_drop}. Try --max-drop 2."
        )
    loaded = [_loaded(folder) for folder in (first, second)]
    matched = _matched(*loaded)
    if not matched:
        names = [", ".join(" ".join(key) for key in one.folders) for one in loaded]
        raise ConfigError(
            f"Expected runs of the same pairs or tasks in {first} and {second}, found {names[0]} "
            f"and {names[1]}. Name two runs that belong together."
        )
    changes: list[Change] = []
    absent = [
        f"{run.pair.name} on {run.task.label}: the second has no such run"
        for run in loaded[0].records
        if all(run is not one for one, _ in matched)
    ]
    new = [
        f"{run.pair.name} on {run.task.label}"
        for run in loaded[1].records
        if all(run is not other for _, other in matched)
    ]
    for one, other in matched:
        folders = [
            results.folders[run.pair.name, run.task.label]
            for results, run in zip(loaded, (one, other), strict=True)
        ]
        found = _Match(one, other, *(read_predictions(f / PREDICTIONS) for f in folders))
        changes += found.changes(max_drop)
        absent += found.absent()
        new += found.new()
    settings = _settings(matched)
    return Compared(settings, tuple(changes), tuple(absent), tuple(new), max_drop)


def _loaded(folder: Path) -> Results:
    """The runs of a folder; at least one."""
    results = load_results(folder)
    if not results.records:
        raise ConfigError(
            f"Expected a run of `sdiag probe` below {folder}, found further analyses only. "
            "Name the folder of a run."
        )
    return results


def _matched(first: Results, second: Results) -> list[tuple[RunRecord, RunRecord]]:
    """The runs that belong together."""
    ones, others = first.records, second.records
    if len(ones) == len(others) == 1:
        return [(ones[0], others[0])]
    pairs = [{run.pair.name for run in runs} for runs in (ones, others)]
    alone = len(pairs[0]) == len(pairs[1]) == 1
    keyed = {("" if alone else run.pair.name, run.task.label): run for run in others}
    keys = [("" if alone else run.pair.name, run.task.label) for run in ones]
    return [(run, keyed[key]) for run, key in zip(ones, keys, strict=True) if key in keyed]


@dataclass(frozen=True, slots=True, eq=False)
class _Match:
    """Two runs that belong together, with their predictions."""

    first: RunRecord
    second: RunRecord
    said: Sequence[Prediction]
    now: Sequence[Prediction]

    def changes(self, max_drop: float | None) -> Iterator[Change]:
        """The declared questions that both have, in the same metric."""
        for question, one in _declared(self.first).items():
            other = _declared(self.second).get(question)
            if other is None or other.metric != one.metric:
                continue
            metric = resolve(one.metric, self.first.task.label_sets.get(question, ()))
            sides = {
                side: (_found(self.said, one, side), _found(self.now, other, side))
                for side in ("pre", "post")
            }
            unpaired = next(filter(None, (_apart(*both) for both in sides.values())), "")
            moved = {
                side: _change(metric, *both, seed=self.first.seed, paired=not unpaired)
                for side, both in sides.items()
            }
            yield Change(
                pair=self.first.pair.name,
                task=self.first.task.label,
                question=question,
                metric=metric_label(self.first.task, one),
                pre=(one.pre.value, other.pre.value),
                post=(one.post.value, other.post.value),
                change_pre=moved["pre"],
                change=moved["post"],
                unpaired=unpaired,
                word=_word(moved["post"], max_drop),
            )

    def absent(self) -> Iterator[str]:
        """Questions of the first run that cannot be compared."""
        for question, one in _declared(self.first).items():
            other = _declared(self.second).get(question)
            where = f"{question} of {self.first.task.label}"
            if other is None:
                yield f"{where}: the second has no declared comparison of it"
            elif other.metric != one.metric:
                yield f"{where}: declared in {one.metric} first and in {other.metric} second"

    def new(self) -> Iterator[str]:
        """Questions that only the second run has."""
        for question in _declared(self.second).keys() - _declared(self.first).keys():
            yield f"{question} of {self.second.task.label}"


def _declared(run: RunRecord) -> dict[str, Comparison]:
    """The declared comparison of each question."""
    return {one.question: one for one in run.comparisons if one.confirmatory}


def _found(predictions: Sequence[Prediction], one: Comparison, side: str) -> Prediction:
    """What a comparison was computed from, by id."""
    place = (one.question, one.block, one.probe, side)
    (found,) = (
        each for each in predictions if (each.question, each.block, each.probe, each.side) == place
    )
    return found


def _apart(one: Prediction, other: Prediction) -> str:
    """Why predictions are not of the same rows; empty if they are."""
    orders = [np.argsort(each.ids.astype(str)) for each in (one, other)]
    ids = [each.ids.astype(str)[o] for each, o in zip((one, other), orders, strict=True)]
    if not np.array_equal(*ids):
        shared = len(np.intersect1d(*ids))
        return f"other rows: {len(ids[0])} and {len(ids[1])}, {shared} in both"
    groups = [each.clusters.astype(str)[o] for each, o in zip((one, other), orders, strict=True)]
    if not np.array_equal(*groups):
        return "the same rows in other clusters"
    if isinstance(one.outcome, ClassOutcome) and isinstance(other.outcome, ClassOutcome):
        labels = [each.outcome.labels[o] for each, o in zip((one, other), orders, strict=True)]
        if not np.array_equal(*labels):
            return "the same rows with other labels"
    return ""


def _sorted(one: Prediction) -> tuple[np.ndarray, Outcome]:
    """Clusters and outcome in the order of the ids."""
    order = np.argsort(one.ids.astype(str))
    if isinstance(one.outcome, ClassOutcome):
        outcome: Outcome = ClassOutcome(one.outcome.labels[order], one.outcome.scores[order])
    else:
        outcome = GazeOutcome({name: v[order] for name, v in one.outcome.values.items()})
    return one.clusters.astype(str)[order], outcome


def _change(
    metric: Metric, one: Prediction, other: Prediction, *, seed: int, paired: bool
) -> Estimate:
    """Second minus first in points, errors flipped, with its 95 % interval."""
    (names, first), (others, second) = _sorted(one), _sorted(other)
    value = float(delta(*(float(evaluate(metric, o)[0]) for o in (first, second)), metric))
    sign = 1 if metric.higher_is_better else -1
    if paired:
        clusters = group_rows(names)
        both = {"first": (metric, first), "second": (metric, second)}
        without = leave_out(clusters, both, rng=stream(seed, "compare"))
        influence = influences(delta(without["first"], without["second"], metric))
        found = spread(influence, rare_changes(metric, (first, second), clusters, value))
    else:
        alone = [
            spread(_alone(metric, outcome, clusters, seed, sign))
            for outcome, clusters in ((first, names), (second, others))
        ]
        found = _together(*alone)
    low, high = t_interval(value, found, 0.95)
    return Estimate(value=value, low=float(low), high=float(high))


def _alone(metric: Metric, outcome: Outcome, names: np.ndarray, seed: int, sign: int) -> np.ndarray:
    """Influences on one score, in points."""
    without = leave_out(group_rows(names), {"": (metric, outcome)}, rng=stream(seed, "compare"))[""]
    return influences(100 * sign * without)


def _together(one: Spread, other: Spread) -> Spread:
    """Standard error of a difference of independent numbers, with Welch's degrees of freedom."""
    se = hypot(float(one.se), float(other.se))
    if se == 0:
        return Spread(0.0, min(float(one.dof), float(other.dof)))
    parts = [float(each.se) ** 4 / float(each.dof) for each in (one, other)]
    return Spread(se, se**4 / sum(parts))


def _word(change: Estimate, max_drop: float | None) -> Word:
    """Whether a score fell by more than the bound."""
    if max_drop is None:
        return ""
    if change.high < -max_drop:
        return "fell"
    return "held" if change.low >= -max_drop else "open"


def _settings(matched: Sequence[tuple[RunRecord, RunRecord]]) -> tuple[Setting, ...]:
    """What differs, each once with all places where it does."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for one, other in matched:
        both = [_run_settings(run) for run in (one, other)]
        for name in dict.fromkeys([*both[0], *both[1]]):
            values = tuple(settings.get(name, "none") for settings in both)
            if values[0] != values[1]:
                found.setdefault((name, *values), []).append(one.task.label)
        for question in _declared(one).keys() & _declared(other).keys():
            fields = [_signature_fields(_declared(run)[question]) for run in (one, other)]
            for name in dict.fromkeys([*fields[0], *fields[1]]):
                values = tuple(own.get(name, "none") for own in fields)
                if values[0] != values[1]:
                    where = f"{one.task.label}/{question}"
                    found.setdefault((name, *values), []).append(where)
    return tuple(Setting(*key, tuple(sorted(places))) for key, places in found.items())


def _run_settings(run: RunRecord) -> Mapping[str, str]:
    """What was set for a whole run, in words."""
    card = run.pair
    rows = {
        f"{name} rows": f"{split.n} in {split.clusters} clusters, {split.rows_digest[:12]}"
        for name, split in run.splits.items()
    }
    return {
        "sdiag": run.tool_version,
        "pair": card.name,
        "pre": card.pre,
        "pre weights": card.pre_digest[:12],
        "post": card.post,
        "post weights": card.post_digest[:12],
        "protocol": card.protocol,
        "task": run.task.label,
        "data": run.task.source,
        **rows,
        "seed": str(run.seed),
        "draws": str(run.draws),
    }


def _signature_fields(one: Comparison) -> dict[str, str]:
    """The fields of a signature that are a question's own."""
    fields = (part.partition("=") for part in one.signature.split("|"))
    return {name: value for name, sign, value in fields if sign and name not in KNOWN}
