"""Records stay below the results, and names stay apart."""

from pathlib import Path

import pytest

from probes.folders import lies_in, record_folder

RESULTS = Path("results")


@pytest.mark.parametrize(
    ("pair", "task", "place"),
    [
        ("tiny@500", "scenes-gaze@clean", "tiny@500/scenes-gaze@clean"),
        ("a..b", "manifest:photos/tone.csv", "a..b/manifest:photos/tone.csv"),
        ("tiny", "", "tiny"),
    ],
)
def test_ordinary_names_are_kept(pair: str, task: str, place: str) -> None:
    assert record_folder(RESULTS, pair, task) == RESULTS / place


@pytest.mark.parametrize(
    "name",
    [
        "..", ".", "../../x", "manifest:../../x.csv", "/tmp/x", "a//b", "a/", ".hidden", "a\0b",
        "x" * 300,
    ],
)  # fmt: skip
def test_no_name_leads_out_of_the_results_or_hides_there(name: str) -> None:
    for folder in (record_folder(RESULTS, name, "task"), record_folder(RESULTS, "pair", name)):
        assert len(folder.parts) == 3
        assert folder.parts[0] == "results"
        assert not any(part.startswith(".") or len(part) > 255 for part in folder.parts)
    assert record_folder(RESULTS, name) != record_folder(RESULTS, f"{name}.")


def test_a_record_is_known_to_lie_where_it_was_written() -> None:
    for pair, task in (("tiny", "gaze"), ("../x", "manifest:a/b.csv"), ("tiny", "")):
        folder = record_folder(Path("/any/results"), pair, task)
        assert lies_in(folder, pair, task)
        assert not lies_in(folder, "other", task)
