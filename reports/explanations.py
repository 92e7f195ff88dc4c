"""Two explanations weighed on the same encoders: lost decodability, and gradient conflict.

If a model reads people worse after its training, the encoder may no longer tell what it has to
know, or the tasks may pull its parameters apart. Each is judged by a rule that is printed beside
the word. Nobody intervened on either, so neither word says what caused what.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy.stats import t as student

from probes.conflict.records import ConflictRecord, Interval, PairNumbers
from probes.diagnosis.records import DiagnosisRecord
from probes.statistics.contrast import Contrast
from reports.conflict.pairs import (
    MIXED,
    SOCIAL,
    WHOLE,
    Asked,
    asked_pairs,
    bounded,
    changes_between,
    compared_sides,
    cosine_interval,
    measured_on,
    side_title,
    two_places,
)
from reports.formats import p_value
from reports.load import Conflict
from reports.markdown import code, escape, table
from reports.sentences import kinds_of_loss, listed
from reports.verdicts.cells import Cell
from reports.verdicts.contrast import contrast_sentence
from reports.verdicts.tables import confirmatory
from socialfusion.transfer.against_conflict import AgainstRecord, Comparison
from socialfusion.transfer.records import TransferRecord

__all__ = ["Finding", "conflict_finding", "decodability_finding", "explanations_section",
           "explanations_sentence"]  # fmt: skip

SUPPORTED, REFUSED, OPEN, UNKNOWN = "supported", "not supported", "undecided", "not measured"
ROOM = 0.1
"""Cosine below 0, or fall of a cosine, that is too weak to be called conflict."""
ALPHA = 0.05

RULES = (
    "Lost decodability is *supported* if a social question is degraded and the social questions "
    "lost more than the controls, by the interval of their contrast; *not supported* if every "
    "social question is equivalent or improved, or the controls lost more. Gradient conflict is "
    "*supported* if the corrected cosine of two social questions lies below 0 after the training, "
    "or fell in it, by an interval that is widened for the number of pairs looked at; *not "
    f"supported* if the 95 % intervals of all social pairs leave no room for a cosine below "
    f"−{ROOM:g} or a fall by more than {ROOM:g}. Otherwise either is *undecided*: more rows or "
    "batches are needed. Neither word says what caused what, for nobody changed the one and "
    "watched the other."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is said of one explanation.

    Attributes:
        name: Of the explanation.
        word: `supported`, `not supported`, `undecided` or `not measured`.
        evidence: Sentences in Markdown.
    """

    name: str
    word: str
    evidence: tuple[str, ...]


def explanations_section(
    cells: Sequence[Cell],
    diagnoses: Sequence[DiagnosisRecord],
    contrasts: Sequence[Contrast],
    conflict: Conflict | None,
    transfers: Sequence[TransferRecord] = (),
) -> str:
    """The section of one pair as Markdown, without its heading.

    Args:
        cells: Judged cells of one pair.
        diagnoses: Of the same pair.
        contrasts: Social against control questions, of the same pair.
        conflict: Gradient conflict on the same pair; None if it was not measured.
        transfers: Joint against single training on one of its encoders.
    """
    findings = (
        decodability_finding(cells, diagnoses, contrasts),
        conflict_finding(conflict.record if conflict else None),
    )
    rows = [(one.name, f"**{one.word}**", " ".join(one.evidence)) for one in findings]
    return "\n\n".join(
        (
            explanations_sentence(findings),
            table(("Explanation", "Finding", "Evidence"), rows),
            RULES,
            *_foretells(conflict, transfers),
        )
    )


def explanations_sentence(findings: Sequence[Finding]) -> str:
    """Both words in one sentence."""
    said = " and ".join(f"{one.name} is *{one.word}*" for one in findings)
    return f"Of two explanations of what the training did, {said}."


def decodability_finding(
    cells: Sequence[Cell], diagnoses: Sequence[DiagnosisRecord], contrasts: Sequence[Contrast]
) -> Finding:
    """Can a linear probe still read what the social tasks need?"""
    name = "lost decodability"
    declared = confirmatory(cells)
    social = [cell.verdict for cell in declared if cell.task.social]
    if not social:
        return Finding(name, UNKNOWN, (f"{code('sdiag probe')} measures it, on social tasks.",))
    control = [cell.verdict for cell in declared if not cell.task.social]
    said = [f"{social.count('degraded')} of {len(social)} social questions are degraded"]
    if control:
        said[0] += f", and {control.count('degraded')} of {len(control)} controls"
    said[0] += "."
    whole = next((one for one in contrasts if not one.row_list), None)
    if whole is None:
        said.append("They are not compared with controls: probe control tasks, too.")
    else:
        said.append(contrast_sentence(whole))
    if kinds := kinds_of_loss([one for one in diagnoses if one.task.social]):
        said.append(kinds)
    else:
        said.append(f"{code('sdiag diagnose')} says of which kind a loss is.")
    return Finding(name, _decodability_word(social, whole), tuple(said))


def _decodability_word(social: Sequence[str], contrast: Contrast | None) -> str:
    """By the rule printed."""
    if all(word in ("equivalent", "improved") for word in social):
        return REFUSED
    if contrast is None:
        return OPEN
    form = contrast.relative or contrast.difference
    if form.low > 0:
        return REFUSED
    return SUPPORTED if form.high < 0 and "degraded" in social else OPEN


def conflict_finding(record: ConflictRecord | None) -> Finding:
    """Do the social tasks pull the parameters apart?"""
    name = "gradient conflict"
    if record is None:
        return Finding(name, UNKNOWN, (f"{code('sdiag gcd')} measures it.",))
    pairs = asked_pairs(record)
    social = [pair for pair in pairs if pair.group == SOCIAL]
    if not social:
        said = f"{code('sdiag gcd')} measures it, between two social questions or more."
        return Finding(name, UNKNOWN, (said,))
    sides = compared_sides(record)
    word, reason = _conflict_word(record, social)
    groups = [(SOCIAL, "social pairs"), (MIXED, "pairs with a control")]
    said = [reason]
    for side in reversed(sides):
        found = measured_on(side)
        counts = []
        for group, label in groups:
            own = [found[pair.key, WHOLE] for pair in pairs if pair.group == group]
            if own:
                counts.append(f"{_share(own)} {label} conflict{_mean(own)}")
        said.append(f"{escape(side_title(side)).capitalize()}: {'; '.join(counts)}.")
    return Finding(name, word, tuple(said))


def _share(found: Sequence[PairNumbers]) -> str:
    return f"{sum(one.word == 'conflict' for one in found)} of {len(found)}"


def _mean(found: Sequence[PairNumbers]) -> str:
    """The mean corrected cosine of the pairs in which it can be told from noise."""
    known = [one.cosine.value for one in found if one.cosine and bounded(one.cosine)]
    if not known:
        return " (none can be told from noise)"
    of = f" of {len(known)} that can be told from noise" if len(known) < len(found) else ""
    return f" (mean corrected cosine{of} {two_places(fmean(known))})"


def _conflict_word(record: ConflictRecord, pairs: Sequence[Asked]) -> tuple[str, str]:
    """The word by the rule printed, and the sentence that gives its reason."""
    sides = compared_sides(record)
    found = measured_on(sides[-1])
    changes = changes_between(record, sides)
    after = {pair: found[pair.key, WHOLE].cosine for pair in pairs}
    fall = {
        pair: one.cosine for pair in pairs if (one := changes.get((pair.key, WHOLE))) is not None
    }
    known = [number for number in (*after.values(), *fall.values()) if number is not None]
    widened = _widening(len(known), record.batches)
    apart = [pair for pair, one in after.items() if _below_zero(one, widened)]
    fell = [pair for pair, one in fall.items() if _below_zero(one, widened)]
    if apart or fell:
        return SUPPORTED, " ".join(_reasons(apart, after, fell, fall))
    unknown = len(pairs) - sum(bounded(number) for number in after.values())
    if unknown:
        return OPEN, f"{unknown} of {len(pairs)} social pairs cannot be told from noise."
    if len(known) == len(after) + len(fall) and all(_no_room(number) for number in known):
        return REFUSED, "No social pair conflicts or came to, and there is no room for it."
    return OPEN, "No social pair conflicts for certain, but the intervals leave room for it."


def _reasons(
    apart: Sequence[Asked],
    after: dict[Asked, Interval | None],
    fell: Sequence[Asked],
    fall: dict[Asked, Interval | None],
) -> Iterator[str]:
    """Which pairs conflict for certain, and which came nearer to it."""
    for pairs, numbers, what in ((apart, after, "In conflict"), (fell, fall, "Fell")):
        if pairs:
            said = [
                f"{escape(pair.name)} {escape(cosine_interval(number))}"
                for pair in pairs
                if (number := numbers[pair]) is not None
            ]
            yield f"{what} for certain: {listed(said)}."


def _widening(looked_at: int, batches: int) -> float:
    """By how much an interval is longer if it has to hold for all that were looked at (Bonferroni).

    The intervals are Student's t over batches; those of a ratio only nearly so.
    """
    if looked_at < 2:
        return 1.0
    one, every = (1 - ALPHA / 2 / count for count in (1, looked_at))
    return float(student.ppf(every, batches - 1) / student.ppf(one, batches - 1))


def _below_zero(number: Interval | None, widened: float) -> bool:
    if number is None or number.high is None:
        return False
    return number.value + widened * (number.high - number.value) < 0


def _no_room(number: Interval) -> bool:
    return number.low is not None and number.low > -ROOM


def _foretells(conflict: Conflict | None, transfers: Sequence[TransferRecord]) -> Iterator[str]:
    """Whether conflict goes with what training together really does."""
    if conflict is None:
        return
    pairwise = [one.name for one in transfers if any(v.pairwise for v in one.variants)]
    if conflict.against is None and pairwise:
        yield (
            "What tasks do to each other when they are trained together was measured "
            f"({', '.join(map(code, pairwise))}), but not set against conflict: "
            f"{code(f'sdiag gcd --against-transfer {pairwise[0]}')} does that."
        )
        return
    if conflict.against is None:
        yield (
            "Whether tasks that conflict harm each other when they are trained together was not "
            f"measured here: {code('sdiag transfer --pairwise')} measures what they do, and "
            f"{code('sdiag gcd --against-transfer')} sets conflict against it."
        )
        return
    yield from _compared(conflict.against)


def _relation(one: Comparison) -> str:
    """One rank correlation, in a sentence."""
    if one.p > ALPHA:
        said = "It is not shown that conflict foretells transfer"
    elif one.rho.value < 0:
        said = "Tasks that conflict more help each other less, or harm each other"
    else:
        said = "Tasks that conflict more help each other more"
    return (
        f"{said}: over {len(one.pairs)} pairs of {len(one.tasks)} tasks ({escape(one.side)} "
        f"against {code(one.transfer)}, {escape(one.variant)}), Spearman's ρ between the corrected "
        f"degree of conflict and measured transfer is {escape(_rho(one.rho))}, p "
        f"{_p(one.p)} by relabelling tasks."
    )


def _rho(number: Interval) -> str:
    if number.low is None and number.high is None:
        return f"{two_places(number.value)} (too few tasks for an interval)"
    return cosine_interval(number)


def _p(value: float) -> str:
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"


def _compared(against: AgainstRecord) -> Iterator[str]:
    """What each side and variant say, and why some say nothing."""
    lines = [f"- {_relation(one)}" for one in against.comparisons]
    lines += [
        f"- Whether conflict foretells transfer is open on {escape(what)}: {escape(why)}"
        for what, why in against.undefined.items()
    ]
    yield "\n".join(lines)
