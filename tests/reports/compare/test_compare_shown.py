"""What is shown of two runs beside the scores: words, numbers, and changes on the same batches."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from degradation.errors import CacheError, ConfigError, DataError
from probes.conflict.changes import changes
from probes.conflict.numbers import numbers_of
from probes.conflict.products import Products, write_products
from probes.conflict.records import ConflictRecord, QuestionCard, SideRecord, write_conflict
from probes.conflict.simulation import noisy_gradients, products_of
from probes.diagnosis.records import DiagnosisRecord, QuestionDiagnosis, TransferParts
from probes.drift.records import DriftRecord, Number, Similarity
from probes.records import Estimate, PairCard, SplitCard, TaskCard
from probes.runs import write_analysis
from reports.compare.compare import compare_runs
from reports.compare.text import comparison_text
from socialfusion.records import FusionSettings
from socialfusion.transfer.records import (
    AblationRecord,
    Count,
    Effect,
    Setting,
    TransferRecord,
    VariantCard,
    write_ablation,
    write_transfer,
)

BATCHES = 24
PAIR = PairCard(
    name="own", pre="a", post="b", pre_digest="a1", post_digest="b2", lineage="", source="",
    protocol="p", imported=False,
)  # fmt: skip
TASK = TaskCard(
    name="moods", kind="classes", social=True, label_sets={"mood": ("calm", "cross")},
    regions=("face",), metrics={"mood": ("accuracy",)}, cluster="subject", source="",
)  # fmt: skip
ABOUT = {
    "tool_version": "1", "task": TASK, "pair": PAIR, "seed": 0,
    "splits": {"test": SplitCard(rows_digest="d4", read_digest="d4", n=90, clusters=30,
                                 left_out={})},
}  # fmt: skip
TRAINED = FusionSettings(encoder="tiny:pre", tasks=("moods",), language_model="tiny", steps=40)


def gradients(cosine: float) -> Products:
    """Of two questions, under the same noise whatever their cosine."""
    rng = np.random.default_rng(0)
    return products_of(noisy_gradients(cosine, (1.0, 1.0), BATCHES, rng=rng), leaves=3)


def write_gradients(folder: Path, products: Products, path: str = "", **fields: object) -> None:
    """The record of gradient conflict whose only side has these products, named with a path."""
    folder.mkdir(parents=True)
    name = "gcd-products-pre.h5"
    write_products(products, folder / name)
    side = SideRecord(
        name="pre", labels="own", model="a", digest="a1", step=None, products=path + name,
        products_sha256=hashlib.sha256((folder / name).read_bytes()).hexdigest(), heads=(),
        signature="s", **numbers_of(products, batch_size=8, seed=0, draws=0),
    )  # fmt: skip
    questions = tuple(
        QuestionCard(
            label=label, task="t", question=label, social=True, kind="classes", block=2, n=9,
            clusters=9, available=9, rows_digest="d",
        )
        for label in products.tasks
    )  # fmt: skip
    plain: dict[str, object] = {
        "tool_version": "1", "pair": PAIR, "model": "own", "definition": "d", "reduction": "r",
        "parameters": "encoder", "split": "train", "row_list": "", "batch_size": 8,
        "batches": BATCHES, "batches_asked": BATCHES, "arithmetic": "float32", "exact": True,
        "sketch": 0, "preconditioner": "none", "seed": 0, "draws": 0, "questions": questions,
        "sides": (side,), "changes": (),
    }  # fmt: skip
    write_conflict(folder, ConflictRecord(**(plain | fields)))


@pytest.fixture
def aligned(tmp_path: Path) -> Path:
    write_gradients(tmp_path / "then" / "own", gradients(0.9))
    return tmp_path / "then"


def test_a_cosine_on_the_same_batches_changes_as_in_one_record(
    aligned: Path, tmp_path: Path
) -> None:
    write_gradients(tmp_path / "now" / "own", gradients(-0.9))
    (shown,) = compare_runs(aligned, tmp_path / "now").shown
    assert (shown.kind, shown.name, shown.where) == ("conflict", "own", "pre")
    assert shown.questions == ("task 0", "task 1")
    assert shown.words == ("aligned", "conflict")
    (whole,) = (one.cosine for one in changes(gradients(0.9), gradients(-0.9)) if one.part == "all")
    for end in ("value", "low", "high"):
        assert getattr(shown.change, end) == pytest.approx(getattr(whole, end))
    assert shown.change.value == pytest.approx(shown.second.value - shown.first.value)


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"batches": BATCHES + 1}, "batches"), ({"parameters": "blocks:1"}, "parameters")],
)
def test_other_batches_or_parameters_have_no_change(
    fields: dict[str, object], name: str, aligned: Path, tmp_path: Path
) -> None:
    write_gradients(tmp_path / "now" / "own", gradients(0.1), **fields)
    found = compare_runs(aligned, tmp_path / "now")
    assert [one.change for one in found.shown] == [None]
    assert name in [one.name for one in found.settings]


def test_products_that_are_not_those_of_the_record_are_refused(
    aligned: Path, tmp_path: Path
) -> None:
    write_gradients(tmp_path / "now" / "own", gradients(0.1))
    path = tmp_path / "now" / "own" / "gcd-products-pre.h5"
    write_products(gradients(0.9), path)
    with pytest.raises(DataError, match="not the file"):
        compare_runs(aligned, tmp_path / "now")
    path.unlink()
    with pytest.raises(CacheError, match="no such file"):
        compare_runs(aligned, tmp_path / "now")


def test_products_are_read_beside_the_record_only(aligned: Path, tmp_path: Path) -> None:
    write_gradients(tmp_path / "now" / "own", gradients(0.1), path="../../then/own/")
    assert compare_runs(aligned, tmp_path / "now").shown[0].change.value < 0


def test_a_gate_without_scores_is_refused(aligned: Path) -> None:
    with pytest.raises(ConfigError, match=r"scores below .*found conflict \(own\)"):
        compare_runs(aligned, aligned, max_drop=2.0)


def around(value: float, width: float = 1.0) -> Estimate:
    return Estimate(value=value, low=value - width, high=value + width)


def diagnosed(folder: Path, word: str, remains: float | None) -> None:
    question = QuestionDiagnosis(
        question="mood", block=2, metric="accuracy", higher_is_better=True, word=word, reasons=(),
        identical=False, remains=None if remains is None else around(remains), capacity=(),
        absent={}, curve=(), gain_pre=None, gain_post=None, code=None, transfer=(),
        parts=TransferParts(rotation=None, linear_map=None, remaining=None), signal=None,
    )  # fmt: skip
    record = DiagnosisRecord(
        **ABOUT, draws=100, margin=2.0, questions=(question,), refused={}, predictions_sha256="d"
    )
    write_analysis(folder / "own" / "moods", "diagnose", record)


def drifted(folder: Path, block: int, alike: float) -> None:
    similarities = tuple(
        Similarity(
            measure="linear_cka", block=at, n=90, null=0.0, null_best=0.1, halves=None,
            number=Number(value=alike, low=alike - 0.01, high=alike + 0.01),
        )
        for at in (0, block)
    )  # fmt: skip
    record = DriftRecord(
        **ABOUT, measured=("test",), regions=("face",), n=90, clusters=30, left_out={},
        block=block, row_cap=90, n_capped=90, groups=10, shuffles=3, neighbours=5, bandwidth=1.0,
        identical=(), similarities=similarities, shapes=(), curves=(), maps=(), missing=(),
        signature="s",
    )  # fmt: skip
    write_analysis(folder / "own" / "moods", "drift", record)


def test_words_of_diagnoses_and_numbers_of_drift(tmp_path: Path) -> None:
    for name, word, remains, alike in (("then", "faded", 60.0, 0.9), ("now", "gone", None, 0.5)):
        diagnosed(tmp_path / name, word, remains)
        drifted(tmp_path / name, 2, alike)
    found = compare_runs(tmp_path / "then", tmp_path / "now")
    diagnosis, drift = found.shown
    assert (diagnosis.questions, diagnosis.words) == (("moods/mood",), ("faded", "gone"))
    assert (diagnosis.first.value, diagnosis.second) == (60, None)
    assert (drift.measure, drift.first.value, drift.second.value) == (
        "linear CKA, unbiased", 0.9, 0.5,
    )  # fmt: skip
    text = comparison_text(found)
    assert "faded → gone" in text
    assert "1 of 1 words changed." in text
    assert "0.900 [0.890, 0.910] 0.500 [0.490, 0.510]" in text
    same = comparison_text(compare_runs(tmp_path / "then", tmp_path / "then"))
    assert "All settings are the same." in same
    assert same.count("Exactly the same, and only in --json: 1.") == 2


def test_an_analysis_that_only_one_run_has_is_named(tmp_path: Path) -> None:
    diagnosed(tmp_path / "then", "faded", 60.0)
    drifted(tmp_path / "then", 2, 0.9)
    drifted(tmp_path / "now", 2, 0.9)
    found = compare_runs(tmp_path / "then", tmp_path / "now")
    assert found.unshown == ("diagnosis of own on moods: the second has none",)
    assert compare_runs(tmp_path / "now", tmp_path / "then").new == ("diagnosis of own on moods",)


def effect(metric: str, value: float, word: str) -> Effect:
    return Effect(
        question="moods/mood", metric=metric, declared=metric == "accuracy", counted=True,
        before=50.0, after=50.0 + value, change=around(value), by_seed=(value,), se=0.5, dof=9.0,
        low_90=value - 0.8, high_90=value + 0.8, p=0.5, p_adjusted=0.5, sampling=0.5, training=0.1,
        relative=None, n=90, clusters=30, word=word,
    )  # fmt: skip


def trained(folder: Path, value: float, word: str, seeds: tuple[int, ...]) -> None:
    """A transfer and an ablation with this effect on accuracy, and always the same on F1."""
    effects = (effect("accuracy", value, word), effect("macro_f1", 1.0, "equivalent"))
    count = Count(of=2, positive=2, negative=0, surely_positive=0, surely_negative=0, metrics=())
    variant = VariantCard(
        name="equal-samples", budget="per-task", row_list="", runs=(), joint=effects, count=count,
        pairwise={"a-gaze": effects[:1]}, undefined={},
    )  # fmt: skip
    common = {
        "tool_version": "1", "name": "tiny-pre", "settings": TRAINED, "seeds": seeds, "margin": 2.0,
        "signature": "s",
    }  # fmt: skip
    write_transfer(folder, TransferRecord(
        **common, tasks=("moods",), encoder_digest="e", language_model_digest="l",
        variants=(variant,),
    ))  # fmt: skip
    setting = Setting(
        label="depth 1", changes={"connector_depth": 1}, runs=(), trained=9, effects=effects,
        undefined={},
    )  # fmt: skip
    write_ablation(folder, AblationRecord(
        **common, reference="depth 3", runs=(), trained=9, ablated=(setting,)
    ))  # fmt: skip


def test_effects_of_training_stand_side_by_side(tmp_path: Path) -> None:
    trained(tmp_path / "then", 5.0, "improved", (0, 1, 2))
    trained(tmp_path / "now", 1.0, "undecided", (0, 1))
    found = compare_runs(tmp_path / "then", tmp_path / "now")
    told = {(one.kind, one.where, one.measure): one for one in found.shown}
    assert list(told) == [
        ("transfer", "equal samples, all together", "accuracy"),
        ("transfer", "equal samples, all together", "macro F1"),
        ("transfer", "equal samples, with a-gaze", "accuracy"),
        ("ablation", "depth 1", "accuracy"),
        ("ablation", "depth 1", "macro F1"),
    ]
    joint = told["transfer", "equal samples, all together", "accuracy"]
    assert (joint.first.value, joint.second.low, joint.second.high) == (5.0, 0.0, 2.0)
    assert joint.words == ("improved", "undecided")
    assert [(one.name, one.where) for one in found.settings] == [
        ("seeds", ("ablation of tiny-pre", "transfer of tiny-pre"))
    ]
    text = comparison_text(found)
    assert "+5.0 [+4.0, +6.0] +1.0 [0.0, +2.0] improved → undecided" in text
    assert "2 of 3 words changed." in text
    assert "Exactly the same, and only in --json: 1." in text


def test_kinds_that_do_not_meet_are_refused(aligned: Path, tmp_path: Path) -> None:
    trained(tmp_path / "now", 1.0, "undecided", (0,))
    with pytest.raises(ConfigError) as refused:
        compare_runs(aligned, tmp_path / "now")
    assert "found conflict (own) and transfer (tiny-pre), ablation (tiny-pre)" in str(refused.value)
