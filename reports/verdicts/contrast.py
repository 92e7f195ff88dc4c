"""Social against control questions: the difference of differences in a sentence and a table."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from probes.records import Estimate
from probes.statistics.contrast import Contrast, ContrastPart
from reports.csv_files import write_csv
from reports.formats import count, estimate, p_value, signed
from reports.markdown import code, escape, table
from reports.names import file_stem

__all__ = ["contrast_section", "contrast_sentence", "contrast_table"]


def contrast_table(contrasts: Sequence[Contrast]) -> pd.DataFrame:
    """The contrasts, one a row, of unrounded numbers.

    Returns:
        Columns pair, row_list, social and control (mean deltas in points), difference with its
        ends and p, and relative with its ends and p (in % of what was read before above chance;
        None where there is no such form); questions of each kind, clusters and how many of them
        several tasks share.
    """
    rows = []
    for one in contrasts:
        row: dict[str, object] = {"pair": one.pair, "row_list": one.row_list}
        row |= {"social": one.social, "control": one.control}
        for name, found, p in (
            ("difference", one.difference, one.p),
            ("relative", one.relative, one.p_relative),
        ):
            row |= {
                name: found.value if found else None,
                f"{name}_low": found.low if found else None,
                f"{name}_high": found.high if found else None,
                f"p_{name}": p,
            }
        social = sum(part.social for part in one.parts)
        row |= {"n_social": social, "n_control": len(one.parts) - social}
        rows.append(row | {"clusters": one.clusters, "shared": one.shared})
    columns = [
        "pair", "row_list", "social", "control", "difference", "difference_low",
        "difference_high", "p_difference", "relative", "relative_low", "relative_high",
        "p_relative", "n_social", "n_control", "clusters", "shared",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def contrast_sentence(one: Contrast) -> str:
    """What the contrast says, without a word more than it says."""
    social = sum(part.social for part in one.parts)
    control = len(one.parts) - social
    form = one.relative or one.difference
    unit = "% of what was read before above chance" if one.relative else "points"
    p = one.p_relative if one.relative else one.p
    if form.high < 0:
        said = "The social questions lost more than the control questions"
    elif form.low > 0:
        said = "The control questions lost more than the social questions"
    else:
        said = "It is not shown that social and control questions changed differently"
    return (
        f"{said}: the mean delta of {_questions(social, 'social')} less that of "
        f"{_questions(control, 'control')} is {escape(estimate(form, delta=True))} {unit} "
        f"(p {_p(p)})."
    )


def _questions(number: int, kind: str) -> str:
    return f"{number} {kind} question{'s' if number > 1 else ''}"


def _p(value: float | None) -> str:
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"


def contrast_section(contrasts: Sequence[Contrast], figures: Path) -> str:
    """The sentences and tables of one pair's contrasts, as Markdown; empty without any.

    Args:
        contrasts: On all rows, and on those of row lists.
        figures: Existing folder `figures` of the report.
    """
    if not contrasts:
        return ""
    numbers = figures / f"{file_stem('contrast', contrasts[0].pair)}.csv"
    write_csv(contrast_table(contrasts), numbers)
    sections = [_one_section(one) for one in contrasts]
    return "\n\n".join([*sections, f"([numbers]({figures.name}/{numbers.name}))"])


def _one_section(one: Contrast) -> str:
    """One contrast: on all rows, or on those of a row list."""
    rows = [_part(part) for part in sorted(one.parts, key=lambda part: not part.social)]
    rows += [
        ("**Mean of social**", "", "", signed(one.social), _mean(one, True)),
        ("**Mean of control**", "", "", signed(one.control), _mean(one, False)),
        (
            "**Social less control**", "", "",
            f"**{escape(estimate(one.difference, delta=True))}**",
            f"**{escape(_relative(one.relative))}**" if one.relative else "–",
        ),
    ]  # fmt: skip
    header = ("Question", "Task", "Metric", "Delta (points)", "Delta (% of skill before)")
    parts = [contrast_sentence(one)]
    if one.row_list:
        parts.insert(0, f"On the rows of the list {code(one.row_list)}:")
    parts += [table(header, rows, right=(3, 4)), _legend(one)]
    return "\n\n".join(parts)


def _part(part: ContrastPart) -> tuple[str, ...]:
    """One question as a row."""
    kind = "social" if part.social else "control"
    relative = "–" if part.relative is None else f"{signed(part.relative)} %"
    return (
        f"{escape(part.question)} ({kind})",
        code(part.task),
        escape(part.label),
        signed(part.delta),
        relative,
    )


def _mean(one: Contrast, social: bool) -> str:
    """Mean of the relative deltas of one kind; a dash where one has none."""
    own = [part.relative for part in one.parts if part.social == social]
    if any(value is None for value in own):
        return "–"
    return f"{signed(sum(own) / len(own))} %"


def _relative(found: Estimate) -> str:
    return f"{estimate(found, delta=True)} %"


def _legend(one: Contrast) -> str:
    """How to read the table."""
    shared = (
        f"Clusters of the same name are taken for the same and left out together: "
        f"{count(one.shared)} of {count(one.clusters)} occur under several questions."
        if one.shared
        else "No cluster occurs under several questions."
    )
    said = [
        "Points of different metrics are not the same: those of a gaze error are of the picture's "
        "side. *% of skill before* is the delta over what was read before above chance, which can "
        "be compared. Intervals are at 95 %, by the cluster jackknife, and describe test "
        f"sampling, not the choice of questions. {shared}"
    ]
    if one.not_relative:
        said.append(f"There is no common unit here: {escape(one.not_relative)}.")
    if one.warning:
        said.append(f"Careful: {escape(one.warning)}.")
    return " ".join(said)
