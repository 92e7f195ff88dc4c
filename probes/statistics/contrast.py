"""The difference of differences: do social questions lose more than control questions do?

Any further training changes an encoder. Damage to what it knows about *people* shows as a mean
delta of the declared social questions below that of the declared control questions. The interval
comes from the cluster jackknife (`probes.statistics.student`): leaving out a cluster leaves out all
rows of that name in every task, so tasks that share pictures or subjects are drawn together, and
others are independent. (Names that agree by chance do no harm: the influences of clusters that have
nothing in common add like those of different ones.) It describes test sampling only, and these
questions only: others might differ.

Deltas are in the points of their metrics, and a point of accuracy is no point of a gaze error (the
share of the picture's side, times 100). So the contrast is given in a second form as well, in which
each delta is divided by what the encoder read before, above chance (`prior`, or `centre` for gaze):
-10 % then means that a tenth of what could be read is gone, whatever the metric.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from degradation.errors import DataError
from probes.folders import record_folder
from probes.metrics import Metric, Outcome, delta, evaluate, resolve
from probes.predictions import read_predictions
from probes.questions import Prediction
from probes.records import Comparison, Estimate, Record, RunRecord
from probes.runs import PREDICTIONS
from probes.statistics import jackknife
from probes.statistics.bootstrap import stream
from probes.statistics.clusters import group_rows
from probes.statistics.coverage import warning
from probes.statistics.student import Spread, rare_changes, spread, t_interval, t_p

__all__ = ["Contrast", "ContrastPart", "Measured", "contrast", "social_contrast"]

CHANCE = ("prior", "centre")
NO_CHANCE = "it was not read by chance alone"
NOT_ABOVE = "before, it was not read better than by chance for certain"


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One declared question of one pair.

    Attributes:
        task: Label of the task.
        question: Of the task.
        social: False for control tasks.
        metric: The declared one.
        clusters: Cluster of each row, by a name that means the same in every task, shape (n,).
        pre: Outcome before.
        post: Outcome after.
        chance: Outcome of the baseline that sees nothing; None if there is none.
    """

    task: str
    question: str
    social: bool
    metric: Metric
    clusters: np.ndarray
    pre: Outcome
    post: Outcome
    chance: Outcome | None = None


class ContrastPart(Record):
    """One question of a contrast."""

    task: str
    question: str
    social: bool
    metric: str
    label: str
    """Of the metric, for people."""
    delta: float
    """In points; negative means worse."""
    relative: float | None
    """The delta in % of what was read before above chance; None where that is not above it."""


class Contrast(Record):
    """Mean delta of the social questions minus that of the control questions; negative: more lost.

    `difference` and its p are in the points of the metrics, `relative` in % of what was read before
    above chance; both intervals are at 95 %.
    """

    pair: str
    row_list: str = ""
    parts: tuple[ContrastPart, ...]
    social: float
    control: float
    difference: Estimate
    se: float
    dof: float
    p: float
    relative: Estimate | None
    """None where a question was not read above chance before, or chance was not read."""
    p_relative: float | None
    not_relative: str = ""
    """Why there is no relative form."""
    clusters: int
    """Different clusters in all tasks together."""
    shared: int
    """Clusters whose name occurs under more than one question."""
    warning: str = ""


def contrast(members: Sequence[Measured], *, pair: str, row_list: str = "", seed: int) -> Contrast:
    """Social minus control deltas with their interval.

    Args:
        members: Questions, social and control ones among them.
        pair: Name of the pair.
        row_list: Of the runs.
        seed: Groups clusters where a ranking has more than 400.

    Raises:
        DataError: If there is no social or no control question, a question has fewer than two
            clusters, or its metric is undefined, be it without one cluster.
    """
    kinds = [one.social for one in members]
    if not any(kinds) or all(kinds):
        raise DataError(
            f"Expected social and control questions of {pair} to compare, found {sum(kinds)} and "
            f"{len(kinds) - sum(kinds)}. Probe tasks of both kinds; `sdiag probe` does by default."
        )
    names = [np.unique(np.asarray(one.clusters).astype(str)) for one in members]
    every, times = np.unique(np.concatenate(names), return_counts=True)
    changes = [_change(one, seed) for one in _few_enough(members, every, seed)]
    weights = [1 / sum(kinds) if social else -1 / (len(kinds) - sum(kinds)) for social in kinds]
    value, found = _together(weights, [(one.names, one.points) for one in changes])
    reasons = [
        f"{one.question} of {one.task}: {change.not_relative}"
        for one, change in zip(members, changes, strict=True)
        if change.relative is None
    ]
    relative, p_relative = None, None
    if not reasons:
        ratio, scaled = _together(weights, [(one.names, one.relative) for one in changes])
        relative, p_relative = _estimate(ratio, scaled), float(t_p(ratio, scaled))
    return Contrast(
        pair=pair,
        row_list=row_list,
        parts=tuple(map(_part, members, changes)),
        social=_mean(changes, kinds, True),
        control=_mean(changes, kinds, False),
        difference=_estimate(value, found),
        se=float(found.se),
        dof=float(found.dof),
        p=float(t_p(value, found)),
        relative=relative,
        p_relative=p_relative,
        not_relative="; ".join(reasons),
        clusters=len(every),
        shared=int((times > 1).sum()),
        warning=warning(min(map(len, names))),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Form:
    """A delta in one unit: its value, the influence of each cluster, and what rare changes add."""

    value: float
    influence: Float64[np.ndarray, " g"]
    added: float


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """The delta of one question in both units, with the names of its clusters."""

    names: np.ndarray
    points: _Form
    relative: _Form | None
    not_relative: str = ""


def _part(one: Measured, change: _Change) -> ContrastPart:
    """One question in the record."""
    return ContrastPart(
        task=one.task,
        question=one.question,
        social=one.social,
        metric=one.metric.name,
        label=one.metric.label,
        delta=change.points.value,
        relative=None if change.relative is None else change.relative.value,
    )


def _few_enough(members: Sequence[Measured], every: np.ndarray, seed: int) -> Sequence[Measured]:
    """The questions, clusters grouped alike in all of them where a ranking has too many."""
    ranked = any(one.metric.rows is None for one in members)
    if not ranked or len(every) <= jackknife.GROUPS:
        return members
    group = stream(seed, "contrast/groups").permutation(len(every)) % jackknife.GROUPS
    return [
        replace(one, clusters=group[np.searchsorted(every, np.asarray(one.clusters).astype(str))])
        for one in members
    ]


def _change(one: Measured, seed: int) -> _Change:
    """The delta of one question."""
    one = replace(one, clusters=np.asarray(one.clusters).astype(str))
    clusters = group_rows(one.clusters)
    sides = {"pre": one.pre, "post": one.post}
    if one.chance is not None:
        sides["chance"] = one.chance
    asked = {side: (one.metric, outcome) for side, outcome in sides.items()}
    points = {side: float(evaluate(one.metric, outcome)[0]) for side, outcome in sides.items()}
    without = jackknife.leave_out(clusters, asked, rng=stream(seed, "contrast"))
    unknown = {side for side in sides if np.isnan(points[side]) or np.isnan(without[side]).any()}
    if unknown & {"pre", "post"}:
        raise DataError(
            f"Expected {one.metric.name} of {one.question} ({one.task}), with any one cluster left "
            f"out; it is not defined: {one.metric.undefined}. Use more rows or another metric."
        )
    value = float(delta(points["pre"], points["post"], one.metric))
    lost = delta(without["pre"], without["post"], one.metric)
    influence = jackknife.influences(lost)
    rare = rare_changes(one.metric, (one.pre, one.post), clusters, value)
    added = float(spread(influence, rare).se ** 2 - spread(influence).se ** 2)
    names = np.unique(one.clusters)
    form = _Form(value, influence, added)
    if "chance" not in sides or "chance" in unknown:
        return _Change(names, form, None, NO_CHANCE)
    skill = float(delta(points["chance"], points["pre"], one.metric))
    skills = delta(without["chance"], without["pre"], one.metric)
    if t_interval(skill, spread(jackknife.influences(skills)), 0.95)[0] <= 0 or (skills <= 0).any():
        return _Change(names, form, None, NOT_ABOVE)
    relative = _Form(
        100 * value / skill,
        jackknife.influences(100 * lost / skills),
        added * (100 / skill) ** 2,
    )
    return _Change(names, form, relative)


def _together(
    weights: Sequence[float], forms: Sequence[tuple[np.ndarray, _Form]]
) -> tuple[float, Spread]:
    """A weighted sum of deltas; influences of clusters of the same name add."""
    every = np.unique(np.concatenate([names for names, _ in forms]))
    influence = np.zeros(len(every))
    for weight, (names, form) in zip(weights, forms, strict=True):
        # Each question's jackknife has its own factor g / (g - 1); that of the union comes below.
        factor = np.sqrt(len(names) / (len(names) - 1))
        influence[np.searchsorted(every, names)] += weight * factor * form.influence
    found = spread(influence * np.sqrt((len(every) - 1) / len(every)))
    added = sum(w**2 * form.added for w, (_, form) in zip(weights, forms, strict=True))
    value = sum(w * form.value for w, (_, form) in zip(weights, forms, strict=True))
    return float(value), Spread(float(np.sqrt(found.se**2 + added)), float(found.dof))


def _estimate(value: float, found: Spread) -> Estimate:
    low, high = t_interval(value, found, 0.95)
    return Estimate(value=value, low=float(low), high=float(high))


def _mean(changes: Sequence[_Change], kinds: Sequence[bool], social: bool) -> float:
    own = [one.points.value for one, kind in zip(changes, kinds, strict=True) if kind == social]
    return float(np.mean(own))


def social_contrast(results: Path, records: Iterable[RunRecord]) -> list[Contrast]:
    """The contrast of each pair, and of each row list, that was asked questions of both kinds.

    Args:
        results: The folder that the records are from; predictions are read from it.
        records: Runs of any pairs and tasks.

    Returns:
        By name of the pair; questions whose declared metric has no value take no part.

    Raises:
        DataError: If predictions cannot be read.
    """
    ordered = sorted(records, key=lambda run: (run.pair.name, run.task.row_list, run.task.name))
    found = []
    for (pair, row_list), runs in groupby(
        ordered, key=lambda run: (run.pair.name, run.task.row_list)
    ):
        declared = [(run, one) for run in runs for one in run.comparisons if one.confirmatory]
        if len({run.task.social for run, _ in declared}) == 2:
            members = _members(results, declared)
            seed = declared[0][0].seed
            found.append(contrast(members, pair=pair, row_list=row_list, seed=seed))
    return found


def _members(results: Path, declared: Sequence[tuple[RunRecord, Comparison]]) -> list[Measured]:
    """The declared questions of one pair, from their predictions; each file is read once."""
    members = []
    for label, cells in groupby(declared, key=lambda cell: cell[0].task.label):
        predictions: list[Prediction] = []
        for run, one in cells:
            if not predictions:
                folder = record_folder(results, run.pair.name, label)
                predictions = read_predictions(folder / PREDICTIONS)
            own = {
                (each.block, each.probe, each.side): each
                for each in predictions
                if each.question == one.question
            }
            pre, post = (own[one.block, one.probe, side] for side in ("pre", "post"))
            chance = next((own[key] for key in own if key[1] in CHANCE and key[2] == "none"), None)
            members.append(
                Measured(
                    task=label,
                    question=one.question,
                    social=run.task.social,
                    metric=resolve(one.metric, run.task.label_sets.get(one.question, ())),
                    clusters=pre.clusters,
                    pre=pre.outcome,
                    post=post.outcome,
                    chance=None if chance is None else chance.outcome,
                )
            )
    return members
