"""The section on the kind of loss: words first, every number escaped, figures with their data."""

import pandas as pd
import pytest
from PIL import Image

from probes.diagnosis.records import (
    Capacity,
    CodeLength,
    CurvePoint,
    DiagnosisRecord,
    QuestionDiagnosis,
    Signal,
    TransferParts,
    TransferStep,
)
from probes.records import Estimate, Numbers, PairCard, SplitCard, TaskCard
from reports.analyses.diagnosis import WORDS, diagnosis_section, diagnosis_table


def around(value, half=1.0):
    return Estimate(value=value, low=value - half, high=value + half)


def numbers(delta):
    return Numbers(
        pre=around(90.0), post=around(90.0 + delta), delta=around(delta),
        delta_low_90=delta - 0.8, delta_high_90=delta + 0.8, p=0.01, p_mcnemar=None,
        broken=None, fixed=None, n=500, clusters=100,
    )  # fmt: skip


def diagnosis(question, word, delta, *, block=2, metric="accuracy", full=True):
    maps = ("raw", "orthogonal", "affine") if full else ("orthogonal", "affine")
    capacity = [
        Capacity(probe="logistic-l2", numbers=numbers(delta), recovered=None),
        Capacity(
            probe="mlp", numbers=numbers(delta / 2), recovered=around(50.0), spread_pre=0.1,
            spread_post=0.2, chosen_pre="decay 1", chosen_post="decay 1",
        ),
    ]  # fmt: skip
    return QuestionDiagnosis(
        question=question, block=block, metric=metric, higher_is_better=True, word=word,
        reasons=("The linear probe: −9.0 points.", "So <it> is *gone*."), identical=False,
        remains=around(60.0), capacity=tuple(capacity),
        absent={} if full else {"code": "No | classes."},
        curve=tuple(
            CurvePoint(share=s, rows=1000 * s, subsets=3, pre=around(90 - 5 / s / 100),
                       post=around(80 - 5 / s / 100), delta=around(-10.0))
            for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
        ) if full else (),
        gain_pre=around(1.0), gain_post=None,
        code=CodeLength(
            rows=1000, orders=2, uniform=2.0, pre=around(0.5, 0.1), post=around(1.0, 0.1),
            delta=around(-0.5, 0.1), total_delta=-500.0, compression_pre=4.0,
            compression_post=2.0,
        ) if full else None,
        transfer=tuple(
            TransferStep(map=name, numbers=numbers(3 * delta / (1 + k)), r2=0.5,
                         r2_class_signal=0.4 if full else None)
            for k, name in enumerate(maps)
        ),
        parts=TransferParts(rotation=None, linear_map=around(-3.0), remaining=around(-6.0)),
        signal=Signal(signal=around(0.3, 0.1), spread=around(1.4, 0.1), common=0.8, before=0.2)
        if full else None,
    )  # fmt: skip


def record(task, questions, *, refused=None, row_list=""):
    names = dict.fromkeys(one.question for one in questions)
    return DiagnosisRecord(
        tool_version="0.1.0",
        task=TaskCard(
            name=task, kind="classes", social=True, label_sets=dict.fromkeys(names, ("a", "b")),
            regions=("face",), metrics=dict.fromkeys(names, ("accuracy",)), cluster="subject",
            source="a test", row_list=row_list,
        ),
        pair=PairCard(
            name="tiny", pre="tiny:pre", post="tiny:post", pre_digest="a", post_digest="b",
            lineage="made up", source="a test", protocol="p", imported=False,
        ),
        splits={"test": SplitCard(rows_digest="c", read_digest="c", n=500, clusters=100,
                                  left_out={})},
        seed=0, draws=2000, margin=2.0, questions=tuple(questions), refused=refused or {},
        predictions_sha256="d",
    )  # fmt: skip


@pytest.fixture
def figures(tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    return folder


def test_words_come_first_and_the_figures_lie_beside_their_numbers(figures):
    records = [
        record("faces", [diagnosis("mood", "gone", -9.0)]),
        record("hands", [diagnosis("sign|ed", "rotated", 0.5, full=False)],
               refused={"age at block 2": "Question age: too few rows."}),
    ]  # fmt: skip
    text = diagnosis_section(records, figures, {"Software": "sdiag"})
    lines = text.splitlines()
    assert lines[2].startswith("| mood | **gone** | The linear probe")
    assert "&lt;it&gt; is \\*gone\\*" in lines[2]
    assert lines[3].startswith("| sign\\|ed | **rotated** |")
    assert f"*gone*: {WORDS['gone']}" in text
    assert WORDS["faded"] not in text
    assert "age: too few rows" in text
    assert "code: No \\| classes." in text or "code: No | classes." in text
    numbers = pd.read_csv(figures / "diagnosis-numbers-tiny.csv")
    own = numbers[numbers.question == "mood"].set_index(["of", "number"])
    assert own.loc[("scatter after over before", "between classes"), "low"] == pytest.approx(0.2)
    assert own.loc[("code length", "compression, post"), "value"] == 2
    assert own.loc[("logistic-l2", "delta"), "value"] == -9
    for name in ("diagnosis-tiny", "samples-tiny"):
        assert f"(figures/{name}.png)" in text
        with Image.open(figures / f"{name}.png") as picture:
            assert picture.info["Software"] == "sdiag"
    losses = pd.read_csv(figures / "diagnosis-tiny.csv")
    mood = losses[losses.question == "mood"].set_index("probe")
    assert mood.delta.to_dict() == {
        "linear": -9.0, "MLP": -4.5, "old probe, as they are": -27.0,
        "old probe, rotated": -13.5, "old probe, mapped linearly": -9.0,
    }  # fmt: skip
    assert "old probe, as they are" not in set(losses[losses.question == "sign|ed"].probe)
    samples = pd.read_csv(figures / "samples-tiny.csv")
    assert samples.share.tolist() == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    assert set(samples.question) == {"mood"}


def test_tasks_rows_and_blocks_are_named_where_they_are_needed(figures):
    twice = [diagnosis("mood", "faded", -9.0, block=block, full=False) for block in (1, 2)]
    records = [record("faces", twice), record("hands", [twice[1]], row_list="clean")]
    text = diagnosis_section(records, figures, {})
    for label in ("mood (faces), block 1", "mood (faces), block 2", "mood (hands@clean)"):
        assert f"| {label} |" in text
    assert not (figures / "samples-tiny.png").exists()


def test_the_same_records_give_the_same_bytes(figures):
    records = [record("faces", [diagnosis("mood", "gone", -9.0)])]
    first = diagnosis_section(records, figures, {})
    bytes_ = (figures / "diagnosis-tiny.png").read_bytes()
    assert diagnosis_section(records, figures, {}) == first
    assert (figures / "diagnosis-tiny.png").read_bytes() == bytes_


def test_without_records_there_is_no_section(figures):
    assert diagnosis_section([], figures, {}) == ""
    assert not list(figures.iterdir())


def test_the_terminal_table_has_one_row_a_question():
    table = diagnosis_table([record("faces", [diagnosis("mood", "gone", -9.0)])])
    (row,) = table.to_dict(orient="records")
    assert (row["pair"], row["question"], row["diagnosis"]) == ("tiny", "mood", "gone")
    assert row["linear delta"] == "−9.0 [−10.0, −8.0]"
    assert row["MLP has back"] == "50 % [49, 51]"
