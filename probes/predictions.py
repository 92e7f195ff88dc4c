"""The predictions file: one row per test sample, question, block, probe and side, as Parquet.

Columns: id, cluster, question, block, probe, side, label (-1 for gaze), predicted (class, or cell
of the peak), scores (list of float32), predicted_x, predicted_y, and for gaze the metrics of the
row. Baselines have block -1 and side `none`. Rows of one probe are consecutive.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from degradation.errors import DataError
from probes.metrics import GAZE_METRICS, ClassOutcome, GazeOutcome, resolve
from probes.questions import Prediction, arm_of
from probes.records import Baseline, Comparison, RunRecord
from probes.summary import summarise
from probes.variants import is_variant

__all__ = ["encode", "read_predictions", "recompute"]


_COLUMNS = pa.schema(
    {
        "id": pa.string(),
        "cluster": pa.string(),
        "question": pa.string(),
        "block": pa.int32(),
        "probe": pa.string(),
        "side": pa.string(),
        "label": pa.int32(),
        "predicted": pa.int32(),
        "scores": pa.list_(pa.float32()),
        "predicted_x": pa.float64(),
        "predicted_y": pa.float64(),
    }
)
"""What every file has; those with gaze have its metrics, too."""


def encode(predictions: Iterable[Prediction]) -> bytes:
    """The predictions as the bytes of a Parquet file; equal predictions give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(pa.concat_tables(map(_to_arrow, predictions)), sink, compression="zstd")
    return sink.getvalue()


def _to_arrow(one: Prediction) -> pa.Table:
    n, c = one.scores.shape
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * c)
    scores = pa.ListArray.from_arrays(offsets, pa.array(one.scores.ravel(), pa.float32()))
    points = np.full((n, 2), np.nan) if one.points is None else one.points
    classes = isinstance(one.outcome, ClassOutcome)
    columns = {
        "id": pa.array(one.ids.astype(str).tolist(), pa.string()),
        "cluster": pa.array(one.clusters.astype(str).tolist(), pa.string()),
        "question": _repeat(one.question, n),
        "block": pa.array(np.full(n, one.block, np.int32)),
        "probe": _repeat(one.probe, n),
        "side": _repeat(one.side, n),
        "label": pa.array((one.outcome.labels if classes else np.full(n, -1)).astype(np.int32)),
        "predicted": pa.array(one.scores.argmax(axis=1).astype(np.int32)),
        "scores": scores,
        "predicted_x": pa.array(points[:, 0].astype(np.float64)),
        "predicted_y": pa.array(points[:, 1].astype(np.float64)),
    }
    for name in GAZE_METRICS:
        columns[name] = pa.array(np.full(n, np.nan) if classes else one.outcome.values[name])
    return pa.table(columns)


def _repeat(value: str, n: int) -> pa.Array:
    return pa.array([value] * n, pa.string())


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions of a file, in its order.

    Raises:
        DataError: If the file cannot be read, lacks columns or values, or holds others.
    """
    try:
        return _read(pq.read_table(path))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is not a predictions file ({error}). Run `sdiag probe` again."
        ) from error


def _read(frame: pa.Table) -> list[Prediction]:
    """The predictions in a table."""
    found = {field.name: field.type for field in frame.schema}
    for field in _COLUMNS:
        if found.get(field.name) != field.type or frame[field.name].null_count:
            raise ValueError(f"no column {field.name} of {field.type} without gaps")
    keys = [frame[name].to_pylist() for name in ("question", "block", "probe", "side")]
    groups = list(zip(*keys, strict=True))
    if not groups:
        raise ValueError("no rows")
    starts = [i for i, key in enumerate(groups) if i == 0 or key != groups[i - 1]]
    return [
        _from_arrow(frame.slice(start, stop - start))
        for start, stop in zip(starts, [*starts[1:], len(groups)], strict=True)
    ]


def _from_arrow(part: pa.Table) -> Prediction:
    scores = part["scores"].combine_chunks()
    if len(scores.value_lengths().unique()) > 1:
        raise ValueError("scores of different lengths")
    scores = scores.flatten().to_numpy().reshape(len(part), -1).astype(np.float32)
    labels = part["label"].to_numpy().astype(np.int64)
    gaze = bool((labels == -1).all())
    stored = [name for name in GAZE_METRICS if name in part.schema.names]
    outcome = (
        GazeOutcome({name: part[name].to_numpy() for name in stored})
        if gaze
        else ClassOutcome(labels, scores)
    )
    points = np.stack([part["predicted_x"].to_numpy(), part["predicted_y"].to_numpy()], axis=1)
    return Prediction(
        question=part["question"][0].as_py(),
        block=part["block"][0].as_py(),
        probe=part["probe"][0].as_py(),
        side=part["side"][0].as_py(),
        ids=np.array(part["id"].to_pylist(), dtype=object),
        clusters=np.array(part["cluster"].to_pylist(), dtype=object),
        outcome=outcome,
        scores=scores,
        points=points if gaze else None,
    )


def recompute(
    record: RunRecord, predictions: Sequence[Prediction]
) -> tuple[tuple[Baseline, ...], tuple[Comparison, ...]]:
    """Baselines and comparisons of a record, every number computed again from predictions.

    What predictions do not hold (strengths, selection rule, signature, which comparison is
    confirmatory) is taken from the record.
    """
    baselines: list[Baseline] = []
    numbers = {}
    for question in record.task.metrics:
        asked = [one for one in record.comparisons if one.question == question]
        names = dict.fromkeys(one.metric for one in asked)
        classes = record.task.label_sets.get(question, ())
        metrics = [resolve(name, classes) for name in names]
        own = [one for one in predictions if one.question == question]
        own = [one for one in own if not is_variant(one.probe)]
        for arm in dict.fromkeys(arm_of(one.probe) for one in own):
            members = [one for one in own if arm_of(one.probe) == arm]
            found = summarise(members, metrics, draws=record.draws, seed=record.seed)
            baselines += found.baselines
            numbers |= {(question, *key): value for key, value in found.numbers.items()}
    comparisons = tuple(
        one.model_copy(update=dict(numbers[one.question, one.block, one.probe, one.metric]))
        for one in record.comparisons
    )
    return tuple(baselines), comparisons
