"""Predictions files that are damaged: one message each, whatever is wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from degradation.errors import DataError
from probes.metrics import ClassOutcome
from probes.predictions import encode, read_predictions
from probes.questions import Prediction


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ids = np.array([f"row-{i}" for i in range(6)], dtype=object)
    scores = np.random.default_rng(0).random((6, 3), dtype=np.float32)
    outcome = ClassOutcome(np.arange(6) % 3, scores)
    one = Prediction("mood", 0, "linear", "pre", ids, ids, outcome, scores)
    (tmp_path / "predictions.parquet").write_bytes(encode([one]))
    return tmp_path / "predictions.parquet"


def column(name: str, values: list) -> Callable[[pa.Table], pa.Table]:
    """A change of a table: other values in a column."""

    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.schema.get_field_index(name), name, pa.array(values))

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns(["scores"]),
        lambda table: table.drop_columns(["side"]),
        lambda table: table.slice(0, 0),
        column("label", ["calm"] * 6),
        column("label", [0, 1, 2, 0, 1, None]),
        column("scores", [[0.5] * (1 + i % 3) for i in range(6)]),
        column("scores", [0.5] * 6),
        column("predicted_x", ["left"] * 6),
    ],
    ids=range(8),
)
def test_other_tables_are_refused(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    assert len(read_predictions(path)) == 1
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(DataError, match=r"not a predictions file .* Run `sdiag probe` again"):
        read_predictions(path)


@pytest.mark.parametrize("cut", [0, 40, -20])
def test_files_that_were_cut_are_refused(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="not a predictions file"):
        read_predictions(path)
