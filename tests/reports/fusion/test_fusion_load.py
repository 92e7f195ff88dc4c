"""Records of trained models off the disk: what is told, left out, missing or refused."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from degradation.errors import ConfigError, DataError
from probes.runs import read_run
from reports.fusion.baselines import baselines
from reports.fusion.load import incomplete_trainings, load_trainings
from reports.load import load_results
from reports.unfinished import lacking
from socialfusion.records import FusionRecord
from socialfusion.transfer.records import (
    AblationRecord,
    TransferRecord,
    VariantCard,
    transfer_path,
    write_ablation,
    write_transfer,
)

Transfers = Callable[..., TransferRecord]
Card = Callable[..., VariantCard]
TWO = ("scenes-gesture", "scenes-gaze")


@pytest.fixture
def results(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(trained, tmp_path / "r")
    return tmp_path / "r"


@pytest.fixture
def record(
    make_transfer: Transfers, make_card: Card, two_runs: Sequence[FusionRecord]
) -> TransferRecord:
    """Transfer between the two tasks, from the runs in `results`."""
    return make_transfer("t", TWO, variants=[make_card(tasks=TWO, runs=two_runs, seeds=2)], seeds=2)


def test_records_come_back_as_they_were_written(
    results: Path, record: TransferRecord, make_ablation: Callable[..., AblationRecord]
) -> None:
    write_transfer(results, record)
    write_ablation(results, make_ablation())
    found = load_results(results).trainings
    assert sorted(found.runs) == ["both-0", "both-1", "gaze-0", "gaze-1", "gesture-0", "gesture-1"]
    assert found.transfers == (record,)
    assert found.ablations == (make_ablation(),)
    assert found.runs_of(record.variants[0].runs[:1]) == (found.runs["gesture-0"],)
    (said,) = incomplete_trainings(found)
    assert said.startswith("`encoder` was made from 1 run that these results lack")


def test_a_folder_without_any_of_them_has_none(tmp_path: Path) -> None:
    assert not load_trainings(tmp_path)
    (tmp_path / "socialfusion" / "x").mkdir(parents=True)  # where gcd alone may lie
    assert not load_trainings(tmp_path)
    assert list(incomplete_trainings(load_trainings(tmp_path))) == []
    with pytest.raises(ConfigError, match="found none"):
        load_results(tmp_path)


def test_unfinished_runs_are_named(results: Path, record: TransferRecord) -> None:
    write_transfer(results, record)
    (results / "socialfusion" / "later" / "checkpoint-000010").mkdir(parents=True)
    (results / "socialfusion" / ".hidden" / "checkpoint-000010").mkdir(parents=True)
    found = load_trainings(results)
    assert found.unfinished == ("later",)
    (said,) = incomplete_trainings(found)
    assert said.startswith("`later` has checkpoints but no record: training did not finish.")
    assert "`sdiag train-socialfusion --run later`" in said


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ("both", "trained on tasks together, and on none of them alone: `sdiag transfer`"),
        ("g", "trained on each task alone, and on none together: `sdiag transfer`"),
        ("", "trained on tasks alone and together: `sdiag transfer` compares the two"),
    ],
)
def test_what_was_not_compared_is_said(results: Path, kept: str, said: str) -> None:
    for folder in (results / "socialfusion").iterdir():
        if not folder.name.startswith(kept):
            shutil.rmtree(folder)
    (found,) = incomplete_trainings(load_trainings(results))
    assert said in found


def test_a_comparison_of_other_predictions_is_left_out(
    results: Path, record: TransferRecord
) -> None:
    card = record.variants[0].runs[2].model_copy(update={"predictions_sha256": "0" * 64})
    variant = record.variants[0].model_copy(update={"runs": (card,)})
    write_transfer(results, record.model_copy(update={"variants": (variant,)}))
    found = load_trainings(results)
    assert found.transfers == ()
    (said, _) = incomplete_trainings(found)
    assert said == (
        "`t` of `sdiag transfer` is left out, for it was made from other predictions than those "
        "of the run both-0; run `sdiag transfer` again."
    )


def test_damage_is_refused(results: Path, record: TransferRecord) -> None:
    write_transfer(results, record)
    path = transfer_path(results, "t")
    path.rename(path.with_name("renamed.json"))
    with pytest.raises(DataError, match=r"record of 't' under its own name.*renamed\.json"):
        load_trainings(results)
    path.with_name("renamed.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"renamed\.json"):
        load_trainings(results)
    path.with_name("renamed.json").unlink()
    folder = results / "socialfusion" / "gaze-0"
    folder.rename(folder.with_name("gaze-9"))
    with pytest.raises(DataError, match="record of 'gaze-0' under its own name"):
        load_trainings(results)
    folder.with_name("gaze-9").rename(folder)
    (folder / "fusion-predictions.parquet").write_bytes(b"other")
    with pytest.raises(DataError, match="is not the file that"):
        load_trainings(results)


def test_a_probe_stands_beside_only_on_the_same_weights_and_rows(
    make_fusion: Callable[..., FusionRecord], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    probed = [read_run(make_run(tmp_path, "tiny", task)) for task in TWO]
    run = make_fusion("x", TWO)
    found = baselines([run], probed)
    key = ("scenes-gesture/gesture", "accuracy")
    declared = next(one for one in probed[0].comparisons if one.confirmatory)
    assert found[key].probe == declared.pre
    assert found[key].chance == pytest.approx(16.7)
    assert found[key].exceeds_probe(declared.pre.value + 1) is True
    gaze = found["scenes-gaze/gaze", "average_l2_error"]
    assert gaze.exceeds_probe(0.0) is True
    assert gaze.exceeds_probe(99.0) is False
    post = run.encoder.model_copy(update={"digest": "b2" * 32})
    other = baselines([run.model_copy(update={"encoder": post})], probed)
    assert other[key].probe == declared.post
    for change in (
        {"encoder": run.encoder.model_copy(update={"digest": "ff" * 32})},
        {"settings": run.settings.model_copy(update={"row_list": "clean"})},
        {"splits": {}},
        {"scores": tuple(one.model_copy(update={"n": 7}) for one in run.scores)},
    ):
        beside = baselines([run.model_copy(update=change)], probed)[key]
        assert beside.probe is None
        assert beside.exceeds_probe(50.0) is None


def test_a_study_lacks_trainings_of_other_tasks_or_seeds_than_it_asks_for(results: Path) -> None:
    def lacked(tasks: Sequence[str], seeds: int) -> bool:
        tables = "".join(f"[[task]]\nname = '{task}'\n" for task in tasks)
        study = f"name = 'mine'\n[[pair]]\nmodel = 'tiny'\n{tables}"
        study += f"[train]\nsides = ['pre']\nseeds = {seeds}\n"
        (results / "study.resolved.toml").write_text(study, encoding="utf-8")
        return bool(lacking(load_results(results)))

    assert not lacked(TWO, 2)
    assert lacked(TWO, 3)
    assert lacked((*TWO, "scenes-relation"), 2)
