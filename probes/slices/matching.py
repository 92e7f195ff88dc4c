"""Where predicted rows lie in the table of a cache, refused if they are not the same rows."""

import numpy as np
from jaxtyping import Int64

from degradation.errors import PairingError
from probes.metrics import ClassOutcome
from probes.questions import Prediction
from probes.records import RunRecord
from probes.table import Table

__all__ = ["check_splits", "positions"]

_AGAIN = (
    "The run was probed from other rows than this cache holds. Run `sdiag probe` again, or name "
    "the cache that it was probed from."
)


def positions(table: Table, one: Prediction) -> Int64[np.ndarray, " k"]:
    """Position in the table of each predicted row, shape (k,).

    Raises:
        PairingError: Naming the first row that the table lacks, or has in another cluster or
            with another label.
    """
    place = {name: i for i, name in enumerate(table.ids.astype(str))}
    for name in one.ids:
        if name not in place:
            raise PairingError(
                f"Expected the predicted row {name!r} of {table.spec.name} in the cache, found "
                f"none among its {len(place)} rows. {_AGAIN}"
            )
    rows = np.array([place[name] for name in one.ids], dtype=np.int64)
    columns = [("cluster", table.clusters[rows].astype(str), one.clusters.astype(str))]
    if isinstance(one.outcome, ClassOutcome) and one.question in table.labels:
        columns.append(("label", table.labels[one.question][rows], one.outcome.labels))
    for name, here, there in columns:
        other = np.nonzero(here != there)[0]
        if len(other):
            i = int(other[0])
            raise PairingError(
                f"Expected the {name} {there[i]} of the predicted row {one.ids[i]!r} of "
                f"{table.spec.name}, found {here[i]} in the cache. {_AGAIN}"
            )
    return rows


def check_splits(table: Table, record: RunRecord) -> None:
    """Refuse a cache whose rows are not those of the run, in boxes and attributes too.

    To be called after `positions`, whose messages name a row.

    Raises:
        PairingError: Naming the first split that differs.
    """
    here = table.cards()
    for split, card in record.splits.items():
        found = here[split].rows_digest if split in here else "no such split"
        if found != card.rows_digest:
            raise PairingError(
                f"Expected the rows {card.rows_digest[:12]} in the split {split} of "
                f"{table.spec.name}, found {found[:12]}: boxes, attributes or rows that were not "
                f"predicted differ. {_AGAIN}"
            )
