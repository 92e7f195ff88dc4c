"""From what was fitted to the numbers of one question, and to the word they add up to."""

from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np

from degradation.axes import SIDES
from degradation.errors import DataError
from probes.diagnosis.capacity import NetworkReadout
from probes.diagnosis.measured import ATTENTIVE, MLP, Measured, portion_name
from probes.diagnosis.networks import ROUNDS
from probes.diagnosis.records import (
    Capacity,
    CodeLength,
    CurvePoint,
    QuestionDiagnosis,
    Signal,
    TransferParts,
    TransferStep,
)
from probes.diagnosis.rules import Evidence, diagnose
from probes.diagnosis.values import QuestionValues, Scores, Values, mean_over, question_values
from probes.metrics import Metric
from probes.records import Estimate, Numbers
from probes.statistics.clusters import group_rows
from probes.summary import summarise

__all__ = ["question_diagnosis"]

Number = Callable[[Scores], Values]


def question_diagnosis(
    measured: Measured, metric: Metric, *, seed: int, draws: int, margin: float
) -> QuestionDiagnosis:
    """The numbers and the word.

    Args:
        measured: What was fitted.
        metric: In which everything is told.
        seed: Of the run.
        draws: Bootstrap draws and swaps, as for a run.
        margin: Points below which a difference is too small to matter.

    Raises:
        DataError: If the metric is undefined on these rows.
    """
    linear = measured.question.probe
    compared = _compared(measured, metric, seed=seed, draws=draws)
    values = question_values(measured.predictions, metric, seed=seed)
    chance = next(one.probe for one in measured.predictions if one.side == "none")
    lost = compared[linear].delta.high < 0
    capacity = tuple(
        _capacity(measured, values, probe, compared[probe], lost=lost)
        for probe in (linear, MLP, ATTENTIVE)
        if probe in compared
    )
    steps = _transfer(measured, compared)
    gains = {side: _last_gain(measured, values, side) for side in SIDES}
    remains = values.estimate(_remaining(linear, chance))
    recovered = {one.probe: one.recovered for one in capacity}
    by_map = {step.map: step.numbers for step in steps}
    signal = measured.signal
    word, reasons = diagnose(
        Evidence(
            identical=measured.identical,
            linear=compared[linear],
            recovered=recovered[MLP],
            attended=recovered.get(ATTENTIVE),
            orthogonal=by_map["orthogonal"],
            affine=by_map["affine"],
            gain=gains["post"],
            remains=remains,
            signal=signal.signal if signal else None,
            spread=signal.spread if signal else None,
        ),
        margin=margin,
    )
    return QuestionDiagnosis(
        question=measured.question.name,
        block=measured.block,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        word=word,
        reasons=reasons,
        identical=measured.identical,
        remains=remains,
        capacity=capacity,
        absent=dict(measured.absent),
        curve=_curve(measured, values, errors=not metric.higher_is_better),
        gain_pre=gains["pre"],
        gain_post=gains["post"],
        code=_code(measured),
        transfer=steps,
        parts=_parts(values, linear, raw="raw" in by_map),
        signal=None
        if signal is None
        else Signal(
            signal=signal.signal, spread=signal.spread, common=signal.common, before=signal.before
        ),
    )


def _compared(
    measured: Measured, metric: Metric, *, seed: int, draws: int
) -> Mapping[str, Numbers]:
    """Pre against post by probe: the linear one, networks and transfers."""
    names = {measured.question.probe, MLP, ATTENTIVE}
    own = [
        one
        for one in measured.predictions
        if one.probe in names or one.probe.startswith("pre-probe/")
    ]
    found = summarise(own, [metric], draws=draws, seed=seed)
    if metric.name in found.undefined:
        raise DataError(
            f"Question {measured.question.name}: {metric.name} is "
            f"{found.undefined[metric.name]}. Use more rows, or another first metric."
        )
    return {probe: numbers for (_, probe, _), numbers in found.numbers.items()}


def _capacity(
    measured: Measured, values: QuestionValues, probe: str, numbers: Numbers, *, lost: bool
) -> Capacity:
    """One point of the capacity curve."""
    linear = measured.question.probe
    if probe == linear:
        return Capacity(probe=probe, numbers=numbers, recovered=None)
    readouts = {side: measured.networks[probe, side] for side in SIDES}
    spreads = {side: _seed_spread(values, probe, side, one) for side, one in readouts.items()}
    return Capacity(
        probe=probe,
        numbers=numbers,
        recovered=values.estimate(_recovered(linear, probe)) if lost else None,
        spread_pre=spreads["pre"],
        spread_post=spreads["post"],
        chosen_pre=_chosen(readouts["pre"]),
        chosen_post=_chosen(readouts["post"]),
    )


def _seed_spread(values: QuestionValues, probe: str, side: str, readout: NetworkReadout) -> float:
    """Standard deviation over seeds; 0 where the linear probe was chosen."""
    scores = [values.points[f"{probe}/seed-{k}", side] for k in range(len(readout.by_seed))]
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0


def _chosen(readout: NetworkReadout) -> str:
    """Weight decay and length of training of each stage."""
    each = zip(readout.decays, readout.rounds, strict=True)
    return "; ".join(
        f"decay {decay:g}, {rounds} of {ROUNDS} rounds" if rounds else "the linear probe itself"
        for decay, rounds in each
    )


def _recovered(linear: str, probe: str) -> Number:
    """Share of the linear delta that another probe does not have, in per cent."""

    def number(v: Scores) -> Values:
        with np.errstate(divide="ignore", invalid="ignore"):
            return 100 * (
                1 - (v(probe, "post") - v(probe, "pre")) / (v(linear, "post") - v(linear, "pre"))
            )

    return number


def _remaining(linear: str, chance: str) -> Number:
    """Score above chance after over before, in per cent."""

    def number(v: Scores) -> Values:
        floor = v(chance, "none")
        with np.errstate(divide="ignore", invalid="ignore"):
            return 100 * (v(linear, "post") - floor) / (v(linear, "pre") - floor)

    return number


def _difference(one: tuple[str, str], other: tuple[str, str]) -> Number:
    """The first score minus the second."""
    return lambda v: v(*one) - v(*other)


def _score(probe: str, side: str) -> Number:
    return lambda v: v(probe, side)


def _by_share(measured: Measured) -> dict[float, list[str]]:
    """Probes of the portions, by share."""
    found = defaultdict(list)
    for portion in measured.portions:
        found[portion.share].append(portion_name(measured.question.probe, portion))
    return found


def _last_gain(measured: Measured, values: QuestionValues, side: str) -> Estimate | None:
    """Points gained from half of the training clusters to all of them."""
    by_share = _by_share(measured)
    if not {0.5, 1.0} <= by_share.keys():
        return None
    (whole,) = by_share[1.0]
    return values.mean_estimate(
        [_difference((whole, side), (half, side)) for half in by_share[0.5]]
    )


def _curve(measured: Measured, values: QuestionValues, *, errors: bool) -> tuple[CurvePoint, ...]:
    """Both sides by share of the training clusters; errors are shown as such again."""
    points = []
    for share, probes in _by_share(measured).items():
        sides = {
            side: values.mean_estimate([_score(probe, side) for probe in probes]) for side in SIDES
        }
        delta = values.mean_estimate(
            [_difference((probe, "post"), (probe, "pre")) for probe in probes]
        )
        if delta is None or None in sides.values():
            continue
        if errors:
            sides = {
                side: Estimate(value=-one.value, low=-one.high, high=-one.low)
                for side, one in sides.items()
            }
        rows = float(np.mean([one.rows for one in measured.portions if one.share == share]))
        points.append(CurvePoint(share=share, rows=rows, subsets=len(probes), delta=delta, **sides))
    return tuple(points)


def _transfer(measured: Measured, compared: Mapping[str, Numbers]) -> tuple[TransferStep, ...]:
    return tuple(
        TransferStep(
            map=name,
            numbers=compared[f"pre-probe/{name}"],
            r2=fidelity.overall,
            r2_class_signal=None if np.isnan(fidelity.class_signal) else fidelity.class_signal,
        )
        for name, fidelity in measured.fidelity.items()
    )


def _parts(values: QuestionValues, linear: str, *, raw: bool) -> TransferParts:
    """What the loss of the old probe is made of."""
    turned, mapped = (("pre-probe/orthogonal", "post"), ("pre-probe/affine", "post"))
    rotation = _difference(("pre-probe/raw", "post"), turned)
    return TransferParts(
        rotation=values.estimate(rotation) if raw else None,
        linear_map=values.estimate(_difference(turned, mapped)),
        remaining=values.estimate(_difference(mapped, (linear, "pre"))),
    )


def _code(measured: Measured) -> CodeLength | None:
    """Code lengths of both sides in bits a row, and their paired difference."""
    if not measured.codes:
        return None
    table = measured.question.table
    pre, post = (measured.codes[side] for side in SIDES)
    labels = measured.question.labels
    bits = {"pre": pre.bits(labels), "post": post.bits(labels)}
    bits["delta"] = bits["pre"] - bits["post"]
    clusters = table.clusters[pre.rows]
    found = {name: _bits_a_row(each, clusters) for name, each in bits.items()}
    uniform = float(np.log2(measured.question.n_classes))
    return CodeLength(
        rows=len(pre.rows),
        orders=len(pre.scores),
        uniform=uniform,
        **found,
        total_delta=found["delta"].value * len(pre.rows),
        compression_pre=uniform / found["pre"].value,
        compression_post=uniform / found["post"].value,
    )


def _bits_a_row(bits: np.ndarray, clusters: np.ndarray) -> Estimate:
    """Mean of the rows (orders, k) with an interval over clusters and orders."""
    grouped = group_rows(clusters)
    sums = np.stack([grouped.sum(order[:, None])[:, 0] for order in bits])
    total, n = sums.sum(axis=1, keepdims=True), grouped.sizes.sum()
    return mean_over(total[:, 0] / n, (total - sums) / (n - grouped.sizes))
