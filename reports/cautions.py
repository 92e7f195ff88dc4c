"""What a reader should bear in mind before trusting a verdict, and what would mend it.

Whether splits leak into each other, whether protocols differ, and which questions are open for lack
of data, with the number of test rows that would settle them.
"""

from collections.abc import Iterator, Mapping, Sequence

from degradation.errors import DataError
from probes.audits import AuditRecord
from probes.records import RunRecord
from probes.statistics.pilot import PilotRow, pilot_rows
from reports.audits import leaks
from reports.formats import count
from reports.markdown import code, escape
from reports.sentences import listed
from reports.verdicts.cells import Cell
from reports.verdicts.tables import confirmatory

__all__ = ["cautions"]

DEFAULT_PROTOCOL = "paired-native-grid v1"
POWER = 0.8


def cautions(
    cells: Sequence[Cell],
    records: Sequence[RunRecord],
    audits: Mapping[str, AuditRecord],
    *,
    margin: float,
    alpha: float,
) -> list[str]:
    """Sentences about one pair, those that matter most first; empty if there is nothing to say.

    Args:
        cells: Its judged cells.
        records: Its runs.
        audits: Of all tasks, by name.
        margin: Of equivalence, in points.
        alpha: Level of the tests.
    """
    return [
        *leaks(records, audits),
        *_protocols(records),
        *_undecided(confirmatory(cells), records, margin, alpha),
    ]


def _protocols(records: Sequence[RunRecord]) -> Iterator[str]:
    """Protocols that differ between tasks, or from the default."""
    protocols: dict[str, list[str]] = {}
    for run in records:
        protocols.setdefault(run.pair.protocol, []).append(run.task.label)
    others = {name: tasks for name, tasks in protocols.items() if name != DEFAULT_PROTOCOL}
    imported = all(run.pair.imported for run in records)
    if len(protocols) > 1:
        said = "; ".join(
            f"{escape(name)} for {listed([*map(code, tasks)])}" for name, tasks in protocols.items()
        )
        yield (
            f"The tasks were extracted by different protocols ({said}): deltas of different tasks "
            "are not to be compared."
        )
    elif others and not imported:
        yield (
            f"The protocol is {escape(next(iter(others)))}, not {DEFAULT_PROTOCOL}: numbers by the "
            "other are not to be compared with these."
        )


def _undecided(
    declared: Sequence[Cell], records: Sequence[RunRecord], margin: float, alpha: float
) -> Iterator[str]:
    """How many test rows would settle what is open."""
    open_cells = [cell for cell in declared if cell.verdict == "undecided"]
    if not open_cells or margin == 0:
        return
    try:
        pilots = pilot_rows(
            records, drop=margin, margin=margin, alpha=alpha, power=POWER, comparisons=len(declared)
        )
    except DataError:
        return  # nothing varies, so nothing can be told of other rows
    by_place = {(one.task, one.question, one.metric): one for one in pilots}
    said = [
        _needed(cell, one, margin) for cell in open_cells if (one := by_place.get(_place(cell)))
    ]
    if said:
        plan = f"sdiag plan --pilot RESULTS --drop {margin:g} --margin {margin:g}"
        yield (
            f"Open for lack of data: {'; '.join(said)}. With {100 * POWER:g} % power and Holm over "
            f"{len(declared)}; {code(f'{plan} --comparisons {len(declared)}')} says more."
        )


def _place(cell: Cell) -> tuple[str, str, str]:
    return (cell.task.label, cell.comparison.question, cell.comparison.metric)


def _needed(cell: Cell, one: PilotRow, margin: float) -> str:
    """What one open question has, and what it would take."""
    return (
        f"{escape(cell.label)} has {count(one.images)} test rows, and a difference of {margin:g} "
        f"points would show with about {count(_round(one.needed))}, that there is none with about "
        f"{count(_round(one.equivalence))}"
    )


def _round(rows: float) -> int:
    """A number of rows to two digits: a plan is no more precise."""
    return int(float(f"{rows:.2g}"))
