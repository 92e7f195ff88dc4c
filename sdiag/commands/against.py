"""The part of `sdiag gcd` that sets conflict beside transfer."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probes.conflict.records import ConflictRecord
    from socialfusion.transfer.against_conflict import AgainstRecord
    from socialfusion.transfer.records import TransferRecord

__all__ = ["against_text", "compare", "read_pairwise"]


def read_pairwise(results: Path, name: str) -> "TransferRecord":
    """The transfer record of a name, with pairs.

    Raises:
        DataError: There is none, it cannot be read, or it has joint training only.
    """
    from socialfusion.transfer.against_conflict import check_pairwise
    from socialfusion.transfer.records import read_transfer, transfer_path

    record = read_transfer(transfer_path(results, name))
    check_pairwise(record)
    return record


def compare(
    conflicts: "Mapping[str, ConflictRecord]", transfer: "TransferRecord", results: Path
) -> "list[AgainstRecord]":
    """Each conflict that the transfer can be set beside, written into the folder of its pair.

    Args:
        conflicts: By name of the pair.
        transfer: With pairs.
        results: Folder of the records.

    Raises:
        DataError: None of them can.
    """
    from degradation.errors import DataError
    from probes.folders import record_folder
    from socialfusion.transfer.against_conflict import conflict_against_transfer, write_against

    found, refused = [], []
    for pair, conflict in conflicts.items():
        try:
            record = conflict_against_transfer(conflict, transfer)
        except DataError as error:
            refused.append(error)
            continue
        write_against(record_folder(results, pair), record)
        found.append(record)
    if not found:
        raise refused[0]
    return found


def against_text(record: "AgainstRecord") -> str:
    """The comparisons for people."""
    import pandas as pd

    from reports.formats import p_value, signed

    parts = []
    for one in record.comparisons:
        table = pd.DataFrame(
            [
                {
                    "tasks": f"{point.first} x {point.second}",
                    "GCD": f"{point.gcd:.2f}",
                    "transfer %": signed(point.transfer),
                }
                for point in sorted(one.pairs, key=lambda point: point.gcd)
            ]
        ).to_string(index=False)
        rho = one.rho
        low, high = (_correlation(end) for end in (rho.low, rho.high))
        parts.append(
            f"{record.model} {one.side} against transfer {one.transfer}, {one.variant}:\n{table}\n"
            f"Rank correlation {_correlation(rho.value)} [{low}, {high}] over {len(one.pairs)} "
            f"pairs of {len(one.tasks)} tasks, p {p_value(one.p)} by relabelling tasks; negative "
            "if conflict does harm."
        )
        parts[-1] += "".join(f"\nLeft out: {what}, {why}." for what, why in one.left_out.items())
    parts += [f"No comparison of {what}: {why}" for what, why in record.undefined.items()]
    return "\n\n".join(parts)


def _correlation(value: float | None) -> str:
    """Two decimals, with a sign and a true minus; dots where it is not known."""
    return "..." if value is None else f"{value:+.2f}".replace("-", "−")
