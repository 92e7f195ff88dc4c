"""Does gradient conflict foretell transfer? Both, pair of tasks by pair of tasks.

Conflict is measured between *questions*, transfer between *tasks*, which are trained as a whole. So
the conflict of two tasks is the mean corrected gradient conflict degree of the questions of one
with those of the other, and their transfer the mean over both directions of what training with the
other does to a task: over its questions, the change of the declared metric in % of what a single
task reads above chance. If conflict does harm, the rank correlation is negative.

Pairs share tasks, so they are not independent: ten pairs of five tasks know less than ten. The
interval comes from a jackknife that leaves out one task after another, with all of its pairs, and
Student's t with T - 1 degrees of freedom; the p from relabelling the tasks of one matrix (Mantel,
1967), which keeps whatever the pairs of a task share. In simulations of independent worlds the p
keeps its level; the interval is wide and errs on that side: it covers 97 to 99 % with five to eight
tasks, and 89 to 97 % with four, where none is given.
"""

import math
from collections.abc import Sequence
from itertools import combinations, permutations
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64
from scipy.stats import rankdata
from scipy.stats import t as student

from degradation.errors import DataError
from probes.cards import tool_version
from probes.conflict.records import ConflictRecord, Interval, SideRecord
from probes.record_files import read_record, write_record
from probes.records import FileRecord, Record
from probes.statistics.bootstrap import stream
from socialfusion.transfer.records import TransferRecord, VariantCard

__all__ = [
    "RECORD",
    "AgainstRecord",
    "Comparison",
    "PairPoint",
    "check_pairwise",
    "conflict_against_transfer",
    "read_against",
    "task_correlation",
    "write_against",
]

RECORD = "gcd-against-transfer.json"
FEWEST = 4
"""Tasks from which a rank correlation says anything: six pairs, twenty-four relabellings."""
ENOUGH = 5
"""Tasks from which the interval covers at least as often as it says."""
MOST_RELABELLINGS = 40_320  # 8!
NOISE = "cannot be told from noise"
CHANCE = "does not read it better than by chance for certain"


class PairPoint(Record):
    """Two tasks."""

    first: str
    second: str
    gcd: float
    """Corrected gradient conflict degree, averaged over pairs of questions."""
    transfer: float
    """Mean of both directions, in % of what is read above chance; positive helps."""
    to_first: float
    """What training with the second does to the first."""
    to_second: float


class Comparison(Record):
    """Conflict on one side against one variant of transfer."""

    side: str
    """Of the conflict record."""
    part: str
    """Part of the parameters."""
    transfer: str
    """Name of the transfer record."""
    variant: str
    """Of it."""
    tasks: tuple[str, ...]
    pairs: tuple[PairPoint, ...]
    rho: Interval
    """Spearman's rank correlation; its ends are None with fewer than five tasks."""
    p: float
    """Two-sided, by relabelling tasks."""
    relabellings: int
    exact: bool
    """Whether these are all there are."""
    left_out: dict[str, str]
    """Why a task, or a pair of tasks or questions, takes no part."""


class AgainstRecord(FileRecord):
    """Gradient conflict against transfer."""

    schema_version: Literal[1] = 1
    model: str
    """Of the conflict record."""
    definition: str
    comparisons: tuple[Comparison, ...]
    undefined: dict[str, str]
    """Why a side and variant cannot be compared, as `side variant`."""


def conflict_against_transfer(
    conflict: ConflictRecord,
    transfer: TransferRecord,
    *,
    part: str = "all",
    seed: int = 0,
) -> AgainstRecord:
    """Pairwise gradient conflict against pairwise transfer, by side and variant.

    Of a pair of encoders only the side that the transfer was measured on is compared, known by the
    digest of its weights; of checkpoints of a trained model all are.

    Args:
        conflict: Of the same tasks.
        transfer: With its pairwise part.
        part: Part of the parameters whose gradients were compared.
        seed: Draws relabellings where there are too many for all.

    Returns:
        A comparison for each side and variant that has numbers for at least four tasks; for all
        others why not. That most gradients are noise is a finding, so there may be no comparison.

    Raises:
        DataError: The transfer has no pairs, or no side is of its encoder.
    """
    check_pairwise(transfer)
    sides = [one for one in conflict.sides if one.labels == "own"]
    if conflict.pair is not None:
        sides = [one for one in sides if one.digest == transfer.encoder_digest]
    if not sides:
        raise DataError(
            f"Expected gradient conflict on the encoder of the transfer record {transfer.name} "
            f"({transfer.settings.encoder}, weights {transfer.encoder_digest[:12]}), found "
            + ", ".join(f"{one.model} {one.digest[:12]}" for one in conflict.sides)
            + ". Run `sdiag gcd` and `sdiag transfer` on the same encoder."
        )
    found: list[Comparison] = []
    undefined: dict[str, str] = {}
    for side in sides:
        for variant in transfer.variants:
            if not variant.pairwise:
                continue
            try:
                found.append(_compare(conflict, side, transfer, variant, part, seed))
            except DataError as error:
                undefined[f"{side.name} {variant.name}"] = str(error)
    return AgainstRecord(
        tool_version=tool_version(),
        model=conflict.model,
        definition="Spearman's rank correlation over pairs of tasks between the mean corrected GCD "
        "of their questions and the mean of both directions of pairwise transfer, in % of what a "
        "single task reads above chance; t interval of the jackknife over tasks, p by relabelling "
        "tasks",
        comparisons=tuple(found),
        undefined=undefined,
    )


def check_pairwise(transfer: TransferRecord) -> None:
    """Refuse a record without pairs.

    Raises:
        DataError: The record has joint training only.
    """
    if not any(variant.pairwise for variant in transfer.variants):
        raise DataError(
            f"Expected pairwise transfer in the record {transfer.name}, found joint training only. "
            "Run `sdiag transfer --pairwise`."
        )


def _compare(
    conflict: ConflictRecord,
    side: SideRecord,
    transfer: TransferRecord,
    variant: VariantCard,
    part: str,
    seed: int,
) -> Comparison:
    """One side against one variant."""
    left_out: dict[str, str] = {}
    degrees = _task_degrees(conflict, side, part, left_out)
    directed = _directed(variant, left_out)
    known = {
        (one, two)
        for one, two in combinations(transfer.tasks, 2)
        if (one, two) in degrees and {(one, two), (two, one)} <= directed.keys()
    }
    tasks = _complete(transfer.tasks, known, left_out)
    if len(tasks) < FEWEST:
        raise DataError(_too_few(transfer.tasks, tasks, left_out))
    pairs = tuple(
        PairPoint(
            first=one,
            second=two,
            gcd=degrees[one, two],
            transfer=(directed[one, two] + directed[two, one]) / 2,
            to_first=directed[one, two],
            to_second=directed[two, one],
        )
        for one, two in combinations(tasks, 2)
    )
    x, y = (np.array([getattr(one, name) for one in pairs]) for name in ("gcd", "transfer"))
    rho, p, relabellings = task_correlation(x, y, len(tasks), seed=seed)
    return Comparison(
        side=side.name,
        part=part,
        transfer=transfer.name,
        variant=variant.name,
        tasks=tasks,
        pairs=pairs,
        rho=rho,
        p=p,
        relabellings=relabellings,
        exact=relabellings == math.factorial(len(tasks)),
        left_out=left_out,
    )


def _too_few(tasks: Sequence[str], kept: Sequence[str], left_out: dict[str, str]) -> str:
    """That too few tasks are left, counted by reason, and what to do."""
    noisy, blind = (sum(why.endswith(end) for why in left_out.values()) for end in (NOISE, CHANCE))
    said = f"at least {FEWEST} tasks are needed with a number for each pair, found {len(kept)} of "
    said += f"{len(tasks)}."
    if noisy:
        said += f" {noisy} pairs of questions have a gradient that {NOISE}: measure more batches."
    if blind:
        said += f" {blind} times a task alone {CHANCE}: train longer, or on more rows."
    return said


def _task_degrees(
    conflict: ConflictRecord, side: SideRecord, part: str, left_out: dict[str, str]
) -> dict[tuple[str, str], float]:
    """Corrected conflict of each two tasks, in either order, averaged over their questions."""
    task_of = {one.label: one.task for one in conflict.questions}
    values: dict[tuple[str, str], list[float]] = {}
    for one in side.pairs:
        tasks = task_of[one.first], task_of[one.second]
        if one.part != part or tasks[0] == tasks[1]:
            continue
        if one.gcd is None:
            left_out[f"{one.first} and {one.second}"] = (
                f"the gradient of {' and '.join(one.below_floor)} {NOISE}"
            )
            continue
        for key in (tasks, tasks[::-1]):
            values.setdefault(key, []).append(one.gcd.value)
    return {key: float(np.mean(each)) for key, each in values.items()}


def _directed(variant: VariantCard, left_out: dict[str, str]) -> dict[tuple[str, str], float]:
    """What training with the second task does to the first, in %, averaged over its questions."""
    values: dict[tuple[str, str], list[float]] = {}
    for beside, found in variant.pairwise.items():
        for one in found:
            if not one.declared:
                continue
            if one.relative is None:
                left_out[f"{one.question} with {beside}"] = f"alone, the task {CHANCE}"
                continue
            key = (one.question.rpartition("/")[0], beside)
            values.setdefault(key, []).append(one.relative)
    return {key: float(np.mean(each)) for key, each in values.items()}


def _complete(
    tasks: Sequence[str], known: set[tuple[str, str]], left_out: dict[str, str]
) -> tuple[str, ...]:
    """Tasks between which all pairs are known, after leaving out those that lack most."""
    kept = list(tasks)
    while kept:
        missing = {
            task: sum(
                (one, two) not in known for one, two in combinations(kept, 2) if task in (one, two)
            )
            for task in kept
        }
        worst = max(kept, key=lambda task: missing[task])
        if not missing[worst]:
            break
        kept.remove(worst)
        left_out[worst] = f"no number for {missing[worst]} of its pairs"
    return tuple(kept)


def task_correlation(
    x: Float64[np.ndarray, " p"], y: Float64[np.ndarray, " p"], tasks: int, *, seed: int = 0
) -> tuple[Interval, float, int]:
    """Spearman's correlation of two symmetric matrices over tasks, without their diagonals.

    Args:
        x: The upper triangle row by row: pairs (0, 1), (0, 2) ... of `itertools.combinations`.
        y: The same of the other matrix.
        tasks: Number of tasks, at least four.
        seed: Draws relabellings where there are more than 40,320.

    Returns:
        The correlation with the interval of the jackknife over tasks (none with fewer than five),
        the two-sided p by relabelling, and the number of relabellings.

    Raises:
        DataError: All values of a matrix are equal.

    Example:
        >>> up, down = np.arange(6.0), -np.arange(6.0)
        >>> task_correlation(up, down, 4)[0].value
        -1.0
    """
    value = _spearman(x, y)
    if math.isnan(value):
        raise DataError(
            "Expected gradient conflict and transfer that differ between pairs of tasks, found the "
            "same for all, which have no ranks."
        )
    first, second = np.triu_indices(tasks, 1)
    low = high = None
    if tasks >= ENOUGH:
        without = np.array([_spearman(x[kept], y[kept]) for kept in _without(first, second, tasks)])
        if not np.isnan(without).any():
            se = np.sqrt((tasks - 1) / tasks * ((without - without.mean()) ** 2).sum())
            half = float(student.ppf(0.975, tasks - 1) * se)
            low, high = max(value - half, -1.0), min(value + half, 1.0)
    orders = _relabellings(tasks, seed)
    ranks = rankdata(y) - (len(y) + 1) / 2
    matrix = np.zeros((tasks, tasks))
    matrix[first, second] = matrix[second, first] = ranks
    centred = rankdata(x) - (len(x) + 1) / 2
    drawn = matrix[orders[:, first], orders[:, second]] @ centred
    # The first order is the observed one, so that p is never 0.
    p = float(np.mean(np.abs(drawn) >= abs(drawn[0]) - 1e-9))
    return Interval(value=value, low=low, high=high), p, len(orders)


def _without(
    first: Int64[np.ndarray, " p"], second: Int64[np.ndarray, " p"], tasks: int
) -> list[np.ndarray]:
    """Which pairs are left without each task."""
    return [(first != task) & (second != task) for task in range(tasks)]


def _relabellings(tasks: int, seed: int) -> Int64[np.ndarray, "m tasks"]:
    """Orders of the tasks, the given one first: all, or as many as are affordable at random."""
    if math.factorial(tasks) <= MOST_RELABELLINGS:
        return np.array(list(permutations(range(tasks))))
    rng = stream(seed, "relabellings")
    drawn = rng.permuted(np.tile(np.arange(tasks), (MOST_RELABELLINGS - 1, 1)), axis=1)
    return np.concatenate([np.arange(tasks)[None], drawn])


def _spearman(x: Float64[np.ndarray, " p"], y: Float64[np.ndarray, " p"]) -> float:
    """Correlation of mean ranks; NaN where one side has a single value."""
    one, two = (rankdata(each) - (len(each) + 1) / 2 for each in (x, y))
    size = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / size if size > 0 else math.nan


def write_against(folder: Path, record: AgainstRecord) -> None:
    """Write the record beside that of the conflict.

    Raises:
        CacheError: The disk is full or cannot be written.
    """
    write_record(folder / RECORD, record)


def read_against(folder: Path) -> AgainstRecord | None:
    """The record in the folder of a pair or model; None if there is none.

    Raises:
        DataError: The record cannot be read or is of another schema.
    """
    path = folder / RECORD
    return read_record(path, AgainstRecord, "gcd --against-transfer") if path.exists() else None
