"""The section on the kind of loss: one word for each question, and the numbers behind it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from probes.diagnosis.records import DiagnosisRecord, QuestionDiagnosis
from probes.metrics import resolve
from probes.records import Estimate
from reports.analyses.diagnosis_figures import Named, losses_figure, samples_figure
from reports.analyses.diagnosis_numbers import diagnosis_numbers
from reports.csv_files import write_csv
from reports.formats import estimate
from reports.markdown import escape, folded, table
from reports.names import file_stem
from reports.pictures import captioned

__all__ = ["WORDS", "diagnosis_section", "diagnosis_table"]

NONE = "–"
WORDS = {
    "unchanged": "the features are the same",
    "rotated": "nothing is lost; the old probe reads the rotated features as before",
    "re-mapped": "nothing is lost; the old probe needs a linear map",
    "re-encoded": "nothing is lost, but neither map carries the old probe over",
    "no longer linear": "lost to a linear probe; a small MLP has most of it back",
    "buried in noise": "lost; the class means are where they were, the spread around them grew",
    "faded": "lost; the class means have moved together, and part is still read",
    "gone": "lost; the class means have moved together, and next to nothing is read",
    "undecided": "the intervals leave more than one of these open",
}


def diagnosis_section(
    records: Sequence[DiagnosisRecord], figures: Path, notes: dict[str, str]
) -> str:
    """The section of one pair as Markdown, without its heading; empty without records.

    Args:
        records: Diagnoses of one pair, one record a task.
        figures: Existing folder `figures` of the report.
        notes: Text chunks for the PNGs.
    """
    named = _named(records)
    if not named:
        return ""
    pair, margin = records[0].pair.name, records[0].margin
    parts = [_words(named), _legend(named)]
    png = losses_figure(named, pair, figures / file_stem("diagnosis", pair), notes, margin)
    parts.append(captioned(_losses_alt(named), png, _LOSSES))
    curved = [one for one in named if one.found.curve]
    if curved:
        png = samples_figure(curved, pair, figures / file_stem("samples", pair), notes)
        parts.append(captioned(_samples_alt(curved), png, _SAMPLES))
    numbers = figures / f"{file_stem('diagnosis-numbers', pair)}.csv"
    write_csv(diagnosis_numbers(named), numbers)
    parts.append(
        f"[All numbers of the diagnosis]({figures.name}/{numbers.name}): every probe and map, "
        "scatter, gains from more rows, code lengths."
    )
    parts += list(_missing(records, named))
    return "\n\n".join(parts)


_LOSSES = (
    "**To which probe is it lost?** Left: the delta of a linear probe, of an MLP with one hidden "
    "layer and, where token maps are cached, of an attentive probe, each fitted on both sides by "
    "the same procedure; the networks start at the linear probe. Right: the probe fitted before, "
    "put on the features after as they are, rotated, and mapped linearly (both maps are fitted "
    "without labels). 95 % intervals."
)
_SAMPLES = (
    "**From how many samples?** The linear probe after a share of the training clusters, the same "
    "random subsets on both sides; bands are 95 % intervals over test clusters and subsets."
)


def diagnosis_table(records: Sequence[DiagnosisRecord]) -> pd.DataFrame:
    """The words and main numbers as text, one row for each question and block."""
    return pd.DataFrame(
        [
            {
                "pair": record.pair.name,
                "question": label,
                "block": found.block,
                "diagnosis": found.word,
                "linear delta": _delta(found.capacity[0].numbers.delta),
                "MLP has back": _per_cent(_recovered(found, "mlp")),
                "rotated": _delta(_step(found, "orthogonal")),
                "mapped": _delta(_step(found, "affine")),
                "between classes": _times(found.signal.signal if found.signal else None),
                "within": _times(found.signal.spread if found.signal else None),
            }
            for record in records
            for label, _, found in _named([record], beside=records)
        ]
    )


def _named(
    records: Sequence[DiagnosisRecord], *, beside: Sequence[DiagnosisRecord] = ()
) -> list[Named]:
    """Questions with their labels: task and block are named where they are needed."""
    every = beside or records
    tasks: dict[str, set[str]] = {}
    for record in every:
        for one in record.questions:
            tasks.setdefault(one.question, set()).add(record.task.label)
    named = []
    for record in records:
        blocks = {one.block for one in record.questions}
        for one in record.questions:
            several = len(tasks[one.question]) > 1 or bool(record.task.row_list)
            label = f"{one.question} ({record.task.label})" if several else one.question
            classes = record.task.label_sets.get(one.question, ())
            named.append(
                Named(
                    f"{label}, block {one.block}" if len(blocks) > 1 else label,
                    resolve(one.metric, classes).label,
                    one,
                )
            )
    return named


def _words(named: Sequence[Named]) -> str:
    """The words first, each with its reasons."""
    rows = [
        (escape(label), f"**{found.word}**", escape(" ".join(found.reasons)))
        for label, _, found in named
    ]
    return table(("Question", "Diagnosis", "Why"), rows)


def _legend(named: Sequence[Named]) -> str:
    """What the words that occur mean."""
    used = {found.word for _, _, found in named}
    said = "; ".join(f"*{word}*: {text}" for word, text in WORDS.items() if word in used)
    return f"{said}. Each word rests on intervals, one question at a time, without correction."


def _losses_alt(named: Sequence[Named]) -> str:
    said = "; ".join(
        f"{label} {found.word}, linear {_delta(found.capacity[0].numbers.delta)}, "
        f"MLP {_delta(_capacity(found, 'mlp'))}"
        for label, _, found in named
    )
    return f"Deltas by probe and by map: {said}."


def _samples_alt(named: Sequence[Named]) -> str:
    said = "; ".join(
        f"{label} from {found.curve[0].pre.value:.0f} to {found.curve[-1].pre.value:.0f} before, "
        f"{found.curve[0].post.value:.0f} to {found.curve[-1].post.value:.0f} after"
        for label, _, found in named
    )
    return f"Scores by share of the training clusters: {said}."


def _missing(records: Sequence[DiagnosisRecord], named: Sequence[Named]) -> Iterator[str]:
    """What could not be asked or was left out, with the reason; equal reasons once."""
    reasons: dict[str, list[str]] = {}
    for label, _, found in named:
        for part, why in found.absent.items():
            reasons.setdefault(f"{part}: {why}", []).append(label)
    for record in records:
        for question, why in record.refused.items():
            reasons.setdefault(f"not asked: {why}", []).append(question)
    if reasons:
        lines = [
            f"- {escape(why)} ({escape(', '.join(labels))})" for why, labels in reasons.items()
        ]
        yield folded("What is missing from the diagnosis", "\n".join(lines))


def _capacity(found: QuestionDiagnosis, probe: str) -> Estimate | None:
    return next((one.numbers.delta for one in found.capacity if one.probe == probe), None)


def _recovered(found: QuestionDiagnosis, probe: str) -> Estimate | None:
    return next((one.recovered for one in found.capacity if one.probe == probe), None)


def _step(found: QuestionDiagnosis, name: str) -> Estimate | None:
    return next((one.numbers.delta for one in found.transfer if one.map == name), None)


def _delta(value: Estimate | None) -> str:
    return NONE if value is None else estimate(value, delta=True)


def _per_cent(value: Estimate | None) -> str:
    return NONE if value is None else _written(value, 0, "{:.0f} % [{:.0f}, {:.0f}]")


def _times(value: Estimate | None) -> str:
    return NONE if value is None else _written(value, 2, "{:.2f}× [{:.2f}, {:.2f}]")


def _written(value: Estimate, digits: int, form: str) -> str:
    """A number with its interval, with a true minus and without a negative zero."""
    rounded = (round(x, digits) + 0.0 for x in (value.value, value.low, value.high))
    return form.format(*rounded).replace("-", "−")
