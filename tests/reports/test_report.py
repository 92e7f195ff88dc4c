"""The whole report: every number in it is a record's, and a bad record is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from PIL import Image

from degradation.errors import ConfigError, DataError, SdiagError
from reports.load import load_results, read_records
from reports.names import reader_label
from reports.report import ReportSummary, write_report
from reports.verdicts.cells import judged_cells
from reports.verdicts.tables import self_test_table

COMMAND = "sdiag report --results results"


def cells_of(table_row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", table_row)[1:-1]]


def tables_of(text: str) -> list[list[list[str]]]:
    """All Markdown tables of a text, as rows of cells, heading first, rule dropped."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    tables = [[cells_of(row) for row in block.strip().splitlines()] for block in blocks]
    return [[table[0], *table[2:]] for table in tables]


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def interval(text: str) -> list[float]:
    return [number(part) for part in re.findall(r"[+−]?\d+\.\d", text)]


@pytest.fixture(scope="module")
def single(one_pair: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportSummary:
    return write_report(one_pair, tmp_path_factory.mktemp("single") / "out", command=COMMAND)


@pytest.fixture(scope="module")
def several(world: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportSummary:
    return write_report(world, tmp_path_factory.mktemp("several") / "out")


def test_verdict_table_repeats_the_records(single: ReportSummary, one_pair: Path) -> None:
    text = single.path.read_text(encoding="utf-8")
    table = next(t for t in tables_of(text) if t[0][0] == "Question" and t[0][-1] == "Verdict")
    declared = {
        one.question: one
        for record in load_results(one_pair).records
        for one in record.comparisons
        if one.confirmatory
    }
    assert len(table) - 1 == len(declared) == 9
    for question, group, _, pre, post, delta, _, verdict in table[1:]:
        one = declared[question]
        assert number(pre) == pytest.approx(one.pre.value, abs=0.0501)
        assert number(post) == pytest.approx(one.post.value, abs=0.0501)
        shown = [one.delta.value, one.delta.low, one.delta.high]
        assert interval(delta) == pytest.approx(shown, abs=0.0501)
        assert (group == "control") == (question in ("kind", "colour", "backdrop"))
        row = single.table.set_index("question").loc[question]
        assert verdict.split()[1] == row.verdict
        assert row.delta == one.delta.value
    assert set(single.table.verdict) == {"degraded", "improved", "equivalent", "undecided"}
    assert list(single.table.group) == ["social"] * 6 + ["control"] * 3


def test_errors_stay_errors_and_their_delta_is_signed(single: ReportSummary) -> None:
    gaze = single.table.set_index("question").loc["gaze"]
    assert gaze.post > gaze.pre
    assert gaze.delta == pytest.approx(gaze.pre - gaze.post)
    text = single.path.read_text(encoding="utf-8")
    assert "(low is good)" in text
    assert "negative = worse" in text


def test_first_paragraph_says_the_verdicts(single: ReportSummary) -> None:
    paragraph = single.path.read_text(encoding="utf-8").split("\n\n")[2]
    assert "`tiny:post` reads **expression** worse by 6.1 points \\[−8.0, −4.2\\]" in paragraph
    assert "**kind** better by 2.1 points \\[+1.2, +3.0\\]" in paragraph
    assert re.search(r"Equivalent within 2 points: .*domain.*\.", paragraph)
    assert re.search(r"Undecided.*relation \(−1\.9", paragraph)
    assert "of 6 social questions and 0 of 3 control questions" in paragraph


def test_sections_come_in_order(several: ReportSummary) -> None:
    text = several.path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    own = [
        "Verdicts", "Social against control questions", "Against reading without the encoder",
        "Broken and fixed",
    ]  # fmt: skip
    assert headings == [
        "What the encoder still reads",
        "`tiny`", *own, "`tiny-frozen`", *own,
        "`tiny` while it was trained", "Self-test", "Rows left out", "Signatures",
        "How it was measured", "How to reproduce",
    ]  # fmt: skip


def test_counts_baselines_and_left_out_rows_repeat_the_records(
    single: ReportSummary, one_pair: Path
) -> None:
    tables = tables_of(single.path.read_text(encoding="utf-8"))
    changes = next(t for t in tables if "Broken" in t[0])
    records = load_results(one_pair).records
    counted = {
        one.question: (one.n, one.broken, one.fixed)
        for record in records
        for one in record.comparisons
        if one.metric == "accuracy" and one.block == 5
    }
    assert len(changes) == 1 + len(counted)
    assert {row[0]: tuple(int(number(c)) for c in row[1:4]) for row in changes[1:]} == counted
    baselines = next(t for t in tables if "pixels" in t[0])
    for row in baselines[1:]:
        for name, text in zip(baselines[0][3:], row[3:], strict=True):
            known = {
                reader_label(b.name): b.estimate.value for r in records for b in r.baselines
                if b.question == row[0].partition(",")[0]
            }  # fmt: skip
            assert (text == "–") == (name not in known)
            assert text == "–" or interval(text)[0] == pytest.approx(known[name], abs=0.0501)
    left_out = next(t for t in tables if "Left out" in t[0])
    assert left_out[1:] == [
        ["`scenes-gesture`", "test", "box smaller than a patch", "3", "1,200", "tiny"]
    ]


def test_self_test_holds_and_can_fail(
    several: ReportSummary, tmp_path: Path, make_pair: Callable[..., None]
) -> None:
    tables = tables_of(several.path.read_text(encoding="utf-8"))
    told = {row[0]: row[-1] for row in next(t for t in tables if t[0][-1] == "Holds")[1:]}
    assert told == dict.fromkeys(
        ("`identity`", "`rotation`", "`erased`", "`folded`", "`noise`"), "yes"
    )
    make_pair(tmp_path, "identity", expression=1e-9)
    make_pair(tmp_path, "erased", expression=-30.0, gesture=-30.0)
    make_pair(tmp_path, "folded")
    make_pair(tmp_path, "rotation", gaze=-9.0)
    make_pair(tmp_path, "noise", kind=9.0)
    test = self_test_table(judged_cells(read_records(tmp_path), margin=2.0, alpha=0.05))
    assert len(test) == 5
    assert not test.holds.any()


def test_planted_pairs_and_checkpoints_do_not_weigh_on_the_other_verdicts(
    single: ReportSummary, several: ReportSummary
) -> None:
    tiny = several.table[several.table.pair == "tiny"]
    assert tiny.family.unique().tolist() == ["Holm over 18 (confirmatory)"]
    assert single.table.family.unique().tolist() == ["Holm over 9 (confirmatory)"]


def test_every_number_has_its_signature(single: ReportSummary, one_pair: Path) -> None:
    numbers = pd.read_csv(single.path.with_name("numbers.csv"))
    comparisons = [one for r in load_results(one_pair).records for one in r.comparisons]
    assert sorted(numbers.signature) == sorted(one.signature for one in comparisons)
    assert sorted(numbers.delta) == pytest.approx(sorted(one.delta.value for one in comparisons))
    text = single.path.read_text(encoding="utf-8")
    assert all(one.signature in text for one in comparisons if one.confirmatory)
    assert COMMAND in text
    assert all(r.predictions_sha256[:12] in text for r in load_results(one_pair).records)


def test_pictures_open_carry_their_signature_and_have_an_alt_text(several: ReportSummary) -> None:
    text = several.path.read_text(encoding="utf-8")
    shown = re.findall(r"^!\[(.+)\]\((figures/[\w@.-]+\.png)\)$", text, flags=re.MULTILINE)
    figures = several.path.parent / "figures"
    assert {path for _, path in shown} == {f"figures/{p.name}" for p in figures.glob("*.png")}
    assert len(shown) == 7
    for alt, path in shown:
        assert len(alt) > 40
        with Image.open(several.path.parent / path) as picture:
            assert picture.info["dpi"][0] == pytest.approx(160, abs=0.1)
            assert picture.info["Software"].startswith("sdiag")
            assert "metric:" in picture.info["Signature"]
            darkest, lightest = picture.convert("L").getextrema()
            assert darkest < 50
            assert lightest == 255
        assert (several.path.parent / path).with_suffix(".csv").exists()


def test_same_records_give_the_same_bytes(
    single: ReportSummary, one_pair: Path, tmp_path: Path
) -> None:
    before = dict(mpl.rcParams)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        again = write_report(one_pair, tmp_path / "out", command=COMMAND)
    assert dict(mpl.rcParams) == before
    files = sorted(p.relative_to(single.path.parent) for p in single.path.parent.rglob("*.*"))
    assert len(files) == 3 + 10
    for name in files:
        assert (again.path.parent / name).read_bytes() == (
            single.path.parent / name
        ).read_bytes(), name


def test_what_is_missing_is_said(
    tmp_path: Path,
    make_run: Callable[..., Path],
    edit_record: Callable[..., None],
) -> None:
    make_run(tmp_path / "r", "one", "scenes-gaze")
    make_run(tmp_path / "r", "one", "scenes-expression")
    other = make_run(tmp_path / "r", "two", "scenes-gaze")
    edit_record(other, tool_version="0.0.9")
    half = make_run(tmp_path / "r", "three", "scenes-gaze")
    (half / "record.json").unlink()
    summary = write_report(tmp_path / "r", tmp_path / "out")
    text = summary.path.read_text(encoding="utf-8")
    assert "> **Not complete.**" in text
    said = "\n".join(summary.incomplete)
    assert "`two` was not probed on `scenes-expression`" in said
    assert "`three/scenes-gaze` holds predictions but no record" in said
    assert "0.0.9, 0.1.0" in said
    assert len(summary.incomplete) == 3


def test_records_without_a_declared_comparison_make_a_report_that_says_so(
    tmp_path: Path, make_run: Callable[..., Path], edit_record: Callable[..., None]
) -> None:
    run = make_run(tmp_path / "r", "one", "scenes-gaze")
    content = json.loads((run / "record.json").read_text(encoding="utf-8"))
    edit_record(run, comparisons=[c for c in content["comparisons"] if not c["confirmatory"]])
    summary = write_report(tmp_path / "r", tmp_path / "out")
    assert summary.table.empty
    assert "no declared comparison of gaze" in summary.incomplete[0]


def test_names_cannot_break_out(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    name = "a|b `c` <b>x</b> ![p](q) ](z) $m$ ../../up 名\n# heading"
    make_run(tmp_path / "r", name, "scenes-gaze", folder="x/y")
    summary = write_report(tmp_path / "r", tmp_path / "out", command="sdiag\n```\n# x")
    text = summary.path.read_text(encoding="utf-8")
    assert not re.search(r"^# (heading|x)", text, flags=re.MULTILINE)
    prose = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)
    assert "<b>" not in prose
    assert all(len({len(row) for row in table}) == 1 for table in tables_of(text))
    targets = re.findall(r"(?<!\\)\]\(([^)]*)\)", prose)
    files = [target for target in targets if not re.fullmatch(r"#[\w-]+", target)]
    assert all(re.fullmatch(r"(figures/[\w-]+\.(png|csv)|numbers\.csv)", t) for t in files)
    assert {p.name for p in tmp_path.iterdir()} == {"r", "out"}
    assert all((summary.path.parent / target).exists() for target in files)


@pytest.mark.parametrize(
    ("margin", "alpha"), [(-1.0, 0.05), (float("nan"), 0.05), (2.0, 0.0), (2.0, 1.0)]
)
def test_senseless_settings_are_refused(
    one_pair: Path, tmp_path: Path, margin: float, alpha: float
) -> None:
    with pytest.raises(ConfigError, match="Expected a"):
        write_report(one_pair, tmp_path / "out", margin=margin, alpha=alpha)
    assert not (tmp_path / "out").exists()


def _foreign(run: Path) -> None:
    (run / "record.json").write_text('{"name": "package"}', encoding="utf-8")


def _cut(run: Path) -> None:
    path = run / "record.json"
    path.write_bytes(path.read_bytes()[:200])


def _empty(run: Path) -> None:
    (run / "record.json").write_bytes(b"")


def _newer(run: Path) -> None:
    path = run / "record.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))


def _by_hand(run: Path) -> None:
    path = run / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 99}))


def _edited(run: Path) -> None:
    with (run / "predictions.parquet").open("ab") as file:
        file.write(b"x")


def _gone(run: Path) -> None:
    (run / "predictions.parquet").unlink()


@pytest.mark.parametrize(
    ("damage", "file", "said"),
    [
        (_foreign, "record.json", "schema_version"),
        (_cut, "record.json", "JSON"),
        (_empty, "record.json", "JSON"),
        (_newer, "record.json", "schema version 1"),
        (_by_hand, "record.json", "changed since"),
        (_edited, "predictions.parquet", "changed after the run"),
        (_gone, "predictions.parquet", "No such file"),
    ],
)
def test_damaged_runs_are_refused_by_name(
    tmp_path: Path,
    make_run: Callable[..., Path],
    damage: Callable[[Path], None],
    file: str,
    said: str,
) -> None:
    run = make_run(tmp_path / "r", "tiny", "scenes-gaze")
    damage(run)
    with pytest.raises(DataError) as error:
        write_report(tmp_path / "r", tmp_path / "out")
    assert str(run / file) in str(error.value)
    assert said in str(error.value)
    assert re.search(r"Run `sdiag probe`|Move the file", str(error.value))
    assert not (tmp_path / "out").exists()


def test_no_results_two_of_a_kind_and_hidden_runs(
    tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    with pytest.raises(ConfigError, match="found no folder"):
        write_report(tmp_path / "nowhere", tmp_path / "out")
    make_run(tmp_path / "r", "tiny", "scenes-gaze", folder=".writing/scenes-gaze")
    with pytest.raises(ConfigError, match="found none"):
        write_report(tmp_path / "r", tmp_path / "out")
    make_run(tmp_path / "r", "tiny", "scenes-gaze")
    make_run(tmp_path / "r", "tiny", "scenes-gaze", folder="copy/scenes-gaze")
    with pytest.raises(DataError, match="found two"):
        write_report(tmp_path / "r", tmp_path / "out")


def test_a_failed_run_leaves_the_earlier_report(
    tmp_path: Path, make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "r", "tiny", "scenes-gaze")
    out = tmp_path / "out"
    write_report(tmp_path / "r", out)
    (out / "mine.txt").write_text("kept")
    before = {p: p.read_bytes() for p in sorted(out.rglob("*.*"))}
    make_run(tmp_path / "r", "other", "scenes-gaze")
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if self.name == "report.md" and self.parent.name.startswith(".draft-"):
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SdiagError, match="No space left"):
        write_report(tmp_path / "r", out)
    assert {p: p.read_bytes() for p in sorted(out.rglob("*.*"))} == before
    monkeypatch.undo()
    write_report(tmp_path / "r", out)
    assert "`other`" in (out / "report.md").read_text(encoding="utf-8")
    assert (out / "mine.txt").read_text() == "kept"
    assert sorted(p.name for p in out.iterdir()) == [
        "figures", "mine.txt", "numbers.csv", "report.html", "report.md",
    ]  # fmt: skip


def test_what_is_no_report_is_not_replaced(tmp_path: Path, one_pair: Path) -> None:
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    (out / "figures" / "thesis.png").write_bytes(b"x")
    with pytest.raises(ConfigError, match="did not write"):
        write_report(one_pair, out)
    assert (out / "figures" / "thesis.png").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="found a file"):
        write_report(one_pair, tmp_path / "file")


def test_one_run_can_be_reported_alone(one_pair: Path, tmp_path: Path) -> None:
    summary = write_report(one_pair / "tiny" / "scenes-objects", tmp_path / "out", margin=0.0)
    assert list(summary.table.question) == ["kind", "colour", "backdrop"]
