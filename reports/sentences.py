"""Verdicts in plain sentences, and what is missing in plain sentences."""

from collections.abc import Sequence

from probes.records import RunRecord
from reports.cells import Cell, by_pair
from reports.formats import points, signed
from reports.load import Results
from reports.markdown import code, escape
from reports.names import question_labels

__all__ = ["incomplete", "verdict_paragraph"]


def verdict_paragraph(cells: Sequence[Cell], margin: float) -> str:
    """What the confirmatory cells say of each pair, without a word more than they say."""
    return " ".join(_pair_sentences(members, margin) for members in by_pair(cells).values())


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
        f"{_listed(changes) if changes else 'no question provably worse or better'}."
    ]
    if verdicts["equivalent"]:
        names = _listed([escape(cell.label) for cell in verdicts["equivalent"]])
        said.append(f"Equivalent within {margin:g} points: {names}.")
    if verdicts["undecided"]:
        names = _listed([f"{escape(c.label)} {_delta(c)}" for c in verdicts["undecided"]])
        said.append(f"Undecided, that is neither shown to differ nor shown to be equal: {names}.")
    said.append(_tally(cells))
    return " ".join(said)


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
    return f"Degraded: {_listed(parts)}."


def _listed(items: Sequence[str]) -> str:
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
        *(
            f"{code(folder)} holds predictions but no record: its run did not finish; "
            f"run {code('sdiag probe')} again."
            for folder in results.unfinished
        ),
        *_uneven(records),
    ]


def _missing_tasks(records: Sequence[RunRecord]) -> list[str]:
    """Tasks that some pairs have and others lack."""
    tasks = {record.task.name for record in records}
    done: dict[str, set[str]] = {}
    for record in records:
        done.setdefault(record.pair.name, set()).add(record.task.name)
    sentences = []
    for pair, present in done.items():
        if absent := sorted(tasks - present):
            names = _listed([code(task) for task in absent])
            sentences.append(f"{code(pair)} was not probed on {names}, on which other pairs were.")
    return sentences


def _missing_questions(records: Sequence[RunRecord]) -> list[str]:
    """Questions that a task asks and a run does not answer, or answers without a declared cell."""
    labels = question_labels(records)
    sentences = []
    for record in records:
        declared = {c.question for c in record.comparisons if c.confirmatory}
        sentences += [
            f"{code(record.pair.name)} has no declared comparison of "
            f"{escape(labels[record.task.name, question])}, which {code(record.task.name)} asks."
            for question in record.task.metrics
            if question not in declared
        ]
    return sentences


def _uneven(records: Sequence[RunRecord]) -> list[str]:
    """Differences between runs that make their numbers hard to compare."""
    sentences = []
    versions = sorted({record.tool_version for record in records})
    if len(versions) > 1:
        sentences.append(
            f"The runs were made with different versions: {escape(', '.join(versions))}."
        )
    for task in sorted({record.task.name for record in records}):
        rows = {
            tuple((split, card.rows_digest) for split, card in sorted(record.splits.items()))
            for record in records
            if record.task.name == task
        }
        if len(rows) > 1:
            sentences.append(
                f"The pairs were probed on different rows of {code(task)}: compare each pair with "
                "itself only."
            )
    return sentences
