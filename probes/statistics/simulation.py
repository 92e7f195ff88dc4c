"""Worlds whose true delta is known, and how the intervals and verdicts of this tool do on them.

Rows of a cluster share an intra-cluster correlation on a normal scale. Three metrics stand for all:
*accuracy*, where a quarter of the rows change sides; *macro-F1* over four classes of unequal size,
with the same changes; and a *gaze error*, lognormal and cut at the diagonal of the picture, a heavy
tail. Whole studies are computed at once, through the very functions that make a record. The page is
written by `tests/benchmarks/calibration.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from probes.metrics import GAZE_METRICS, ClassOutcome, Metric, delta, evaluate, resolve
from probes.statistics.bootstrap import bca, interval, stream
from probes.statistics.clusters import group_rows
from probes.statistics.differences import mcnemar_exact
from probes.statistics.jackknife import influences, leave_out
from probes.statistics.permutation import permutation_p
from probes.statistics.student import (
    Rare,
    Spread,
    rare_changes,
    score_interval,
    spread,
    t_interval,
    t_p,
)
from probes.statistics.variance import variance_components

__all__ = [
    "MARGIN",
    "METRICS",
    "World",
    "draw",
    "ranking_rates",
    "rates",
    "refit_rates",
    "swap_rates",
    "worlds",
]

Kind = Literal["accuracy", "macro-F1", "gaze error"]
METRICS: tuple[Kind, ...] = ("accuracy", "macro-F1", "gaze error")
MARGIN = 2.0
RIGHT = 0.6
"""Share of rows that both sides get right; what is left by those that change is wrong twice."""
CLASSES = (0.4, 0.3, 0.2, 0.1)
SPREAD, TYPICAL, DIAGONAL = 0.7, 0.08, 2**0.5
"""Of an error: deviation that rows, and that sides, add on the log scale; median; end."""
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class World:
    """One cell of the study.

    Attributes:
        metric: What is measured.
        clusters: Number of clusters.
        rows: Rows a cluster; 0 for unequal ones: geometric with mean 5, at most 40.
        correlation: Between rows of a cluster, on the normal scale.
        planted: True delta in points.
        changing: Share of rows that change sides.
    """

    metric: Kind
    clusters: int
    rows: int
    correlation: float
    planted: float = 0.0
    changing: float = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Data sets of one world, as sums by cluster.

    Attributes:
        metric: That reads the sums.
        pre, post: Sums of both sides, shape (r, g, k).
        sizes: Rows of each cluster, shape (r, g).
        changed: Whether any row of the cluster changed, shape (r, g); None for errors.
        truth: True score before, a fraction.
    """

    metric: Metric
    pre: Float64[np.ndarray, "r g k"]
    post: Float64[np.ndarray, "r g k"]
    sizes: Int64[np.ndarray, "r g"]
    changed: Bool[np.ndarray, "r g"] | None
    truth: float


def worlds(clusters: tuple[int, ...]) -> Iterator[World]:
    """The grid: every metric, size and correlation, under a delta of 0 and of minus the margin."""
    for metric in METRICS:
        for g in clusters:
            for rows in (1, 5, 20, 0):
                for correlation in (0.0,) if rows == 1 else (0.0, 0.3, 0.9):
                    for planted in (0.0, -MARGIN):
                        yield World(metric, g, rows, correlation, planted)


def draw(world: World, replications: int, rng: np.random.Generator) -> Drawn:
    """That many data sets of a world."""
    shape = (replications, world.clusters)
    sizes = np.full(shape, world.rows)
    if not world.rows:
        sizes = np.minimum(rng.geometric(0.2, shape), 40)
    make = _gaze if world.metric == "gaze error" else _classes
    return make(world, sizes.astype(np.int64), rng)


def _latent(
    sizes: Int64[np.ndarray, "r g"], correlation: float, rng: np.random.Generator
) -> Iterator[tuple[Bool[np.ndarray, "r g"], Float32[np.ndarray, "r g"]]]:
    """One row of every cluster after another: whether there is one, and its normal score."""
    own, shared = np.float32((1 - correlation) ** 0.5), np.float32(correlation**0.5)
    common = shared * rng.standard_normal(sizes.shape, dtype=np.float32)
    for j in range(int(sizes.max())):
        yield j < sizes, common + own * rng.standard_normal(sizes.shape, dtype=np.float32)


def _classes(world: World, sizes: Int64[np.ndarray, "r g"], rng: np.random.Generator) -> Drawn:
    """Rows that broke, stayed right, stayed wrong or were fixed, in the order of their score."""
    fixed = (world.changing + _drop(world)) / 2
    broken = world.changing - fixed
    cuts = ndtri(np.array([broken, broken + RIGHT, 1 - fixed])).astype(np.float32)
    macro, c = world.metric == "macro-F1", len(CLASSES)
    k = 3 * c if macro else 2
    sums = np.zeros((2, *sizes.shape, k))
    changed = np.zeros(sizes.shape, dtype=bool)
    place = np.arange(sizes.size).reshape(sizes.shape) * k
    cells: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for here, score in _latent(sizes, world.correlation, rng):
        kind = (score[..., None] > cuts).sum(axis=-1)
        changed |= here & ((kind == 0) | (kind == 3))
        right = (kind <= 1, (kind == 1) | (kind == 3))
        if not macro:
            for side, one in enumerate(right):
                sums[side, ..., 0] += here & one
                sums[side, ..., 1] += here
            continue
        label = np.searchsorted(np.cumsum(CLASSES[:-1]), rng.random(sizes.shape, dtype=np.float32))
        wrong = (label + rng.integers(1, c, sizes.shape)) % c
        for side, one in enumerate(right):
            said = np.where(one, label, wrong)
            cells[side].append((place + label)[here])
            cells[side].append((place + c + said)[here])
            cells[side].append((place + 2 * c + label)[one & here])
    if macro:
        for side, found in enumerate(cells):
            counts = np.bincount(np.concatenate(found), minlength=sizes.size * k)
            sums[side] = counts.reshape(sums[side].shape)
    before = broken + RIGHT
    if macro:
        truth = float(_population(before))
        return Drawn(resolve("macro_f1", tuple("abcd")), *sums, sizes, changed, truth)
    # Hits over rows: the same quotient as the mean of a number that rows have.
    return Drawn(GAZE_METRICS["auc_on_grid"], *sums, sizes, changed, before)


def _population(right: float) -> float:
    """Macro-F1 where that share of each class is right and errors fall on others equally."""
    p = np.array(CLASSES)
    said = p * right + (1 - right) * (p.sum() - p) / (len(p) - 1)
    return float((2 * p * right / (p + said)).mean())


def _drop(world: World) -> float:
    """Change in the share of right rows that makes the planted delta; negative is worse."""
    if world.metric == "accuracy":
        return world.planted / 100
    if world.planted == 0:
        return 0.0

    def short(drop: float) -> float:
        before = (world.changing - drop) / 2 + RIGHT
        return 100 * (_population(before + drop) - _population(before)) - world.planted

    return float(brentq(short, -world.changing, world.changing))


def _gaze(world: World, sizes: Int64[np.ndarray, "r g"], rng: np.random.Generator) -> Drawn:
    """Errors of both sides: a difficulty that they share and a luck that they do not."""
    scale = 1.0
    if world.planted:
        scale = float(brentq(lambda s: _mean(1.0) - _mean(s) - world.planted / 100, 0.5, 5.0))
    sums = np.zeros((2, *sizes.shape, 2))
    parts = zip(*(_latent(sizes, world.correlation, rng) for _ in range(3)), strict=True)
    for (here, hard), (_, one), (_, two) in parts:
        for side, luck in enumerate((one, two)):
            error = TYPICAL * (scale if side else 1.0) * np.exp(SPREAD * (hard + luck))
            sums[side, ..., 0] += np.where(here, np.minimum(error, DIAGONAL), 0)
            sums[side, ..., 1] += here
    return Drawn(GAZE_METRICS["average_l2_error"], *sums, sizes, None, _mean(1.0))


def _mean(scale: float) -> float:
    """Mean error at a scale: of a lognormal that is cut."""
    s, far = 2**0.5 * SPREAD, np.log(DIAGONAL / (TYPICAL * scale))
    return float(
        TYPICAL * scale * np.exp(s**2 / 2) * ndtr((far - s**2) / s) + DIAGONAL * ndtr(-far / s)
    )


def rates(world: World, drawn: Drawn, *, bootstrap: int = 0) -> dict[str, float]:
    """Shares, in %, of the data sets in which an interval covers or a verdict errs.

    Args:
        world: Of which they are.
        drawn: The data sets.
        bootstrap: In how many of them to draw the bootstrap as well.

    Returns:
        `delta 95`, `delta 90`, `score 95`: coverage. `degraded`, `improved`: share declared so at
        5 %, without correction. `equivalent`: share declared so within the margin. With bootstrap
        `percentile` and `BCa`: coverage of their 95 % intervals.
    """
    metric = drawn.metric
    total = [sums.sum(axis=1, keepdims=True) for sums in (drawn.pre, drawn.post)]
    points = [_finish(metric, sums)[:, 0] for sums in total]
    without = [
        _finish(metric, each - own)
        for each, own in zip(total, (drawn.pre, drawn.post), strict=True)
    ]
    value = delta(*points, metric)
    lost = delta(*(one.ravel() for one in without), metric).reshape(without[0].shape)
    influence = influences(lost)
    rare = None
    if drawn.changed is not None:
        shares = drawn.sizes / drawn.sizes.sum(axis=1, keepdims=True)
        rare = Rare(drawn.changed.sum(axis=1).astype(float), value, (shares**2).mean(axis=1))
    found = spread(influence, rare)
    low, high = t_interval(value, found, 0.95)
    low_90, high_90 = t_interval(value, found, 0.90)
    ends = score_interval(points[0], without[0], 0.95, bounded=metric.higher_is_better)
    p = t_p(value, found)
    shares = {
        "delta 95": _covers(low, high, world.planted),
        "delta 90": _covers(low_90, high_90, world.planted),
        "score 95": _covers(*ends, drawn.truth),
        "degraded": (p <= 0.05) & (value < 0),
        "improved": (p <= 0.05) & (value > 0),
        "equivalent": (low_90 >= -MARGIN) & (high_90 <= MARGIN),
    }
    result = {name: 100 * float(one.mean()) for name, one in shares.items()}
    if bootstrap:
        result |= _bootstrapped(world, drawn, value, influence, bootstrap)
    return result


def _finish(metric: Metric, sums: Float64[np.ndarray, "r g k"]) -> Float64[np.ndarray, "r g"]:
    return metric.finish(sums.reshape(-1, sums.shape[-1])).reshape(sums.shape[:-1])


def _covers(low: np.ndarray, high: np.ndarray, truth: float) -> Bool[np.ndarray, " r"]:
    """Whether the truth lies within, rounding allowed for."""
    return (low <= truth + 1e-9) & (truth - 1e-9 <= high)


def _bootstrapped(
    world: World,
    drawn: Drawn,
    value: Float64[np.ndarray, " r"],
    influence: Float64[np.ndarray, "r g"],
    count: int,
) -> dict[str, float]:
    """Coverage of the two bootstrap intervals; all data sets see the same draws."""
    g, rng = world.clusters, stream(0, f"calibration/bootstrap/{world.clusters}")
    counts = rng.multinomial(g, np.full(g, 1 / g), DRAWS).astype(np.float64)
    hits = np.zeros(2)
    for i in range(min(count, len(value))):
        sides = [drawn.metric.finish(counts @ sums[i]) for sums in (drawn.pre, drawn.post)]
        values = delta(*sides, drawn.metric)
        for at, (low, high) in enumerate(
            (interval(values, 0.95), bca(float(value[i]), values, influence[i], 0.95))
        ):
            hits[at] += low <= world.planted + 1e-9 and world.planted - 1e-9 <= high
    return dict(zip(("percentile", "BCa"), 100 * hits / min(count, len(value)), strict=True))


def ranking_rates(
    g: int, rows: int, correlation: float, replications: int, rng: np.random.Generator
) -> dict[str, float]:
    """Coverage of the intervals of the delta of mAP, and false positives, where nothing differs.

    Scores of three classes are a share of the truth plus what rows of a cluster have in common and
    luck of each side.
    """
    metric, clusters = resolve("mean_average_precision", ("a", "b", "c")), np.repeat(range(g), rows)
    values, spreads = [], []
    for _ in range(replications):
        labels = rng.integers(0, 3, len(clusters))
        signal = 1.5 * np.eye(3)[labels]
        sides = []
        for _ in range(2):
            common = rng.normal(size=(g, 3))[clusters]
            luck = rng.normal(size=(len(clusters), 3))
            scores = signal + correlation**0.5 * common + (1 - correlation) ** 0.5 * luck
            sides.append(ClassOutcome(labels, scores.astype(np.float32)))
        value, found = _jackknife(metric, (sides[0], sides[1]), clusters, rng)
        values.append(value)
        spreads.append((found.se, found.dof))
    value = np.array(values)
    found = Spread(*np.array(spreads).T)
    p = t_p(value, found)
    shares = {
        "95": _covers(*t_interval(value, found, 0.95), 0.0),
        "90": _covers(*t_interval(value, found, 0.90), 0.0),
        "degraded": (p <= 0.05) & (value < 0),
        "improved": (p <= 0.05) & (value > 0),
    }
    return {name: 100 * float(one.mean()) for name, one in shares.items()}


def _jackknife(
    metric: Metric,
    sides: tuple[ClassOutcome, ClassOutcome],
    clusters: Int64[np.ndarray, " n"],
    rng: np.random.Generator,
) -> tuple[float, Spread]:
    """Delta of one data set with its spread, as `probes.summary` has them."""
    grouped = group_rows(clusters)
    without = leave_out(grouped, dict(enumerate((metric, side) for side in sides)), rng=rng)
    value = float(delta(*(evaluate(metric, side)[0] for side in sides), metric))
    influence = influences(delta(without[0], without[1], metric))
    return value, spread(influence, rare_changes(metric, sides, grouped, value))


def swap_rates(
    g: int, rows: int, correlation: float, replications: int, rng: np.random.Generator
) -> dict[str, float]:
    """False positives at 5 % of three tests of accuracy, where nothing differs."""
    metric, clusters = resolve("accuracy", ("right", "wrong")), np.repeat(range(g), rows)
    hits = np.zeros(3)
    for _ in range(replications):
        common = rng.normal(size=g)[clusters]
        score = correlation**0.5 * common + (1 - correlation) ** 0.5 * rng.normal(size=g * rows)
        kind = (score[:, None] > ndtri([0.125, 0.125 + RIGHT, 0.875])).sum(axis=1)
        right = (kind <= 1, (kind == 1) | (kind == 3))
        labels = np.zeros(len(kind), dtype=np.int64)
        one, two = (
            ClassOutcome(labels, np.stack([r, 0.5 + 0 * r], axis=1).astype(np.float32))
            for r in right
        )
        value, found = _jackknife(metric, (one, two), clusters, rng)
        flips = int((kind == 0).sum()), int((kind == 3).sum())
        swapped = permutation_p(metric, (one, two), group_rows(clusters), draws=499, rng=rng)
        hits += np.array([t_p(value, found), swapped, mcnemar_exact(*flips)]) <= 0.05
    return dict(zip(("t", "permutation", "McNemar"), 100 * hits / replications, strict=True))


def refit_rates(
    g: int,
    refits: int,
    training: float,
    interaction: float,
    replications: int,
    rng: np.random.Generator,
) -> float:
    """Coverage of the interval of the mean of refits, in %; deviations over that of sampling."""
    covered = 0
    for _ in range(replications):
        cells = rng.normal(size=(1, g)) + interaction * rng.normal(size=(refits, g))
        # What training adds to a refit is scaled to what sampling adds to its mean over clusters.
        moved = training * ((1 + interaction**2) / g) ** 0.5 * rng.normal(size=refits)
        influence = (cells - cells.mean(axis=1, keepdims=True)) / g
        mean = spread(influence.mean(axis=0))
        found = variance_components(
            cells.mean(axis=1) + moved,
            spread(influence).se ** 2,
            mean_var=float(mean.se) ** 2,
            sampling_dof=float(mean.dof),
        )
        covered += found.low <= 0 <= found.high
    return 100 * covered / replications
