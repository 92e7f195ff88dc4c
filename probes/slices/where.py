"""Where in the picture a label can be read, before and after: regions and maps of one token probe.

A token can only say what attention has brought to it: in a deep block a background token may know
the face. The regions are therefore about the places of tokens, not about what the pixels there
show.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from scipy.stats import t as student

from degradation.errors import ConfigError, DataError
from probes.cards import pair_card, task_card, tool_version
from probes.folders import record_folder
from probes.metrics import GazeOutcome, Metric
from probes.questions import ClassQuestion, declared_arm, prepare_question
from probes.runs import write_analysis
from probes.slices.deltas import MIN_CLUSTERS, compare
from probes.slices.places import SIDE, box_cells, regions
from probes.slices.records import CellMap, Region, TokenProbe, WhereRecord
from probes.slices.tokens import TokenScores, draw_tokens, read_tokens
from probes.statistics.bootstrap import stream
from probes.table import Table, open_pair

__all__ = ["NAME", "cluster_means", "where_pair"]

NAME = "where"
"""Of the command and of the file that it writes."""
EACH = 8


def where_pair(
    root: Path,
    task: str,
    pair: str,
    *,
    results: Path,
    block: int | None = None,
    questions: Sequence[str] | None = None,
    each: int = EACH,
    seed: int = 0,
    row_list: str = "",
) -> WhereRecord:
    """Probe single tokens of one block on both sides and write `where.json`.

    Args:
        root: Root of all caches.
        task: Name of the task.
        pair: Name of the pair.
        results: The record goes to `<results>/<pair>/<task>/`.
        block: Block whose token maps are read; the declared one by default.
        questions: Label sets; by default all of the task.
        each: Tokens of a picture to fit on.
        seed: Decides folds and the tokens fitted.
        row_list: Name of the row lists whose rows alone are used; empty for all.

    Returns:
        The record, as written.

    Raises:
        CacheError: If the pair is not in the cache.
        ConfigError: If the token maps are not, or the task has no such question.
        DataError: If no question can be asked.
        PairingError: If the sides hold other rows or pixels.
    """
    table, entry = open_pair(root, task, pair, row_list=row_list)
    block = table.declared_block(entry) if block is None else block
    asked = _asked(table, questions)
    _check_tokens(table, pair, block)
    found: list[tuple[TokenProbe, list[Region], list[CellMap]]] = []
    undefined: dict[str, str] = {}
    for name in asked:
        try:
            question = prepare_question(table, name, declared_arm(table.spec), seed)
        except DataError as error:
            undefined[name] = str(error)
            continue
        found.append(_ask(table, question, block, undefined, each=each, seed=seed))
    if not found:
        raise DataError(next(iter(undefined.values())))
    record = WhereRecord(
        tool_version=tool_version(),
        task=task_card(table),
        pair=pair_card(table, entry),
        splits=table.cards(),
        seed=seed,
        block=block,
        grid=table.grid,
        tokens_a_picture=each,
        probes=tuple(probe for probe, _, _ in found),
        regions=tuple(one for _, found_regions, _ in found for one in found_regions),
        maps=tuple(one for _, _, maps in found for one in maps),
        undefined=undefined,
    )
    write_analysis(record_folder(results, pair, record.task.label), NAME, record)
    return record


def _asked(table: Table, questions: Sequence[str] | None) -> Sequence[str]:
    known = [name for name in table.spec.metrics if name in table.labels]
    if not known:
        raise ConfigError(
            f"Expected a question with classes, but {table.spec.name} asks for a point, whose "
            "probe reads every place already. Name another task."
        )
    for name in questions or ():
        if name not in known:
            raise ConfigError(f"Expected a question among {', '.join(known)}; found {name!r}.")
    return questions or known


def _check_tokens(table: Table, pair: str, block: int) -> None:
    """Refuse a block without token maps, and say how they come into the cache."""
    task = table.spec.name
    if table.spec.kind == "track":
        raise ConfigError(
            f"Expected single pictures, but a sample of {task} is a track of frames, in which a "
            "token has no one place. Name another task."
        )
    sets = [set(one.token_blocks) for sides in table.features.values() for one in sides.values()]
    if block not in (common := set.intersection(*sets)):
        raise ConfigError(
            f"Expected token maps of block {block} of {pair} on {task} in the cache, found "
            f"{f'those of {sorted(common)}' if common else 'none'}. Run `sdiag extract --task "
            f"{task} --model {pair} --token-block {block}`"
            + (", or name a block with --block." if common else ".")
        )


def _ask(
    table: Table,
    question: ClassQuestion,
    block: int,
    undefined: dict[str, str],
    *,
    each: int,
    seed: int,
) -> tuple[TokenProbe, list[Region], list[CellMap]]:
    """Both sides of one question; adds regions without numbers to `undefined`."""
    plan, name = question.plan, question.name
    t = table.grid[0] * table.grid[1]
    width = max(
        sides[side].encoder.width for sides in table.features.values() for side in ("pre", "post")
    )
    train = np.unique(np.concatenate([stage.train for stage in plan.stages]))
    drawn = draw_tokens(train, t, each=each, width=width, rng=stream(seed, f"tokens/{name}"))
    pre, post = (read_tokens(table, question, side, block, drawn) for side in ("pre", "post"))
    probe = TokenProbe(
        question=name,
        strength_pre=pre.strength,
        strength_post=post.strength,
        selection=plan.rule,
        fitted_pictures=len(set(drawn.rows.tolist())),
        fitted_tokens=len(drawn.rows),
        predicted_pictures=len(pre.hits),
        predicted_tokens=pre.hits.size,
    )
    rng = stream(seed, f"where/{name}")
    found = _regions(table, question, (pre, post), undefined, rng=rng)
    return probe, found, _maps(table, question, (pre, post))


# ------------------------------------------------------------------ regions


def _regions(
    table: Table,
    question: ClassQuestion,
    sides: tuple[TokenScores, TokenScores],
    undefined: dict[str, str],
    *,
    rng: np.random.Generator,
) -> list[Region]:
    """Accuracy and log-loss by region: the mean over pictures of the mean over their tokens."""
    if not table.boxes:
        return []
    rows = question.plan.predicted
    clusters = table.clusters[rows]
    found = []
    for region, inside in regions(
        {role: box[rows] for role, box in table.boxes.items()}, table.grid
    ).items():
        here = inside.any(axis=1)
        for name, column in (("accuracy", "hits"), ("log_loss", "losses")):
            before, after = (
                _masked_mean(getattr(one, column).astype(np.float64), inside)[here] for one in sides
            )
            metric = _mean_of(name)
            numbers = compare(
                metric,
                GazeOutcome({name: before}),
                GazeOutcome({name: after}),
                clusters[here],
                rng=rng,
            )
            if isinstance(numbers, str):
                undefined[f"{question.name}/{region}/{name}"] = numbers
                continue
            found.append(
                Region(
                    question=question.name,
                    region=region,
                    metric=name,
                    tokens=float(inside[here].sum() / here.sum()),
                    n=int(here.sum()),
                    clusters=len(set(clusters[here])),
                    pre=numbers.pre,
                    post=numbers.post,
                    delta=numbers.delta,
                    p=numbers.p,
                )
            )
    return found


def _masked_mean(
    values: Float64[np.ndarray, "k t"], inside: np.ndarray
) -> Float64[np.ndarray, " k"]:
    """Mean over the tokens inside that have a value; NaN in rows without one."""
    counted = inside & ~np.isnan(values)
    total = np.where(counted, values, 0).sum(axis=1)
    count = counted.sum(axis=1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _mean_of(name: str) -> Metric:
    """The mean over pictures of a number that each has; an outcome holds it by that name."""

    def rows(outcome: GazeOutcome) -> Float64[np.ndarray, "k 2"]:
        values = outcome.values[name]
        known = ~np.isnan(values)
        return np.stack([np.where(known, values, 0), known], axis=1)

    def finish(sums: Float64[np.ndarray, "b 2"]) -> Float64[np.ndarray, " b"]:
        return np.divide(
            sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0
        )

    return Metric(name, name, name == "accuracy", rows, finish, undefined="no token has a value")


# ------------------------------------------------------------------ maps


def _maps(
    table: Table, question: ClassQuestion, sides: tuple[TokenScores, TokenScores]
) -> list[CellMap]:
    """Delta of the accuracy by cell of the picture, and by place relative to the first box read."""
    rows = question.plan.predicted
    clusters = table.clusters[rows]
    change = 100.0 * (sides[1].hits.astype(np.float64) - sides[0].hits)
    found = [_map(question.name, "picture", table.grid, change, clusters)]
    for role in [region for region in table.spec.regions if region in table.boxes][:1]:
        cells = box_cells(table.boxes[role][rows], table.grid)
        found.append(
            _map(question.name, role, (SIDE, SIDE), _by_cell(change, cells, SIDE**2), clusters)
        )
    return found


def _by_cell(
    values: Float64[np.ndarray, "k t"], cells: Int64[np.ndarray, "k t"], count: int
) -> Float64[np.ndarray, "k m"]:
    """Mean in each row over the tokens of each cell, NaN where it has none."""
    k = len(values)
    flat = np.where(cells < 0, count, cells) + (count + 1) * np.arange(k)[:, None]
    size = k * (count + 1)
    number = np.bincount(flat.ravel(), minlength=size).reshape(k, -1)[:, :count]
    total = np.bincount(flat.ravel(), values.ravel(), minlength=size).reshape(k, -1)[:, :count]
    return np.divide(total, number, out=np.full((k, count), np.nan), where=number > 0)


def _map(
    question: str,
    frame: str,
    shape: tuple[int, int],
    values: Float64[np.ndarray, "k m"],
    clusters: np.ndarray,
) -> CellMap:
    mean, error, groups = cluster_means(values, clusters)
    known = groups >= MIN_CLUSTERS
    freedom = np.maximum(groups - 1, 1)
    half = student.ppf(0.975, freedom) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * student.sf(np.abs(mean) / error, freedom)
    p = np.where(np.isnan(p), 1.0, p)  # a mean of 0 without any error

    def shown(column: Float64[np.ndarray, " m"]) -> tuple[float | None, ...]:
        return tuple(
            float(value) if here else None for value, here in zip(column, known, strict=True)
        )

    return CellMap(
        question=question,
        frame=frame,
        rows=shape[0],
        columns=shape[1],
        delta=shown(mean),
        low=shown(mean - half),
        high=shown(mean + half),
        p=shown(p),
        n=tuple((~np.isnan(values)).sum(axis=0).tolist()),
    )


def cluster_means(
    values: Float64[np.ndarray, "n m"], clusters: np.ndarray
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Means over rows with their cluster-robust standard errors, column by column.

    With e_i the distance of row i from the mean, the variance is g / (g - 1) times the sum over
    clusters of (sum of e_i)^2, over n^2: that of a ratio of sums by linearisation (Cochran,
    Sampling Techniques, 1977, section 9A). For clusters of one row it is the usual s^2 / n.

    Args:
        values: NaN where a row has none, shape (n, m).
        clusters: Shape (n,).

    Returns:
        Means and standard errors, NaN where there are no rows or fewer than two clusters, and the
        number of clusters, each of shape (m,).

    Example:
        >>> mean, error, _ = cluster_means(np.array([[0.0], [2.0]]), np.array(["a", "b"]))
        >>> float(mean[0]), float(error[0])
        (1.0, 1.0)
    """
    _, member = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
    g = member.max() + 1
    known = ~np.isnan(values)
    n = known.sum(axis=0)
    mean = np.divide(
        np.where(known, values, 0).sum(axis=0), n, out=np.full(len(n), np.nan), where=n > 0
    )
    sums, present = np.zeros((g, len(n))), np.zeros((g, len(n)))
    np.add.at(sums, member, np.where(known, values - mean, 0))
    np.add.at(present, member, known)
    groups = (present > 0).sum(axis=0)
    factor = np.divide(groups, groups - 1, out=np.full(len(n), np.nan), where=groups > 1)
    error = np.sqrt(factor * (sums**2).sum(axis=0)) / np.maximum(n, 1)
    return mean, error, groups
