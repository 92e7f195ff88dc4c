"""Why trainings stopped, when, and whose weights were tested."""

from collections.abc import Sequence

from reports.markdown import code, escape
from reports.transfer.words import question_words
from socialfusion.records import FusionRecord

__all__ = ["INTERRUPTED", "stops_words"]

SPENT, INTERRUPTED = "budget used up", "interrupted"
NAMED = 6
"""Most early stops that are named one by one."""


def stops_words(runs: Sequence[FusionRecord]) -> str:
    """A sentence or two on the end of some trainings, as Markdown.

    Args:
        runs: At least one.
    """
    stops = [(run, label, stop) for run in runs for label, stop in run.stops.items()]
    names = question_words(label for _, label, _ in stops)
    early: dict[str, list[str]] = {}
    for run, label, stop in stops:
        if stop.reason != SPENT:
            where = f" of {code(run.run)}" if len(runs) > 1 else ""
            early.setdefault(stop.reason, []).append(
                f"{escape(names[label])}{where} at step {stop.step}"
            )
    spent = len(stops) - sum(map(len, early.values()))
    steps = _range([run.steps_run for run in runs])
    if not early:
        said = [f"Every question used up its budget ({steps} steps)."]
    else:
        said = [f"{spent} of {len(stops)} questions used up their budget ({steps} steps)."]
        for reason, places in early.items():
            more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
            said.append(f"Stopped early, {escape(reason)}: {'; '.join(places[:NAMED])}{more}.")
    rules: dict[str, list[int]] = {}
    for run in runs:
        rules.setdefault(run.trained.rule, []).append(run.trained.step)
    tested = "; ".join(f"{escape(rule)}, step {_range(at)}" for rule, at in rules.items())
    return f"{' '.join(said)} Weights tested: {tested}."


def _range(values: Sequence[int]) -> str:
    """One number, or from the least to the most."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
