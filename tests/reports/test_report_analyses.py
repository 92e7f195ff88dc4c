"""Further analyses in the report: each under its heading, none mixed with a run it is not of."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from degradation.errors import ConfigError, DataError
from probes.diagnosis.records import (
    Capacity,
    DiagnosisRecord,
    QuestionDiagnosis,
    TransferParts,
    TransferStep,
)
from probes.drift.records import BlockMap, DriftRecord
from probes.record_files import write_record
from probes.records import Estimate, Numbers, RunRecord
from probes.runs import read_run, write_analysis
from probes.slices.records import Slice, SlicesRecord, WhereRecord
from probes.statistics.contrast import social_contrast
from reports import style
from reports.load import load_results, read_records
from reports.report import ReportSummary, write_report
from reports.sentences import incomplete
from reports.verdicts.contrast import contrast_sentence

TASKS = ("scenes-expression", "scenes-objects")
OWN = ("task", "pair", "splits", "seed", "tool_version")


def around(value: float) -> Estimate:
    return Estimate(value=value, low=value - 1, high=value + 1)


def same(run: RunRecord) -> dict[str, object]:
    """What an analysis says of its task, pair and rows."""
    return {name: getattr(run, name) for name in OWN}


def drift_of(run: RunRecord) -> DriftRecord:
    one = BlockMap(measure="linear_cka", sides="pre-post", blocks=(0, 5), n=9,
                   values=((0.9, 0.4), (0.4, 0.8)), low=((0.8, 0.3), (0.3, 0.7)),
                   high=((1.0, 0.5), (0.5, 0.9)))  # fmt: skip
    return DriftRecord(
        **same(run), measured=("test",), regions=("image",), n=9, clusters=3, left_out={}, block=5,
        row_cap=9, n_capped=9, groups=3, shuffles=1, neighbours=2, bandwidth=1.0, identical=(),
        similarities=(), shapes=(), curves=(), maps=(one,), missing=(), signature="task=made-up",
    )  # fmt: skip


def diagnosis_of(run: RunRecord, word: str = "faded", margin: float = 2.0) -> DiagnosisRecord:
    numbers = Numbers(
        pre=around(90), post=around(80), delta=around(-10), delta_low_90=-10.8, delta_high_90=-9.2,
        p=0.01, p_mcnemar=None, broken=None, fixed=None, n=9, clusters=3,
    )  # fmt: skip
    question = QuestionDiagnosis(
        question="expression", block=5, metric="accuracy", higher_is_better=True, word=word,
        reasons=("Because.",), identical=False, remains=None,
        capacity=(Capacity(probe="logistic-l2", numbers=numbers, recovered=None),), absent={},
        curve=(), gain_pre=None, gain_post=None, code=None,
        transfer=tuple(TransferStep(map=name, numbers=numbers, r2=0.5, r2_class_signal=None)
                       for name in ("raw", "orthogonal", "affine")),
        parts=TransferParts(rotation=None, linear_map=None, remaining=None), signal=None,
    )  # fmt: skip
    return DiagnosisRecord(
        **same(run), draws=9, margin=margin, questions=(question,), refused={},
        predictions_sha256="",
    )  # fmt: skip


def slices_of(run: RunRecord) -> SlicesRecord:
    one = Slice(question="expression", attribute="light", value="dim <i>", metric="accuracy", n=9,
                clusters=3, bounds=None, pre=around(90), post=around(80), delta=around(-10), se=0.5,
                p=0.01, shrunken=None)  # fmt: skip
    return SlicesRecord(
        **same(run), draws=9, predictions_sha256=run.predictions_sha256, blocks={"expression": 5},
        overall={"expression": around(-10)}, slices=(one,), attributes=(), refused=(),
    )  # fmt: skip


def where_of(run: RunRecord) -> WhereRecord:
    return WhereRecord(
        **same(run), block=5, grid=(2, 2), tokens_a_picture=1, probes=(), regions=(), maps=(),
        undefined={"expression": "no tokens"},
    )  # fmt: skip


MADE = {"diagnose": diagnosis_of, "drift": drift_of, "slices": slices_of, "where": where_of}


def write_all(folder: Path) -> None:
    run = read_run(folder)
    for name, make in MADE.items():
        write_analysis(folder, name, make(run))


def with_best_block(run: RunRecord) -> RunRecord:
    """Read at blocks 2 and 4 as well; with few clusters."""
    declared = next(one for one in run.comparisons if one.confirmatory)
    best = declared.model_copy(
        update={
            "block": -1, "probe": "linear/best-block", "blocks_chosen": (2, 4),
            "confirmatory": False, "delta": around(7.0), "signature": "the best blocks",
        }
    )  # fmt: skip
    few = {"warning": "only <9> clusters", "interval": "cluster jackknife, t", "p_permutation": 0.5,
           "se": 0.5, "dof": 8.0, "bca_low": -7.0}  # fmt: skip
    changed = [one.model_copy(update=few) if one.confirmatory else one for one in run.comparisons]
    return run.model_copy(update={"comparisons": (*changed, best)})


@pytest.fixture(scope="module")
def coarse() -> None:
    """Few pixels: what is tested here is the text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DPI", 25)
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    """A social run with every analysis, and a control run. Read only."""
    folder = tmp_path_factory.mktemp("analyses") / "results"
    for task in TASKS:
        make_run(folder, "tiny", task)
    social = folder / "tiny" / TASKS[0]
    record = with_best_block(read_run(social))
    write_record(social / "record.json", record)
    write_all(social)
    return folder


@pytest.fixture(scope="module")
def full(coarse: None, results: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportSummary:
    return write_report(results / "tiny", tmp_path_factory.mktemp("full") / "out")


def headings(text: str) -> list[str]:
    return re.findall(r"^##+ (.*)$", text, flags=re.MULTILINE)


def test_one_account_verdicts_first(full: ReportSummary, results: Path) -> None:
    text = full.path.read_text(encoding="utf-8")
    assert full.incomplete == ()
    assert headings(text)[:9] == [
        "Verdicts", "Social against control questions", "Which kind of loss",
        "Which explanation", "How far the features moved", "Against reading without the encoder",
        "Other ways to read the same features", "Broken and fixed", "On which rows",
    ]  # fmt: skip
    assert "Where in the picture" in headings(text)
    (found,) = social_contrast(results, read_records(results))
    summary = text.split("\n\n")[3]
    assert summary == f"{contrast_sentence(found)} The kind of loss, in a word each: " \
        "expression *faded*."  # fmt: skip
    for name in MADE:
        assert f"| `sdiag {name}` | `tiny` | `scenes-expression` | 0 | 0.1.0 |" in text
    assert "dim &lt;i&gt;" in text
    assert "<i>" not in text
    pictures = set(re.findall(r"\]\((figures/[^)]+\.png)\)", text))
    assert {f"figures/{p.name}" for p in full.path.parent.glob("figures/*.png")} == pictures


def test_few_clusters_and_both_methods_of_intervals_are_named(full: ReportSummary) -> None:
    text = full.path.read_text(encoding="utf-8")
    assert "- **Careful** with expression: only &lt;9&gt; clusters." in text
    assert "Student's t on the jackknife over clusters (how often it covers" in text
    assert "or paired cluster bootstrap, percentile" in text
    numbers = pd.read_csv(full.path.with_name("numbers.csv")).set_index("question")
    row = numbers[numbers.confirmatory].loc["expression"]
    assert (row.p_permutation, row.bca_low, row.interval) == (0.5, -7.0, "cluster jackknife, t")
    assert row.p_equivalence > 0.9  # 4 points beyond the margin, by a standard error of 0.5
    assert (
        numbers[numbers.confirmatory].loc["kind"].isna()[["p_permutation", "p_equivalence"]].all()
    )


def test_the_best_blocks_stand_with_the_arms_only(full: ReportSummary) -> None:
    text = full.path.read_text(encoding="utf-8")
    section = text.split("## Other ways to read")[1].split("\n## ")[0]
    (row,) = (line for line in section.splitlines() if "| best-block |" in line)
    assert "| 2 → 4 |" in row
    assert row.endswith("| **no** |")
    assert "*best-block* reads each side at a block of its own" in section
    assert "best-block" not in text.replace(section, "")
    for path in full.path.parent.glob("figures/*.csv"):
        assert "best-block" not in path.read_text(encoding="utf-8")
    numbers = pd.read_csv(full.path.with_name("numbers.csv"))
    (best,) = numbers[numbers.block == -1].itertuples()
    assert (best.block_pre, best.block_post, best.confirmatory) == (2, 4, False)


def test_runs_without_analyses_have_no_heading_for_them(
    coarse: None, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    make_run(tmp_path / "r", "tiny", TASKS[1])
    text = write_report(tmp_path / "r", tmp_path / "out").path.read_text(encoding="utf-8")
    assert headings(text) == [
        "Verdicts", "Against reading without the encoder", "Broken and fixed", "Rows left out",
        "Signatures", "How it was measured", "How to reproduce",
    ]  # fmt: skip


def test_drift_without_a_run_is_told_and_judges_nothing(
    coarse: None, results: Path, tmp_path: Path
) -> None:
    run = read_run(results / "tiny" / TASKS[0])
    name = "a|b <b>x</b>\n# up"
    other = run.model_copy(update={"pair": run.pair.model_copy(update={"name": name})})
    for key, make in MADE.items():
        write_analysis(tmp_path / "r" / "x", key, make(other))
    with pytest.raises(ConfigError, match="found none"):
        read_records(tmp_path / "r")
    summary = write_report(tmp_path / "r", tmp_path / "out", margin=1.0)
    text = summary.path.read_text(encoding="utf-8")
    assert summary.table.empty
    assert "Nothing is judged of `a|b <b>x</b> # up`" in text
    assert headings(text) == [
        "Which kind of loss", "How far the features moved", "Where in the picture",
        "How it was measured", "How to reproduce",
    ]  # fmt: skip
    prose = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)
    assert "<b>" not in prose
    assert not re.search("^# up", text, flags=re.MULTILINE)
    assert "made with a margin of 2 points, this report with one of 1" in text
    (said,) = summary.incomplete
    assert said.startswith("The slices analysis of `a|b <b>x</b> # up` on `scenes-expression` is")
    assert said.endswith("a run that is not there; run `sdiag slices` again.")


def _weights(one: DriftRecord) -> DriftRecord:
    return one.model_copy(update={"pair": one.pair.model_copy(update={"post_digest": "other"})})


def _rows(one: DriftRecord) -> DriftRecord:
    card = one.splits["test"].model_copy(update={"rows_digest": "other"})
    return one.model_copy(update={"splits": one.splits | {"test": card}})


def _fewer_splits(one: DriftRecord) -> DriftRecord:
    return one.model_copy(update={"splits": {"test": one.splits["test"]}})


def _predictions(one: SlicesRecord) -> SlicesRecord:
    return one.model_copy(update={"predictions_sha256": "other"})


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        *((name, _weights, "made from other weights") for name in MADE),
        *((name, _rows, "made from other rows") for name in MADE),
        ("drift", _fewer_splits, "made from other rows"),
        ("slices", _predictions, "splits other predictions"),
    ],
)
def test_what_is_not_of_the_run_is_left_out_and_named(
    results: Path, tmp_path: Path, make_run: Callable[..., Path], name: str,
    change: Callable[..., object], said: str,
) -> None:  # fmt: skip
    folder = make_run(tmp_path, "tiny", TASKS[0])
    write_all(folder)
    assert load_results(tmp_path).left_out == ()
    run = read_run(folder)
    write_analysis(folder, name, change(MADE[name](run)))
    loaded = load_results(tmp_path)
    assert getattr(loaded.analyses, name) == ()
    assert len(list(loaded.analyses)) == len(MADE) - 1
    (sentence,) = incomplete(loaded)
    assert said in sentence
    assert f"run `sdiag {name}` again" in sentence


def test_damaged_and_double_analyses_are_refused_by_name(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_run(tmp_path, "tiny", TASKS[0])
    run = read_run(folder)
    write_analysis(tmp_path / "copy", "drift", drift_of(run))
    write_analysis(folder, "drift", drift_of(run))
    with pytest.raises(DataError, match="found two"):
        load_results(tmp_path)
    (tmp_path / "copy" / "drift.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"copy/drift\.json.*Run `sdiag drift` again"):
        load_results(tmp_path)
    assert read_records(tmp_path) == (run,)  # so that the command can be run again


def test_a_contrast_that_cannot_be_made_is_named(
    coarse: None, make_run: Callable[..., Path], edit_record: Callable[..., None], tmp_path: Path
) -> None:
    for task in TASKS:
        make_run(tmp_path / "r", "tiny", task)
    bad = tmp_path / "r" / "tiny" / TASKS[1]
    (bad / "predictions.parquet").write_bytes(b"none")
    edit_record(bad, predictions_sha256=hashlib.sha256(b"none").hexdigest())
    summary = write_report(tmp_path / "r", tmp_path / "out")
    (said,) = summary.incomplete
    assert said.startswith("`tiny` has no contrast of social and control questions:")
    assert "is not a predictions file" in said
    text = summary.path.read_text(encoding="utf-8")
    assert f"> - {said}" in text
    assert "Social against control questions" not in headings(text)
