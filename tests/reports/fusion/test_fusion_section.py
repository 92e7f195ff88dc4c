"""What a report says of trained models: verdict first, then the numbers, and what is unknown."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from probes.conflict.records import ConflictRecord
from probes.records import RunRecord
from probes.runs import read_run
from reports.document import Settings, compose
from reports.explanations import explanations_section
from reports.fusion import section as fusion
from reports.fusion.load import Trainings
from reports.fusion.section import fusion_parts, fusion_sentences
from reports.load import Conflict, load_results
from reports.markdown import escape
from reports.transfer import ablations as transfer_ablations
from reports.transfer import section as transfer
from reports.transfer.ablations import ablation_section, ablation_sentences
from reports.transfer.section import transfer_section, transfer_sentences
from socialfusion.records import FrozenDigests, FusionRecord
from socialfusion.transfer.against_conflict import AgainstRecord
from socialfusion.transfer.records import (
    AblationRecord,
    TransferRecord,
    VariantCard,
    write_ablation,
    write_transfer,
)

Transfers = Callable[..., TransferRecord]
Card = Callable[..., VariantCard]
Fusions = Callable[..., FusionRecord]
TWO = ("scenes-gesture", "scenes-gaze")
NOTES = {"Software": "sdiag"}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, str]]:
    """No figures are drawn; the notes that each would get. Tables go to `figures` here."""
    notes: list[dict[str, str]] = []
    monkeypatch.chdir(tmp_path)
    Path("figures").mkdir()

    def stem_of(*given: object, **more: object) -> Path:
        notes.append(next(one for one in given if isinstance(one, dict) and "Software" in one))
        stem = next(one for one in given if isinstance(one, Path))
        return stem.with_name(f"{stem.name}.png")

    for module in (fusion, transfer, transfer_ablations):
        for name in list(vars(module)):
            if name.endswith("_figure"):
                monkeypatch.setattr(module, name, stem_of)
    return notes


@pytest.fixture
def record(
    make_transfer: Transfers, make_card: Card, two_runs: Sequence[FusionRecord]
) -> TransferRecord:
    """Transfer between two tasks, by two seeds."""
    return make_transfer("t", TWO, variants=[make_card(tasks=TWO, runs=two_runs, seeds=2)], seeds=2)


def told(record: TransferRecord, probed: Sequence[RunRecord] = (), *runs: FusionRecord) -> str:
    found = Trainings(runs={one.run: one for one in runs}, transfers=(record,))
    return transfer_section(record, found, probed, Path("figures"), NOTES)


def parts(found: Trainings, conflicts: Sequence[Conflict] = ()) -> str:
    return "\n\n".join(fusion_parts(found, conflicts, (), Path("figures"), NOTES))


def test_the_counts_are_those_of_the_record(make_transfer: Transfers) -> None:
    record = make_transfer()
    said, n = transfer_sentences(record), record.variants[0].count
    assert n.of == 10
    assert said.startswith(
        "SocialFusion on the frozen encoder tiny:pre trained on 5 tasks together, against each "
        f"task alone. By equal samples: **{n.positive} of 10 counted metrics are read better "
        f"({n.surely_positive} with an interval above 0), {n.negative} worse "
        f"({n.surely_negative} with one below 0)**."
    )
    assert said.endswith("3 training seeds.")


def test_with_few_seeds_the_rest_of_the_uncertainty_is_said_to_be_unknown(
    make_transfer: Transfers,
) -> None:
    record = make_transfer(seeds=1)
    assert transfer_sentences(record).endswith(
        "1 training seed: the intervals are of test rows alone, and what another seed would change "
        "is unknown. So nothing is judged."
    )
    text = told(record)
    assert "Verdicts: none here." in text
    assert not re.search(r"^\| .*[▲▼≈?] ", text, flags=re.MULTILINE)


def test_counted_metrics_stand_in_the_table_and_all_beside_it(make_transfer: Transfers) -> None:
    record = make_transfer()
    text = told(record)
    rows = [line for line in text.split("\n\n")[1].splitlines() if line.startswith("| ")][2:]
    assert len(rows) == sum(r" \* |" in row for row in rows) == 10
    numbers = pd.read_csv("figures/transfer-numbers-tiny.csv")
    every = numbers[numbers.trained_with == "all"]
    assert every.change.tolist() == [one.change.value for one in record.variants[0].joint]
    assert len(every) == 13
    assert set(numbers.trained_with) == {"all", *record.tasks}
    first = record.variants[0].joint[0]
    bold = f"{first.change.value:+.1f}".replace("-", "−")
    assert rows[0].startswith("| expression | accuracy \\* | – | – | 50.0 | ")
    assert bold in rows[0]
    assert "`sdiag probe` measures it, on the same rows" in text


def test_chance_and_the_linear_probe_stand_beside(
    record: TransferRecord, two_runs: Sequence[FusionRecord], make_run: Callable[..., Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    probed = [read_run(make_run(tmp_path, "tiny", task)) for task in TWO]
    text = told(record, probed, *two_runs)
    assert re.search(r"\| gesture \| accuracy \\\* \| 16.7 \| 68.4 \[66.1, 70.7\] \| 50.0 \|", text)
    # 50 points of accuracy are fewer than 68.4, and an error of 50 is larger than the probe's.
    said = re.search(r"Of (\d) metrics that a linear probe .* rows, (\d) are .*, (\d) when", text)
    assert said is not None
    assert said[2] == said[3] == "0"
    assert "is not known" not in text


def test_variants_stand_side_by_side(make_transfer: Transfers, make_card: Card) -> None:
    names = ("equal-samples", "equal-steps", "equal-samples@Clean")
    record = make_transfer(
        variants=[make_card(name, shift=i, pairwise=False) for i, name in enumerate(names)]
    )
    text = told(record)
    header = "| Change, equal samples | Change, equal steps | Change, equal samples, rows Clean |"
    assert header in text
    assert "by equal samples; the change is flipped" in text
    assert "*Rows*: those of a list" in text
    assert "`sdiag transfer --pairwise`" in text
    assert "by equal samples, rows Clean: **" in transfer_sentences(record)


def test_without_its_runs_a_record_is_still_told(record: TransferRecord) -> None:
    text = told(record)
    assert "<summary>Losses" not in text
    both = "| scenes-gesture, scenes-gaze | 0, 1 | 40 | 1280 | 12, 12 | `both-0`, `both-1` |"
    assert both in text


def test_what_has_no_value_says_why(make_transfer: Transfers, make_card: Card) -> None:
    card = make_card(tasks=TWO, pairwise=False)
    joint = tuple(one.model_copy(update={"warning": "9 clusters: too <few>"}) for one in card.joint)
    card = card.model_copy(update={"undefined": {"a/b accuracy": "one <class>"}, "joint": joint})
    text = told(make_transfer(tasks=TWO, variants=[card]))
    assert "- **Careful** with gesture, gaze: 9 clusters: too &lt;few&gt;." in text
    assert "- Without a value (equal samples): a/b accuracy, one &lt;class&gt;" in text


def test_the_effect_of_another_encoder_comes_in_words(
    make_ablation: Callable[..., AblationRecord], undrawn: list[dict[str, str]]
) -> None:
    record = make_ablation()
    said = ablation_sentences(record)
    changes = [one for one in record.ablated[0].effects if one.declared]
    worse = sum(one.change.value < 0 for one in changes)
    sure = sum(one.change.high < 0 for one in changes)
    assert said.startswith(
        f"With encoder tiny:post in place of encoder tiny:pre: {worse} of 6 declared metrics are "
        f"read worse ({sure} with an interval below 0), "
    )
    text = ablation_section(record, Path("figures"), NOTES)
    assert "| Encoder tiny:post (103,392 trained) | Connector depth 1 (30,000 trained) |" in text
    assert [one["Signature"] for one in undrawn] == ["ablation|made up"]


def test_the_verdict_comes_first_then_the_proof(
    record: TransferRecord, two_runs: Sequence[FusionRecord], make_transfer: Transfers
) -> None:
    vlm = record.settings.model_copy(update={"vlm": True, "language_model": "Qwen/<b>"})
    other = record.model_copy(update={"name": "vlm", "settings": vlm})
    found = Trainings({one.run: one for one in two_runs}, (record, other))
    text = parts(found)
    headings = re.findall(r"^##+ (.*)$", text, flags=re.MULTILINE)
    assert headings == [
        "Trained for people: SocialFusion", "Alone or together: `t`", "Alone or together: `vlm`",
    ]  # fmt: skip
    blocks = text.split("\n\n")
    assert blocks[1].startswith("- SocialFusion on the frozen encoder tiny:pre")
    assert "- The VLM Qwen/&lt;b&gt; fine-tuned itself, its vision tower frozen, " in blocks[1]
    assert blocks[2].startswith("Frozen stayed frozen: in all 6 runs")
    assert "side by side" in blocks[3]
    assert fusion_sentences(found) == "\n\n".join(map(transfer_sentences, (record, other)))


def test_weights_that_changed_are_not_passed_over(make_fusion: Fusions) -> None:
    digests = FrozenDigests(
        language_model_before="a", language_model_after="b", encoder_before="c", encoder_after="c"
    )
    runs = {"x": make_fusion("x", TWO, frozen=digests), "y": make_fusion("y", TWO)}
    text = parts(Trainings(runs))
    assert "**Not frozen.** Weights that were to stay as they were changed in `x`." in text
    assert "stayed frozen" not in text


def test_runs_that_were_not_compared_are_told_alone(make_fusion: Fusions) -> None:
    text = parts(Trainings({"x": make_fusion("x", ("scenes-gaze",))}))
    assert "Models were trained, but not compared" in text
    assert "`x`: SocialFusion on the frozen encoder tiny:pre, trained on 1 task for 40" in text
    assert "| gaze | L2 to the mean point (low is good) | 16.7 | – | 52.0 [49.0, 55.0] |" in text
    assert len(pd.read_csv("figures/scores-x.csv")) == 3
    assert not list(fusion_parts(Trainings(), (), (), Path("figures"), NOTES))


def test_many_runs_share_a_table(
    two_runs: Sequence[FusionRecord], undrawn: list[dict[str, str]]
) -> None:
    text = parts(Trainings({one.run: one for one in two_runs}))
    assert undrawn == []
    assert "<summary>Declared metrics of 6 runs</summary>" in text
    assert "| `both-1` | tiny:pre | 1 | 40 | gesture | accuracy | 16.7 | – | 52.0 [" in text
    assert "macro F1" not in text


def test_conflict_against_transfer_has_its_numbers(
    make_transfer: Transfers, make_against: Callable[..., AgainstRecord],
    undrawn: list[dict[str, str]],
) -> None:  # fmt: skip
    conflict = ConflictRecord.model_construct(model="tiny", pair=None, sides=())
    found = Trainings(transfers=(make_transfer("joint-of-5"),))
    text = parts(found, [Conflict(conflict, make_against(("pre", "post")))])
    assert "### Gradient conflict against transfer: `tiny`" in text
    said = "pre, equal-samples: ρ = −0.62 [−1.10, −0.10], Mantel p = 0.050"
    assert text.count(escape(said)) == 2  # in the text, and for those who do not see the figure
    assert text.count("- Left out: a &lt;b&gt;, too few rows") == 1
    assert "transfer|made up" in undrawn[-1]["Signature"]
    few = make_against(tasks=("a", "b", "c", "d"))
    assert "ρ = −0.62, no interval, Mantel p" in parts(found, [Conflict(conflict, few)])


def test_a_report_of_trained_models_alone_opens_with_their_verdict(
    trained: Path, tmp_path: Path, record: TransferRecord,
    make_ablation: Callable[..., AblationRecord],
) -> None:  # fmt: skip
    results = tmp_path / "r"
    results.mkdir()
    (results / "socialfusion").symlink_to(trained / "socialfusion")
    write_transfer(results, record)
    write_ablation(results, make_ablation())
    loaded = load_results(results)
    assert not loaded.records
    settings = Settings(margin=2.0, alpha=0.05, command=None)
    text = compose(loaded, [], settings, tmp_path, tmp_path / "numbers.csv").text
    opening = text.split("## ")[0]
    assert transfer_sentences(record) in opening
    assert "`encoder` was made from 1 run that these results lack" in opening
    assert text.index("### One setting changed: `encoder`") < text.index("## How to reproduce")


def test_transfer_that_was_not_set_against_conflict_is_named(make_transfer: Transfers) -> None:
    conflict = Conflict(
        ConflictRecord.model_construct(model="tiny", pair=None, sides=(), questions=(), parts=())
    )
    text = explanations_section([], (), [], conflict, [make_transfer("a"), make_transfer("b")])
    assert "(`a`, `b`), but not set against conflict: `sdiag gcd --against-transfer a`" in text
