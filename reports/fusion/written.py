"""Answers that trained models wrote freely, against their answers by the highest score."""

from collections.abc import Sequence

from reports.formats import count, points
from reports.markdown import code, escape, folded, table
from reports.transfer.words import question_words
from socialfusion.records import FusionRecord

__all__ = ["written_section"]

INTRODUCTION = (
    "Scores here come from the likelihood of each possible answer. Some models also wrote their "
    "answers, word by word: *right* are those that are the right answer to the letter, *no answer* "
    "those that are none of the possible ones. Where *right* lies well below *by score*, the model "
    "knows more than it says."
)


def written_section(runs: Sequence[FusionRecord]) -> str:
    """How often written answers are right or none at all, with examples; empty without any.

    Args:
        runs: Trained models; those that wrote nothing are passed over.
    """
    written = [(run, one) for run in runs for one in run.generated]
    if not written:
        return ""
    names = question_words(one.question for _, one in written)
    rows = [
        (code(run.run), escape(names[one.question]), count(one.n), points(one.accuracy),
         points(one.scored), points(one.other))
        for run, one in written
    ]  # fmt: skip
    header = ("Run", "Question", "Rows", "Right (%)", "By score (%)", "No answer (%)")
    parts = [INTRODUCTION, table(header, rows, right=range(2, 6))]
    examples = [
        (code(run.run), escape(names[one.question]), code(each.row), escape(each.right),
         code(each.text))
        for run, one in written
        for each in one.examples
    ]  # fmt: skip
    if examples:
        header = ("Run", "Question", "Row", "Right answer", "Written")
        parts.append(folded("Some answers, those that are none first", table(header, examples)))
    return "\n\n".join(parts)
