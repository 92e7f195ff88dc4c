"""Plausible records of trained models, made up: nothing was trained for them."""

import hashlib
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from probes.conflict.records import Interval
from probes.metrics import GAZE_METRICS, ClassOutcome, GazeOutcome
from probes.predictions import encode
from probes.questions import Prediction
from probes.records import Estimate, SplitCard, TaskCard
from socialfusion.records import (
    FrozenDigests,
    FusionEncoder,
    FusionRecord,
    FusionSettings,
    LanguageModelCard,
    LossPoint,
    QuestionRows,
    Score,
    Stop,
    Trained,
    ValidationPoint,
    run_folder,
    write_fusion,
)
from socialfusion.transfer.against_conflict import AgainstRecord, Comparison, PairPoint
from socialfusion.transfer.counted import is_counted
from socialfusion.transfer.effects import count
from socialfusion.transfer.records import (
    AblationRecord,
    Effect,
    RunCard,
    Setting,
    TransferRecord,
    VariantCard,
    Word,
)

QUESTIONS = {
    "scenes-expression/expression": ("accuracy", "macro_f1"),
    "scenes-gesture/gesture": ("accuracy", "macro_f1"),
    "scenes-gaze/gaze": ("average_l2_error", "minimum_l2_error", "auc_score"),
    "scenes-relation/relation": ("mean_average_precision", "accuracy"),
    "scenes-relation/domain": ("mean_average_precision", "accuracy"),
    "scenes-looking/looking": ("binary_mean_average_precision", "accuracy"),
}
TASKS = tuple(dict.fromkeys(label.partition("/")[0] for label in QUESTIONS))
ROWS = 12
CHANCE = 16.7
ENCODER, LANGUAGE = "a1" * 32, "e5" * 32
"""Digests; the encoder's is that of the side before of the pairs in `tests/reports/conftest.py`."""


def is_error(metric: str) -> bool:
    return metric.endswith("error")


def settings_of(tasks: Sequence[str] = TASKS, **changes: object) -> FusionSettings:
    plain: dict[str, object] = {
        "encoder": "tiny:pre", "tasks": tuple(tasks), "language_model": "tiny", "steps": 40,
    }  # fmt: skip
    return FusionSettings(**(plain | changes))


def asked_of(tasks: Sequence[str]) -> list[str]:
    return [label for label in QUESTIONS if label.partition("/")[0] in tasks]


def predictions_of(labels: Sequence[str]) -> bytes:
    """A few predictions of each question, the same of every run."""
    rng = np.random.default_rng(0)
    ids = np.array([f"row-{i}" for i in range(ROWS)], dtype=object)
    made = []
    for label in labels:
        scores = rng.dirichlet(np.ones(2), ROWS).astype(np.float32)
        outcome = ClassOutcome(np.arange(ROWS) % 2, scores)
        if "gaze" in label:
            outcome = GazeOutcome(dict.fromkeys(GAZE_METRICS, np.linspace(0.1, 0.4, ROWS)))
        made.append(Prediction(label, 2, "socialfusion", "pre", ids, ids, outcome, scores))
    return encode(made)


def make_run_record(
    run: str, tasks: Sequence[str] = TASKS, *, seed: int = 0, **changes: object
) -> FusionRecord:
    """A run of SocialFusion."""
    labels = asked_of(tasks)
    cards = {
        task: TaskCard(
            name=task, kind="classes", social=True, label_sets={}, regions=("face",),
            metrics={label.partition("/")[2]: QUESTIONS[label] for label in asked_of([task])},
            cluster="subject", source="made up",
        )
        for task in tasks
    }  # fmt: skip
    steps = range(4, 44, 4)
    fields: dict[str, object] = {
        "tool_version": "0.1.0",
        "run": run,
        "settings": settings_of(tasks, seed=seed),
        "encoder": FusionEncoder(
            name="tiny:pre", digest=ENCODER, pair="tiny", side="pre", block=5, grid=(8, 8),
            width=96, protocol="paired-native-grid v1",
        ),
        "language_model": LanguageModelCard(name="tiny", digest=LANGUAGE),
        "tasks": cards,
        "splits": {
            task: {"test": SplitCard(rows_digest="d4" * 32, read_digest="d4" * 32, n=1200,
                                     clusters=300, left_out={})}
            for task in tasks
        },
        "questions": tuple(
            QuestionRows(
                label=label, task=label.partition("/")[0], name=label.partition("/")[2],
                kind="gaze" if "gaze" in label else "classes", social=True, prompt="what is it",
                classes=() if "gaze" in label else ("a", "b"), metrics=QUESTIONS[label],
                train=1500, validation=300, test=1200, splits=("train", "val", "test"),
                rows_digest="f6" * 32,
            )
            for label in labels
        ),
        "steps_run": 40,
        "samples_seen": dict.fromkeys(labels, 640),
        "seconds": 12.5,
        "losses": tuple(
            LossPoint(
                step=step, learning_rate=1e-3, gradient_norm=1.0,
                losses={
                    label: (2 + i) * np.exp(-step / (18 + 3 * len(tasks))) + 0.6 + 0.05 * seed
                    for i, label in enumerate(labels)
                },
            )
            for step in steps
        ),
        "validation": tuple(
            ValidationPoint(
                step=step,
                losses={label: 1.1 + 3.2 * i / step for i, label in enumerate(labels)},
                scores=dict.fromkeys(labels, 0.5),
            )
            for step in (20, 40)
        ),
        "stops": {label: Stop(step=40, reason="budget used up") for label in labels},
        "trained": Trained(
            parameters={"connector": 74208, "lora": 29184}, digest="b7" * 32, step=40,
            rule="last step",
        ),
        "frozen": FrozenDigests(
            language_model_before=LANGUAGE, language_model_after=LANGUAGE,
            encoder_before=ENCODER, encoder_after=ENCODER,
        ),
        "scores": tuple(
            Score(
                question=label, metric=metric, higher_is_better=not is_error(metric),
                estimate=Estimate(value=52.0, low=49.0, high=55.0), n=1200, clusters=300,
                chance=CHANCE, signature=f"task={label}|metric={metric}",
            )
            for label in labels
            for metric in QUESTIONS[label]
        ),
        "undefined": {},
        "predictions_sha256": hashlib.sha256(predictions_of(labels)).hexdigest(),
    }  # fmt: skip
    return FusionRecord(**(fields | changes))


def write_run_record(results: Path, record: FusionRecord) -> Path:
    folder = run_folder(results, record.run)
    folder.mkdir(parents=True)
    write_fusion(folder, record, predictions_of(asked_of(record.settings.tasks)))
    return folder


def card_of(record: FusionRecord) -> RunCard:
    return RunCard(
        run=record.run, tasks=record.settings.tasks, seed=record.settings.seed,
        steps_run=record.steps_run, samples_seen=record.samples_seen, seconds=record.seconds,
        predictions_sha256=record.predictions_sha256,
    )  # fmt: skip


def make_effect(
    label: str, metric: str, value: float, *, width: float = 2.0, seeds: int = 3, margin: float = 2
) -> Effect:
    """A change with a symmetric interval and the word that it has."""
    low, high = value - width, value + width
    word: Word = "undecided"
    if seeds < 3:
        word = "not judged"
    elif abs(value) + 0.8 * width <= margin:
        word = "equivalent"
    elif abs(value) > width:
        word = "improved" if value > 0 else "degraded"
    task, _, name = label.partition("/")
    first = QUESTIONS.get(label, (metric,))[0]
    sign = -1 if is_error(metric) else 1
    return Effect(
        question=label, metric=metric, declared=metric == first,
        counted=is_counted(task, name, metric, first), before=50.0, after=50.0 + sign * value,
        change=Estimate(value=value, low=low, high=high),
        by_seed=tuple(value + offset for offset in (-0.7, 0.7, 0.0)[:seeds]), se=width / 2,
        dof=40.0, low_90=value - 0.8 * width, high_90=value + 0.8 * width, p=0.03, p_adjusted=0.04,
        sampling=0.4, training=0.5 if seeds > 2 else None, relative=value * 2, n=1200,
        clusters=300, word=word,
        warning="" if seeds > 2 else f"{seeds} training seed: the interval is of test rows alone",
    )  # fmt: skip


def make_effects(
    tasks: Sequence[str] = TASKS, *, shift: float = 0.0, seeds: int = 3, skip: str = ""
) -> tuple[Effect, ...]:
    """Every metric of the tasks, with changes from -5 to 6 that differ."""
    found = []
    for label in asked_of([task for task in tasks if task != skip]):
        for metric in QUESTIONS[label]:
            place = hashlib.sha256(f"{label}{metric}{shift}".encode()).digest()[0]
            found.append(make_effect(label, metric, -5 + 11 * place / 255, seeds=seeds))
    return tuple(found)


def make_variant(
    name: str = "equal-samples",
    tasks: Sequence[str] = TASKS,
    *,
    runs: Sequence[FusionRecord] = (),
    pairwise: bool = True,
    seeds: int = 3,
    shift: float = 0.0,
) -> VariantCard:
    """One way to compare."""
    joint = make_effects(tasks, shift=shift, seeds=seeds)
    pairs = {
        task: make_effects(tasks, shift=shift + i + 1, seeds=seeds, skip=task)
        for i, task in enumerate(tasks)
    }
    return VariantCard(
        name=name, budget="total" if "steps" in name else "per-task",
        row_list=name.partition("@")[2], runs=tuple(map(card_of, runs)), joint=joint,
        count=count(joint), pairwise=pairs if pairwise else {}, undefined={},
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_transfer() -> Callable[..., TransferRecord]:
    """A transfer record: of all tasks, or of fewer, by seeds and variants."""

    def make(
        name: str = "tiny",
        tasks: Sequence[str] = TASKS,
        *,
        variants: Sequence[VariantCard] | None = None,
        seeds: int = 3,
        **changes: object,
    ) -> TransferRecord:
        if variants is None:
            variants = (make_variant(tasks=tasks, seeds=seeds),)
        fields: dict[str, object] = {
            "tool_version": "0.1.0", "name": name, "settings": settings_of(tasks),
            "tasks": tuple(tasks), "encoder_digest": ENCODER, "language_model_digest": LANGUAGE,
            "seeds": tuple(range(seeds)), "margin": 2.0, "variants": tuple(variants),
            "signature": "transfer|made up",
        }  # fmt: skip
        return TransferRecord(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def make_ablation() -> Callable[..., AblationRecord]:
    """An ablation of the encoder and of the depth, as if both were one."""

    def make(name: str = "encoder", *, seeds: int = 3) -> AblationRecord:
        runs = (make_run_record("reference"),)
        return AblationRecord(
            tool_version="0.1.0", name=name, settings=settings_of(), reference="encoder tiny:pre",
            runs=tuple(map(card_of, runs)), trained=103_392, seeds=tuple(range(seeds)), margin=2.0,
            ablated=tuple(
                Setting(
                    label=label, changes={"encoder": label}, runs=(), trained=trained,
                    effects=make_effects(shift=shift, seeds=seeds), undefined={},
                )
                for label, trained, shift in (
                    ("encoder tiny:post", 103_392, 0.5), ("connector depth 1", 30_000, 0.6)
                )
            ),
            signature="ablation|made up",
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def make_against() -> Callable[..., AgainstRecord]:
    """Conflict against transfer of every two tasks, on one side or more."""

    def make(sides: Sequence[str] = ("pre",), tasks: Sequence[str] = TASKS) -> AgainstRecord:
        rng = np.random.default_rng(1)
        comparisons = []
        for side in sides:
            points = []
            for first, second in combinations(tasks, 2):
                there, back = (float(x) for x in rng.normal(0, 4, 2))
                points.append(
                    PairPoint(
                        first=first,
                        second=second,
                        gcd=1 - (there + back) / 20 + rng.normal() / 9,
                        transfer=(there + back) / 2,
                        to_first=there,
                        to_second=back,
                    )
                )
            wide = len(tasks) > 4
            comparisons.append(
                Comparison(
                    side=side,
                    part="all",
                    transfer="joint-of-5",
                    variant="equal-samples",
                    tasks=tuple(tasks),
                    pairs=tuple(points),
                    rho=Interval(
                        value=-0.62, low=-1.1 if wide else None, high=-0.1 if wide else None
                    ),
                    p=0.05,
                    relabellings=120,
                    exact=True,
                    left_out={"a <b>": "too few rows"},
                )
            )
        return AgainstRecord(
            tool_version="0",
            model="tiny",
            definition="d",
            comparisons=tuple(comparisons),
            undefined={},
        )

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with the runs of two tasks alone and together, by two seeds. Read only."""
    results = tmp_path_factory.mktemp("trained") / "results"
    for record in runs_of_two():
        write_run_record(results, record)
    return results


def runs_of_two() -> list[FusionRecord]:
    """Gesture and gaze alone and together, by two seeds."""
    two = ("scenes-gesture", "scenes-gaze")
    return [
        make_run_record(f"{name}-{seed}", tasks, seed=seed)
        for seed in range(2)
        for name, tasks in (("gesture", two[:1]), ("gaze", two[1:]), ("both", two))
    ]


@pytest.fixture(scope="session")
def make_card() -> Callable[..., VariantCard]:
    """A variant, see `make_variant`."""
    return make_variant


@pytest.fixture(scope="session")
def two_runs() -> list[FusionRecord]:
    """See `runs_of_two`."""
    return runs_of_two()


@pytest.fixture(scope="session")
def make_fusion() -> Callable[..., FusionRecord]:
    """A run, see `make_run_record`."""
    return make_run_record
