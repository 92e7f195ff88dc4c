"""Where published weights were read from, as reports show it."""

from degradation.encoders.encoder import Origin
from probes.records import OriginCard
from probes.runs import read_run
from reports.load import read_records
from reports.origins import origins_table, recorded_origins
from reports.report import write_report

COMMIT = "3f" * 20


def card(**files: str) -> OriginCard:
    return OriginCard(place="Org/Clip", revision=COMMIT, files=files or {"a.json": "etag:12"})


def test_a_row_has_the_whole_commit_and_the_start_of_each_digest():
    origins = {
        "clip": Origin("Org/Clip", COMMIT, {"m|1.bin": "sha256:" + "ab" * 32, "c": "etag:12"}),
        "mine": Origin("./my_clip", None, {}),
    }
    first, second = origins_table(origins.items()).splitlines()[2:]
    assert first == (
        f"| `clip` | `Org/Clip` | `{COMMIT}` | m\\|1.bin sha256:abababababab; c etag:12 |"
    )
    assert second == "| `mine` | `./my_clip` | not known |  |"
    assert origins_table([]) == ""


def test_each_encoder_of_the_records_is_told_once(one_pair):
    first, second, third, *_ = (
        run.model_copy(update={"pair": run.pair.model_copy(update=update)})
        for run, update in zip(
            read_records(one_pair),
            [
                {"pre_origin": card()},
                {"pre_origin": card(), "post_origin": card()},
                {"pre_origin": card(other="etag:34")},
            ],
            strict=False,
        )
    )
    found = recorded_origins([first, second, third])
    assert [name for name, _ in found] == ["tiny:pre", "tiny:post", "tiny:pre"]
    assert found[2][1].files == {"other": "etag:34"}


def test_a_report_shows_it(one_pair, make_run, edit_record, tmp_path):
    assert recorded_origins(read_records(one_pair)) == []
    folder = make_run(tmp_path / "results", "clip", "scenes-gaze")
    pair = read_run(folder).pair.model_copy(update={"pre_origin": card()})
    edit_record(folder, pair=pair.model_dump())
    text = write_report(tmp_path / "results", tmp_path / "report").path.read_text()
    assert f"| `clip:pre` | `Org/Clip` | `{COMMIT}` | a.json etag:12 |" in text
