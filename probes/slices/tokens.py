"""One linear probe of single patch tokens: fitted on a few of each picture, asked of all.

Every token carries the label of its picture, or of its person. Most tokens show little of it, so
the probe is weak by design; what it says is where in the picture something of the label can be
read. Which tokens are fitted is drawn once and is the same for both sides.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from degradation.axes import Side
from probes.problems import ClassProblem, Features, FittedClasses
from probes.questions import ClassQuestion
from probes.selection import Plan, Stage, read_out
from probes.table import Table

__all__ = ["Drawn", "TokenScores", "draw_tokens", "read_tokens"]

MOST_VALUES = 40_000_000
"""Numbers held of the tokens fitted, tokens times width: 160 MB as they are, 320 MB in float64."""
AT_ONCE = 4096
"""Tokens predicted at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Tokens to fit on.

    Attributes:
        rows: Position in the table of each token's picture, ascending, shape (m,).
        cells: Its place in the token map, shape (m,).
    """

    rows: Int64[np.ndarray, " m"]
    cells: Int64[np.ndarray, " m"]


@dataclass(frozen=True, slots=True, eq=False)
class TokenScores:
    """What the probe says of every token of the k predicted pictures on one side.

    Attributes:
        hits: 1 where the class is right, shape (k, t).
        losses: Log-loss in nats, NaN for a class that was not fitted, shape (k, t).
        strength: The chosen L2 strength; the lower median over stages.
    """

    hits: Bool[np.ndarray, "k t"]
    losses: Float32[np.ndarray, "k t"]
    strength: float


def draw_tokens(
    rows: Int64[np.ndarray, " k"], t: int, *, each: int, width: int, rng: np.random.Generator
) -> Drawn:
    """Some tokens of each picture, one of every equal stretch of the raster; all equally likely.

    Args:
        rows: Positions in the table of the pictures that any stage fits, ascending.
        t: Tokens of a picture.
        each: Tokens to draw of a picture, at most t.
        width: Width of a token on the wider side. Where all would exceed `MOST_VALUES` numbers, a
            sample of those drawn is kept, so that every picture is as likely to be in it.
        rng: Source of the draws.
    """
    each = min(each, t)
    start = np.arange(each) + (rng.random((len(rows), each)) if each < t else 0.0)
    cells = np.broadcast_to(np.floor(start * t / each).astype(np.int64), (len(rows), each))
    found = Drawn(np.repeat(rows, each), cells.ravel())
    most = max(MOST_VALUES // width, 1)
    if len(found.rows) <= most:
        return found
    kept = np.sort(rng.permutation(len(found.rows))[:most])
    return Drawn(found.rows[kept], found.cells[kept])


def read_tokens(
    table: Table, question: ClassQuestion, side: Side, block: int, drawn: Drawn
) -> TokenScores:
    """Fit on the drawn tokens of each stage, by the rule of the run, and predict all tokens.

    Args:
        table: The rows of all splits.
        question: With its plan, whose stages are those of the run.
        side: Which encoder.
        block: Block whose token maps are cached.
        drawn: Tokens to fit on.

    Raises:
        ConfigError: The token maps of this block are not in the cache.
        CacheError: A shard is missing or damaged.
    """
    x = np.concatenate(list(_gathered(table, side, block, drawn)))
    problem = ClassProblem(
        Features(x), question.labels[drawn.rows], question.n_classes, question.arm.balanced
    )
    place = np.full(len(table.ids), -1)
    place[question.plan.predicted] = np.arange(len(question.plan.predicted))
    t = table.grid[0] * table.grid[1]
    hits = np.zeros((len(question.plan.predicted), t), dtype=bool)
    losses = np.full(hits.shape, np.nan, dtype=np.float32)
    strengths = []
    for stage in question.plan.stages:
        of_tokens = _stage_of(stage, drawn)
        strength = read_out(problem, Plan((of_tokens,), question.plan.rule)).strength
        fitted = problem.fit(of_tokens.train, [strength])
        strengths.append(strength)
        for rows, tokens in _parts(table, side, block, stage.predict):
            labels = np.repeat(question.labels[rows], t)
            p = _probabilities(fitted, tokens.reshape(len(rows) * t, -1))
            own = p[np.arange(len(p)), labels]
            loss = np.where(own > 0, -np.log(np.where(own > 0, own, 1)), np.nan)
            hits[place[rows]] = (p.argmax(1) == labels).reshape(-1, t)
            losses[place[rows]] = loss.reshape(-1, t)
    return TokenScores(hits, losses, sorted(strengths)[(len(strengths) - 1) // 2])


def _stage_of(stage: Stage, drawn: Drawn) -> Stage:
    """A stage over pictures as one over the drawn tokens; it predicts a single one."""

    def tokens(rows: Int64[np.ndarray, " _"]) -> Int64[np.ndarray, " _"]:
        return np.nonzero(np.isin(drawn.rows, rows))[0]

    trials = tuple((tokens(fit), tokens(held)) for fit, held in stage.trials)
    train = tokens(stage.train)
    return Stage(trials, train, train[:1])


def _probabilities(
    fitted: FittedClasses, tokens: Float32[np.ndarray, "m d"]
) -> Float64[np.ndarray, "m c"]:
    """Class probabilities of other tokens than those of the problem."""
    found = []
    for start in range(0, len(tokens), AT_ONCE):
        part = tokens[start : start + AT_ONCE]
        other = replace(fitted, problem=replace(fitted.problem, features=Features(part)))
        found.append(other.scores(np.arange(len(part)))[0])
    return np.concatenate(found)


def _gathered(
    table: Table, side: Side, block: int, drawn: Drawn
) -> Iterator[Float32[np.ndarray, "_ d"]]:
    """The drawn tokens in their order."""
    for rows, tokens in _parts(table, side, block, np.unique(drawn.rows)):
        here = slice(*np.searchsorted(drawn.rows, [rows[0], rows[-1] + 1]))
        yield tokens[np.searchsorted(rows, drawn.rows[here]), drawn.cells[here]]


def _parts(
    table: Table, side: Side, block: int, wanted: Int64[np.ndarray, " k"]
) -> Iterator[tuple[Int64[np.ndarray, " m"], Float32[np.ndarray, "m t d"]]]:
    """Token maps of the wanted rows of the table, a shard at a time, in table order."""
    start = 0
    for split, sides in table.features.items():
        cached = len(sides[side].rows)
        taken = table.chosen[split] if table.chosen else np.arange(cached)
        position = np.full(cached, -1, dtype=np.int64)
        position[taken] = start + np.arange(len(taken))
        position[~np.isin(position, wanted)] = -1
        start += len(taken)
        if (position < 0).all():
            continue
        for where, tokens in sides[side].token_parts(block):
            here = position[where]
            if (here >= 0).any():
                yield here[here >= 0], tokens[here >= 0]
