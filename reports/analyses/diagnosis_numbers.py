"""Every number of the diagnoses as one table, for the CSV beside the report."""

from collections.abc import Iterator, Sequence

import pandas as pd

from probes.diagnosis.records import QuestionDiagnosis
from probes.records import Estimate

__all__ = ["diagnosis_numbers"]

Row = tuple[str, str, str, Estimate | float | None]
"""What was done, the number, its unit, and its value."""


def diagnosis_numbers(named: Sequence[tuple[str, str, QuestionDiagnosis]]) -> pd.DataFrame:
    """All numbers with their 95 % intervals, unrounded, one a row; what has no value has no row.

    Args:
        named: Question and metric as people read them, and what was found.
    """
    rows = [
        {"question": label, "block": found.block, "metric": metric, "word": found.word,
         "of": of, "number": number, "unit": unit, **_ends(value)}
        for label, metric, found in named
        for of, number, unit, value in _rows(found)
        if value is not None
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _rows(found: QuestionDiagnosis) -> Iterator[Row]:
    """Probes, the old probe on mapped features, scatter, samples, and code length."""
    for probe in found.capacity:
        for side in ("pre", "post", "delta"):
            yield probe.probe, side, "points", getattr(probe.numbers, side)
        yield probe.probe, "share of the loss that it has back", "%", probe.recovered
        yield probe.probe, "standard deviation over seeds, pre", "points", probe.spread_pre
        yield probe.probe, "standard deviation over seeds, post", "points", probe.spread_post
    for step in found.transfer:
        of = f"old probe, features after: {step.map}"
        yield of, "delta", "points", step.numbers.delta
        yield of, "R2 of the map", "", step.r2
        yield of, "R2 of the map, class signal", "", step.r2_class_signal
    for part in ("rotation", "linear_map", "remaining"):
        yield "old probe, its loss", part.replace("_", " "), "points", getattr(found.parts, part)
    if found.signal:
        yield "scatter after over before", "between classes", "times", found.signal.signal
        yield "scatter after over before", "within classes", "times", found.signal.spread
    yield "linear probe", "above chance remains", "%", found.remains
    yield "linear probe", "gain of the last doubling of rows, pre", "points", found.gain_pre
    yield "linear probe", "gain of the last doubling of rows, post", "points", found.gain_post
    if found.code:
        for side in ("uniform", "pre", "post", "delta"):
            yield "code length", side, "bits a row", getattr(found.code, side)
        yield "code length", "compression, pre", "times", found.code.compression_pre
        yield "code length", "compression, post", "times", found.code.compression_post


def _ends(value: Estimate | float) -> dict[str, float | None]:
    """A number, with the ends of its interval where it has one."""
    if isinstance(value, Estimate):
        return {"value": value.value, "low": value.low, "high": value.high}
    return {"value": value, "low": None, "high": None}
