"""The section on robustness: would the declared deltas have come out otherwise?

Two ways in which they might: with other strengths of the probe, and with other training rows. The
first is a curve, the second a spread beside that of test sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from probes.records import Estimate, Robustness, RunRecord, TrainingVariance
from reports.csv_files import write_csv
from reports.formats import estimate, points, signed
from reports.markdown import escape, table
from reports.names import file_stem
from reports.pictures import captioned
from reports.sentences import listed
from reports.verdicts.cells import Cell
from reports.verdicts.robustness_figure import Tuned, tuning_figure
from reports.verdicts.tables import confirmatory

__all__ = ["robustness_section", "robustness_table"]

NONE = "–"


@dataclass(frozen=True, slots=True)
class _Judged:
    """A declared comparison and what would have changed it."""

    cell: Cell
    found: Robustness

    @property
    def delta(self) -> Estimate:
        """The declared one."""
        return self.cell.comparison.delta

    @property
    def tuned(self) -> bool:
        """Whether its sign depends on the strength."""
        return bool(self.found.against(self.delta.value))

    @property
    def moved(self) -> bool:
        """Whether the refits, which see fewer different rows, agree on another delta."""
        both = self.found.training
        return both is not None and not both.low <= self.delta.value <= both.high

    @property
    def blurred(self) -> bool:
        """Whether the interval leaves 0 out for test sampling, but not for training as well."""
        both = self.found.training
        return both is not None and _apart(self.delta) and not _apart(both)


CAPTION = (
    "**Delta by strength.** The same strength on both sides, from weak to strong, with 95 % bands; "
    "each panel has a scale of its own. Marks on the lower edge are the strengths that held-out "
    "rows chose for either side, and the dotted line is the declared delta, read at those."
)


def robustness_section(
    cells: Sequence[Cell],
    records: Sequence[RunRecord],
    figures: Path,
    notes: dict[str, str],
    margin: float,
) -> str:
    """The section of one pair as Markdown, without its heading; empty where nothing was varied.

    Args:
        cells: Cells of one pair.
        records: Its runs.
        figures: Existing folder `figures` of the report.
        notes: Text chunks for the PNG.
        margin: Equivalence margin in points, drawn as a band.
    """
    judged = _judged(cells, records)
    if not judged:
        return ""
    numbers = figures / f"{file_stem('robustness', judged[0].cell.pair.name)}.csv"
    write_csv(robustness_table(cells, records), numbers)
    parts = [" ".join(filter(None, (_tuning_words(judged), _training_words(judged))))]
    tuned = [Tuned(one.cell, one.found) for one in judged if one.found.tuning]
    if tuned:
        pair = tuned[0].cell.pair.name
        png = tuning_figure(tuned, figures / file_stem("tuning", pair), notes, margin)
        parts.append(captioned(_alt(judged), png, CAPTION))
    parts += [_table(judged), f"([numbers]({figures.name}/{numbers.name}))"]
    return "\n\n".join(parts)


def robustness_table(cells: Sequence[Cell], records: Sequence[RunRecord]) -> pd.DataFrame:
    """What would have changed the declared deltas, one a row, of unrounded numbers in points.

    Returns:
        Columns pair, question, metric, delta with its ends; lowest and highest delta over the
        strengths and whether the sign depends on them; standard error from the test rows, standard
        deviation from the training rows, number of refits, their mean and the ends of its interval
        for both. None where it was not asked for.
    """
    columns = [
        "pair", "question", "metric", "delta", "delta_low", "delta_high", "lowest", "highest",
        "sign_depends", "sampling_se", "training_sd", "refits", "mean", "mean_low", "mean_high",
    ]  # fmt: skip
    rows = []
    for one in _judged(cells, records):
        both, deltas = one.found.training, _deltas(one.found)
        row: dict[str, object] = dict.fromkeys(columns)
        row |= {
            "pair": one.cell.pair.name,
            "question": one.cell.label,
            "metric": one.found.metric,
            "delta": one.delta.value,
            "delta_low": one.delta.low,
            "delta_high": one.delta.high,
        }
        if deltas:
            row |= {"lowest": min(deltas), "highest": max(deltas), "sign_depends": one.tuned}
        if both:
            row |= {
                "sampling_se": both.sampling_se,
                "training_sd": both.training_sd,
                "refits": both.refits,
                "mean": both.mean,
                "mean_low": both.low,
                "mean_high": both.high,
            }
        rows.append(row)
    return pd.DataFrame(rows, columns=columns)


def _judged(cells: Sequence[Cell], records: Sequence[RunRecord]) -> list[_Judged]:
    """The declared cells of which something was varied, in their order."""
    found = {
        (record.pair.name, record.task.label, one.question, one.block, one.metric): one
        for record in records
        for one in record.robustness
    }
    judged = []
    for cell in confirmatory(cells):
        c = cell.comparison
        one = found.get((cell.pair.name, cell.task.label, c.question, c.block, c.metric))
        if one is not None and (one.tuning or one.training):
            judged.append(_Judged(cell, one))
    return judged


def _deltas(found: Robustness) -> list[float]:
    return [point.delta.value for point in found.tuning]


def _apart(found: Estimate | TrainingVariance) -> bool:
    """Whether an interval leaves 0 out."""
    return found.low * found.high > 0


def _tuning_words(judged: Sequence[_Judged]) -> str:
    """Whether some strength would have turned a sign."""
    strengths = [point.strength for one in judged for point in one.found.tuning]
    if not strengths:
        return ""
    if turned := [f"**{escape(one.cell.label)}**" for one in judged if one.tuned]:
        return (
            f"The sign depends on tuning for {listed(turned)}: with some one strength on both "
            "sides, the delta has the other sign and its interval leaves 0 out."
        )
    return (
        "No sign depends on tuning: with one strength on both sides, whichever from "
        f"{min(strengths):g} to {max(strengths):g}, no delta has the other sign with an interval "
        "that leaves 0 out."
    )


def _training_words(judged: Sequence[_Judged]) -> str:
    """Whether another training set would have said otherwise."""
    varied = [one.found.training for one in judged if one.found.training]
    if not varied:
        return ""
    more = [
        escape(one.cell.label)
        for one in judged
        if one.found.training and one.found.training.training_sd > one.found.training.sampling_se
    ]
    said = (
        f"Other training rows move {listed(more)} more than other test rows would."
        if more
        else "Other training rows move no delta more than other test rows would."
    )
    if blurred := [f"**{escape(one.cell.label)}**" for one in judged if one.blurred]:
        said += f" Counting both, the interval of {listed(blurred)} no longer leaves 0 out."
    else:
        said += " Counting both, every interval that left 0 out still does."
    if moved := [f"**{escape(one.cell.label)}**" for one in judged if one.moved]:
        said += (
            f" The refits see fewer different rows, and agree on another delta of {listed(moved)}: "
            "how much is lost depends on how many rows the probe is fitted on."
        )
    return said


def _alt(judged: Sequence[_Judged]) -> str:
    said = "; ".join(
        f"{one.cell.label} {_range(one.found)}, declared {signed(one.delta.value)}"
        for one in judged
        if one.found.tuning
    )
    return f"Delta against the strength of the probe: {said}."


def _table(judged: Sequence[_Judged]) -> str:
    """One row for each declared question."""
    header = (
        "Question", "Delta [95 % interval]", "Over strengths", "Sign depends on tuning",
        "SE, test rows", "SD, training rows", "Mean of refits [95 %, both]",
    )  # fmt: skip
    rows = []
    for one in judged:
        both = one.found.training
        rows.append(
            (
                escape(one.cell.label),
                escape(estimate(one.delta, delta=True)),
                _range(one.found) if one.found.tuning else NONE,
                ("**yes**" if one.tuned else "no") if one.found.tuning else NONE,
                points(both.sampling_se) if both else NONE,
                points(both.training_sd) if both else NONE,
                escape(_refitted(both)) if both else NONE,
            )
        )
    grid = table(header, rows, right=(1, 2, 4, 5, 6))
    refits = sorted({one.found.training.refits for one in judged if one.found.training})
    if not refits:
        return grid
    legend = (
        f"*Refits*: {' or '.join(map(str, refits))} probes for each side, each on training "
        "clusters drawn anew, at the strengths of the declared one. Each sees fewer different rows "
        "than that, so their mean may lie off the declared delta; their spread is what counts, and "
        "so few give it roughly."
    )
    return f"{grid}\n\n{legend}"


def _refitted(both: TrainingVariance) -> str:
    return estimate(Estimate(value=both.mean, low=both.low, high=both.high), delta=True)


def _range(found: Robustness) -> str:
    """Lowest and highest delta over the strengths."""
    deltas = _deltas(found)
    return f"{signed(min(deltas))} to {signed(max(deltas))}"
