"""The rows of all splits of a task as one table, with the features of both sides of a pair."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from degradation.axes import Side
from degradation.cache import Features, PairEntry, check_paired, open_features, pairs
from degradation.errors import CacheError, DataError, PairingError
from degradation.row_lists import read_row_list
from degradation.tasks.task import Rows, TaskSpec
from probes.records import SplitCard

__all__ = ["Table", "TableRows", "box_features", "open_pair", "open_table"]

ORDER = ("train", "val", "test", "all")
COARSE_GRID = (16, 16)
"""Gaze cells where the sides have no grid in common (other patch sizes, imported features)."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The n rows of all splits, split after split in reading order.

    Attributes:
        spec: What is asked.
        features: By split, the features of both sides.
        pictures: By split, the features without an encoder; empty if there are none.
        row_list: Name of the row lists that chose the rows; empty if all were taken.
        chosen: By split, the positions of the rows taken; empty without row lists.
        splits: Split of each row, shape (n,).
        ids: Shape (n,).
        clusters: Shape (n,).
        labels: By label set, -1 where unknown, shape (n,).
        boxes: By role, the mean over those frames that have one, NaN where none has, shape (n, 4).
        points: Annotated gaze points, NaN-padded, shape (n, a, 2).
        sizes: Width and height of the pictures, 0 where not known, shape (n, 2).
        attributes: By name, of any split; empty text where not known, shape (n,).
        random: By split, the features of a tower with fresh weights; empty if there are none.
    """

    spec: TaskSpec
    features: Mapping[str, Mapping[Side, Features]]
    pictures: Mapping[str, Features]
    row_list: str
    chosen: Mapping[str, Int64[np.ndarray, " _"]]
    splits: np.ndarray
    ids: np.ndarray
    clusters: np.ndarray
    labels: Mapping[str, Int64[np.ndarray, " n"]]
    boxes: Mapping[str, Float32[np.ndarray, "n 4"]]
    points: Float32[np.ndarray, "n a 2"]
    sizes: Int64[np.ndarray, "n 2"]
    attributes: Mapping[str, np.ndarray]
    random: Mapping[str, Features] = field(default_factory=dict)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks that every split has on both sides."""
        sets = [set(one.blocks) for sides in self.features.values() for one in sides.values()]
        return tuple(sorted(set.intersection(*sets)))

    def declared_block(self, entry: PairEntry) -> int:
        """The block of the confirmatory comparison: the entry's, or the last common one."""
        return max(self.blocks, default=-1) if entry.block is None else entry.block

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the gaze cells: the patch grid, if both sides share one."""
        grids = {one.grid for sides in self.features.values() for one in sides.values()}
        return grids.pop() if len(grids) == 1 and (0, 0) not in grids else COARSE_GRID

    def rows(self, split: str) -> Rows:
        """The rows taken of one split, with those left out by the reader and by extraction."""
        rows = self.features[split]["pre"].rows
        return rows.take(self.chosen[split]) if self.chosen else rows

    def pooled(self, side: Side, block: int, regions: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Regions on one side and block, concatenated."""
        return self.on_disk(side, block, regions).take(np.arange(len(self.ids)))

    def on_disk(self, side: Side, block: int, regions: Sequence[str]) -> "TableRows":
        """The same as a source that is read when it is sliced."""
        own = tuple(sides[side] for sides in self.features.values())
        taken = self.chosen.values() if self.chosen else (np.arange(len(one.rows)) for one in own)
        positions = tuple(taken)
        part = np.repeat(np.arange(len(own)), [len(one) for one in positions])
        return TableRows(own, block, tuple(regions), part, np.concatenate(positions))

    def reference(self, region: str) -> Float32[np.ndarray, "n d"] | None:
        """`pixels` or `histogram`; None where the pictures were not kept."""
        return self._stacked(self.pictures, 0, (region,)) if self.pictures else None

    def untrained(self, block: int, regions: Sequence[str]) -> Float32[np.ndarray, "n d"] | None:
        """Regions on one block of the tower with fresh weights; None where it was not extracted."""
        known = self.random and all(block in one.blocks for one in self.random.values())
        return self._stacked(self.random, block, regions) if known else None

    def _stacked(
        self, features: Mapping[str, Features], block: int, regions: Sequence[str]
    ) -> Float32[np.ndarray, "n d"]:
        """Split under split, only the rows taken."""
        parts = []
        for split, one in features.items():
            part = one.pooled(block, regions)
            parts.append(part[self.chosen[split]] if self.chosen else part)
        return np.concatenate(parts)

    def unusable(self, question: str, regions: Sequence[str]) -> np.ndarray:
        """Why each row cannot be asked the question of these regions, shape (n,) of str.

        Empty where it can.
        """
        reason = np.full(len(self.ids), "", dtype=object)
        if question in self.labels:
            reason[self.labels[question] < 0] = f"{question}: label unknown"
        elif not len(self.points.T):
            reason[:] = f"{question}: no annotated point"
        else:
            seen = np.isfinite(self.points).all(axis=2).any(axis=1)
            reason[~seen] = f"{question}: no target in the picture"
        roles = [role for role in self.spec.roles if role in regions]
        if question not in self.labels:
            roles = [self.spec.roles[0], *roles]  # the gaze readout needs the head itself
        for role in roles:
            absent = ~np.isfinite(self.boxes[role]).all(axis=1) & (reason == "")
            reason[absent] = f"{question}: no {role} box"
        return reason

    def cards(self) -> dict[str, SplitCard]:
        """One card a split; rows that a question cannot use are counted as left out too."""
        cards = {}
        for split, sides in self.features.items():
            rows, here = self.rows(split), self.splits == split
            counts = Counter(out.reason for out in rows.left_out)
            if dropped := len(sides["pre"].rows) - len(rows):
                counts[f"not in the row list {self.row_list}"] = dropped
            for question in self.spec.metrics:
                reasons = self.unusable(question, self.spec.regions)[here]
                counts.update(reason for reason in reasons if reason)
            cards[split] = SplitCard(
                rows_digest=rows.digest(),
                n=len(rows),
                clusters=len(set(rows.clusters)),
                left_out=dict(sorted(counts.items())),
                read_digest=sides["pre"].key.rows_digest,
            )
        return cards


@dataclass(frozen=True, slots=True, eq=False)
class TableRows:
    """Pooled features of rows of a table, read from the cache when they are asked for.

    Attributes:
        parts: The features of each split.
        block: Block of the encoder.
        regions: Concatenated in this order.
        part: Split of each row, shape (n,).
        position: Row of that split, shape (n,).
    """

    parts: tuple[Features, ...]
    block: int
    regions: tuple[str, ...]
    part: Int64[np.ndarray, " n"]
    position: Int64[np.ndarray, " n"]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features, (n, d)."""
        return len(self.part), self.parts[0].width(self.regions)

    @property
    def dtype(self) -> np.dtype:
        """Of what is read, whatever is stored."""
        return np.dtype(np.float32)

    def __getitem__(self, rows: slice) -> Float32[np.ndarray, "m d"]:
        """The rows of a slice."""
        return self.take(np.arange(*rows.indices(len(self.part))))

    def take(self, rows: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, "m d"]:
        """Any rows, in their order."""
        part, position = self.part[rows], self.position[rows]
        read = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        for k, features in enumerate(self.parts):
            here = np.nonzero(part == k)[0]
            if len(here):
                read[here] = features.pooled_at(self.block, self.regions, position[here])
        return read

    def only(self, rows: Int64[np.ndarray, " m"]) -> "TableRows":
        """A source of some rows, which are still not read."""
        return replace(self, part=self.part[rows], position=self.position[rows])


def open_pair(root: Path, task: str, pair: str, *, row_list: str = "") -> tuple[Table, PairEntry]:
    """The table of all cached splits of a task for a pair, and the entry of one of them.

    Args:
        root: Root of all caches.
        task: Name of the task.
        pair: Name of the pair.
        row_list: Name of the row lists, one a split, whose rows alone are taken; empty for all.

    Raises:
        CacheError: If the pair is not in the cache, and as `open_table`.
        ConfigError: If a split has no such row list.
        DataError: As `open_table`.
        PairingError: If the sides hold other rows or pixels.
    """
    entries = {e.split: e for e in pairs(root) if e.task == task and e.pair == pair}
    if not entries:
        raise CacheError(
            f"The cache {root} holds no features of the pair {pair} on {task}. "
            f"Run `sdiag extract --task {task} --model {pair}`; `sdiag cache ls` lists the rest."
        )
    return open_table(root, entries, row_list=row_list), next(iter(entries.values()))


def open_table(root: Path, entries: Mapping[str, PairEntry], *, row_list: str = "") -> Table:
    """The table of a pair whose splits are `entries`.

    Args:
        root: Root of all caches.
        entries: By split.
        row_list: Name of the row lists, one a split, whose rows alone are taken; empty for all.

    Raises:
        CacheError: If features are missing or damaged.
        ConfigError: If a split has no row list of that name.
        DataError: If a row list was made from other rows, or keeps none of a split.
        PairingError: If the sides do not hold the same rows and pixels, or if the splits were
            asked different questions.
    """
    order = sorted(entries, key=lambda split: (ORDER.index(split) if split in ORDER else 99, split))
    features: dict[str, dict[Side, Features]] = {}
    pictures: dict[str, Features] = {}
    random: dict[str, Features] = {}
    for split in order:
        entry = entries[split]
        pre, post = open_features(root, entry.pre), open_features(root, entry.post)
        check_paired(pre, post)
        features[split] = {"pre": pre, "post": post}
        for found, address in ((pictures, entry.pictures), (random, entry.random)):
            if address is None:
                continue
            found[split] = open_features(root, address)
            if not np.array_equal(found[split].rows.ids, pre.rows.ids):
                raise PairingError(
                    f"The reference features {address} hold other rows than {entry.pre}. "
                    "Run `sdiag extract` again."
                )
    first = features[order[0]]["pre"]
    for split, sides in features.items():
        for one in sides.values():
            if one.spec != first.spec:
                raise PairingError(
                    f"{one.address} answers other questions than {first.address}. Extract all "
                    f"splits of {first.spec.name} (here: {split}) with the same task."
                )
    references = [found if len(found) == len(order) else {} for found in (pictures, random)]
    chosen = {
        split: _listed_rows(root, row_list, sides["pre"])
        for split, sides in features.items()
        if row_list
    }
    return _assemble(features, references, row_list, chosen)


def _listed_rows(root: Path, name: str, features: Features) -> Int64[np.ndarray, " _"]:
    """Positions of the cached rows of one split that its row list holds."""
    where, ids = f"{features.spec.name}/{features.split}", features.rows.ids.astype(str)
    listed = read_row_list(
        root, name, features.spec.name, features.split, rows_digest=features.key.rows_digest
    )
    chosen = np.nonzero(np.isin(ids, np.array(sorted(listed), dtype=str)))[0]
    if not len(chosen):
        raise DataError(
            f"Expected rows of the list {name!r} among the {len(ids)} cached rows of {where}, "
            f"found none of its {len(listed)}. Probe without --rows, or make a list that keeps "
            "some rows of each split."
        )
    return chosen


def _assemble(
    features: Mapping[str, Mapping[Side, Features]],
    references: Sequence[Mapping[str, Features]],
    row_list: str,
    chosen: Mapping[str, Int64[np.ndarray, " _"]],
) -> Table:
    rows = [
        sides["pre"].rows.take(chosen[split]) if chosen else sides["pre"].rows
        for split, sides in features.items()
    ]
    if not sum(map(len, rows)):
        raise CacheError("The cached splits hold no rows. Check the task's data and extract again.")
    spec = next(iter(features.values()))["pre"].spec
    splits = [np.full(len(one), split, object) for split, one in zip(features, rows, strict=True)]
    return Table(
        spec=spec,
        features=features,
        pictures=references[0],
        random=references[1],
        row_list=row_list,
        chosen=chosen,
        splits=np.concatenate(splits),
        ids=np.concatenate([one.ids for one in rows]),
        clusters=np.concatenate([one.clusters for one in rows]),
        labels={
            name: np.concatenate([one.labels[name] for one in rows]) for name in spec.label_sets
        },
        boxes={
            role: np.concatenate([_mean_box(one.boxes[role]) for one in rows])
            for role in spec.roles
        },
        points=_stack_points([one.points for one in rows]),
        sizes=np.concatenate([one.sizes for one in rows]),
        attributes={
            name: np.concatenate(
                [one.attributes.get(name, np.full(len(one), "", object)) for one in rows]
            )
            for name in dict.fromkeys(name for one in rows for name in one.attributes)
        },
    )


def _stack_points(parts: Sequence[Float32[np.ndarray, "_ _ 2"]]) -> Float32[np.ndarray, "n a 2"]:
    """All points, padded with NaN to the largest number of annotators."""
    points = np.full((sum(map(len, parts)), max(one.shape[1] for one in parts), 2), np.nan)
    start = 0
    for one in parts:
        points[start : start + len(one), : one.shape[1]] = one
        start += len(one)
    return points.astype(np.float32)


def _mean_box(boxes: Float[np.ndarray, "n f 4"]) -> Float32[np.ndarray, "n 4"]:
    """Mean over the frames that have a box; NaN where none has."""
    known = np.isfinite(boxes).all(axis=2, keepdims=True)
    count = known.sum(axis=1)
    total = np.where(known, boxes, 0).sum(axis=1, dtype=np.float64)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).astype(
        np.float32
    )


def box_features(
    boxes: Mapping[str, Float[np.ndarray, "n 4"]],
) -> Float64[np.ndarray, "n d"]:
    """What the boxes alone say: for each role 17 numbers, shape (n, 17 roles).

    x1, y1, x2, y2, width, height, area and width / height, their squares, and whether there is a
    box; 0 where there is none.
    """
    columns = []
    for box in boxes.values():
        here: Bool[np.ndarray, " n"] = np.isfinite(box).all(axis=1)
        x1, y1, x2, y2 = np.where(here[:, None], box, 0).astype(np.float64).T
        w, h = x2 - x1, y2 - y1
        aspect = np.divide(w, h, out=np.zeros_like(w), where=h > 0)
        plain = [x1, y1, x2, y2, w, h, w * h, aspect]
        columns += [*plain, *(one**2 for one in plain), here.astype(np.float64)]
    return np.stack(columns, axis=1)
