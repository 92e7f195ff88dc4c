"""Numbers and verdicts as text, the same in tables, sentences, figures and on the terminal."""

from math import isnan

import pandas as pd

from probes.records import Estimate

__all__ = [
    "GLYPHS",
    "count",
    "estimate",
    "p_value",
    "points",
    "signed",
    "terminal_table",
    "verdict",
]

GLYPHS = {"degraded": "▼", "improved": "▲", "equivalent": "≈", "undecided": "?"}


def points(value: float) -> str:
    """A score or an error, one decimal."""
    return _no_negative_zero(f"{value:.1f}")


def signed(value: float) -> str:
    """A delta with one decimal and its sign, a true minus, and no negative zero."""
    text = _no_negative_zero(f"{value:+.1f}")
    return "0.0" if text == "+0.0" else text


def _no_negative_zero(text: str) -> str:
    """The text with a true minus, unless it is a zero."""
    return text.replace("-", "" if float(text) == 0 else "−")


def estimate(value: Estimate, *, delta: bool = False) -> str:
    """A number with its interval, such as `−6.1 [−8.0, −4.2]`."""
    text = signed if delta else points
    return f"{text(value.value)} [{text(value.low)}, {text(value.high)}]"


def p_value(p: float | None) -> str:
    """A p with three decimals; a dash where there is none."""
    if p is None or isnan(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count(value: int) -> str:
    """A count with its thousands parted."""
    return f"{value:,}"


def verdict(word: str) -> str:
    """The verdict with its mark, which does not depend on colour."""
    return f"{GLYPHS[word]} {word}"


def terminal_table(table: pd.DataFrame) -> pd.DataFrame:
    """A verdict table narrow enough for a terminal, as text."""
    rows = [
        {
            "pair": row.pair,
            "question": row.question,
            "group": row.group,
            "metric": row.metric,
            "pre": points(row.pre),
            "post": points(row.post),
            "delta [95 %]": estimate(
                Estimate(value=row.delta, low=row.delta_low, high=row.delta_high), delta=True
            ),
            "Holm p": p_value(row.p_adjusted),
            "verdict": verdict(row.verdict),
        }
        for row in table.itertuples()
    ]
    return pd.DataFrame(rows)
