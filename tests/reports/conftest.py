"""Plausible result records, written as a probe run writes them."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import norm

from degradation.audit import Exposed, Overlap, SplitCount
from probes.audits import AuditRecord
from probes.metrics import GAZE_METRICS, ClassOutcome, GazeOutcome
from probes.predictions import encode
from probes.questions import Prediction
from probes.record_files import SEAL, write_record
from probes.records import (
    Baseline,
    Comparison,
    Estimate,
    PairCard,
    RunRecord,
    SplitCard,
    TaskCard,
)
from reports import style

BLOCKS = 6


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of the make-believe tasks: its first metric, its score before, its baselines."""

    task: str
    kind: str
    social: bool
    metric: str
    pre: float
    chance: float
    width: float
    baselines: Mapping[str, float]
    second: str | None = None
    higher: bool = True


QUESTIONS = {
    "expression": Asked(
        "scenes-expression", "classes", True, "accuracy", 71.3, 16.7, 1.9,
        {"pixels": 31.0, "histogram": 18.2, "boxes": 17.1}, "macro_f1",
    ),
    "gesture": Asked(
        "scenes-gesture", "classes", True, "accuracy", 68.4, 14.3, 1.8,
        {"pixels": 27.5, "histogram": 16.9, "boxes": 19.8}, "macro_f1",
    ),
    "relation": Asked(
        "scenes-relation", "pair-classes", True, "mean_average_precision", 64.9, 16.7, 2.2,
        {"pixels": 30.1, "histogram": 29.0, "boxes": 33.6}, "accuracy",
    ),
    "domain": Asked(
        "scenes-relation", "pair-classes", True, "mean_average_precision", 81.2, 33.3, 1.7,
        {"pixels": 51.0, "histogram": 47.8, "boxes": 55.5}, "accuracy",
    ),
    "looking": Asked(
        "scenes-looking", "track", True, "binary_mean_average_precision", 88.1, 50.0, 1.1,
        {"pixels": 62.0, "histogram": 51.3, "boxes": 54.9}, "accuracy",
    ),
    "gaze": Asked(
        "scenes-gaze", "gaze", True, "average_l2_error", 12.4, 27.6, 0.7,
        {"head-position": 21.9}, None, False,
    ),
    "kind": Asked(
        "scenes-objects", "classes", False, "accuracy", 92.7, 10.0, 0.9,
        {"pixels": 38.8, "histogram": 22.4, "boxes": 14.0}, "macro_f1",
    ),
    "colour": Asked(
        "scenes-objects", "classes", False, "accuracy", 96.9, 10.0, 0.7,
        {"pixels": 70.1, "histogram": 61.7, "boxes": 11.2}, "macro_f1",
    ),
    "backdrop": Asked(
        "scenes-objects", "classes", False, "accuracy", 97.8, 20.0, 0.6,
        {"pixels": 81.5, "histogram": 76.3, "boxes": 21.0}, "macro_f1",
    ),
}  # fmt: skip

TINY = {
    "expression": -6.1, "gesture": -3.4, "relation": -1.9, "domain": 0.2, "looking": -2.6,
    "gaze": -1.5, "kind": 2.1, "colour": -0.1, "backdrop": 0.3,
}  # fmt: skip
"""Deltas with which every verdict word occurs."""


def around(value: float, width: float) -> Estimate:
    """A value with a symmetric interval."""
    return Estimate(value=value, low=value - width, high=value + width)


def comparison(question: str, block: int, metric: str, delta: float, *, n: int) -> Comparison:
    """A comparison whose p fits its interval; shallow blocks read less and lose less."""
    asked = QUESTIONS[question]
    depth = (block + 1) / BLOCKS
    sign = 1 if asked.higher else -1
    pre = asked.chance + (asked.pre - asked.chance) * depth**0.6
    delta = delta * depth**1.5
    width = 0.0 if delta == 0 else asked.width
    right_or_wrong = metric == "accuracy"
    fixed = 40 + 3 * block
    first = metric == asked.metric
    return Comparison(
        question=question,
        block=block,
        probe="linear",
        metric=metric,
        higher_is_better=asked.higher,
        confirmatory=first and block == BLOCKS - 1,
        pre=around(pre, 2.3),
        post=around(pre + sign * delta, 2.4),
        delta=around(delta, width),
        delta_low_90=delta - 0.84 * width,
        delta_high_90=delta + 0.84 * width,
        p=1.0 if width == 0 else float(2 * norm.sf(abs(delta) / (width / 1.96))),
        p_mcnemar=0.0123 if right_or_wrong else None,
        broken=fixed - round(delta * n / 100) if right_or_wrong else None,
        fixed=fixed if right_or_wrong else None,
        n=n,
        clusters=n // 4,
        strength_pre=1.0,
        strength_post=0.1,
        selection="validation split, log-loss",
        signature=(
            f"task:scenes|rows:12ab34cd56ef|question:{question}|block:{block}|pool:region-mean"
            f"|probe:linear|select:val-log-loss|metric:{metric}|seed:0|sdiag:0.1.0"
        ),
    )


def make_record(pair: str, task: str, deltas: Mapping[str, float], **changes: object) -> RunRecord:
    """The record of one run, with the digest of the predictions that `write_run` writes."""
    questions = {name: asked for name, asked in QUESTIONS.items() if asked.task == task}
    first = next(iter(questions.values()))
    n = 1200 if first.kind != "track" else 1000
    metrics = {
        name: (asked.metric, asked.second) if asked.second else (asked.metric,)
        for name, asked in questions.items()
    }
    fields: dict[str, object] = {
        "tool_version": "0.1.0",
        "task": TaskCard(
            name=task, kind=first.kind, social=first.social,
            label_sets={} if first.kind == "gaze" else dict.fromkeys(questions, ("a", "b")),
            regions=("image",), metrics=metrics, cluster="subject",
            source="rendered scenes, seed 0",
        ),
        "pair": PairCard(
            name=pair, pre=f"{pair}:pre", post=f"{pair}:post", pre_digest="a1" * 32,
            post_digest="b2" * 32, lineage=f"The encoder {pair}, trained on inside a model.",
            source="its training record", protocol="paired-native-grid v1", imported=False,
        ),
        "splits": {
            "train": SplitCard(
                rows_digest="c3" * 32, read_digest="c3" * 32, n=1500, clusters=300, left_out={}
            ),
            "test": SplitCard(
                rows_digest="d4" * 32, read_digest="d4" * 32, n=n, clusters=n // 4,
                left_out={"box smaller than a patch": 3} if task == "scenes-gesture" else {},
            ),
        },
        "seed": 0,
        "draws": 2000,
        "baselines": tuple(
            Baseline(question=name, name=baseline, metric=asked.metric,
                     estimate=around(value, 0.0 if baseline in ("prior", "centre") else 2.1))
            for name, asked in questions.items()
            for baseline, value in (
                ("prior" if asked.higher else "centre", asked.chance), *asked.baselines.items()
            )
        ),
        "comparisons": tuple(
            comparison(name, block, metric, deltas[name], n=n)
            for name in questions
            for block in range(BLOCKS)
            for metric in metrics[name]
        ),
        "predictions_sha256": hashlib.sha256(predictions(task)).hexdigest(),
    }  # fmt: skip
    return RunRecord(**(fields | changes))


@cache
def predictions(task: str) -> bytes:
    """Predictions of the declared questions of a task: few rows, the same for every pair.

    Of them a report reads the digest, and the contrast of social and control questions.
    """
    n = 24
    rng = np.random.default_rng(0)
    ids = np.array([f"row-{i}" for i in range(n)], dtype=object)
    clusters = np.array([f"person-{i // 2}" for i in range(n)], dtype=object)
    labels = np.arange(n) % 2
    made = []
    for question, asked in QUESTIONS.items():
        if asked.task != task:
            continue
        for probe, side, wrong in (("linear", "pre", 3), ("linear", "post", 7), ("", "none", 12)):
            probe = probe or ("prior" if asked.higher else "centre")
            block = -1 if side == "none" else BLOCKS - 1
            guess = np.where(rng.permutation(n) < wrong, 1 - labels, labels)
            scores = np.eye(2, dtype=np.float32)[guess] * 0.8 + 0.1
            outcome = ClassOutcome(labels, scores)
            if not asked.higher:
                errors = np.linspace(0.5, 1.5, n) * wrong / 50
                outcome = GazeOutcome(dict.fromkeys(GAZE_METRICS, errors))
            made.append(Prediction(question, block, probe, side, ids, clusters, outcome, scores))
    return encode(made)


def write_run(results: Path, record: RunRecord, folder: str | None = None) -> Path:
    """Write a run's folder and return it."""
    place = results / (folder or f"{record.pair.name}/{record.task.name}")
    place.mkdir(parents=True)
    write_record(place / "record.json", record)
    (place / "predictions.parquet").write_bytes(predictions(record.task.name))
    return place


def write_pair(results: Path, pair: str, deltas: Mapping[str, float]) -> None:
    """Write the runs of one pair on all tasks."""
    for task in dict.fromkeys(asked.task for asked in QUESTIONS.values()):
        write_run(results, make_record(pair, task, deltas))


def write_world(results: Path) -> None:
    """Write the pair tiny, its checkpoints, another pair and the planted pairs."""
    write_pair(results, "tiny", TINY)
    write_pair(results, "tiny-frozen", {name: 0.02 * delta for name, delta in TINY.items()})
    for step in (200, 400, 800, 1600):
        grown = {name: delta * (step / 1600) ** 0.7 for name, delta in TINY.items()}
        write_pair(results, f"tiny@{step}", grown)
    nothing = dict.fromkeys(TINY, 0.0)
    write_pair(results, "identity", nothing)
    write_pair(results, "rotation", dict.fromkeys(TINY, -0.01))
    write_pair(results, "erased", nothing | {"expression": -41.0})
    write_pair(results, "folded", nothing | {"expression": -33.0})
    write_pair(results, "noise", dict.fromkeys(TINY, -25.0) | {"gaze": -11.0})


@pytest.fixture(scope="session")
def one_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the pair tiny on all tasks. Read only."""
    results = tmp_path_factory.mktemp("one") / "results"
    write_pair(results, "tiny", TINY)
    return results


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of several pairs, checkpoints and planted pairs. Read only."""
    results = tmp_path_factory.mktemp("world") / "results"
    write_world(results)
    return results


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved while a test runs, whichever module draws them."""
    figures: list[Figure] = []
    save = style.save_figure

    def keep(figure: Figure, *args: object) -> Path:
        figures.append(figure)
        return save(figure, *args)

    for name, module in list(sys.modules.items()):
        if name.startswith("reports.") and getattr(module, "save_figure", None) is save:
            monkeypatch.setattr(module, "save_figure", keep)
    return figures


@pytest.fixture
def edit_record() -> Callable[..., None]:
    """Write a record anew with other fields: `edit_record(folder, field=value)`."""

    def edit(folder: Path, **changes: object) -> None:
        path = folder / "record.json"
        content = json.loads(path.read_text(encoding="utf-8")) | changes
        del content[SEAL]
        write_record(path, RunRecord.model_validate(content))

    return edit


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """Write one run of a pair with the deltas of tiny: `make_run(results, pair, task)`."""

    def make(results: Path, pair: str, task: str, folder: str | None = None) -> Path:
        return write_run(results, make_record(pair, task, TINY), folder)

    return make


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., None]:
    """Write a pair with deltas of 0 but for those named: `make_pair(results, pair, gaze=1.0)`."""

    def make(results: Path, pair: str, **deltas: float) -> None:
        write_pair(results, pair, dict.fromkeys(TINY, 0.0) | deltas)

    return make


@pytest.fixture(scope="session")
def make_audit() -> Callable[..., AuditRecord]:
    """An audit of the rows that `make_run` reads, beside other tasks.

    `make_audit(task, {other: {"file": 3}})` says how many test rows of the task share a file with
    train of another, or of itself.
    """

    def make(
        task: str, found: Mapping[str, Mapping[str, int]] | None = None, **changes: object
    ) -> AuditRecord:
        ways = {task: {}} | dict(found or {})
        rows, digests = {"train": 1500, "test": 1200}, {"train": "c3" * 32, "test": "d4" * 32}
        whole = {
            other: {kind: own.get(kind, 0) for kind in ("file", "near", "cluster")}
            for other, own in ways.items()
        }
        fields: dict[str, object] = {
            "tool_version": "0.1.0",
            "task": task,
            "radius": 4,
            "opened": True,
            "splits": tuple(
                SplitCount(other, split, digests[split], n, n, 0, 0)
                for other in whole
                for split, n in rows.items()
            ),
            "overlaps": tuple(
                Overlap((task, "test"), (other, "train"), kind, n, 1200, n, 1200, ())
                for other, own in whole.items()
                for kind, n in own.items()
            ),
            "exposed": tuple(
                Exposed((task, "test"), other, sum(own.values()), 1200, own)
                for other, own in whole.items()
            ),
            "implied": (),
            "row_list": "",
            "kept": {},
        }
        return AuditRecord(**(fields | changes))

    return make
