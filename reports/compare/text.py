"""Two runs side by side as text for a terminal."""

from collections.abc import Iterator, Sequence

import pandas as pd

from probes.conflict.records import Interval
from reports.compare.records import Change, Compared, Kind, Shown, TrainingChange
from reports.conflict.pairs import told_from_zero
from reports.formats import count, estimate, points
from reports.transfer.words import question_words

__all__ = ["comparison_text"]

MOST, NAMED = 40, 3
"""Rows of a table, from which on only what is certain is told, and names in a list."""
SCORES = "Scores in points; a change is second minus first, negative = worse, for errors too:"
TRAINED = (
    "Trained models on the test rows, in points, negative = worse; what another training seed "
    "would change is not in the intervals:"
)
HEADINGS: dict[Kind, str] = {
    "diagnosis": "Diagnoses, with what is left in % of what was read above chance:",
    "drift": "Drift at the declared block: how alike pre and post are:",
    "conflict": "Gradient conflict, corrected cosines on all parameters (below 0: conflict); a "
    "change is paired over batches, where both runs saw the same:",
    "transfer": "Transfer, in points: together less alone, with intervals over seeds and rows:",
    "ablation": "Ablations, in points: changed less reference, with intervals over seeds and rows:",
}
DIGITS: dict[Kind, int] = {"diagnosis": 0, "drift": 3, "conflict": 2, "transfer": 1, "ablation": 1}
SIGNED = ("conflict", "transfer", "ablation")


def comparison_text(found: Compared) -> str:
    """Settings, scores, all that is shown beside them, what is missing, and what the gate says."""
    parts = [_settings(found)]
    if found.changes:
        rows = [_probe_row(one, found.changes) for one in found.changes]
        parts.append("\n".join((SCORES, *_table(rows))))
    if found.trainings:
        parts.append(_trainings(found.trainings))
    for kind, heading in HEADINGS.items():
        own = [one for one in found.shown if one.kind == kind]
        parts += [_shown(heading, own)] if own else []
    remarks = "\n".join(_remarks(found))
    parts += [remarks] if remarks else []
    if found.max_drop is not None:
        parts.append(_verdict(found))
    return "\n\n".join(parts)


def _settings(found: Compared) -> str:
    """What was set otherwise."""
    if not found.settings:
        return "All settings are the same."
    rows = [
        {
            "setting": one.name,
            "first": one.first,
            "second": one.second,
            "on": _named(one.where),
        }
        for one in found.settings
    ]
    text = "\n".join(("Settings that differ:", *_table(rows)))
    if any(one.name == "sdiag" for one in found.settings):
        text += "\n\nMade with different versions of sdiag: what numbers mean may differ."
    return text


def _probe_row(one: Change, every: Sequence[Change]) -> dict[str, str]:
    """One question of linear probes; the pair is named where there are several."""
    pair = {"pair": one.pair} if len({each.pair for each in every}) > 1 else {}
    return {
        **pair,
        "question": f"{one.question} ({one.task})",
        "metric": one.metric,
        "pre": " → ".join(map(points, one.pre)),
        "post": " → ".join(map(points, one.post)),
        "change of post [95 %]": estimate(one.change, delta=True),
        "rows": "unpaired" if one.unpaired else "paired",
        **({"verdict": one.word} if one.word else {}),
    }


def _trainings(every: Sequence[TrainingChange]) -> str:
    """The metrics of trained models; of many, those that changed for certain."""
    rows = every if len(every) <= MOST else [one for one in every if _moved(one)]
    return "\n".join(
        (
            TRAINED,
            *_table([_training_row(one, every) for one in rows]),
            *_rest(len(every) - len(rows), "Not changed for certain"),
        )
    )


def _shown(heading: str, every: Sequence[Shown]) -> str:
    """What is only shown, of one kind: what differs, and of much, what differs for certain."""
    different = [one for one in every if one.first != one.second or one.words[0] != one.words[1]]
    rows = different if len(different) <= MOST else [one for one in different if _differs(one)]
    changed = sum(one.words[0] != one.words[1] for one in every)
    worded = any(any(one.words) for one in every)
    return "\n".join(
        (
            heading,
            *_table([_shown_row(one, every) for one in rows]),
            *_rest(len(different) - len(rows), "Not different for certain"),
            *_rest(len(every) - len(different), "Exactly the same"),
            *([f"{changed} of {len(every)} words changed."] if worded else []),
        )
    )


def _rest(number: int, what: str) -> Iterator[str]:
    """How many numbers a table leaves out, as a line, if any."""
    if number:
        yield f"{what}, and only in --json: {count(number)}."


def _training_row(one: TrainingChange, every: Sequence[TrainingChange]) -> dict[str, str]:
    """One metric of a trained model; the run is named where there are several."""
    run = {"run": one.run} if len({each.run for each in every}) > 1 else {}
    judged = any(each.word for each in every)
    return {
        **run,
        "question": one.question,
        "metric": one.metric,
        "score": " → ".join(map(points, one.scores)),
        "change [95 %]": estimate(one.change, delta=True),
        "rows": "unpaired" if one.unpaired else "paired",
        **({"verdict": one.word} if judged else {}),
    }


def _shown_row(one: Shown, every: Sequence[Shown]) -> dict[str, str]:
    """One number that is only shown; columns that say nothing are left out."""
    row = {"of": one.name} if len({each.name for each in every}) > 1 else {}
    names = question_words(label for each in every for label in each.questions)
    row |= {"where": one.where} if one.where else {}
    row |= {"question": " × ".join(names[label] for label in one.questions)}
    row |= {"measure": one.measure} if one.measure else {}
    row |= {"first": _number(one, one.first), "second": _number(one, one.second)}
    if any(each.change for each in every):
        row["change"] = _number(one, one.change)
    if any(one.words):
        row["word"] = one.words[0] if len(set(one.words)) == 1 else " → ".join(one.words)
    return row


def _number(one: Shown, number: Interval | None) -> str:
    """A number with its interval, whose ends may be open; a dash where there is none."""
    if number is None:
        return "–"
    digits, sign = DIGITS[one.kind], "+" if one.kind in SIGNED else ""
    value, low, high = (
        "open" if end is None else _decimals(end, digits, sign)
        for end in (number.value, number.low, number.high)
    )
    return f"{value} (open)" if low == high == "open" else f"{value} [{low}, {high}]"


def _decimals(value: float, digits: int, sign: str) -> str:
    """A number with a true minus and no signed zero."""
    text = f"{value:{sign}.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def _moved(one: TrainingChange) -> bool:
    """Whether a metric changed for certain."""
    return one.word == "fell" or one.change.low > 0 or one.change.high < 0


def _differs(one: Shown) -> bool:
    """Whether a word changed, or a number did for certain: without pairs, if intervals part."""
    if one.words[0] != one.words[1]:
        return True
    if one.change is not None:
        return told_from_zero(one.change)
    ends = [(each.low, each.high) for each in (one.first, one.second) if each is not None]
    if len(ends) < 2 or None in (*ends[0], *ends[1]):
        return False
    return ends[0][1] < ends[1][0] or ends[1][1] < ends[0][0]


def _remarks(found: Compared) -> Iterator[str]:
    """What is not paired, not compared, or new; what has the same reason in one line."""
    unpaired = {one.title: one.unpaired for one in (*found.changes, *found.trainings)}
    told = [f"{name}: {reason}" for name, reason in unpaired.items() if reason]
    for begin, lines in (
        ("Not paired", told),
        ("Not compared", (*found.absent, *found.unshown)),
    ):
        by_reason: dict[str, list[str]] = {}
        for line in lines:
            name, _, reason = line.partition(": ")
            by_reason.setdefault(reason, []).append(name)
        yield from (f"{begin}, {_named(names)}: {reason}." for reason, names in by_reason.items())
    if found.new:
        yield f"Only in the second: {_named(found.new)}."


def _verdict(found: Compared) -> str:
    """What the gate says."""
    if found.fell:
        return f"Fell by more than {found.max_drop:g} points: {', '.join(found.fell)}."
    if found.absent:
        return f"Nothing fell by more than {found.max_drop:g} points, but scores are missing."
    return f"Nothing fell by more than {found.max_drop:g} points for certain."


def _named(places: Sequence[str]) -> str:
    """Where something holds, shortened."""
    more = len(places) - NAMED
    return ", ".join(places[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _table(rows: Sequence[dict[str, str]]) -> Iterator[str]:
    """Rows as aligned text, if there are any."""
    if rows:
        yield pd.DataFrame(rows).fillna("").to_string(index=False)
