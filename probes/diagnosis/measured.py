"""Everything that is fitted to diagnose one question at one block, on both sides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float32, Int64

from degradation.axes import SIDES, Side
from degradation.errors import DataError
from probes.diagnosis.alignment import standardise
from probes.diagnosis.attention import attentive_builder
from probes.diagnosis.capacity import (
    NetworkReadout,
    anchor,
    read_network,
    targets_of,
)
from probes.diagnosis.networks import Network, gaze_mlp, mlp
from probes.diagnosis.online_code import OnlineCode, encode_labels
from probes.diagnosis.samples import Portion, portion_scores, portions_of
from probes.diagnosis.settings import Settings
from probes.diagnosis.signal import SignalChange, sectors, signal_change
from probes.diagnosis.transfer import Fidelity, transfer
from probes.metrics import ClassOutcome
from probes.problems import ClassProblem, Features, GazeProblem
from probes.questions import ClassQuestion as Classes
from probes.questions import GazeQuestion, Prediction
from probes.selection import read_out

__all__ = ["ATTENTIVE", "MLP", "Measured", "Question", "measure", "portion_name"]

MLP, ATTENTIVE = "mlp", "attentive"
Question = Classes | GazeQuestion
Builder = Callable[[Int64[np.ndarray, " _"]], Network]


@dataclass(slots=True, eq=False)
class Measured:
    """What was fitted and found.

    Attributes:
        question: What was asked.
        block: Where.
        identical: Whether the features of both sides are the same.
        predictions: Of the rows predicted: linear, networks and their seeds, portions, transfer,
            and `prior` or `centre` without an encoder.
        code: Of the online code, whose rows are those fitted.
        codes: The online code by side; empty for gaze.
        networks: By probe and side.
        portions: Of the training clusters.
        fidelity: Of the maps.
        signal: How the class scatter changed; None where it means nothing.
        absent: Why a part is missing, by its name.
    """

    question: Question
    block: int
    identical: bool
    predictions: list[Prediction] = field(default_factory=list)
    code: list[Prediction] = field(default_factory=list)
    codes: dict[Side, OnlineCode] = field(default_factory=dict)
    networks: dict[tuple[str, Side], NetworkReadout] = field(default_factory=dict)
    portions: list[Portion] = field(default_factory=list)
    fidelity: Mapping[str, Fidelity] = field(default_factory=dict)
    signal: SignalChange | None = None
    absent: dict[str, str] = field(default_factory=dict)

    def add(self, probe: str, side: Side | str, scores: np.ndarray) -> None:
        """Keep scores of the rows predicted."""
        block = -1 if side == "none" else self.block
        wide = scores.astype(np.float64)
        self.predictions.append(self.question.prediction(block, probe, side, wide))


def portion_name(probe: str, portion: Portion) -> str:
    """Name of the linear probe of a portion."""
    return f"{probe}/portion-{portion.share:g}-{portion.subset}"


def measure(question: Question, block: int, settings: Settings, *, seed: int) -> Measured:
    """Fit everything.

    Args:
        question: With its plan, from `probes.questions.prepare_question`.
        block: Block of the features.
        settings: How thorough.
        seed: Of the run.

    Raises:
        DataError: If a row that is used has features that are not finite.
    """
    table, regions = question.table, question.arm.regions
    features = {side: table.pooled(side, block, regions) for side in SIDES}
    rows = _used(question)
    for side, x in features.items():
        _check_finite(x, rows, table.ids, side, block)
    pre, post = features["pre"], features["post"]
    same = pre.shape == post.shape and np.array_equal(pre[rows], post[rows])
    found = Measured(question, block, bool(same))
    found.add("prior" if isinstance(question, Classes) else "centre", "none", _prior(question))
    labels = table.labels.get(question.name, np.zeros(len(table.ids), dtype=np.int64))
    found.portions = portions_of(
        question.plan, table.clusters, labels,
        subsets=settings.subsets, seed=seed, name=question.name, shares=settings.portions,
    )  # fmt: skip
    for side, x in features.items():
        _measure_side(found, side, x, settings, seed)
    _measure_both(found, pre, post)
    return found


def _used(question: Question) -> Int64[np.ndarray, " k"]:
    """Rows that any stage fits or predicts."""
    return np.unique(
        np.concatenate([r for stage in question.plan.stages for r in (stage.train, stage.predict)])
    )


def _check_finite(
    x: Float32[np.ndarray, "n d"], rows: Int64[np.ndarray, " k"], ids: np.ndarray, side: Side,
    block: int,
) -> None:  # fmt: skip
    odd = rows[~np.isfinite(x[rows]).all(axis=1)]
    if len(odd):
        raise DataError(
            f"Expected finite features of the side {side} at block {block}, found NaN or infinity "
            f"in {len(odd)} of {len(rows)} rows, first {str(ids[odd[0]])!r}. Run "
            "`sdiag cache verify`, or extract again."
        )


def _prior(question: Question) -> np.ndarray:
    """Shares of the training rows, for each row predicted."""
    stages = question.plan.stages
    parts = [np.tile(question.prior(stage.train), (len(stage.predict), 1)) for stage in stages]
    order = np.argsort(np.concatenate([stage.predict for stage in stages]))
    return np.concatenate(parts)[order]


def _measure_side(
    found: Measured, side: Side, x: Float32[np.ndarray, "n d"], settings: Settings, seed: int
) -> None:
    """Linear probe, networks, portions and online code of one side."""
    question, name = found.question, f"{found.question.name}/{found.block}"
    problem = question.problem(Features(x))
    found.add(question.probe, side, read_out(problem, question.plan).scores)
    anchors, targets = anchor(problem, question.plan), targets_of(problem)
    for probe, build in _builders(found, side, x, settings).items():
        grid = settings.mlp if probe == MLP else settings.attentive
        readout = read_network(build, anchors, targets, grid, seed=seed, name=f"{name}/{probe}")
        _keep_network(found, probe, side, readout)
    for portion in found.portions:
        scores = portion_scores(problem, portion)
        found.add(portion_name(question.probe, portion), side, scores)
    if isinstance(problem, GazeProblem):
        found.absent["code"] = "Gaze targets are places, not classes, and have no code length."
    elif settings.orders:
        _encode(found, side, problem, settings.orders, seed)
    else:
        found.absent["code"] = "Left out of a quick diagnosis."


def _builders(
    found: Measured, side: Side, x: Float32[np.ndarray, "n d"], settings: Settings
) -> dict[str, Builder]:
    """The networks that can be built, by probe."""
    question = found.question

    def z(rows: Int64[np.ndarray, " k"]) -> torch.Tensor:
        mean, scale = standardise(x[rows])
        return torch.from_numpy(np.nan_to_num((x - mean) * scale).astype(np.float32))

    if isinstance(question, GazeQuestion):
        phi = torch.from_numpy(np.nan_to_num(question.phi).astype(np.float32))
        found.absent[ATTENTIVE] = "For gaze there is the linear readout and the MLP only."
        return {MLP: lambda rows: gaze_mlp(z(rows), phi)}
    builders: dict[str, Builder] = {MLP: lambda rows: mlp(z(rows), question.n_classes)}
    if settings.attentive is None:
        found.absent[ATTENTIVE] = "Left out of a quick diagnosis."
        return builders
    try:
        builders[ATTENTIVE] = attentive_builder(
            question.table, side, found.block, question.arm.regions, question.n_classes,
            _used(question),
        )  # fmt: skip
    except DataError as error:
        found.absent[ATTENTIVE] = str(error)
    return builders


def _keep_network(found: Measured, probe: str, side: Side, readout: NetworkReadout) -> None:
    found.networks[probe, side] = readout
    found.add(probe, side, readout.scores)
    for k, scores in enumerate(readout.by_seed):
        found.add(f"{probe}/seed-{k}", side, scores)


def _encode(found: Measured, side: Side, problem: ClassProblem, orders: int, seed: int) -> None:
    """Code the labels of the rows fitted, or of all rows where every row is predicted in turn."""
    question, table = found.question, found.question.table
    stages = question.plan.stages
    rows = stages[0].train if len(stages) == 1 else question.plan.predicted
    code = encode_labels(
        problem, rows, table.clusters, orders=orders, seed=seed, name=question.name
    )
    found.codes[side] = code
    ids, clusters = table.ids[code.rows], table.clusters[code.rows]
    for order, scores in enumerate(code.scores.astype(np.float32)):
        outcome = ClassOutcome(problem.labels[code.rows], scores)
        found.code.append(
            Prediction(
                question.name, found.block, f"online-code/{order}", side, ids, clusters, outcome,
                scores,
            )
        )  # fmt: skip


def _measure_both(
    found: Measured, pre: Float32[np.ndarray, "n d"], post: Float32[np.ndarray, "n p"]
) -> None:
    """Aligned transfer and the change of the class scatter."""
    question, table = found.question, found.question.table
    classes = (
        sectors(table.points, table.boxes[table.spec.roles[0]])
        if isinstance(question, GazeQuestion)
        else question.labels
    )
    moved = transfer(question.problem(Features(pre)), pre, post, classes, question.plan)
    for name, scores in moved.after.items():
        found.add(f"pre-probe/{name}", "pre", moved.before)
        found.add(f"pre-probe/{name}", "post", scores)
    if "raw" not in moved.after:
        found.absent["pre-probe/raw"] = (
            f"The widths differ, {pre.shape[1]} before and {post.shape[1]} after."
        )
    found.fidelity = moved.fidelity
    found.signal = signal_change(pre, post, classes, table.clusters, question.plan)
    if found.signal is None:
        found.absent["signal"] = (
            "The class means before cannot be told apart, or nothing is common to the sides."
        )
