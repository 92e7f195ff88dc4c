"""The numbers of a record, from the scalar products alone."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import sqrt

from probes.conflict.changes import changes
from probes.conflict.estimates import Estimate, estimate
from probes.conflict.leaves import ALL, parts_of
from probes.conflict.products import Products
from probes.conflict.records import (
    Change,
    ConflictRecord,
    Interval,
    Labels,
    PairNumbers,
    Part,
    SizeNumbers,
    TaskNumbers,
)
from probes.conflict.sizes import by_size
from probes.conflict.unbiased import t_quantile

__all__ = ["numbers_of", "recompute", "side_changes"]


def numbers_of(products: Products, *, batch_size: int, seed: int, draws: int) -> dict[str, object]:
    """Fields of a `SideRecord` that the products decide.

    Args:
        products: Of one side.
        batch_size: Rows of a batch.
        seed: Of the label swaps.
        draws: Number of label swaps.
    """
    found = estimate(products, seed=seed, draws=draws)
    return {
        "losses": _losses_of(products),
        "parts": _parts_card(products),
        "tasks": tuple(
            TaskNumbers(
                label=one.task,
                part=one.part,
                norm=one.norm,
                signal=_interval(one.signal),
                floor=one.floor,
            )
            for one in found.tasks
        ),
        "pairs": tuple(
            PairNumbers(
                first=one.first,
                second=one.second,
                part=one.part,
                raw=one.raw,
                raw_of_means=one.raw_of_means,
                floor=one.floor,
                cosine=_interval(one.cosine),
                below_floor=one.below_floor,
                norm_ratio=_interval(one.norm_ratio),
                in_conflict=_interval(one.in_conflict),
                null_low=one.null_low,
                null_high=one.null_high,
                p=one.p,
                word=one.word,
            )
            for one in found.pairs
        ),
        "sizes": tuple(
            SizeNumbers(
                first=one.first,
                second=one.second,
                batch_size=one.merged * batch_size,
                batches=one.batches,
                raw=one.raw,
                floor=one.floor,
                cosine=_interval(one.cosine),
            )
            for one in by_size(products)
        ),
    }


def _losses_of(products: Products) -> dict[str, Interval]:
    """Mean loss by question, with Student's interval over batches."""
    half = t_quantile(products.batches) / sqrt(products.batches) * products.losses.std(0, ddof=1)
    means = products.losses.mean(axis=0)
    return {
        task: Interval(value=float(mean), low=float(mean - own), high=float(mean + own))
        for task, mean, own in zip(products.tasks, means, half, strict=True)
    }


def _parts_card(products: Products) -> tuple[Part, ...]:
    """The parts that gradients were compared on, the whole first."""
    cards = []
    for part in parts_of(products.leaves):
        members = [products.leaves[number] for number in part.members]
        block, kind = members[0].block, members[0].kind
        if part.name == ALL:
            block, kind = None, ""
        elif part.name == kind:
            block = None
        elif part.name == members[0].place:
            kind = ""
        sizes = [(products.parameters[n], products.cells[n]) for n in part.members]
        cards.append(
            Part(
                name=part.name,
                block=block,
                kind=kind,
                parameters=sum(size for size, _ in sizes),
                sketched=any(cells < size for size, cells in sizes),
            )
        )
    return tuple(cards)


def side_changes(
    sides: Sequence[tuple[str, Labels]], products: Mapping[tuple[str, Labels], Products]
) -> tuple[Change, ...]:
    """How every side differs from the first one with labels of the same kind.

    Args:
        sides: Names and labels, in order.
        products: Of each side.
    """
    found = []
    for (before, labels), (after, other) in combinations(sides, 2):
        if labels != other or before != next(name for name, own in sides if own == labels):
            continue
        found += [
            Change(
                before=before,
                after=after,
                labels=labels,
                first=one.first,
                second=one.second,
                part=one.part,
                cosine=_interval(one.cosine),
            )
            for one in changes(products[before, labels], products[after, labels])
        ]
    return tuple(found)


def recompute(
    record: ConflictRecord, products: Mapping[tuple[str, Labels], Products]
) -> ConflictRecord:
    """The record with every number computed anew from the scalar products.

    Args:
        record: As written.
        products: Of each side, by name and labels, from `probes.conflict.products.read_products`.
    """
    sides = tuple(
        side.model_copy(
            update=numbers_of(
                products[side.name, side.labels],
                batch_size=record.batch_size,
                seed=record.seed,
                draws=record.draws,
            )
        )
        for side in record.sides
    )
    names: list[tuple[str, Labels]] = [(side.name, side.labels) for side in sides]
    return record.model_copy(update={"sides": sides, "changes": side_changes(names, products)})


def _interval(one: Estimate | None) -> Interval | None:
    return None if one is None else Interval(value=one.value, low=one.low, high=one.high)
