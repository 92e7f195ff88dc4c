"""What another training does to each metric, with an interval for test rows and training seeds.

Two trainings are compared seed by seed on the same test rows, `before` against `after`: a task
alone against the same task trained with others, or reference settings against changed ones. The
change is averaged over seeds. Its interval (`probes.statistics.variance`) holds both reasons why
it would come out otherwise: other test clusters, by the jackknife of the mean over seeds, and
other seeds, by the variance between them over their number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import t as student

from degradation.errors import DataError, PairingError
from probes.metrics import Metric, Outcome, delta, evaluate, resolve
from probes.questions import Prediction
from probes.records import Estimate
from probes.statistics.bootstrap import stream
from probes.statistics.clusters import Clusters, group_rows
from probes.statistics.coverage import warning
from probes.statistics.differences import benjamini_hochberg, holm
from probes.statistics.jackknife import influences, leave_out
from probes.statistics.student import Spread, rare_changes, spread, t_interval, t_p
from probes.statistics.variance import FEWEST, refit_components
from socialfusion.records import QuestionRows
from socialfusion.transfer.counted import is_counted
from socialfusion.transfer.records import Count, Effect, Word

__all__ = ["Arms", "Change", "change", "count", "effects", "judged"]


@dataclass(frozen=True, slots=True, eq=False)
class Arms:
    """The predictions of one question by two trainings, seed by seed.

    Attributes:
        question: What is asked, and by which metrics.
        before: Of the first training, one for each seed.
        after: Of the second, in the same order.
        chance: By metric, what the training rows alone reach, in points; None where not known.
    """

    question: QuestionRows
    before: Sequence[Prediction]
    after: Sequence[Prediction]
    chance: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Change:
    """A change in points with what its uncertainty is made of.

    Attributes:
        by_seed: After less before of each seed.
        spread: Standard error of the mean and its degrees of freedom.
        sampling: Standard error from test clusters alone.
        training: Deviation of a seed from training; None with fewer than three seeds.
    """

    by_seed: tuple[float, ...]
    spread: Spread
    sampling: float
    training: float | None

    @property
    def mean(self) -> float:
        """The change, averaged over seeds."""
        return float(np.mean(self.by_seed))


def change(
    metric: Metric,
    seeds: Sequence[tuple[Outcome, Outcome]],
    clusters: Clusters,
    *,
    seed: int = 0,
) -> Change:
    """The mean change of a metric over training seeds, from the outcomes before and after.

    Args:
        metric: What is measured.
        seeds: Of each training seed, both outcomes on the same rows.
        clusters: Of the rows.
        seed: Groups clusters where a ranking has many (`probes.statistics.jackknife`).

    Raises:
        DataError: If the metric is undefined in a run, or without one of the clusters.
    """
    by_seed = tuple(
        float(delta(*(float(evaluate(metric, one)[0]) for one in sides), metric)) for sides in seeds
    )
    rng = stream(seed, f"transfer/{metric.name}")
    if len(seeds) >= FEWEST:
        found = refit_components(metric, seeds, clusters, rng=rng)
        return Change(by_seed, Spread(found.total_se, found.dof), found.sampling, found.training)
    outcomes = {(i, j): (metric, one) for i, pair in enumerate(seeds) for j, one in enumerate(pair)}
    without = leave_out(clusters, outcomes, rng=rng)
    if np.isnan(by_seed).any() or any(np.isnan(one).any() for one in without.values()):
        raise DataError(
            f"Expected {metric.name} of every run, with any one cluster left out; it is not "
            f"defined: {metric.undefined}. Use more rows or another metric."
        )
    influence = [influences(delta(without[i, 0], without[i, 1], metric)) for i in range(len(seeds))]
    each = [
        float(spread(one, rare_changes(metric, sides, clusters, value)).se) ** 2
        for one, sides, value in zip(influence, seeds, by_seed, strict=True)
    ]
    mean = spread(np.mean(influence, axis=0))
    # As with refits: the variance of the mean cannot fall below its share of that of one of them.
    se = float(np.sqrt(max(float(mean.se) ** 2, min(each) / len(seeds))))
    return Change(by_seed, Spread(se, float(mean.dof)), se, None)


def effects(arms: Sequence[Arms], *, seed: int = 0) -> tuple[list[Effect], dict[str, str]]:
    """Every metric of every question, not yet judged.

    Args:
        arms: The questions.
        seed: Groups clusters where a ranking has many.

    Returns:
        The effects, by question and metric in the order given, and why others have no value, by
        `task/question metric`.

    Raises:
        PairingError: If predictions that are compared are of other rows.
    """
    found: list[Effect] = []
    undefined: dict[str, str] = {}
    for one in arms:
        _check_rows(one)
        clusters = group_rows(one.before[0].clusters)
        for name in one.question.metrics:
            metric = resolve(name, one.question.classes)
            try:
                found.append(_effect(one, metric, clusters, seed))
            except DataError as error:
                undefined[f"{one.question.label} {name}"] = str(error)
    return found, undefined


def judged(found: Sequence[Effect], *, margin: float) -> tuple[Effect, ...]:
    """The effects with their words, and p corrected for the number of them all.

    Args:
        found: All effects that are looked at together, from `effects`.
        margin: Points below which a difference is too small to matter.
    """
    return tuple(
        one.model_copy(update={"p_adjusted": p, "word": _word(one, p, margin)})
        for one, p in zip(found, _adjusted(found), strict=True)
    )


def count(found: Sequence[Effect]) -> Count:
    """How many of the counted metrics improve."""
    counted = [one for one in found if one.counted]
    return Count(
        of=len(counted),
        positive=sum(one.change.value > 0 for one in counted),
        negative=sum(one.change.value < 0 for one in counted),
        surely_positive=sum(one.change.low > 0 for one in counted),
        surely_negative=sum(one.change.high < 0 for one in counted),
        metrics=tuple(f"{one.question} {one.metric}" for one in counted),
    )


def _check_rows(arms: Arms) -> None:
    """Refuse predictions that are not of the same rows with the same truth."""
    first = arms.before[0]
    for other in (*arms.before, *arms.after):
        if len(first.ids) != len(other.ids) or (first.ids != other.ids).any():
            raise PairingError(
                f"Expected predictions of the same test rows of {arms.question.label} from every "
                f"run, found {len(first.ids)} and {len(other.ids)} rows with other ids. Train all "
                "runs on the same cache and row lists."
            )
        same = getattr(first.outcome, "labels", None), getattr(other.outcome, "labels", None)
        if not np.array_equal(*same):
            raise PairingError(
                f"Expected the same labels of the test rows of {arms.question.label} in every run, "
                "found others. Train all runs on the same cache."
            )


def _effect(arms: Arms, metric: Metric, clusters: Clusters, seed: int) -> Effect:
    """One metric; p and word are not yet corrected for the others."""
    sides = [(one.outcome, two.outcome) for one, two in zip(arms.before, arms.after, strict=True)]
    found = change(metric, sides, clusters, seed=seed)
    before, after = (
        100 * float(np.mean([evaluate(metric, pair[i])[0] for pair in sides])) for i in (0, 1)
    )
    (low, high), (low_90, high_90) = (
        t_interval(found.mean, found.spread, at) for at in (0.95, 0.9)
    )
    p = float(t_p(found.mean, found.spread))
    task = arms.question.task
    declared = arms.question.metrics[0]
    few = warning(clusters.count)
    unknown = (
        f"{len(sides)} training seed{'s' * (len(sides) > 1)}: the interval is of test rows alone, "
        f"what another seed would change is unknown below {FEWEST}"
    )
    return Effect(
        question=arms.question.label,
        metric=metric.name,
        declared=metric.name == declared,
        counted=is_counted(task, arms.question.name, metric.name, declared),
        before=before,
        after=after,
        change=Estimate(value=found.mean, low=float(low), high=float(high)),
        by_seed=found.by_seed,
        se=float(found.spread.se),
        dof=float(found.spread.dof),
        low_90=float(low_90),
        high_90=float(high_90),
        p=p,
        p_adjusted=p,
        sampling=found.sampling,
        training=found.training,
        relative=_relative(arms, metric, clusters, found.mean, before, seed),
        n=len(arms.before[0].ids),
        clusters=clusters.count,
        word="not judged" if found.training is None else "undecided",
        warning="; ".join(filter(None, [unknown if found.training is None else "", few])),
    )


def _relative(
    arms: Arms, metric: Metric, clusters: Clusters, value: float, before: float, seed: int
) -> float | None:
    """The change in % of what is read before above chance, where that is above 0 for certain."""
    chance = arms.chance.get(metric.name)
    if chance is None:
        return None
    skill = float(delta(chance / 100, before / 100, metric))
    without = leave_out(
        clusters,
        {i: (metric, one.outcome) for i, one in enumerate(arms.before)},
        rng=stream(seed, f"transfer/{metric.name}"),
    )
    mean: Float64[np.ndarray, " g"] = np.mean(list(without.values()), axis=0)
    error = spread(influences(100 * mean))
    if skill - float(student.ppf(0.975, error.dof) * error.se) <= 0:
        return None
    return 100 * value / skill


def _adjusted(found: Sequence[Effect]) -> list[float]:
    """Corrected p in two families: declared metrics by Holm, the others by false discovery."""
    result = [one.p for one in found]
    for declared, correct in ((True, holm), (False, benjamini_hochberg)):
        members = [i for i, one in enumerate(found) if one.declared == declared]
        if members:
            values = correct([found[i].p for i in members])
            for i, p in zip(members, values, strict=True):
                result[i] = float(p)
    return result


def _word(effect: Effect, p: float, margin: float, alpha: float = 0.05) -> Word:
    """The rule of `probes.statistics.verdict.judge`, for those that can be judged."""
    if effect.word == "not judged":
        return "not judged"
    if -margin <= effect.low_90 and effect.high_90 <= margin:
        return "equivalent"
    if p <= alpha and effect.change.value != 0:
        return "improved" if effect.change.value > 0 else "degraded"
    return "undecided"
