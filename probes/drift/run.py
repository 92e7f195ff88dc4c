"""Measuring the drift of a cached pair on the rows of a task, and writing `drift.json`."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from degradation.axes import SIDES, Side
from degradation.cache import PairEntry
from degradation.errors import ConfigError, DataError
from probes.cards import pair_card, task_card, tool_version
from probes.drift.block import BlockDrift, Settings, measure_block
from probes.drift.jackknife import jackknife_groups
from probes.drift.maps import MapValues, cka_map, neighbour_map
from probes.drift.neighbours import nearest
from probes.drift.records import BlockMap, DriftRecord
from probes.folders import record_folder
from probes.runs import write_analysis
from probes.statistics.bootstrap import stream
from probes.table import Table, open_pair

__all__ = ["drift_pair"]

log = logging.getLogger(__name__)

ALL = "all"


def drift_pair(
    root: Path,
    task: str,
    pair: str,
    *,
    results: Path,
    blocks: Sequence[int] | None = None,
    split: str = "test",
    settings: Settings | None = None,
    row_list: str = "",
) -> DriftRecord:
    """Measure how far apart both sides of a pair are on the rows of a task.

    All measures at the blocks named, and maps of similarity over all common blocks.

    Args:
        root: Root of all caches.
        task: Name of the task.
        pair: Name of the pair.
        results: The record goes to `<results>/<pair>/<task>/drift.json`.
        blocks: Blocks to measure; by default the declared one.
        split: Split whose rows are compared; a task without that split, or `all`, takes all rows.
        settings: How to measure.
        row_list: Name of the row lists, one a split, whose rows alone are used; empty for all.

    Returns:
        The record, as written.

    Raises:
        CacheError: If the pair is not in the cache.
        ConfigError: If a block is not cached or a split has no such row list.
        DataError: If there are too few rows or clusters, or a feature is not finite.
        PairingError: If the sides hold other rows or pixels.
    """
    settings = settings or Settings()
    table, entry = open_pair(root, task, pair, row_list=row_list)
    chosen = _chosen_blocks(table, entry, blocks)
    rows = _Compared.of(table, split, settings)
    log.info("Drift of %s on %s: %d rows, blocks %s", pair, task, rows.n, chosen)
    found = [rows.measure(block) for block in chosen]
    record = DriftRecord(
        tool_version=tool_version(),
        task=task_card(table),
        pair=pair_card(table, entry),
        splits=table.cards(),
        seed=settings.seed,
        measured=rows.measured,
        regions=table.spec.regions,
        n=rows.n,
        clusters=len(set(rows.clusters)),
        left_out=rows.left_out,
        block=table.declared_block(entry),
        row_cap=settings.row_cap,
        n_capped=len(rows.capped),
        groups=int(rows.groups.max()) + 1,
        shuffles=settings.shuffles,
        neighbours=settings.neighbours,
        bandwidth=settings.bandwidth,
        identical=tuple(block for block, one in zip(chosen, found, strict=True) if one.identical),
        similarities=tuple(s for one in found for s in one.similarities),
        shapes=tuple(s for one in found for s in one.shapes),
        curves=tuple(s for one in found for s in one.curves),
        maps=rows.maps(),
        missing=tuple(s for one in found for s in one.missing),
        signature=_signature(table, entry, rows, settings),
    )
    write_analysis(record_folder(results, pair, record.task.label), "drift", record)
    return record


def _chosen_blocks(table: Table, entry: PairEntry, blocks: Sequence[int] | None) -> tuple[int, ...]:
    declared = table.declared_block(entry)
    wanted = [declared] if blocks is None else blocks
    if missing := sorted(set(wanted) - set(table.blocks)):
        raise ConfigError(
            f"Blocks {missing} are not cached on both sides; choose among {list(table.blocks)}, or "
            "extract both with the same --blocks."
        )
    return tuple(sorted(set(wanted)))


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """The rows that are compared.

    Attributes:
        table: All rows.
        settings: How to measure.
        measured: Their splits.
        keep: Which rows of the table, shape (n of the table,).
        left_out: Rows of these splits without a box, by reason.
        clusters: Of the rows compared, shape (n,).
        labels: By question, the class of each, shape (n,).
        groups: Jackknife group of each, shape (n,).
        capped: Positions among them for measures that compare all with all, shape (m,).
    """

    table: Table
    settings: Settings
    measured: tuple[str, ...]
    keep: Bool[np.ndarray, " _"]
    left_out: Mapping[str, int]
    clusters: np.ndarray
    labels: Mapping[str, Int64[np.ndarray, " n"]]
    groups: Int64[np.ndarray, " n"]
    capped: Int64[np.ndarray, " m"]

    @classmethod
    def of(cls, table: Table, split: str, settings: Settings) -> "_Compared":
        """Rows of a split that have all declared boxes."""
        measured = (split,) if split in table.features else tuple(table.features)
        if split not in (*measured, ALL) and set(measured) != {ALL}:
            raise ConfigError(
                f"Split {split!r} is not cached; choose among {[*measured, ALL]}, or extract it."
            )
        reasons = _without_box(table)
        inside = np.isin(table.splits.astype(str), measured)
        keep = inside & (reasons == "")
        if not keep.any():
            raise DataError(
                f"Expected rows of {', '.join(measured)} that have all boxes of the regions "
                f"{list(table.spec.regions)}, found none. Check the task's boxes."
            )
        labels = {name: one[keep] for name, one in table.labels.items()}
        groups = jackknife_groups(
            table.clusters[keep],
            rng=stream(settings.seed, "drift/groups"),
            groups=settings.groups,
        )
        return cls(
            table=table,
            settings=settings,
            measured=measured,
            keep=keep,
            left_out=dict(sorted(Counter(reasons[inside & ~keep].tolist()).items())),
            clusters=table.clusters[keep],
            labels=labels,
            groups=groups,
            capped=_capped(groups, settings),
        )

    @property
    def n(self) -> int:
        """Number of rows compared."""
        return len(self.groups)

    def features(self, side: Side, block: int) -> Float32[np.ndarray, "n d"]:
        """Their features in the declared regions.

        Raises:
            DataError: If one is not finite, with the first such row.
        """
        rows = self.table.pooled(side, block, self.table.spec.regions)[self.keep]
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            raise DataError(
                f"Expected finite features, found NaN or infinity in {bad.sum()} of {len(rows)} "
                f"rows of {side} at block {block}, first in row "
                f"{self.table.ids[self.keep][bad.argmax()]!r}. Run `sdiag cache verify`, or "
                "extract again."
            )
        return rows

    def measure(self, block: int) -> BlockDrift:
        """All measures at one block."""
        x, y = (self.features(side, block) for side in SIDES)
        return measure_block(
            block, x, y, self.labels, self.clusters, self.groups, self.capped, self.settings
        )

    def maps(self) -> tuple[BlockMap, ...]:
        """Similarity of all common blocks of both sides."""
        blocks, groups, k = self.table.blocks, self.groups[self.capped], self.settings.neighbours
        features = [self.features(side, block)[self.capped] for side in SIDES for block in blocks]
        maps = [*_cut("linear_cka", blocks, len(groups), cka_map(features, groups))]
        spare = int(np.bincount(groups).max())
        if len(groups) - spare > k + 1:
            near = [nearest(one, k=k, spare=spare) for one in features]
            found = neighbour_map(near, groups, k=k)
            maps += _cut("mutual_knn", blocks, len(groups), found)
        return tuple(maps)


def _cut(measure: str, blocks: tuple[int, ...], n: int, found: MapValues) -> list[BlockMap]:
    """The three maps within one of all blocks of pre, then all of post."""
    half = len(blocks)
    places = {"pre": slice(0, half), "post": slice(half, None)}
    return [
        BlockMap(
            measure=measure,
            sides=f"{first}-{second}",
            blocks=blocks,
            n=n,
            **{
                name: _as_rows(part[places[first], places[second]])
                for name, part in zip(("values", "low", "high"), found, strict=True)
            },
        )
        for first, second in product(SIDES, SIDES)
        if (first, second) != ("post", "pre")
    ]


def _as_rows(values: Float64[np.ndarray, "l l"]) -> tuple[tuple[float | None, ...], ...]:
    """A matrix as JSON holds it: what is not a number is None."""
    return tuple(
        tuple(None if np.isnan(value) else float(value) for value in row) for row in values
    )


def _without_box(table: Table) -> np.ndarray:
    """Why each row has no features in the declared regions, shape (n,) of str; empty if it has."""
    reasons = np.full(len(table.ids), "", dtype=object)
    for role in table.spec.roles:
        if role in table.spec.regions:
            absent = ~np.isfinite(table.boxes[role]).all(axis=1)
            reasons[absent & (reasons == "")] = f"no {role} box"
    return reasons


def _capped(groups: Int64[np.ndarray, " n"], settings: Settings) -> Int64[np.ndarray, " m"]:
    """A seeded subset of rows, in order; all where they are not too many."""
    if len(groups) <= settings.row_cap:
        return np.arange(len(groups))
    rng = stream(settings.seed, "drift/rows")
    order = rng.permutation(len(groups))
    # Dealt group after group, so that every group keeps its share.
    order = order[np.argsort(groups[order], kind="stable")]
    return np.sort(order[np.linspace(0, len(order) - 1, settings.row_cap).astype(np.int64)])


def _signature(table: Table, entry: PairEntry, rows: _Compared, settings: Settings) -> str:
    """One line that pins all definitions."""
    digests = " ".join(f"{split}:{table.rows(split).digest()}" for split in rows.measured)
    digest = hashlib.sha256(digests.encode()).hexdigest()[:12]
    sides = table.features[entry.split]
    return "|".join(
        [
            f"task={table.spec.name}",
            f"rows={f'{table.row_list}:' if table.row_list else ''}{digest}",
            f"splits={'+'.join(rows.measured)}",
            f"n={rows.n}",
            f"pair={entry.pair}",
            *(f"{side}={sides[side].encoder.digest[:12]}" for side in SIDES),
            f"pixels={entry.protocol}",
            f"pool={'+'.join(table.spec.regions)}",
            f"cap={settings.row_cap}",
            f"k={settings.neighbours}",
            f"bandwidth={settings.bandwidth:g} x median",
            f"ci=jackknife by {table.spec.cluster} x{int(rows.groups.max()) + 1}",
            f"null=shuffled rows x{settings.shuffles}",
            f"seed={settings.seed}",
            f"sdiag={tool_version()}",
        ]
    )
