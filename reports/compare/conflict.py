"""Gradient conflict in two runs: the corrected cosines, and their change on the same batches."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from degradation.errors import DataError, PairingError
from probes.conflict.changes import changes
from probes.conflict.leaves import Leaf
from probes.conflict.products import Products, read_products
from probes.conflict.records import (
    Interval,
    SideRecord,
    check_same_batches,
)
from reports.conflict.pairs import WHOLE, measured_on, own_sides, side_title
from reports.load import Conflict

__all__ = ["conflict_change", "conflict_numbers"]

Place = tuple[str, tuple[str, ...], str]
"""Title of the side, the two questions, and no name of a measure, for there is one."""
ALIKE = ("parameters", "arithmetic", "preconditioner", "definition", "reduction")
"""What has to agree beside the batches: a cosine in another space is another number."""


def conflict_numbers(one: Conflict) -> dict[Place, tuple[Interval | None, str]]:
    """The corrected cosine of every two questions on all parameters, with its word."""
    return {
        _place(side, key): (pair.cosine, pair.word)
        for side in own_sides(one.record)
        for (key, part), pair in measured_on(side).items()
        if part == WHOLE
    }


def conflict_change(first: Conflict, second: Conflict) -> dict[Place, Interval | None]:
    """How far the corrected cosines differ where both runs measured on the same batches.

    Args:
        first: What there was.
        second: What there is now.

    Returns:
        Second less first, paired over batches, on all parameters; None where a cosine is below
        floor. Empty where batches, parameters or arithmetic are not the same.

    Raises:
        CacheError: The products of a side are missing or damaged.
        DataError: They were changed after the run.
    """
    try:
        check_same_batches(first.record, second.record)
    except PairingError:
        return {}
    if any(getattr(first.record, name) != getattr(second.record, name) for name in ALIKE):
        return {}
    others = {side_title(side): side for side in own_sides(second.record)}
    found: dict[Place, Interval | None] = {}
    for side in own_sides(first.record):
        title = side_title(side)
        if title not in others:
            continue
        products = _whole(_products(first, side)), _whole(_products(second, others[title]))
        if products[0].tasks != products[1].tasks:
            continue
        for one in changes(*products):
            ends = one.cosine and Interval(
                value=one.cosine.value, low=one.cosine.low, high=one.cosine.high
            )
            found[_place(side, (one.first, one.second))] = ends
    return found


def _whole(products: Products) -> Products:
    """The products over all parameters, as if they were one leaf: twenty times less to add up."""
    arrays = {name: getattr(products, name) for name in ("total", "same", "following", "gram")}
    return replace(
        products,
        leaves=(Leaf(None, WHOLE),),
        parameters=(sum(products.parameters),),
        cells=(sum(products.cells),),
        **{name: values.sum(axis=0, keepdims=True) for name, values in arrays.items()},
    )


def _place(side: SideRecord, questions: Iterable[str]) -> Place:
    """A side and two questions, in an order that does not depend on that of the tasks."""
    return side_title(side), tuple(sorted(questions)), ""


def _products(one: Conflict, side: SideRecord) -> Products:
    """The scalar products of a side, as its record knows them."""
    # Beside the record, whatever path it names.
    path = (one.folder or Path()) / Path(side.products).name
    products = read_products(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != side.products_sha256:
        raise DataError(
            f"{path} is not the file that the record beside it was made from. Run `sdiag gcd` "
            "again."
        )
    return products
