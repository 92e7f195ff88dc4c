"""Verdicts in plain sentences, and what is missing in plain sentences."""

from collections.abc import Sequence

from probes.diagnosis.records import DiagnosisRecord
from probes.records import RunRecord
from reports.analyses.diagnosis import diagnosis_table
from reports.formats import points, signed
from reports.fusion.load import incomplete_trainings
from reports.load import Results
from reports.markdown import code, escape
from reports.names import question_labels
from reports.unfinished import lacking
from reports.verdicts.cells import Cell, by_pair

__all__ = ["incomplete", "kinds_of_loss", "listed", "verdict_paragraph"]


def verdict_paragraph(cells: Sequence[Cell], margin: float) -> str:
    """What the confirmatory cells say of each pair, without a word more than they say."""
    return " ".join(_pair_sentences(members, margin) for members in by_pair(cells).values())


def kinds_of_loss(records: Sequence[DiagnosisRecord]) -> str:
    """The words of one pair's diagnoses in a sentence; empty without any."""
    words: dict[str, list[str]] = {}
    for row in diagnosis_table(records).itertuples():
        words.setdefault(row.diagnosis, []).append(escape(row.question))
    said = "; ".join(f"{listed(names)} *{word}*" for word, names in words.items())
    return f"The kind of loss, in a word each: {said}." if said else ""


def _pair_sentences(cells: Sequence[Cell], margin: float) -> str:
    """The verdicts of one pair."""
    pair = cells[0].pair
    verdicts = {
        word: [cell for cell in cells if cell.verdict == word]
        for word in ("degraded", "improved", "equivalent", "undecided")
    }
    changes = [
        f"**{escape(cell.label)}** {how} by {_size(cell)}"
        for word, how in (("degraded", "worse"), ("improved", "better"))
        for cell in verdicts[word]
    ]
    said = [
        f"Compared with {code(pair.pre)}, {code(pair.post)} reads "
        f"{listed(changes) if changes else 'no question provably worse or better'}."
    ]
    if verdicts["equivalent"]:
        names = listed([escape(cell.label) for cell in verdicts["equivalent"]])
        said.append(f"Equivalent within {margin:g} points: {names}.")
    if verdicts["undecided"]:
        names = listed([f"{escape(c.label)} {_delta(c)}" for c in verdicts["undecided"]])
        said.append(f"Undecided, that is neither shown to differ nor shown to be equal: {names}.")
    return " ".join([_tally(cells), *said])


def _size(cell: Cell) -> str:
    """The size of a change, for a sentence that says worse or better, and its interval."""
    return f"{points(abs(cell.comparison.delta.value))} points {_interval(cell)}"


def _delta(cell: Cell) -> str:
    """A delta with its sign and interval."""
    return f"({signed(cell.comparison.delta.value)} {_interval(cell)})"


def _interval(cell: Cell) -> str:
    """The 95 % interval of a delta, safe in Markdown."""
    delta = cell.comparison.delta
    return f"\\[{signed(delta.low)}, {signed(delta.high)}\\]"


def _tally(cells: Sequence[Cell]) -> str:
    """How many social and how many control questions are degraded."""
    parts = []
    for social, word in ((True, "social"), (False, "control")):
        members = [cell for cell in cells if cell.task.social == social]
        if members:
            worse = sum(cell.verdict == "degraded" for cell in members)
            parts.append(f"{worse} of {len(members)} {word} questions")
    return f"**Degraded: {listed(parts)}.**"


def listed(items: Sequence[str]) -> str:
    """Items as a sentence lists them."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def incomplete(results: Results) -> list[str]:
    """What a reader should know is missing or uneven, one sentence each; empty if nothing is."""
    records = results.records
    return [
        *_missing_tasks(records),
        *_missing_questions(records),
        *_undefined(records),
        *_absent_classes(records),
        *(
            f"{code(folder)} holds predictions but no record: its run did not finish; "
            f"run {code('sdiag probe')} again."
            for folder in results.unfinished
        ),
        *(
            f"The {one.analysis} analysis of {code(one.pair)}"
            f"{f' on {code(one.task)}' if one.task else ''} is left out, for it {one.reason}; run "
            f"{code(f'sdiag {one.analysis}')} again."
            for one in results.left_out
        ),
        *_uneven(results),
        *incomplete_trainings(results.trainings),
        *lacking(results),
    ]


def _missing_tasks(records: Sequence[RunRecord]) -> list[str]:
    """Tasks that some pairs have and others lack."""
    tasks = {record.task.label for record in records}
    done: dict[str, set[str]] = {}
    for record in records:
        done.setdefault(record.pair.name, set()).add(record.task.label)
    sentences = []
    for pair, present in done.items():
        if absent := sorted(tasks - present):
            names = listed([code(task) for task in absent])
            sentences.append(f"{code(pair)} was not probed on {names}, on which other pairs were.")
    return sentences


def _missing_questions(records: Sequence[RunRecord]) -> list[str]:
    """Questions that a task asks and a run does not answer, or answers without a declared cell."""
    labels = question_labels(records)
    sentences = []
    for record in records:
        # A question without a declared comparison whose reason is known is named with it, below.
        declared = {c.question for c in record.comparisons if c.confirmatory}
        declared |= {one.question for one in record.undefined if not one.arm}
        sentences += [
            f"{code(record.pair.name)} has no declared comparison of "
            f"{escape(labels[record.task.label, question])}, which {code(record.task.label)} asks."
            for question in record.task.metrics
            if question not in declared
        ]
    return sentences


def _undefined(records: Sequence[RunRecord]) -> list[str]:
    """Metrics without a value, and why."""
    labels = question_labels(records)
    metrics: dict[tuple[str, ...], list[str]] = {}
    for record in records:
        for one in record.undefined:
            place = (record.pair.name, labels[record.task.label, one.question], one.arm, one.reason)
            metrics.setdefault(place, []).append(one.metric)
    return [
        f"{code(pair)} has no {listed([code(name) for name in names])} of {escape(question)}"
        f"{f' in the arm {code(arm)}' if arm else ''}: {escape(reason)}"
        f"{'' if reason.endswith('.') else '.'}"
        for (pair, question, arm, reason), names in metrics.items()
    ]


def _absent_classes(records: Sequence[RunRecord]) -> list[str]:
    """Classes without rows to fit or to predict; said once of a task, whatever the pairs."""
    labels = question_labels(records)
    sentences: dict[str, None] = {}
    for record in records:
        for question in dict.fromkeys(card.question for card in record.classes):
            own = [card for card in record.classes if card.question == question]
            label = escape(labels[record.task.label, question])
            if names := [escape(card.name) for card in own if not card.predicted]:
                sentences[
                    f"No test row of {label} is of class {listed(names)}: means over classes "
                    "leave it out."
                ] = None
            if names := [escape(card.name) for card in own if not card.fitted]:
                sentences[
                    f"No training row of {label} is of class {listed(names)}: no probe can "
                    "predict it."
                ] = None
    return list(sentences)


def _uneven(results: Results) -> list[str]:
    """Differences between runs that make their numbers hard to compare."""
    sentences = []
    records = results.records
    conflicts = (one.record for one in results.conflicts)
    versions = sorted({one.tool_version for one in (*records, *results.analyses, *conflicts)})
    if len(versions) > 1:
        sentences.append(
            f"The records were made with different versions: {escape(', '.join(versions))}."
        )
    for task in sorted({record.task.label for record in records}):
        rows = {
            tuple((split, card.rows_digest) for split, card in sorted(record.splits.items()))
            for record in records
            if record.task.label == task
        }
        if len(rows) > 1:
            sentences.append(
                f"The pairs were probed on different rows of {code(task)}: compare each pair with "
                "itself only."
            )
    return sentences
