"""Control tasks: the same rows with labels that have nothing to do with them.

Hewitt & Liang (2019, arXiv 1909.03368) fit a probe on a control task beside the real one: every
word *type* gets a random label, the same in training and test, and the real score minus that of
the control task is the probe's *selectivity*. It says how much of a score a probe could owe to
memorising types. Here clusters are pictures, people or clips, and none is in training and test at
once: a label drawn for a training picture says nothing of a test picture, and selectivity in that
sense is not defined. What can be measured is the floor: labels are handed to other clusters among
the rows that are fitted, and the probe is scored on the true labels of the rows that are predicted.
Nothing that it can learn is true of these, however much it memorises, so it is at chance, unless
true labels reach the fit some other way.

One shuffle is not enough. Where features hold a concept strongly, the few rows by which shuffled
labels happen to agree with it decide which way the probe leans, and then all test rows are right
or wrong together: over single shuffles the accuracy of `tiny:pre` on six expressions ranges from
10 to 24 %, at a chance of 17 %. So there are several shuffles, each for a share of the test
clusters, and what one of them predicts counts as one cluster in the interval.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from probes.metrics import GAZE_METRICS, Metric
from probes.records import Baseline
from probes.selection import Plan, Problem
from probes.statistics.bootstrap import stream

__all__ = ["LEAK", "SHUFFLES", "label_donors", "shuffled_scores", "suspicious"]

SHUFFLES = 10
CHANCE = ("prior", "centre")
ALIKE = ("accuracy", "micro_f1", "macro_recall", *GAZE_METRICS)
"""Metrics in which a baseline that sees nothing does at least as well as shuffled labels. F1 is not
among them, as it does not reward the most frequent class, nor is average precision, which favours
any order of the rows over none."""

LEAK = (
    "Labels were shuffled before the fit, so there was nothing true to learn: true labels reached "
    "it some other way. Do not trust this question's scores before you know which."
)


def label_donors(
    clusters: np.ndarray, rows: Int64[np.ndarray, " k"], *, rng: np.random.Generator
) -> Int64[np.ndarray, " n"] | None:
    """For each row of a table the row whose label it gets in the control task.

    The clusters are laid end to end in random order, as a circle, each with its rows in random
    order, and every row gets the label of the row half a circle on, or as near to that as makes
    the first cluster start where another did. So every label is given once; clusters of equal
    size exchange their labels as a whole, those of unequal size in runs; and where each row is a
    cluster this is a random permutation. No row gets a label of its own cluster, unless that holds
    more than a third of the rows.

    Args:
        clusters: Of all n rows of the table, shape (n,).
        rows: Positions of those that change labels; the others keep theirs.
        rng: Decides the order.

    Returns:
        Positions, shape (n,); None if all rows are of one cluster.
    """
    rows = rng.permutation(rows)
    names, member = np.unique(np.asarray(clusters)[rows].astype(str), return_inverse=True)
    if len(names) < 2:
        return None
    order = rng.permutation(len(names))
    circle = rows[np.argsort(np.argsort(order)[member], kind="stable")]
    ends = np.cumsum(np.bincount(member)[order])[:-1]
    half = ends[np.abs(ends - len(rows) / 2).argmin()]
    donors = np.arange(len(clusters))
    donors[circle] = np.roll(circle, -half)
    return donors


def shuffled_scores(
    problem: Callable[[Int64[np.ndarray, " n"]], Problem],
    plan: Plan,
    clusters: np.ndarray,
    strength: float,
    *,
    seed: int,
    name: str,
) -> tuple[Float64[np.ndarray, "k c"], np.ndarray] | None:
    """What probes that were fitted on shuffled labels say of the rows predicted.

    Each is fitted on the rows of the real probe at its strength, so that it may memorise as much.

    Args:
        problem: From the donor of each row's label to the problem with these labels.
        plan: That of the real probe.
        clusters: Of all n rows of the table, shape (n,).
        strength: That of the real probe.
        seed: Of the run.
        name: Of the question; with the seed it decides the shuffles, the same for both sides.

    Returns:
        Scores of `plan.predicted` in that order, and the name of the shuffle behind each, shape
        (k,); None if some fit has the rows of one cluster only.
    """
    names, member = np.unique(np.asarray(clusters)[plan.predicted].astype(str), return_inverse=True)
    count = min(SHUFFLES, len(names))
    share = stream(seed, f"shuffled/{name}").permutation(len(names)) % count
    behind = np.full(len(clusters), -1)
    behind[plan.predicted] = share[member]
    parts, places = [], []
    for number in range(count):
        rng = stream(seed, f"shuffled/{name}/{number}")
        for stage in plan.stages:
            rows = stage.predict[behind[stage.predict] == number]
            donors = label_donors(clusters, stage.train, rng=rng)
            if donors is None:
                return None
            if len(rows):
                fitted = problem(donors).fit(stage.train, [strength])
                parts.append(fitted.scores(rows)[0])
                places.append(rows)
    order = np.argsort(np.concatenate(places))
    shuffles = np.array([f"shuffle-{number}" for number in behind[plan.predicted]], dtype=object)
    return np.concatenate(parts)[order], shuffles


def suspicious(baselines: Sequence[Baseline], metrics: Sequence[Metric]) -> list[str]:
    """Baselines of one question with shuffled labels that are better than chance, in words.

    Better means that its whole interval lies beyond the whole interval of the baseline that sees
    nothing. Of several, some interval excludes a mere value by chance in every other run.
    """
    found = []
    for metric in metrics:
        own = {one.name: one.estimate for one in baselines if one.metric == metric.name}
        chance = next((own[name] for name in CHANCE if name in own), None)
        if chance is None or metric.name not in ALIKE:
            continue
        for name, one in own.items():
            beyond = one.low > chance.high if metric.higher_is_better else one.high < chance.low
            if name.startswith("shuffled-") and beyond:
                found.append(
                    f"{name} reaches {metric.name} {one.value:.1f} [{one.low:.1f}, {one.high:.1f}] "
                    f"where {chance.value:.1f} is chance"
                )
    return found
