"""From numbers to one word: what kind of loss it is, if there is one.

All thresholds stand here. Each step asks an interval, never a point; where an interval lies on both
sides of a threshold the word is `undecided`.

    unchanged          the features of both sides are the same
    rotated            nothing lost, and the old probe reads the rotated features as before
    re-mapped          nothing lost, and it does so after a linear map, not after a rotation
    re-encoded         nothing lost, and neither map carries the old probe over
    no longer linear   lost to the linear probe; a small MLP has most of it back
    buried in noise    lost; the class means are as far apart as before, the spread around them grew
    gone               lost; the class means have moved together, and next to nothing is read
    faded              lost; the class means have moved together, but part is still read
    undecided          none of these for certain

*Nothing lost*: the lower end of the 90 % interval of the delta is above minus the margin, which is
one half of the equivalence test of the verdicts; a gain is no loss. *Lost*: not that, and the 95 %
interval lies below zero.

The words after a loss are tried in that order. An MLP that has the loss back proves that the
concept is there, whatever the means do, so capacity comes first. Noise and erasure both leave a
linear probe with little, and differ in where the class means are: noise leaves them, erasure takes
them (`probes.diagnosis.signal`). `gone` says most, so it is asked most: neither capacity nor an
affine map nor twice the samples may bring back half of the loss.
"""

from dataclasses import dataclass

from probes.diagnosis.records import Word
from probes.records import Estimate, Numbers

__all__ = ["Evidence", "diagnose"]

MOST = 50.0
"""Per cent. Half is the one share below which 'most of the loss' is wrong in words."""
PRESENT = 0.5
"""Signal after over before. Halved squared distances are means 0.7 times as far apart: a planted
concept lies at 0.02 when erased and at 1 under noise, so that any value between would part them."""
GROWN = 1.25
"""Spread after over before that counts as grown. Planted rotations reach 1.01 and erasures 1.34
(their class scatter turns into spread); planted noise 2.6 and more. It is asked with `PRESENT`,
which erasures fail."""
NOTHING = 25.0
"""Per cent of the score above chance. Planted erasures leave 8, for the eraser is exact on the
rows of its fit only."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The numbers that a word rests on.

    Attributes:
        identical: Whether the features are the same.
        linear: The linear probe on both sides.
        recovered: Share of its loss that the MLP has back, in per cent.
        attended: The same of the attentive probe. It decides nothing, since it reads the tokens
            and not the pooled features that are diagnosed, and is mentioned.
        orthogonal: The old probe after a rotation.
        affine: The old probe after a linear map.
        gain: Points that the last doubling of the samples brings to the features after.
        remains: What is left of the score above chance, in per cent.
        signal: Scatter between classes, after over before.
        spread: Scatter within classes, after over before.
    """

    identical: bool
    linear: Numbers
    recovered: Estimate | None
    attended: Estimate | None
    orthogonal: Numbers
    affine: Numbers
    gain: Estimate | None
    remains: Estimate | None
    signal: Estimate | None
    spread: Estimate | None


def diagnose(found: Evidence, *, margin: float) -> tuple[Word, tuple[str, ...]]:
    """The word, and the sentences that say why.

    Args:
        found: The numbers.
        margin: Points below which a difference is too small to matter.
    """
    if found.identical:
        return "unchanged", ("The features of both sides are the same, bit for bit.",)
    delta = f"The linear probe: {_points(found.linear.delta)} points"
    if _kept(found.linear, margin):
        word, why = _kind_of_change(found, margin)
        return word, (f"{delta}; a loss of more than {margin:g} is excluded.", why)
    if not _lost(found.linear, margin):
        return "undecided", (
            f"{delta}, which excludes neither zero nor a loss of more than {margin:g}.",
        )
    word, reasons = _kind_of_loss(found)
    if found.attended is not None and found.attended.low > MOST:
        reasons = (
            *reasons,
            f"An attentive probe has {_per_cent(found.attended)} back: single tokens still hold "
            "what their mean has lost.",
        )
    return word, (f"{delta}.", *reasons)


def _kept(numbers: Numbers, margin: float) -> bool:
    return numbers.delta_low_90 >= -margin


def _lost(numbers: Numbers, margin: float) -> bool:
    return not _kept(numbers, margin) and numbers.delta.high < 0


def _kind_of_change(found: Evidence, margin: float) -> tuple[Word, str]:
    """Which map carries the old probe over, where nothing was lost."""
    turned, mapped = _points(found.orthogonal.delta), _points(found.affine.delta)
    if _kept(found.orthogonal, margin):
        return "rotated", f"After a rotation the old probe reads as before: {turned}."
    if _kept(found.affine, margin):
        return "re-mapped", (
            f"The old probe needs a linear map ({mapped}); after a rotation it has {turned}."
        )
    if _lost(found.affine, margin):
        return "re-encoded", (
            f"The old probe is lost even after a linear map ({mapped}); one fitted anew is not."
        )
    return "undecided", f"Whether a linear map carries the old probe over is open: {mapped}."


def _kind_of_loss(found: Evidence) -> tuple[Word, tuple[str, ...]]:
    """What became of what the linear probe lost."""
    reasons: list[str] = []
    recovered, signal, spread = found.recovered, found.signal, found.spread
    if recovered is not None:
        reasons.append(f"An MLP has {_per_cent(recovered)} of the loss back.")
        if recovered.low > MOST:
            return "no longer linear", tuple(reasons)
    if signal is None or spread is None:
        reasons.append("Class means that cannot be told apart before say nothing of the rest.")
        return "undecided", tuple(reasons)
    reasons.append(
        f"Scatter between classes is {_times(signal)} what it was, within them {_times(spread)}."
    )
    if signal.low > PRESENT and spread.low > GROWN:
        return "buried in noise", tuple(reasons)
    if not signal.high < PRESENT:
        reasons.append("That is neither intact under more spread nor gone for certain.")
        return "undecided", tuple(reasons)
    if found.remains is not None:
        reasons.append(f"Of the score above chance {_per_cent(found.remains)} remains.")
    return _how_much_is_left(found, reasons)


def _how_much_is_left(found: Evidence, reasons: list[str]) -> tuple[Word, tuple[str, ...]]:
    """Whether anything is, where the class means moved together."""
    if found.recovered is None or not found.recovered.high < MOST:
        reasons.append("Whether an MLP has most of it back is open.")
        return "undecided", tuple(reasons)
    if found.remains is None or found.remains.low <= NOTHING <= found.remains.high:
        reasons.append("Whether next to nothing is left is open.")
        return "undecided", tuple(reasons)
    if found.remains.low > NOTHING:
        return "faded", tuple(reasons)
    half = -found.linear.delta.value / 2
    if not found.affine.delta.high < -half:
        reasons.append(f"A linear map may bring back half of it: {_points(found.affine.delta)}.")
        return "undecided", tuple(reasons)
    if found.gain is not None and not found.gain.high < half:
        reasons.append(f"Twice the samples may bring back half of it: {_points(found.gain)}.")
        return "undecided", tuple(reasons)
    return "gone", tuple(reasons)


def _points(value: Estimate) -> str:
    return _written(value, 1, "{:+.1f} [{:+.1f}, {:+.1f}]")


def _per_cent(value: Estimate) -> str:
    return _written(value, 0, "{:.0f} % [{:.0f}, {:.0f}]")


def _times(value: Estimate) -> str:
    return _written(value, 2, "{:.2f} [{:.2f}, {:.2f}] times")


def _written(value: Estimate, digits: int, form: str) -> str:
    """A number with its interval, with a true minus and without a negative zero."""
    rounded = (round(x, digits) + 0.0 for x in (value.value, value.low, value.high))
    return form.format(*rounded).replace("-", "−")
